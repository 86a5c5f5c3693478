package io.redlockd;

import java.time.Duration;

/** The call was cancelled, or the client was closed: {@link Reason#CANCELLED}. */
public class LockCancelledException extends LockException {
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
  public LockCancelledException(Reason reason, String key, String message, String holder, Duration retryAfter) {
    super(reason, key, message, holder, retryAfter);
  }
}
