package io.redlockd;

import java.time.Duration;

/** The lock was not granted within the time to wait: {@link Reason#DEADLINE_EXCEEDED}. */
public class LockTimeoutException extends LockException {
  private static final long serialVersionUID = 1;

  /**
   * Creates an exception.
   *
   * @param reason why the operation failed
   * @param key the key; null: none
   * @param message for people
   * @param holder the label of the holder; null: unknown
   * @param heldFor for how long the holder has held the lock; null: unknown
   * @param retryAfter the delay before a retry; null: unknown
   */
  public LockTimeoutException(
      Reason reason, String key, String message, String holder, Duration heldFor, Duration retryAfter) {
    super(reason, key, message, holder, heldFor, retryAfter);
  }
}
