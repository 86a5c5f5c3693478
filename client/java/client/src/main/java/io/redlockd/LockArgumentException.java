package io.redlockd;

import java.time.Duration;

/** An argument is invalid: {@link Reason#INVALID_ARGUMENT}. If the client found the error, it has sent nothing. */
public class LockArgumentException extends LockException {
  private static final long serialVersionUID = 1;

  /**
   * Creates an exception.
   *
   * @param reason why the operation failed
   * @param key the key; null: none
   * @param message for people
   * @param holder the label of the holder; null: unknown
   * @param retryAfter the delay before a retry; null: unknown
   */
  public LockArgumentException(Reason reason, String key, String message, String holder, Duration retryAfter) {
    super(reason, key, message, holder, retryAfter);
  }
}
