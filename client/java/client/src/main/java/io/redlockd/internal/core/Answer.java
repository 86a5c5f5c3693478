package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.Lease;

/**
 * The answer to an operation: a lease, a failure, or neither, which means success.
 *
 * @param lease null: none
 * @param validUntil until when the lease is valid
 * @param failure null: none
 */
record Answer(Lease lease, long validUntil, Failure failure) {
  boolean failedWith(Reason reason) {
    return failure != null && failure.reason() == reason;
  }

  Failure failureOrNoLease() {
    return failure != null ? failure : Failure.of(Reason.INTERNAL, "the daemon's answer contains no lease");
  }
}
