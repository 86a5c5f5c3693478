package io.redlockd.internal;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.redlockd.LockAccessException;
import io.redlockd.LockAlreadyHeldException;
import io.redlockd.LockArgumentException;
import io.redlockd.LockCancelledException;
import io.redlockd.LockException;
import io.redlockd.LockKindMismatchException;
import io.redlockd.LockLostException;
import io.redlockd.LockTimeoutException;
import io.redlockd.LockUnavailableException;
import io.redlockd.Reason;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.internal.core.Times;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** Translates failures. */
public final class Errors {
  private static final String DOMAIN = "redlock.v1";

  private Errors() {}

  /** Returns the exception for a failure of an operation on a key. */
  public static LockException of(String key, Failure failure) {
    return make(
        failure.reason(),
        key,
        (key == null ? "" : KeyNames.inWords(key) + ": ") + textOf(failure),
        failure.holder(),
        failure.heldFor(),
        failure.retryAfter() == 0 ? null : Duration.ofNanos(failure.retryAfter()),
        failure.inUseAs());
  }

  private static String textOf(Failure failure) {
    String held = heldText(failure);
    // Without a label, the daemon's own message says more about the holder.
    if (held.isEmpty() || failure.holder() == null && failure.reason() != Reason.DEADLINE_EXCEEDED) {
      return failure.message();
    }
    return switch (failure.reason()) {
      case LOCK_ALREADY_HELD -> held;
      case MAX_RETRIES_EXCEEDED -> held + "; the retries are used up";
      case DEADLINE_EXCEEDED -> held + "; " + failure.message();
      default -> failure.message();
    };
  }

  // As far as it is known: held by "builder 7" for 12.345 s. Empty: nothing is.
  private static String heldText(Failure failure) {
    if (failure.holder() == null && failure.heldFor() == null) {
      return "";
    }
    String by = failure.holder() == null ? "" : " by \"" + printable(failure.holder()) + "\"";
    return "held" + by + (failure.heldFor() == null ? "" : " for " + Times.inSeconds(failure.heldFor()));
  }

  // A label comes from another client.
  private static String printable(String label) {
    return label.replaceAll("\\p{Cntrl}", "?");
  }

  private static LockException make(
      Reason reason, String key, String message, String holder, Duration heldFor, Duration retryAfter, String inUseAs) {
    return switch (reason) {
      case LOCK_ALREADY_HELD, MAX_RETRIES_EXCEEDED ->
          new LockAlreadyHeldException(reason, key, message, holder, heldFor, retryAfter);
      case DEADLINE_EXCEEDED -> new LockTimeoutException(reason, key, message, holder, heldFor, retryAfter);
      case LOCK_NOT_HELD -> new LockLostException(reason, key, message, holder, retryAfter);
      case KIND_MISMATCH -> new LockKindMismatchException(reason, key, message, holder, retryAfter, inUseAs);
      case QUORUM_UNAVAILABLE, NODE_SET_MISMATCH, DRAINING, OVERLOADED, UNREACHABLE ->
          new LockUnavailableException(reason, key, message, holder, retryAfter);
      case UNAUTHENTICATED, PERMISSION_DENIED -> new LockAccessException(reason, key, message, holder, retryAfter);
      case INVALID_ARGUMENT -> new LockArgumentException(reason, key, message, holder, retryAfter);
      case CANCELLED -> new LockCancelledException(reason, key, message, holder, retryAfter);
      case VALIDITY_EXPIRED, INTERNAL -> new LockException(reason, key, message, holder, retryAfter);
    };
  }

  /** Returns the exception for the loss of a lock. */
  public static LockLostException lost(String key, Failure failure) {
    return new LockLostException(failure.reason(), key, KeyNames.inWords(key) + ": " + failure.message(), null, null);
  }

  /** Returns the exception for an argument. */
  public static LockArgumentException invalid(String message) {
    return new LockArgumentException(Reason.INVALID_ARGUMENT, null, message, null, null);
  }

  /** Returns why the stream of a Session has ended. */
  static Failure ofStream(String endpoint, Status status) {
    Reason reason = switch (status.getCode()) {
      case UNAUTHENTICATED -> Reason.UNAUTHENTICATED;
      case PERMISSION_DENIED -> Reason.PERMISSION_DENIED;
      case INVALID_ARGUMENT -> Reason.INVALID_ARGUMENT;
      default -> Reason.UNREACHABLE;
    };
    String text = status.isOk() ? "the daemon closed the stream" : describe(status);
    return Failure.of(reason, endpoint + ": " + text);
  }

  private static String describe(Status status) {
    String text = status.getDescription();
    Throwable cause = status.getCause();
    if (cause != null && cause.getMessage() != null) {
      return text == null ? cause.getMessage() : text + ": " + cause.getMessage();
    }
    return text == null ? status.getCode().name() : text;
  }

  /**
   * Returns the failure that a daemon returned for a call.
   *
   * @return empty if the daemon has not decided the call
   */
  static Optional<Failure> decided(Status status, Metadata trailers) {
    com.google.rpc.Status details = StatusProto.fromStatusAndTrailers(status, trailers);
    ErrorInfo info = null;
    long retryAfter = 0;
    try {
      for (Any any : details == null ? Map.<Any, Any>of().keySet() : details.getDetailsList()) {
        if (any.is(ErrorInfo.class)) {
          info = any.unpack(ErrorInfo.class);
        } else if (any.is(RetryInfo.class)) {
          retryAfter = Times.nanos(any.unpack(RetryInfo.class).getRetryDelay());
        }
      }
    } catch (InvalidProtocolBufferException malformed) {
      return Optional.empty();
    }
    if (info == null || !info.getDomain().equals(DOMAIN)) {
      Failure refusal = ofStream("the daemon", status);
      return refusal.reason() == Reason.UNREACHABLE ? Optional.empty() : Optional.of(refusal);
    }
    return Optional.of(Failure.of(
        Reason.of(info.getReason()), details.getMessage(), retryAfter, info.getMetadataMap()));
  }

  /** Returns why a call could not be decided, for people. */
  static String undecided(String endpoint, Status status) {
    return endpoint + ": " + describe(status);
  }
}
