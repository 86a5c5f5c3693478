package io.redlockd;

import java.time.Duration;
import java.util.Optional;

/**
 * The key is in use in another way, as a lock or as a semaphore with another limit: {@link Reason#KIND_MISMATCH}. The call fails at
 * once, however long it may wait. All users of a key must pass the same {@link Keys#semaphore}, or the key itself.
 */
public class LockKindMismatchException extends LockException {
  private static final long serialVersionUID = 1;

  /** How the key is in use; null: unknown. */
  private final String inUseAs;

  /**
   * Creates an exception.
   *
   * @param reason why the operation failed
   * @param key the key; null: none
   * @param message for people
   * @param holder the label of the holder; null: unknown
   * @param retryAfter the delay before a retry; null: unknown
   * @param inUseAs how the key is in use; null: unknown
   */
  public LockKindMismatchException(
      Reason reason, String key, String message, String holder, Duration retryAfter, String inUseAs) {
    super(reason, key, message, holder, retryAfter);
    this.inUseAs = inUseAs;
  }

  /**
   * Returns how the key is in use, for people.
   *
   * @return "a lock" or, for example, "a semaphore of 5"; empty if it is not known
   */
  public Optional<String> inUseAs() {
    return Optional.ofNullable(inUseAs);
  }
}
