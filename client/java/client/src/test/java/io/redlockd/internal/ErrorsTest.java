package io.redlockd.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.redlockd.LockException;
import io.redlockd.Reason;
import io.redlockd.internal.core.Failure;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What the error says about the holder of the lock. */
class ErrorsTest {
  private static void check(Reason reason, String holder, String heldFor, String message) {
    Map<String, String> metadata = new HashMap<>();
    if (holder != null) {
      metadata.put("owner", holder);
    }
    if (heldFor != null) {
      metadata.put("held_for", heldFor);
    }
    LockException error = Errors.of("k", Failure.of(reason, "why", 0, metadata));
    assertEquals(message, error.getMessage());
    assertEquals(Optional.ofNullable(holder), error.holder());
    assertEquals(Optional.ofNullable(heldFor).map(text -> Duration.parse("PT" + text + "S")), error.heldFor());
  }

  @Test
  void aRefusalNamesTheHolder() {
    check(Reason.LOCK_ALREADY_HELD, "them", null, "k: held by \"them\"");
    check(Reason.LOCK_ALREADY_HELD, "them", "12.045", "k: held by \"them\" for 12.045 s");
    check(Reason.LOCK_ALREADY_HELD, "them", "0.000", "k: held by \"them\" for 0.000 s");
    check(Reason.MAX_RETRIES_EXCEEDED, "them", "61", "k: held by \"them\" for 61.000 s; the retries are used up");
  }

  @Test
  void theDaemonSaysMoreAboutAHolderWithoutALabel() {
    check(Reason.LOCK_ALREADY_HELD, null, null, "k: why");
    check(Reason.LOCK_ALREADY_HELD, null, "12.045", "k: why");
    check(Reason.MAX_RETRIES_EXCEEDED, null, "12.045", "k: why");
  }

  @Test
  void theEndOfAWaitNamesTheHolder() {
    check(Reason.DEADLINE_EXCEEDED, null, null, "k: why");
    check(Reason.DEADLINE_EXCEEDED, null, "12.045", "k: held for 12.045 s; why");
    check(Reason.DEADLINE_EXCEEDED, "them", "12.045", "k: held by \"them\" for 12.045 s; why");
  }
}
