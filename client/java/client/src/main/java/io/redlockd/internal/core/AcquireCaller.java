package io.redlockd.internal.core;

/** The caller of an acquisition. These methods must return at once, and must not call the machine. */
public interface AcquireCaller {
  /** The lock was acquired. Nothing follows except {@link #lost}. */
  void granted(Lease lease);

  /** The lock was not acquired, and is not held. Nothing follows. */
  void failed(Failure failure);

  /** The number of waiters ahead in the daemon's wait queue. */
  void queued(int position);

  /** The lock that was granted is lost. Called at most once. */
  void lost(Failure failure);
}
