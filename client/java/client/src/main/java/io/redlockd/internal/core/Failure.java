package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.OperationStatus;
import java.math.BigDecimal;
import java.time.Duration;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Why an operation failed, a lock was lost or a Session ended.
 *
 * @param message for people
 * @param retryAfter the delay before a retry in nanoseconds; 0: unknown
 * @param holder the label of the holder that refused the key; null: unknown
 * @param heldFor for how long that holder has held the key; null: unknown
 * @param lastReason for an acquire that was cancelled: why its last attempt failed; null: no attempt was decided
 * @param inUseAs for KIND_MISMATCH: how the key is in use; null: unknown
 */
public record Failure(
    Reason reason,
    String message,
    long retryAfter,
    String holder,
    Duration heldFor,
    Reason lastReason,
    String inUseAs) {
  private static final Pattern SECONDS = Pattern.compile("[0-9]{1,9}(\\.[0-9]{1,9})?");

  /** A failure that only has a reason and a message. */
  public static Failure of(Reason reason, String message) {
    return new Failure(reason, message, 0, null, null, null, null);
  }

  /** The failure of an operation that a daemon refused; {@code metadata} is that of the proto's error reasons. */
  public static Failure of(Reason reason, String message, long retryAfter, Map<String, String> metadata) {
    String last = metadata.get("last_reason");
    return new Failure(
        reason,
        message,
        retryAfter,
        metadata.get("owner"),
        secondsIn(metadata.get("held_for")),
        last == null ? null : Reason.of(last),
        metadata.get("in_use_as"));
  }

  /** Reads a time in seconds, such as "12.345". Returns null for any other text. */
  private static Duration secondsIn(String text) {
    if (text == null || !SECONDS.matcher(text).matches()) {
      return null;
    }
    return Duration.ofNanos(new BigDecimal(text).movePointRight(9).longValueExact());
  }

  static Failure of(OperationStatus status) {
    return of(
        Reason.of(status.getReason()),
        status.getMessage(),
        Times.nanos(status.getRetryDelay()),
        status.getMetadataMap());
  }

  Failure followedBy(String text) {
    return new Failure(reason, message + text, retryAfter, holder, heldFor, lastReason, inUseAs);
  }

  static Failure closed() {
    return of(Reason.CANCELLED, "the client was closed");
  }

  /** Whether the daemon refused the client itself or what it asks for, so that a retry cannot help. */
  public boolean isRefusal() {
    return reason == Reason.UNAUTHENTICATED
        || reason == Reason.PERMISSION_DENIED
        || reason == Reason.INVALID_ARGUMENT
        || reason == Reason.KIND_MISMATCH;
  }

  /**
   * Returns why an acquire was not granted within its time to wait. A missing quorum does not read as contention.
   *
   * @param failure the daemon's answer to the cancellation; null: none
   */
  public static Failure waitOver(Failure failure) {
    if (failure == null) {
      return of(Reason.DEADLINE_EXCEEDED, "not acquired within the wait");
    }
    Reason last = failure.lastReason != null ? failure.lastReason : failure.reason;
    if (last == Reason.QUORUM_UNAVAILABLE || last == Reason.NODE_SET_MISMATCH) {
      return new Failure(
          last, "not acquired within the wait: the last attempt failed with " + last, 0, null, null, last, null);
    }
    return new Failure(
        Reason.DEADLINE_EXCEEDED,
        "not acquired within the wait",
        0,
        failure.holder,
        failure.heldFor,
        failure.lastReason,
        null);
  }
}
