package io.redlockd.internal;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.redlockd.Reason;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.Times;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/**
 * One unary call that moves through the endpoints until a daemon decides it, or its time is over. Thread-safe.
 *
 * <p>{@link #result} completes with an {@link Outcome}, never exceptionally.
 */
final class MovingCall<Q, R> {
  private static final long SHORTEST_RETRY = 50 * Times.MILLIS;
  private static final long SHORTEST_ATTEMPT = 100 * Times.MILLIS;

  /**
   * How the call ended.
   *
   * @param response null if it failed
   * @param failure null if it succeeded
   * @param repeated a daemon may have carried out an earlier copy whose answer did not arrive
   * @param sentAt when the last copy was sent, on the client's clock; by the clock's error earlier
   */
  record Outcome<R>(R response, Failure failure, boolean repeated, long sentAt) {}

  final CompletableFuture<Outcome<R>> result = new CompletableFuture<>();
  private final Driver driver;
  private final MethodDescriptor<Q, R> method;
  private final Function<Boolean, Q> request; // of whether the call is repeated
  private final long deadline;
  private final boolean waits; // the daemon may let the call wait until its deadline
  private final boolean oneRound;
  private final boolean repeatsUndecided; // a daemon tries once
  private final ReentrantLock lock = new ReentrantLock();
  private final String[] problems;
  private final Pause pause = new Pause();
  private int endpoint;
  private int lastUsed;
  private int failed;
  private boolean repeated;
  private boolean ended;
  private boolean answerExpected; // the last copy reached a daemon that did not answer in time
  private Failure refused; // why the last daemon that answered refused the call, which is repeated; null: it did not
  private long sentAt = Times.LONG_AGO;
  private ClientCall<Q, R> call;

  /**
   * @param deadline on the client's clock; NEVER: none
   * @param waits the call waits for a lock, so that an attempt may take all of the time
   * @param oneRound fails once every endpoint has failed
   * @param endpoint the first one
   */
  MovingCall(
      Driver driver,
      MethodDescriptor<Q, R> method,
      Function<Boolean, Q> request,
      long deadline,
      boolean waits,
      boolean oneRound,
      int endpoint) {
    this.driver = driver;
    this.method = method;
    this.request = request;
    this.deadline = deadline;
    this.waits = waits;
    this.oneRound = oneRound;
    this.repeatsUndecided = Methods.PROCLAIM.equals(method);
    this.endpoint = endpoint;
    this.problems = new String[driver.endpoints.size()];
  }

  MovingCall<Q, R> start() {
    attempt();
    return this;
  }

  /** Ends the call. Returns whether a daemon may have carried it out, or may still do so. */
  boolean cancel() {
    end("the caller cancelled the call");
    return wasSent();
  }

  /**
   * Ends the call, because the client is closed, unless it has ended. Returns whether this has ended it although a daemon may have
   * carried it out, or may still do so.
   */
  boolean close() {
    return end("the client was closed") && wasSent();
  }

  private boolean wasSent() {
    lock.lock();
    try {
      return sentAt != Times.LONG_AGO;
    } finally {
      lock.unlock();
    }
  }

  // Returns whether the call had no result.
  private boolean end(String why) {
    ClientCall<Q, R> cancelled;
    lock.lock();
    try {
      ended = true;
      cancelled = call;
    } finally {
      lock.unlock();
    }
    if (cancelled != null) {
      cancelled.cancel(why, null);
    }
    return finish(null, Failure.of(Reason.CANCELLED, why));
  }

  private void attempt() {
    long now = BootClock.SYSTEM.now();
    if (now >= deadline) {
      timeOut();
      return;
    }
    int used = endpoint;
    ManagedChannel channel = driver.endpoints.channel(used);
    if (channel == null) {
      finish(null, Failure.of(Reason.CANCELLED, "the client was closed"));
      return;
    }
    long limit = deadline == Times.NEVER ? Times.NEVER : deadline - now;
    if (!waits) { // so that other endpoints are tried too
      limit = Math.max(limit / 2, Math.min(limit, SHORTEST_ATTEMPT));
    }
    CallOptions options = limit == Times.NEVER
        ? driver.callOptions()
        : driver.callOptions().withDeadlineAfter(limit, TimeUnit.NANOSECONDS);
    ClientCall<Q, R> next = channel.newCall(method, options);
    Q message;
    lock.lock();
    try {
      if (ended) {
        return;
      }
      call = next;
      lastUsed = used;
      message = request.apply(repeated);
      sentAt = BootClock.SYSTEM.now() - BootClock.SYSTEM.error();
    } finally {
      lock.unlock();
    }
    try {
      next.start(new Listener(used, channel), new Metadata());
      next.request(2); // a second message would be an error of the daemon
      next.sendMessage(message);
      next.halfClose();
    } catch (IllegalStateException cancelled) {
      return; // at the same time
    }
    if (limit > driver.connectPatience()) {
      Delays.after(driver.connectPatience(), () -> checkConnection(next, channel));
    }
  }

  // A daemon may accept connections and then stay silent.
  private void checkConnection(ClientCall<Q, R> attempted, ManagedChannel channel) {
    lock.lock();
    try {
      if (ended || call != attempted || channel.getState(false) == ConnectivityState.READY) {
        return;
      }
    } finally {
      lock.unlock();
    }
    attempted.cancel("no connection within " + Times.inWords(driver.connectPatience()), null);
  }

  /** The endpoint that was used last. */
  int endpoint() {
    lock.lock();
    try {
      return lastUsed;
    } finally {
      lock.unlock();
    }
  }

  private final class Listener extends ClientCall.Listener<R> {
    private final int endpointUsed;
    private final ManagedChannel channel;
    private R response;

    Listener(int endpointUsed, ManagedChannel channel) {
      this.endpointUsed = endpointUsed;
      this.channel = channel;
    }

    @Override
    public void onMessage(R message) {
      response = message;
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (status.isOk() && response != null) {
        finish(response, null);
        return;
      }
      Optional<Failure> decided = Errors.decided(status, trailers);
      if (decided.isPresent()) {
        onDecided(decided.get());
      } else {
        onUndecided(endpointUsed, channel, status);
      }
    }
  }

  private void onDecided(Failure failure) {
    if (failure.reason() == Reason.DRAINING) {
      problems[endpoint] = driver.endpoints.name(endpoint) + ": the daemon is shutting down";
      answerExpected = false;
      refused = null;
      moveOn();
    } else if (failure.reason() == Reason.OVERLOADED && !oneRound) {
      refused = failure;
      attemptAfter(Math.max(failure.retryAfter(), SHORTEST_RETRY));
    } else if (repeatsUndecided
        && (failure.reason() == Reason.QUORUM_UNAVAILABLE || failure.reason() == Reason.NODE_SET_MISMATCH)) {
      refused = failure;
      moveOn();
    } else {
      finish(null, failure);
    }
  }

  private void onUndecided(int used, ManagedChannel channel, Status status) {
    boolean timedOut = status.getCode() == Status.Code.DEADLINE_EXCEEDED;
    String text = String.valueOf(status.getDescription());
    lock.lock();
    try {
      repeated = true;
      refused = timedOut ? refused : null;
      answerExpected = timedOut && text.contains("remote_addr");
      problems[used] = timedOut
          ? driver.endpoints.name(used) + ": no answer in time"
          : Errors.undecided(driver.endpoints.name(used), status);
      if (ended) {
        return;
      }
    } finally {
      lock.unlock();
    }
    if (!timedOut || !waits) { // a connection on which an acquire waited is used for its release
      driver.endpoints.drop(used, channel);
    }
    moveOn();
  }

  private void moveOn() {
    endpoint = (endpoint + 1) % problems.length;
    if (++failed % problems.length != 0) {
      attempt();
    } else if (oneRound) {
      finish(null, Failure.of(Reason.UNREACHABLE, "no daemon answered (" + failures() + ")"));
    } else {
      attemptAfter(pause.take());
    }
  }

  // At the deadline, there is no further attempt.
  private void attemptAfter(long delay) {
    Delays.after(Math.min(delay, Math.max(0, deadline - BootClock.SYSTEM.now())), this::attempt);
  }

  private void timeOut() {
    if (refused != null) {
      finish(null, refused);
    } else if (waits && answerExpected) {
      finish(null, Failure.of(Reason.DEADLINE_EXCEEDED, "not acquired within the wait"));
    } else {
      finish(null, Failure.of(Reason.UNREACHABLE, "no daemon answered in time (" + failures() + ")"));
    }
  }

  private String failures() {
    StringBuilder text = new StringBuilder();
    for (String problem : problems) {
      if (problem != null) {
        text.append(text.length() == 0 ? "" : "; ").append(problem);
      }
    }
    return text.length() == 0 ? driver.endpoints.name(0) + ": no answer yet" : text.toString();
  }

  private boolean finish(R response, Failure failure) {
    boolean before;
    long sent;
    lock.lock();
    try {
      ended = true;
      before = repeated;
      sent = sentAt;
    } finally {
      lock.unlock();
    }
    return result.complete(new Outcome<>(response, failure, before, sent));
  }
}
