package io.redlockd;

import io.redlockd.internal.Checks;
import io.redlockd.internal.Driver;
import io.redlockd.internal.Errors;
import io.redlockd.internal.ObserverStream;
import io.redlockd.internal.Options;
import io.redlockd.internal.Owner;
import io.redlockd.internal.Unary;
import io.redlockd.internal.WatchStream;
import io.redlockd.internal.core.AcquireCommand;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.AcquireRequest;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import java.util.function.Supplier;

/**
 * The client of redlockd, the lock service. Thread-safe; one client serves a whole process.
 *
 * <pre>{@code
 * try (RedlockClient client = RedlockClient.builder().endpoints("10.0.0.1:50051", "10.0.0.2:50051").build()) {
 *   try (Lock lock = client.acquire("reports", AcquireOptions.defaults().withWait(Duration.ofSeconds(10)))) {
 *     storage.write(report, lock.fencingToken());
 *   }
 * }
 * }</pre>
 *
 * <p>All locks of a client share one stream to one daemon, which keeps them alive. If the stream breaks, or the daemon shuts down or
 * falls silent, the client opens another one at the next endpoint, and the daemon there adopts the locks. If no daemon can do so in
 * time, {@link Lock#lost} completes before another client can acquire the lock. The client connects when it is first used.
 *
 * <p>{@link Keys#together} makes one key of several, which are then locked all at once or not at all. {@link Keys#shared} makes a key
 * that any number of holders share, as readers do. Every call that locks accepts both. {@link Keys#semaphore} makes a key that a
 * limited number of holders have.
 *
 * <p>A failed call throws a {@link LockException}; a future completes with it. If a call is interrupted, or its future is cancelled,
 * no lock is left behind. Locks are not bound to threads, and nothing here pins a virtual thread.
 *
 * <p>The client logs failovers, reconnects, losses and exceptions of callbacks to the {@link System.Logger} {@code io.redlockd} at
 * level {@code DEBUG}, which is off by default. It never logs a token.
 */
public final class RedlockClient implements AutoCloseable {
  private static final long CLOSE_PATIENCE_MILLIS = 2_000;

  private final Driver driver;
  private final Unary unary;
  private final AtomicReference<CompletableFuture<Void>> closed = new AtomicReference<>();

  private RedlockClient(Options options) {
    this.driver = new Driver(options);
    this.unary = new Unary(driver);
  }

  /**
   * Returns a builder.
   *
   * @return the builder, with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  // --- Locks that the client keeps alive

  /**
   * Acquires a lock with the default options: waits without a limit.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @return the lock
   * @throws InterruptedException if the thread is interrupted; no lock is left behind
   * @throws LockException if the lock was not acquired
   */
  public Lock acquire(String key) throws InterruptedException {
    return acquire(key, AcquireOptions.defaults());
  }

  /**
   * Acquires a lock, and waits for it as long as the options allow. An outage does not read as contention: the exceptions are
   * {@link LockTimeoutException} or {@link LockAlreadyHeldException} if another holder has the lock, and {@link
   * LockUnavailableException} if no daemon or too few nodes answered.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how
   * @return the lock
   * @throws InterruptedException if the thread is interrupted; no lock is left behind
   * @throws LockException if the lock was not acquired
   */
  public Lock acquire(String key, AcquireOptions options) throws InterruptedException {
    return start(key, options).await();
  }

  /**
   * Acquires a lock as {@link #acquire(String, AcquireOptions)} does, without blocking. To give up, cancel the future that this
   * method returns, rather than one that depends on it; no lock is left behind.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how
   * @return completes on the client's executor
   */
  public CompletableFuture<Lock> acquireAsync(String key, AcquireOptions options) {
    return future(() -> start(key, options));
  }

  /**
   * Tries once to acquire a lock.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @return the lock; empty if another holder has it
   * @throws InterruptedException if the thread is interrupted; no lock is left behind
   * @throws LockException if it could not be found out whether the lock is free
   */
  public Optional<Lock> tryAcquire(String key) throws InterruptedException {
    return tryAcquire(key, AcquireOptions.defaults());
  }

  /**
   * Tries once to acquire a lock.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how; the time to wait does not count
   * @return the lock; empty if another holder has it
   * @throws InterruptedException if the thread is interrupted; no lock is left behind
   * @throws LockException if it could not be found out whether the lock is free
   */
  public Optional<Lock> tryAcquire(String key, AcquireOptions options) throws InterruptedException {
    try {
      return Optional.of(acquire(key, options.withWait(Duration.ZERO)));
    } catch (LockAlreadyHeldException held) {
      return Optional.empty();
    }
  }

  /**
   * Extends the lock if {@code token} holds it, and acquires it otherwise. The client then keeps it alive. If this client holds the
   * lock with this token, the call extends it and returns the same object. If the call fails, a lock that the token held before lasts
   * for at least as long as it would have lasted otherwise, and no new lock is left behind.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param token the owner token
   * @param options how; the token in them does not count
   * @return the lock
   * @throws InterruptedException if the thread is interrupted
   * @throws LockException if the lock was not acquired
   */
  public Lock acquireOrExtend(String key, String token, AcquireOptions options) throws InterruptedException {
    return start(command(Kind.ACQUIRE_OR_EXTEND, key, options.withToken(requireToken(token))), options).await();
  }

  /**
   * Works as {@link #acquireOrExtend} does, without blocking.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param token the owner token
   * @param options how; the token in them does not count
   * @return completes on the client's executor
   */
  public CompletableFuture<Lock> acquireOrExtendAsync(String key, String token, AcquireOptions options) {
    return future(() ->
        start(command(Kind.ACQUIRE_OR_EXTEND, key, options.withToken(requireToken(token))), options));
  }

  /**
   * Takes over a lock that {@code token} holds: a detached one, or one of another process. The client then keeps it alive. Fails
   * with {@link LockLostException} if the token does not hold the key, or holds it in the other mode (see {@link Keys#shared}),
   * or another slot than the key names (see {@link Keys#slot}). If the call fails or is cancelled while a daemon carries it out, the
   * lock may be released. If this client holds the lock with this token, the call extends it and returns the same object.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param options the TTL, the margin, how long to wait, and how long to keep the key; the rest does not count
   * @return the lock
   * @throws InterruptedException if the thread is interrupted
   * @throws LockException if the lock was not adopted
   */
  public Lock adopt(String key, String token, AcquireOptions options) throws InterruptedException {
    return start(command(Kind.ADOPT, key, options.withToken(requireToken(token))), options).await();
  }

  /**
   * Works as {@link #adopt} does, without blocking.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param options the TTL, the margin, how long to wait, and how long to keep the key; the rest does not count
   * @return completes on the client's executor
   */
  public CompletableFuture<Lock> adoptAsync(String key, String token, AcquireOptions options) {
    return future(() -> start(command(Kind.ADOPT, key, options.withToken(requireToken(token))), options));
  }

  /** Work that is done while a lock is held. */
  @FunctionalInterface
  public interface Work<T, X extends Exception> {
    /**
     * Does the work.
     *
     * @param lock the lock
     * @return the result
     * @throws X if the work failed
     */
    T run(Lock lock) throws X;
  }

  /** Work without a result that is done while a lock is held. */
  @FunctionalInterface
  public interface Task<X extends Exception> {
    /**
     * Does the work.
     *
     * @param lock the lock
     * @throws X if the work failed
     */
    void run(Lock lock) throws X;
  }

  /**
   * Does work while a lock is held, as {@link #call} does.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how the lock is acquired
   * @param task the work
   * @param <X> what the work throws
   * @throws X if the work failed
   * @throws InterruptedException if the thread is interrupted while it waits for the lock
   * @throws LockLostException if the lock was lost before the work had ended
   * @throws LockException if the lock was not acquired
   */
  public <X extends Exception> void run(String key, AcquireOptions options, Task<X> task)
      throws X, InterruptedException {
    call(key, options, lock -> {
      task.run(lock);
      return null;
    });
  }

  /**
   * Acquires a lock, does work on the calling thread, and releases the lock.
   *
   * <p>If the lock is lost meanwhile, the thread is interrupted, so that work that can be interrupted stops. When the work has
   * returned or thrown, the interrupt is cleared, and {@link LockLostException} is thrown, with what the work has thrown as a
   * suppressed exception. An interrupt that came before is kept. An interrupt of somebody else that comes after the loss and before
   * the end of the work cannot be told apart, and is cleared too.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how the lock is acquired
   * @param work the work
   * @param <T> the result of the work
   * @param <X> what the work throws
   * @return the result of the work
   * @throws X if the work failed
   * @throws InterruptedException if the thread is interrupted while it waits for the lock
   * @throws LockLostException if the lock was lost before the work had ended
   * @throws LockException if the lock was not acquired
   */
  public <T, X extends Exception> T call(String key, AcquireOptions options, Work<T, X> work)
      throws X, InterruptedException {
    Lock lock = acquire(key, options);
    LossInterrupter interrupter = new LossInterrupter();
    Throwable thrown = null;
    try (lock) {
      lock.interruptBy(interrupter::fire);
      try {
        return work.run(lock);
      } finally {
        interrupter.end();
      }
    } catch (Throwable any) {
      thrown = any;
      throw any;
    } finally {
      if (thrown != null && !(thrown instanceof LockLostException) && lock.isLost()) {
        LockLostException loss = lock.loss().orElseThrow();
        loss.addSuppressed(thrown);
        throwLoss(loss);
      }
    }
  }

  // Replaces what the work has thrown. In a method of its own, because the compiler warns of a throw in a finally block.
  private static void throwLoss(LockLostException loss) {
    throw loss;
  }

  /**
   * Returns a view of a lock as a {@link java.util.concurrent.locks.Lock}, for code that expects one. What it cannot promise:
   *
   * <ul>
   *   <li>It does not report a loss while the lock is held. {@code unlock} throws {@link LockLostException} if the lock was lost, so
   *       call it where that can be handled. Work that must stop at a loss needs {@link #acquire} or {@link #call}.
   *   <li>It is not reentrant: a thread that holds the lock gets an {@link IllegalMonitorStateException} from a second {@code lock}.
   *   <li>Only the thread that locked can unlock, and each thread waits in the daemon's queue by itself.
   *   <li>{@code newCondition} throws {@link UnsupportedOperationException}.
   *   <li>An outage throws a {@link LockException}, also from {@code tryLock}; {@code lock} waits through it.
   * </ul>
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how the lock is acquired; the time to wait does not count
   * @return the view
   */
  public java.util.concurrent.locks.Lock asJavaLock(String key, AcquireOptions options) {
    Checks.keyToAcquire(key);
    return new JavaLock(this, key, options);
  }

  PendingAcquire start(String key, AcquireOptions options) {
    return start(command(Kind.ACQUIRE, key, options), options);
  }

  private PendingAcquire start(AcquireCommand command, AcquireOptions options) {
    IntConsumer onQueued = options.onQueued().orElse(null);
    long keepFor = options.keepFor().map(Checks::keepFor).orElse(0L);
    return new PendingAcquire(driver, command.key(), onQueued, keepFor).start(command);
  }

  static CompletableFuture<Lock> future(Supplier<PendingAcquire> started) {
    return future(started, granted -> {});
  }

  static CompletableFuture<Lock> future(Supplier<PendingAcquire> started, Consumer<Lock> before) {
    try {
      return started.get().future(before);
    } catch (LockException invalid) {
      return CompletableFuture.failedFuture(invalid);
    }
  }

  private AcquireCommand command(Kind kind, String key, AcquireOptions options) {
    if (kind == Kind.ADOPT) {
      Checks.key(key);
    } else {
      Checks.keyToAcquire(key);
    }
    long ttl = Checks.ttl(options.ttl());
    options.token().ifPresent(Checks::token);
    Checks.value(options.value());
    return new AcquireCommand(
        KeyNames.withoutSlot(key),
        KeyNames.slot(key),
        options.token().orElse(null),
        kind,
        ttl,
        Checks.longestWait(options),
        owner(options),
        options.value(),
        Checks.lockDelay(options.lockDelay()),
        Checks.margin(options.margin().orElse(null), ttl, driver.options().grace()),
        Checks.retry(options.retry().orElse(null)));
  }

  private String owner(AcquireOptions options) {
    options.owner().ifPresent(Checks::owner);
    return options.owner().orElse(driver.options().owner());
  }

  private static String requireToken(String token) {
    Checks.token(token);
    return token;
  }

  // --- Detached locks, and locks by key and token

  /**
   * Acquires a lock that outlives this process, and that nobody extends. Hand its keys and token to whoever is to {@link #extend},
   * {@link #adopt} or {@link #release} it.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how; the margin, the callback and the time to keep the key do not count
   * @return the lease
   * @throws InterruptedException if the thread is interrupted; no lock is left behind
   * @throws LockException if the lock was not acquired; no lock is left behind, but a token of your own must not be used again
   */
  public Lease acquireDetached(String key, AcquireOptions options) throws InterruptedException {
    return Waiting.interruptibly(detached(key, options, false));
  }

  /**
   * Works as {@link #acquireDetached} does, without blocking. If the future is cancelled, no lock is left behind; a token of your
   * own must not be used again then.
   *
   * @param key 1 to 512 bytes of UTF-8, not beginning with "redlockd:"; several keys: {@link Keys#together}
   * @param options how; the margin, the callback and the time to keep the key do not count
   * @return completes on the client's executor
   */
  public CompletableFuture<Lease> acquireDetachedAsync(String key, AcquireOptions options) {
    return detached(key, options, true);
  }

  private CompletableFuture<Lease> detached(String key, AcquireOptions options, boolean dispatch) {
    CompletableFuture<Lease> users = new CompletableFuture<>();
    long wait;
    AcquireRequest request;
    try {
      wait = Checks.longestWait(options);
      request = detachedRequest(key, options);
    } catch (LockException invalid) {
      users.completeExceptionally(invalid);
      return users;
    }
    Runnable cancel = unary.acquire(request, wait, (granted, failure) -> {
      Runnable report = () -> {
        if (failure != null) {
          users.completeExceptionally(Errors.of(key, failure));
        } else {
          users.complete(lease(granted)); // otherwise, the cancellation has released the lock
        }
      };
      if (dispatch) {
        driver.callBack(report);
      } else {
        report.run();
      }
    });
    users.whenComplete((lease, failure) -> {
      if (failure instanceof CancellationException || failure instanceof TimeoutException) {
        cancel.run();
      }
    });
    return users;
  }

  private AcquireRequest detachedRequest(String key, AcquireOptions options) {
    AcquireCommand command = command(Kind.ACQUIRE, key, options.withMargin(null));
    AcquireRequest.Builder request = AcquireRequest.newBuilder()
        .setToken(command.token() == null ? Driver.newToken() : command.token())
        .setTtl(Times.proto(command.ttl()))
        .setOwner(command.owner())
        .setValue(command.value());
    KeyNames.write(key, request::setKey, request::addAllKeys, request::setMode, request::setMaxHolders);
    if (command.lockDelay() > 0) {
      request.setLockDelay(Times.proto(command.lockDelay()));
    }
    if (command.retry() != null) {
      request.setRetry(command.retry());
    }
    return request.build();
  }

  private static Lease lease(Unary.Granted granted) {
    io.redlockd.redlock.v1.Lease lease = granted.lease();
    String key = KeyNames.read(lease.getKey(), lease.getKeysList(), lease.getMode(), lease.getMaxHolders());
    return new Lease(key, lease.getSlot(), lease.getToken(), lease.getFencingToken(), granted.validUntil());
  }

  /**
   * Extends the lock that {@code token} holds to at least {@code ttl} from now. Takes at most the client's {@link
   * Builder#callTimeout}.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param ttl at least 10 ms
   * @return the lease with its new validity
   * @throws InterruptedException if the thread is interrupted; the lock may be extended all the same
   * @throws LockLostException if the token does not hold the key
   * @throws LockException if no daemon could extend the lock
   */
  public Lease extend(String key, String token, Duration ttl) throws InterruptedException {
    return Waiting.interruptibly(extension(key, token, ttl, null));
  }

  /**
   * Extends the lock that {@code token} holds as {@link #extend(String, String, Duration)} does.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param ttl at least 10 ms
   * @param retry how the daemon retries
   * @return the lease with its new validity
   * @throws InterruptedException if the thread is interrupted; the lock may be extended all the same
   * @throws LockLostException if the token does not hold the key
   * @throws LockException if no daemon could extend the lock
   */
  public Lease extend(String key, String token, Duration ttl, RetryPolicy retry) throws InterruptedException {
    return Waiting.interruptibly(extension(key, token, ttl, retry));
  }

  /**
   * Extends the lock that {@code token} holds; the daemon makes a single attempt.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param ttl at least 10 ms
   * @return the lease with its new validity
   * @throws InterruptedException if the thread is interrupted; the lock may be extended all the same
   * @throws LockLostException if the token does not hold the key
   * @throws LockException if the attempt failed
   */
  public Lease tryExtend(String key, String token, Duration ttl) throws InterruptedException {
    return extend(key, token, ttl, RetryPolicy.NONE);
  }

  /**
   * Extends the lock that {@code token} holds, without blocking.
   *
   * @param key the key; a semaphore: {@link Keys#semaphore}, or {@link Keys#slot} to name the slot
   * @param token the owner token
   * @param ttl at least 10 ms
   * @param retry how the daemon retries; null: the daemon's defaults
   * @return completes on the client's executor
   */
  public CompletableFuture<Lease> extendAsync(String key, String token, Duration ttl, RetryPolicy retry) {
    return extension(key, token, ttl, retry).whenCompleteAsync((lease, failure) -> {}, driver::callBack);
  }

  private CompletableFuture<Lease> extension(String key, String token, Duration ttl, RetryPolicy retry) {
    CompletableFuture<Lease> done = new CompletableFuture<>();
    try {
      Checks.key(key);
      Checks.token(token);
      long nanos = Checks.ttl(ttl);
      String whole = KeyNames.withoutSlot(key);
      int slot = KeyNames.slot(key);
      unary.extend(whole, slot, token, nanos, Checks.retry(retry), (granted, failure) -> {
        if (failure != null) {
          done.completeExceptionally(Errors.of(whole, failure));
        } else {
          done.complete(lease(granted));
        }
      });
    } catch (LockException invalid) {
      done.completeExceptionally(invalid);
    }
    return done;
  }

  /**
   * Releases the lock that {@code token} holds. Takes at most the client's {@link Builder#callTimeout}.
   *
   * @param key the key
   * @param token the owner token
   * @throws InterruptedException if the thread is interrupted; the lock may be released all the same
   * @throws LockLostException if the token did not hold the key, unless the client had to repeat the call
   * @throws LockException if no daemon could release the lock
   */
  public void release(String key, String token) throws InterruptedException {
    Waiting.interruptibly(releasing(key, token, null));
  }

  /**
   * Releases the lock that {@code token} holds as {@link #release(String, String)} does. The key stays taken until {@code keepFor} after
   * the acquisition, although nobody holds it: see {@link AcquireOptions#withKeepFor}.
   *
   * @param key the key
   * @param token the owner token
   * @param keepFor from 1 ms to the daemon's {@code --max-ttl}
   * @throws InterruptedException if the thread is interrupted; the lock may be released all the same
   * @throws LockLostException if the token did not hold the key, unless the client had to repeat the call
   * @throws LockArgumentException if the time is too short or too long; the lock is still held
   * @throws LockException if no daemon could release the lock
   */
  public void release(String key, String token, Duration keepFor) throws InterruptedException {
    Objects.requireNonNull(keepFor, "keepFor");
    Waiting.interruptibly(releasing(key, token, keepFor));
  }

  /**
   * Releases the lock that {@code token} holds, without blocking.
   *
   * @param key the key
   * @param token the owner token
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> releaseAsync(String key, String token) {
    return releaseAsync(key, token, null);
  }

  /**
   * Releases the lock that {@code token} holds as {@link #release(String, String, Duration)} does, without blocking.
   *
   * @param key the key
   * @param token the owner token
   * @param keepFor from 1 ms to the daemon's {@code --max-ttl}; null: the key is free at once
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> releaseAsync(String key, String token, Duration keepFor) {
    return releasing(key, token, keepFor).whenCompleteAsync((none, failure) -> {}, driver::callBack);
  }

  private CompletableFuture<Void> releasing(String key, String token, Duration keepFor) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    try {
      Checks.key(key);
      Checks.token(token);
      String whole = KeyNames.withoutSlot(key);
      long keptFor = keepFor == null ? 0 : Checks.keepFor(keepFor);
      unary.release(whole, token, keptFor, (none, failure) -> complete(done, whole, failure));
    } catch (LockException invalid) {
      done.completeExceptionally(invalid);
    }
    return done;
  }

  /**
   * Replaces the value that the lock of {@code token} publishes, as {@link Lock#proclaim} does. Takes at most the client's {@link
   * Builder#callTimeout}.
   *
   * @param key the key
   * @param token the owner token
   * @param value at most 4096 bytes of UTF-8; empty: the lock publishes no value
   * @throws InterruptedException if the thread is interrupted; the value may be replaced all the same
   * @throws LockLostException if the token does not hold the key
   * @throws LockException if no daemon could replace the value
   */
  public void proclaim(String key, String token, String value) throws InterruptedException {
    Waiting.interruptibly(proclaiming(key, token, value));
  }

  /**
   * Replaces the value that the lock of {@code token} publishes as {@link #proclaim} does, without blocking.
   *
   * @param key the key
   * @param token the owner token
   * @param value at most 4096 bytes of UTF-8; empty: the lock publishes no value
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> proclaimAsync(String key, String token, String value) {
    return proclaiming(key, token, value).whenCompleteAsync((none, failure) -> {}, driver::callBack);
  }

  private CompletableFuture<Void> proclaiming(String key, String token, String value) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    try {
      Checks.key(key);
      Checks.token(token);
      Checks.value(value);
      String whole = KeyNames.withoutSlot(key);
      unary.proclaim(whole, token, value, (none, failure) -> complete(done, whole, failure));
    } catch (LockException invalid) {
      done.completeExceptionally(invalid);
    }
    return done;
  }

  private static void complete(CompletableFuture<Void> done, String key, Failure failure) {
    if (failure != null) {
      done.completeExceptionally(Errors.of(key, failure));
    } else {
      done.complete(null);
    }
  }

  /**
   * Keeps locks alive by their tokens, until the watch is closed. It survives failures of nodes and daemons, and may begin before
   * its locks are acquired if {@code keepAfterLoss} is set.
   *
   * @param items the locks: at least one, each key at most once
   * @param keepAfterLoss whether to go on with a lock after its loss; otherwise, the watch is idle once all its locks are lost
   * @param onEvent hears of every extension, failure and loss, one after the other, on the client's executor; exceptions that leave
   *     it are logged
   * @return the watch
   * @throws LockArgumentException if an item is invalid
   */
  public Watch watch(List<WatchItem> items, boolean keepAfterLoss, Consumer<WatchEvent> onEvent) {
    Objects.requireNonNull(onEvent, "onEvent");
    List<WatchItem> copy = List.copyOf(items);
    Checks.items(copy);
    refuseIfClosed();
    return driver.begin(new WatchStream(driver, copy, keepAfterLoss, onEvent));
  }

  private void refuseIfClosed() {
    if (closed.get() != null) {
      throw new LockCancelledException(Reason.CANCELLED, null, "the client was closed", null, null);
    }
  }

  // --- Observers and elections

  /**
   * Observes who holds a key: reports the present state, and every change. A failed stream is opened again, at the next daemon.
   *
   * <p>No fencing token is lower than one that was reported before, and no state is reported twice in a row. If the callback is
   * slower than the changes, it receives only the latest state. "No quorum" and "no daemon" are never reported
   * as {@link KeyState.State#VACANT}.
   *
   * @param key a single key; the result of {@link Keys#shared} or {@link Keys#semaphore} stands for the key itself
   * @param onState receives the states, one after the other, on the client's executor; exceptions that leave it are logged
   * @return the observer; close it, or the client
   * @throws LockArgumentException if the key is invalid
   */
  public KeyObserver observe(String key, Consumer<KeyState> onState) {
    Objects.requireNonNull(onState, "onState");
    String name = Checks.keyToObserve(key);
    refuseIfClosed();
    return driver.begin(new ObserverStream(driver, name, driver::callBack, onState));
  }

  /**
   * Returns an election. Everyone who names the same election takes part in it, or observes it. The call does nothing by itself.
   *
   * @param name the key of the election: 1 to 512 bytes of UTF-8, not beginning with "redlockd:"
   * @return the election
   * @throws LockArgumentException if the name is invalid
   */
  public Election election(String name) {
    Checks.election(name);
    return new Election(this, name);
  }

  /** Returns the first decided state of a key. */
  CompletableFuture<KeyState> decidedState(String name) {
    try {
      refuseIfClosed();
    } catch (LockException refused) {
      return CompletableFuture.failedFuture(refused);
    }
    return ObserverStream.firstDecided(driver, name);
  }

  <T> CompletableFuture<T> dispatched(CompletableFuture<T> done) {
    return done.whenCompleteAsync((result, failure) -> {}, driver::callBack);
  }

  /**
   * Ends all calls, watches, observers and locks, releases the locks, and waits for that, at most 2 s; after that, the releases continue in
   * the background. An interruption does not end the wait; the thread's interrupted status is kept. A second close does nothing.
   */
  @Override
  public void close() {
    CompletableFuture<Void> own = new CompletableFuture<>();
    if (closed.compareAndSet(null, own)) {
      driver.close().whenComplete((none, failure) -> own.complete(null));
    }
    CompletableFuture<Void> bounded = closed.get().copy().completeOnTimeout(null, CLOSE_PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
    Waiting.uninterruptibly(bounded);
  }

  /** Makes a client. Not thread-safe. */
  public static final class Builder {
    private static final Duration SHORTEST_GRACE = Duration.ofMillis(100);
    private static final Duration SHORTEST_CONNECT_TIMEOUT = Duration.ofMillis(10);

    private List<String> endpoints = List.of("127.0.0.1:50051");
    private String owner;
    private Duration grace = Duration.ofSeconds(5);
    private Duration connectTimeout = Duration.ofSeconds(2);
    private Duration callTimeout = Duration.ofSeconds(5);
    private boolean tls;
    private Path trust;
    private Path certificate;
    private Path privateKey;
    private Supplier<String> bearer;
    private Executor executor;

    private Builder() {}

    /**
     * Sets the addresses of the daemons, which are tried in turn: {@code host:port}, or {@code unix:/path} on Linux. The client
     * connects directly: it ignores a proxy in the environment. Default: {@code 127.0.0.1:50051}.
     *
     * @param addresses at least one
     * @return this
     */
    public Builder endpoints(String... addresses) {
      return endpoints(List.of(addresses));
    }

    /**
     * Sets the addresses of the daemons, as {@link #endpoints(String...)} does.
     *
     * @param addresses at least one
     * @return this
     */
    public Builder endpoints(List<String> addresses) {
      endpoints = List.copyOf(addresses);
      return this;
    }

    /**
     * Sets the default label of the locks. Default: {@code HOST/PID/PROGRAM}.
     *
     * @param label at most 128 bytes of UTF-8
     * @return this
     */
    public Builder owner(String label) {
      owner = Objects.requireNonNull(label, "owner");
      return this;
    }

    /**
     * Sets after which silence of the client the daemon releases its locks, for example after a crash. The client sends pings to
     * prevent this, and trusts its locks for at most this time after the last message that was answered. Default: 5 s.
     *
     * @param time at least 100 ms, at most the daemon's {@code --max-ttl}
     * @return this
     */
    public Builder grace(Duration time) {
      grace = Objects.requireNonNull(time, "grace");
      return this;
    }

    /**
     * Sets how long connecting to one address may take. Default: 2 s.
     *
     * @param time at least 10 ms
     * @return this
     */
    public Builder connectTimeout(Duration time) {
      connectTimeout = Objects.requireNonNull(time, "connectTimeout");
      return this;
    }

    /**
     * Sets how long an operation by key and token, {@link Lock#proclaim} or {@link Election#leader} may take, over all endpoints.
     * Default: 5 s.
     *
     * @param time positive
     * @return this
     */
    public Builder callTimeout(Duration time) {
      callTimeout = Objects.requireNonNull(time, "callTimeout");
      return this;
    }

    /**
     * Uses TLS, and trusts the CAs of the Java platform.
     *
     * @return this
     */
    public Builder tls() {
      tls = true;
      return this;
    }

    /**
     * Uses TLS, and trusts the CAs in a file.
     *
     * @param authorities a PEM file
     * @return this
     */
    public Builder tls(Path authorities) {
      trust = Objects.requireNonNull(authorities, "authorities");
      return tls();
    }

    /**
     * Uses TLS with a client certificate.
     *
     * @param chain a PEM file with the certificate
     * @param key a PEM file with its private key in PKCS #8
     * @return this
     */
    public Builder clientCertificate(Path chain, Path key) {
      certificate = Objects.requireNonNull(chain, "chain");
      privateKey = Objects.requireNonNull(key, "key");
      return tls();
    }

    /**
     * Sends a bearer token. The supplier is asked for each call and each stream, on a thread of the client's own or on
     * the {@link #executor}. If it throws, that counts as a failed attempt to connect.
     *
     * @param token returns the token
     * @return this
     */
    public Builder bearerToken(Supplier<String> token) {
      bearer = Objects.requireNonNull(token, "token");
      return this;
    }

    /**
     * Sets the executor that runs callbacks and completes futures. Default: a pool of daemon threads of the client's own, with as
     * many threads as the machine has processors. Choose another one if your callbacks block.
     *
     * @param callbacks the executor; the client does not shut it down
     * @return this
     */
    public Builder executor(Executor callbacks) {
      executor = Objects.requireNonNull(callbacks, "executor");
      return this;
    }

    /**
     * Makes the client. It connects when it is first used.
     *
     * @return the client
     * @throws LockArgumentException if an option is invalid, for example if a file cannot be read
     */
    public RedlockClient build() {
      if (grace.compareTo(SHORTEST_GRACE) < 0) {
        throw Errors.invalid("grace: must be at least 100 ms");
      }
      if (connectTimeout.compareTo(SHORTEST_CONNECT_TIMEOUT) < 0) {
        throw Errors.invalid("connectTimeout: must be at least 10 ms");
      }
      if (owner != null) {
        Checks.owner(owner);
      }
      return new RedlockClient(
          new Options(
              endpoints,
              owner == null ? Owner.label() : owner,
              Times.nanos(grace),
              Times.nanos(connectTimeout),
              Checks.timeout(callTimeout),
              tls,
              trust,
              certificate,
              privateKey,
              bearer,
              executor));
    }
  }
}
