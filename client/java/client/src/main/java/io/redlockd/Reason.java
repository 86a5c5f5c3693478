package io.redlockd;

/**
 * Why an operation failed or a lock was lost. The names are those of the reasons in the gRPC API, except {@link
 * #UNREACHABLE} and {@link #INTERNAL}.
 */
public enum Reason {
  /** A single attempt found another holder. */
  LOCK_ALREADY_HELD,
  /** All retries of the {@link RetryPolicy} are used up, and another holder still has the lock. */
  MAX_RETRIES_EXCEEDED,
  /** The lock was granted too late to be useful and was given back, or no daemon extended it in time. */
  VALIDITY_EXPIRED,
  /** The token does not hold the key, or no longer holds it. */
  LOCK_NOT_HELD,
  /** The key is in use in another way: as a lock, as a semaphore, or with another limit. */
  KIND_MISMATCH,
  /** Too few Redis nodes answered. */
  QUORUM_UNAVAILABLE,
  /** The daemon and the nodes do not agree on the node set. */
  NODE_SET_MISMATCH,
  /** The daemon is shutting down. */
  DRAINING,
  /** A configured limit of the daemon is reached. */
  OVERLOADED,
  /** The time to wait has passed. */
  DEADLINE_EXCEEDED,
  /** The caller cancelled the call, or the client was closed. */
  CANCELLED,
  /** An argument is invalid. The message names it. */
  INVALID_ARGUMENT,
  /** The credentials are missing, invalid or revoked. */
  UNAUTHENTICATED,
  /** The daemon's access list does not allow the operation on this key. */
  PERMISSION_DENIED,
  /** No daemon answered. */
  UNREACHABLE,
  /** The answer makes no sense to this version of the client. */
  INTERNAL;

  /**
   * Parses the name of a reason in the gRPC API.
   *
   * @param name the name
   * @return the reason; {@link #INTERNAL} if the name is unknown
   */
  public static Reason of(String name) {
    for (Reason reason : values()) {
      if (reason.name().equals(name)) {
        return reason;
      }
    }
    return INTERNAL;
  }
}
