package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.util.List;
import java.util.Optional;

/** What a {@link Watch} reports. Immutable. */
public final class WatchEvent {
  /** The kinds of event. */
  public enum Type {
    /** The lock was extended. */
    EXTENDED,
    /** An extension failed. The daemon retries until the validity ends. */
    EXTEND_FAILED,
    /** The lock must no longer be trusted. */
    LOST,
    /** The stream to a daemon failed. The watch continues at the next one. */
    STREAM_FAILED,
    /** The watch has ended. Always the last event, and reported once. */
    CLOSED
  }

  private final Type type;
  private final String key;
  private final LockException error;

  /**
   * Creates an event.
   *
   * @param type what happened
   * @param key the key of the lock; null: the event belongs to no lock
   * @param error the failure; null for EXTENDED
   */
  public WatchEvent(Type type, String key, LockException error) {
    this.type = type;
    this.key = key;
    this.error = error;
  }

  /**
   * Returns what happened.
   *
   * @return the kind of event
   */
  public Type type() {
    return type;
  }

  /**
   * Returns the key of the lock, as in the {@link WatchItem}; of a semaphore, without the slot.
   *
   * @return the key; empty for STREAM_FAILED and CLOSED
   */
  public Optional<String> key() {
    return Optional.ofNullable(key);
  }

  /**
   * Returns the key of the lock; of several that are locked together, all of them.
   *
   * @return the keys, sorted; empty for STREAM_FAILED and CLOSED
   */
  public List<String> keys() {
    return key == null ? List.of() : KeyNames.split(key);
  }

  /**
   * Returns what failed.
   *
   * @return the failure; empty for EXTENDED
   */
  public Optional<LockException> error() {
    return Optional.ofNullable(error);
  }

  @Override
  public String toString() {
    if (error != null) {
      return type + ": " + error.getMessage(); // which names the key
    }
    return type + (key == null ? "" : " " + KeyNames.inWords(key));
  }
}
