package io.redlockd;

import java.time.Duration;

/** Another holder has the lock: {@link Reason#LOCK_ALREADY_HELD}, {@link Reason#MAX_RETRIES_EXCEEDED}. */
public class LockAlreadyHeldException extends LockException {
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
  public LockAlreadyHeldException(
      Reason reason, String key, String message, String holder, Duration heldFor, Duration retryAfter) {
    super(reason, key, message, holder, heldFor, retryAfter);
  }
}
