package io.redlockd;

/**
 * Keeps locks alive that this client does not hold itself; see {@link RedlockClient#watch}. Thread-safe.
 */
public interface Watch extends AutoCloseable {
  /**
   * Ends the watch: the locks are no longer extended, and are not released. Returns at once. The event {@link
   * WatchEvent.Type#CLOSED} follows as the last one. A second call does nothing.
   */
  @Override
  void close();
}
