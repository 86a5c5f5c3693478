package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * An operation failed, or a lock was lost. {@link #reason} says why; the subclasses group the reasons by what a caller can do.
 * Messages and fields never contain a token.
 */
public class LockException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** Why the operation failed. */
  private final Reason reason;

  /** The key; null: none. */
  private final String key;

  /** The label of the holder; null: unknown. */
  private final String holder;

  /** For how long the holder has held the lock; null: unknown. */
  private final Duration heldFor;

  /** The delay before a retry; null: unknown. */
  private final Duration retryAfter;

  /**
   * Creates an exception.
   *
   * @param reason why the operation failed
   * @param key the key; null: none
   * @param message for people
   * @param holder the label of the holder; null: unknown
   * @param retryAfter the delay before a retry; null: unknown
   */
  public LockException(Reason reason, String key, String message, String holder, Duration retryAfter) {
    this(reason, key, message, holder, null, retryAfter);
  }

  /**
   * Creates an exception that says for how long the lock has been held.
   *
   * @param reason why the operation failed
   * @param key the key; null: none
   * @param message for people
   * @param holder the label of the holder; null: unknown
   * @param heldFor for how long the holder has held the lock; null: unknown
   * @param retryAfter the delay before a retry; null: unknown
   */
  public LockException(
      Reason reason, String key, String message, String holder, Duration heldFor, Duration retryAfter) {
    super(message);
    this.reason = reason;
    this.key = key;
    this.holder = holder;
    this.heldFor = heldFor;
    this.retryAfter = retryAfter;
  }

  /**
   * Returns why the operation failed.
   *
   * @return the reason
   */
  public Reason reason() {
    return reason;
  }

  /**
   * Returns the key of the lock, which can be passed to the client.
   *
   * @return the key, as it was passed to the call, but without a slot; empty if the failure belongs to no key
   */
  public Optional<String> key() {
    return Optional.ofNullable(key);
  }

  /**
   * Returns the key of the lock; of several that are locked together, all of them.
   *
   * @return the keys, sorted; empty if the failure belongs to no key
   */
  public List<String> keys() {
    return key == null ? List.of() : KeyNames.split(key);
  }

  /**
   * Returns the label of the holder that refused the lock.
   *
   * @return the label; empty if it is not known
   */
  public Optional<String> holder() {
    return Optional.ofNullable(holder);
  }

  /**
   * Returns for how long the holder that refused the lock has held it, by the clocks of the nodes.
   *
   * @return the time; empty if it is not known
   */
  public Optional<Duration> heldFor() {
    return Optional.ofNullable(heldFor);
  }

  /**
   * Returns how long to wait at least before a retry.
   *
   * @return the delay; empty if it is not known, or if a retry does not help
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }
}
