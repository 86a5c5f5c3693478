package io.redlockd;

import io.redlockd.internal.Checks;
import io.redlockd.internal.Driver;
import io.redlockd.internal.Errors;
import io.redlockd.internal.Unary;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Lease;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/**
 * A held lock. The daemon keeps it alive until it is released or lost, or until the client is closed. Thread-safe.
 *
 * <p>Meant for a try-with-resources statement:
 *
 * <pre>{@code
 * try (Lock lock = client.acquire("reports")) {
 *   storage.write(report, lock.fencingToken());
 * }
 * }</pre>
 */
public final class Lock implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger("io.redlockd");

  private final Driver driver;
  private final Lease lease;
  private final long keepFor; // in nanoseconds; 0: a release frees the key at once
  private final Set<CompletableFuture<Void>> proclaiming = ConcurrentHashMap.newKeySet(); // calls that end with the lock
  private final CompletableFuture<LockLostException> lost = new CompletableFuture<>();
  private volatile Runnable interrupter; // null: none
  private CompletableFuture<Void> released; // null: not yet; guarded by the driver's lock

  Lock(Driver driver, Lease lease, long keepFor) {
    this.driver = driver;
    this.lease = lease;
    this.keepFor = keepFor;
  }

  /**
   * Returns the key, which can be passed to the client.
   *
   * @return the key; of several, that of {@link Keys#together}; of a share, that of {@link Keys#shared}; of a semaphore, that of
   *     {@link Keys#semaphore}, without the slot
   */
  public String key() {
    return lease.key();
  }

  /**
   * Returns the key; of several that are locked together, all of them.
   *
   * @return the keys, sorted
   */
  public List<String> keys() {
    return KeyNames.split(lease.key());
  }

  /**
   * Returns which slot of the semaphore is held, from 1 to {@link #maxHolders}. No other holder has the same slot at the same time.
   *
   * @return the slot; 0 if the key is no semaphore
   */
  public int slot() {
    return lease.slot();
  }

  /**
   * Returns how many holders the semaphore may have at the same time.
   *
   * @return the limit; 0 if the key is no semaphore
   */
  public int maxHolders() {
    return KeyNames.maxHolders(lease.key());
  }

  /**
   * Returns the owner token, the secret that proves ownership. With it, another process can extend, adopt or release the lock.
   *
   * @return the token
   */
  public String token() {
    return lease.token();
  }

  /**
   * Returns a number that is higher than that of every earlier holder; of a semaphore, than that of every earlier holder of the
   * slot. Pass it to the storage that the lock protects. It may grow while the lock is held, and never decreases.
   *
   * @return the fencing token
   */
  public long fencingToken() {
    return lease.fence();
  }

  /**
   * Returns how long the lock can be trusted if no further message arrives, on a clock that counts suspend time. The daemon keeps
   * extending the lock.
   *
   * @return the validity; zero once the lock is lost or released
   */
  public Duration validity() {
    return Duration.ofNanos(Driver.validity(lease));
  }

  /**
   * Returns whether the lock can be trusted now.
   *
   * @return whether the {@link #validity} is above zero
   */
  public boolean isHeld() {
    return Driver.validity(lease) > 0;
  }

  /**
   * Returns whether the lock was lost.
   *
   * @return whether the loss has been signalled
   */
  public boolean isLost() {
    return lease.state() == Lease.State.LOST;
  }

  /**
   * Returns why the lock was lost.
   *
   * @return the loss; empty if the lock was not lost
   */
  public Optional<LockLostException> loss() {
    Failure loss = lease.loss();
    return loss == null ? Optional.empty() : Optional.of(Errors.lost(lease.key(), loss));
  }

  /**
   * Returns a stage that completes normally when the lock is lost or about to be lost ({@link AcquireOptions#withMargin}), and
   * when the client is closed; not on a release. What the lock protects must stop then. Its dependents run on the client's
   * executor.
   *
   * @return the stage
   */
  public CompletionStage<LockLostException> lost() {
    return lost.minimalCompletionStage();
  }

  /**
   * Calls back when {@link #lost} completes; at once if it has. The callback runs on the client's executor. Exceptions that leave
   * it are logged.
   *
   * @param callback receives the loss
   */
  public void onLost(Consumer<LockLostException> callback) {
    lost.thenAccept(loss -> driver.callBack(() -> callback.accept(loss)));
  }

  /** Calls back on the thread that finds the loss. The task must return at once. */
  void interruptBy(Runnable task) {
    interrupter = task;
    if (isLost()) {
      task.run();
    }
  }

  void signalLoss(Failure failure) {
    Runnable task = interrupter;
    if (task != null) {
      task.run();
    }
    endProclaiming();
    driver.callBack(() -> lost.complete(Errors.lost(lease.key(), failure)));
  }

  /**
   * Extends the lock to at least {@code ttl} from now. Rarely needed: the daemon keeps extending the lock by the TTL of its
   * acquisition. Never shortens the validity.
   *
   * @param ttl at least 10 ms
   * @throws InterruptedException if the thread is interrupted; the lock may be extended all the same
   * @throws LockLostException if the lock is lost or released
   * @throws LockException if no daemon could extend the lock
   */
  public void extend(Duration ttl) throws InterruptedException {
    Waiting.interruptibly(extension(ttl, false));
  }

  /**
   * Extends the lock as {@link #extend} does, but the daemon makes a single attempt.
   *
   * @param ttl at least 10 ms
   * @throws InterruptedException if the thread is interrupted; the lock may be extended all the same
   * @throws LockLostException if the lock is lost or released
   * @throws LockException if the attempt failed
   */
  public void tryExtend(Duration ttl) throws InterruptedException {
    Waiting.interruptibly(extension(ttl, true));
  }

  /**
   * Extends the lock as {@link #extend} does, without blocking.
   *
   * @param ttl at least 10 ms
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> extendAsync(Duration ttl) {
    return dispatched(extension(ttl, false));
  }

  private CompletableFuture<Void> extension(Duration ttl, boolean once) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    long nanos;
    try {
      nanos = Checks.ttl(ttl);
    } catch (LockException invalid) {
      done.completeExceptionally(invalid);
      return done;
    }
    driver.act(machine -> machine.extend(lease, nanos, once, failure -> driver.later(() -> finish(done, failure))));
    return done;
  }

  private void finish(CompletableFuture<Void> done, Failure failure) {
    if (failure == null) {
      done.complete(null);
    } else {
      done.completeExceptionally(Errors.of(lease.key(), failure));
    }
  }

  private CompletableFuture<Void> dispatched(CompletableFuture<Void> done) {
    return done.whenCompleteAsync((none, failure) -> {}, driver::callBack);
  }

  /**
   * Replaces the value that the lock publishes (see {@link AcquireOptions#withValue}). Takes at most the client's {@link
   * RedlockClient.Builder#callTimeout}. If the call fails for another reason than an argument, observers may see the value or not, now
   * or later. A failure does not end the lock.
   *
   * @param value at most 4096 bytes of UTF-8; empty: the lock publishes no value
   * @throws InterruptedException if the thread is interrupted; the value may be replaced all the same
   * @throws LockLostException if the lock is lost or released, or if the daemon finds that it is not held
   * @throws LockArgumentException if the value is too long
   * @throws LockException if no daemon could replace the value
   */
  public void proclaim(String value) throws InterruptedException {
    Waiting.interruptibly(proclamation(value));
  }

  /**
   * Replaces the value that the lock publishes as {@link #proclaim} does, without blocking.
   *
   * @param value at most 4096 bytes of UTF-8; empty: the lock publishes no value
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> proclaimAsync(String value) {
    return dispatched(proclamation(value));
  }

  private CompletableFuture<Void> proclamation(String value) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    try {
      Checks.value(value);
    } catch (LockException invalid) {
      done.completeExceptionally(invalid);
      return done;
    }
    if (lease.state() != Lease.State.HELD) {
      finish(done, lease.notHeld());
      return done;
    }
    proclaiming.add(done);
    Runnable cancel = new Unary(driver).proclaim(lease.key(), lease.token(), value, (none, failure) -> finish(done, failure));
    done.whenComplete((none, failure) -> {
      proclaiming.remove(done);
      cancel.run();
    });
    endProclaiming(); // if the lock has ended meanwhile
    return done;
  }

  // A later copy of a call would replace the value of whoever acquires the lock with the same token next.
  private void endProclaiming() {
    if (lease.state() != Lease.State.HELD) {
      proclaiming.forEach(call -> finish(call, lease.notHeld()));
    }
  }

  /**
   * Downgrades an exclusive lock to a share (see {@link Keys#shared}): other holders may share the key from then on, and nobody
   * else holds it exclusively in between. Returns the share, a new lock with the same token. This lock counts as released from the
   * beginning of the call, so the work that needs it must have stopped. Its {@link #close} does nothing, and it signals no loss.
   *
   * <pre>{@code
   * try (Lock writer = client.acquire("prices")) {
   *   storage.write(prices, writer.fencingToken());
   *   try (Lock reader = writer.downgrade()) {
   *     publish(storage.read());
   *   }
   * }
   * }</pre>
   *
   * <p>Waits at most for as long as this lock was valid. A {@link LockArgumentException} leaves the lock as it is. After any other
   * failure, no lock is left behind: unless it is a {@link LockLostException}, the lock is released in the background, and a token
   * of your own must not be used again.
   *
   * @return the share
   * @throws InterruptedException if the thread is interrupted; the lock is released in the background, and a token of your own must
   *     not be used again
   * @throws LockLostException if the lock was lost, released or downgraded
   * @throws LockArgumentException if the lock is a share or a slot of a semaphore, or another call is requesting the key with the same
   *     token
   * @throws LockException if no daemon could downgrade it in time
   */
  public Lock downgrade() throws InterruptedException {
    return downgrading().await();
  }

  /**
   * Downgrades an exclusive lock to a share as {@link #downgrade} does, without blocking. If the future is cancelled, no lock is left
   * behind, and a token of your own must not be used again. Cancel the future that this method returns, rather than one that
   * depends on it.
   *
   * @return completes on the client's executor
   */
  public CompletableFuture<Lock> downgradeAsync() {
    return RedlockClient.future(this::downgrading);
  }

  private PendingAcquire downgrading() {
    Checks.keyToDowngrade(lease.key());
    PendingAcquire downgrading = new PendingAcquire(driver, lease.key(), null, keepFor).downgrade(lease);
    endProclaiming();
    return downgrading;
  }

  /**
   * Releases the lock, and waits for the answer, at most 2 s; after that, the release continues in the background. An interruption
   * does not end the wait; the thread's interrupted status is kept. A second release does nothing, and ends like the first. The
   * release of a lock that was downgraded does nothing. If the lock was acquired with {@link AcquireOptions#withKeepFor}, the key stays
   * taken until that long after the acquisition.
   *
   * @throws LockLostException if the lock was lost before
   * @throws LockException if the release was not answered within 2 s, or failed
   */
  public void release() {
    Waiting.uninterruptibly(released(keepFor));
  }

  /**
   * Releases the lock as {@link #release()} does. The key stays taken until {@code keptFor} after the acquisition, although nobody
   * holds it: see {@link AcquireOptions#withKeepFor}.
   *
   * @param keptFor from 1 ms to the daemon's {@code --max-ttl}
   * @throws LockLostException if the lock was lost before
   * @throws LockArgumentException if the time is too short, and the lock is still held; or if it is too long for the daemon, and the
   *     lock is released without being kept
   * @throws LockException if the release was not answered within 2 s, or failed
   */
  public void release(Duration keptFor) {
    Waiting.uninterruptibly(released(Checks.keepFor(keptFor)));
  }

  /**
   * Releases the lock as {@link #release()} does, without blocking.
   *
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> releaseAsync() {
    return dispatched(released(keepFor));
  }

  /**
   * Releases the lock as {@link #release(Duration)} does, without blocking.
   *
   * @param keptFor from 1 ms to the daemon's {@code --max-ttl}
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> releaseAsync(Duration keptFor) {
    try {
      return dispatched(released(Checks.keepFor(keptFor)));
    } catch (LockException invalid) {
      return CompletableFuture.failedFuture(invalid);
    }
  }

  boolean isReleased() {
    return lease.state() == Lease.State.RELEASED;
  }

  private CompletableFuture<Void> released(long keptFor) {
    CompletableFuture<CompletableFuture<Void>> result = new CompletableFuture<>();
    driver.act(machine -> {
      if (released == null) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        released = done;
        machine.release(lease, keptFor, failure -> driver.later(() -> finish(done, failure)));
      }
      result.complete(released);
    });
    endProclaiming();
    return result.join();
  }

  /**
   * Releases the lock as {@link #release()} does, at the end of a try-with-resources statement. Throws only if the lock was lost,
   * because then the statement may have worked without it, or if the daemon refuses {@link AcquireOptions#withKeepFor}, because then
   * the key is not kept. Other failures of the release are logged: the lock is then released in the background, or expires.
   *
   * @throws LockLostException if the lock was lost before
   * @throws LockArgumentException if the time to keep the key is too long for the daemon
   */
  @Override
  public void close() {
    try {
      release();
    } catch (LockLostException | LockArgumentException failure) {
      throw failure;
    } catch (LockException failure) {
      if (isLost()) { // the client was closed
        throw Errors.lost(lease.key(), lease.loss());
      }
      LOG.log(Level.DEBUG, "not released: {0}", failure.getMessage());
    }
  }

  @Override
  public String toString() {
    String state = isHeld() ? "held" : isLost() ? "lost" : "not held";
    return "Lock{key=" + KeyNames.inWords(lease.key()) + ", fencingToken=" + lease.fence() + ", " + state + "}"; // the token is a secret
  }
}
