package io.redlockd;

import io.redlockd.internal.Checks;
import io.redlockd.internal.Driver;
import io.redlockd.internal.Errors;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Lease;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
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
  private final CompletableFuture<LockLostException> lost = new CompletableFuture<>();
  private volatile Runnable interrupter; // null: none
  private CompletableFuture<Void> released; // null: not yet; guarded by the driver's lock

  Lock(Driver driver, Lease lease) {
    this.driver = driver;
    this.lease = lease;
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
    return new PendingAcquire(driver, lease.key(), null).downgrade(lease);
  }

  /**
   * Releases the lock, and waits for the answer, at most 2 s; after that, the release continues in the background. An interruption
   * does not end the wait; the thread's interrupted status is kept. A second release does nothing, and ends like the first. The
   * release of a lock that was downgraded does nothing.
   *
   * @throws LockLostException if the lock was lost before
   * @throws LockException if the release was not answered within 2 s, or failed
   */
  public void release() {
    Waiting.uninterruptibly(released());
  }

  /**
   * Releases the lock as {@link #release} does, without blocking.
   *
   * @return completes on the client's executor
   */
  public CompletableFuture<Void> releaseAsync() {
    return dispatched(released());
  }

  private CompletableFuture<Void> released() {
    CompletableFuture<CompletableFuture<Void>> result = new CompletableFuture<>();
    driver.act(machine -> {
      if (released == null) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        released = done;
        machine.release(lease, failure -> driver.later(() -> finish(done, failure)));
      }
      result.complete(released);
    });
    return result.join();
  }

  /**
   * Releases the lock as {@link #release} does, at the end of a try-with-resources statement. Throws only if the lock was lost,
   * because then the statement may have worked without it. Other failures of the release are logged: the lock is then released in
   * the background, or expires.
   *
   * @throws LockLostException if the lock was lost before
   */
  @Override
  public void close() {
    try {
      release();
    } catch (LockLostException loss) {
      throw loss;
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
