package io.redlockd.internal;

import static java.util.concurrent.TimeUnit.MILLISECONDS;

import io.redlockd.Reason;
import io.redlockd.internal.MovingCall.Outcome;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.AcquireResponse;
import io.redlockd.redlock.v1.ExtendRequest;
import io.redlockd.redlock.v1.ExtendResponse;
import io.redlockd.redlock.v1.Lease;
import io.redlockd.redlock.v1.ProclaimRequest;
import io.redlockd.redlock.v1.ProclaimResponse;
import io.redlockd.redlock.v1.ReleaseRequest;
import io.redlockd.redlock.v1.ReleaseResponse;
import io.redlockd.redlock.v1.RetryPolicy;
import java.util.concurrent.CompletableFuture;

/** Operations on locks that belong to no Session. Thread-safe. */
public final class Unary {
  /** A lease and until when it is valid, on the client's clock. */
  public record Granted(Lease lease, long validUntil) {}

  /** Receives the result of an operation: either is null. */
  public interface Done<T> {
    /** Called once. */
    void done(T result, Failure failure);
  }

  private static final long RELEASE_AGAIN_MS = 1_000;
  private static final RetryPolicy NO_RETRY = RetryPolicy.newBuilder().setMaxRetries(0).build();

  private final Driver driver;

  /** Uses the connections of the driver. */
  public Unary(Driver driver) {
    this.driver = driver;
  }

  /** Extends the lock of a token; {@code slot}: of a semaphore; 0: whichever it holds. */
  public void extend(String key, int slot, String token, long ttl, RetryPolicy retry, Done<Granted> done) {
    ExtendRequest.Builder request = ExtendRequest.newBuilder().setToken(token).setTtl(Times.proto(ttl)).setSlot(slot);
    KeyNames.write(key, request::setKey, request::addAllKeys, request::setMode, request::setMaxHolders);
    if (retry != null) {
      request.setRetry(retry);
    }
    ExtendRequest built = request.build();
    startUntilClosed(new MovingCall<ExtendRequest, ExtendResponse>(
            driver, Methods.EXTEND, repeated -> built, deadline(), false, false, 0))
        .thenAccept(outcome -> {
          Lease lease = outcome.response() == null ? null : outcome.response().getLease();
          done.done(lease == null ? null : granted(lease, outcome.sentAt()), outcome.failure());
        });
  }

  private <R> CompletableFuture<Outcome<R>> startUntilClosed(MovingCall<?, R> call) {
    driver.endOnClose(call.result, call::close);
    return call.start().result;
  }

  /**
   * Replaces the value that the lock of a token publishes.
   *
   * @return ends the call, which a daemon may carry out all the same
   */
  public Runnable proclaim(String key, String token, String value, Done<Void> done) {
    ProclaimRequest.Builder request = ProclaimRequest.newBuilder().setToken(token).setValue(value);
    KeyNames.writeNames(key, request::setKey, request::addAllKeys);
    ProclaimRequest built = request.build();
    MovingCall<ProclaimRequest, ProclaimResponse> call =
        new MovingCall<>(driver, Methods.PROCLAIM, repeated -> built, deadline(), false, false, 0);
    startUntilClosed(call).thenAccept(outcome -> done.done(null, outcome.failure()));
    return call::cancel;
  }

  /**
   * Releases the lock of a token. LOCK_NOT_HELD counts as success if the call was repeated.
   *
   * @param keepFor for how long after its acquisition the key stays taken, in nanoseconds; 0: it is free at once
   */
  public void release(String key, String token, long keepFor, Done<Void> done) {
    startUntilClosed(releaseCall(key, token, keepFor, deadline(), 0)).thenAccept(outcome -> {
      Failure failure = outcome.failure();
      boolean released = failure != null && failure.reason() == Reason.LOCK_NOT_HELD && outcome.repeated();
      done.done(null, released ? null : failure);
    });
  }

  private MovingCall<ReleaseRequest, ReleaseResponse> releaseCall(
      String key, String token, long keepFor, long deadline, int endpoint) {
    ReleaseRequest.Builder builder = ReleaseRequest.newBuilder().setToken(token);
    KeyNames.writeNames(key, builder::setKey, builder::addAllKeys);
    if (keepFor > 0) {
      builder.setKeepFor(Times.proto(keepFor));
    }
    ReleaseRequest request = builder.build();
    return new MovingCall<>(driver, Methods.RELEASE, repeated -> request, deadline, false, false, endpoint);
  }

  /**
   * Starts to acquire a detached lock.
   *
   * @param request with a token; without retry for the daemon's defaults
   * @param wait how long to wait in nanoseconds; -1: without a limit; 0: a single try
   * @return cancels the call, and releases the lock in the background
   */
  public Runnable acquire(AcquireRequest request, long wait, Done<Granted> done) {
    boolean single = wait == 0;
    AcquireRequest first = single ? request.toBuilder().setRetry(NO_RETRY).build() : request;
    MovingCall<AcquireRequest, AcquireResponse> call = new MovingCall<>(
        driver,
        Methods.ACQUIRE,
        repeated -> first.toBuilder().setExtendIfHeld(repeated).build(),
        wait <= 0 ? Times.NEVER : deadline(wait),
        true,
        single,
        0);
    Runnable release = () -> releaseInBackground(request, call.endpoint());
    driver.endOnClose(call.result, () -> {
      if (call.close()) {
        release.run();
      }
    });
    call.start().result.thenAccept(outcome -> onAcquired(release, outcome, done));
    return () -> {
      if (call.cancel()) {
        release.run();
      }
    };
  }

  private void onAcquired(Runnable release, Outcome<AcquireResponse> outcome, Done<Granted> done) {
    Failure failure = outcome.failure();
    if (failure != null) {
      if (outcome.repeated()) {
        release.run();
      }
      done.done(null, failure.reason() == Reason.DEADLINE_EXCEEDED ? Failure.waitOver(failure) : failure);
      return;
    }
    // The daemon granted the lock no earlier than after it had waited for it.
    long waited = Times.nanos(outcome.response().getWaited());
    Granted granted =
        granted(outcome.response().getLease(), Times.after(outcome.sentAt(), waited - Times.drift(waited)));
    if (granted.validUntil <= BootClock.SYSTEM.now()) {
      release.run();
      done.done(null, Failure.of(
          Reason.VALIDITY_EXPIRED, "the lock was granted, but its validity had ended when the answer was read"));
      return;
    }
    done.done(granted, null);
  }

  // Until the release is answered, or the TTL and the lock delay have passed. A release can overtake the cancellation of the acquire at the
  // daemon, which then still grants the lock. So a release that finds nothing is repeated.
  private void releaseInBackground(AcquireRequest request, int endpoint) {
    String key = KeyNames.read(request.getKey(), request.getKeysList(), request.getMode(), request.getMaxHolders());
    long deadline = deadline(Times.nanos(request.getTtl()) + Times.nanos(request.getLockDelay()));
    driver.inBackground(releaseCall(key, request.getToken(), 0, deadline, endpoint).start().result.thenCompose(outcome -> {
      Failure failure = outcome.failure();
      if (failure == null || failure.reason() != Reason.LOCK_NOT_HELD) {
        return CompletableFuture.completedFuture(outcome);
      }
      return CompletableFuture.runAsync(() -> {}, CompletableFuture.delayedExecutor(RELEASE_AGAIN_MS, MILLISECONDS))
          .thenCompose(none -> releaseCall(key, request.getToken(), 0, deadline, endpoint).start().result);
    }));
  }

  private static Granted granted(Lease lease, long sentAt) {
    return new Granted(lease, Times.after(sentAt, Times.nanos(lease.getValidity())));
  }

  // Of a call by key and token.
  private long deadline() {
    return deadline(driver.options().callTimeout());
  }

  private static long deadline(long timeout) {
    return Times.after(BootClock.SYSTEM.now(), timeout);
  }
}
