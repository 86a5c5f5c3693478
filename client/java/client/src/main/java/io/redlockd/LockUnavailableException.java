package io.redlockd;

import java.time.Duration;

/** An outage, not contention: {@link Reason#UNREACHABLE}, {@link Reason#QUORUM_UNAVAILABLE}, {@link Reason#NODE_SET_MISMATCH},
 * {@link Reason#OVERLOADED}, {@link Reason#DRAINING}. */
public class LockUnavailableException extends LockException {
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
  public LockUnavailableException(Reason reason, String key, String message, String holder, Duration retryAfter) {
    super(reason, key, message, holder, retryAfter);
  }
}
