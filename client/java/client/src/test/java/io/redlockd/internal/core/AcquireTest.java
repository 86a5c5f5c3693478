package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.SessionOperation;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Acquisitions: over several Sessions, given up at any moment, at the end of the wait. */
class AcquireTest {
  private static final long CANCEL_PATIENCE = Times.SECONDS;

  private final World world = new World(2);

  private World.User waiting(long wait) {
    return world.acquire("k", null, Kind.ACQUIRE, wait);
  }

  /** Answers the first ping, and drops what is sent. */
  private SessionOperation sentAcquire() {
    return world.getReady().get(0);
  }

  private void reconnect() {
    world.breakOff();
    world.pass(100 * Times.MILLIS); // short Sessions in a row are followed by a pause
    world.reply(World.ok(world.expect("ping").get(0)));
  }

  // --- Waiting

  @Test
  void theQueuePositionIsReported() {
    World.User user = world.acquire("k");
    SessionOperation sent = sentAcquire();
    world.position(sent, 2);
    world.position(sent, 0);
    assertEquals(List.of(2, 0), user.positions);
  }

  @Test
  void overloadIsRetriedAfterTheDelay() {
    World.User user = world.acquire("k");
    world.reply(World.failed(sentAcquire(), "OVERLOADED"));
    world.pass(50 * Times.MILLIS - 1);
    world.expect();
    world.pass(1);
    world.expect("acquire k rl-2");
    assertEquals(0, user.told);
  }

  @Test
  void overloadFailsASingleTry() {
    World.User user = waiting(0);
    SessionOperation sent = sentAcquire();
    assertEquals(0, sent.getAcquire().getRetry().getMaxRetries());
    world.reply(World.failed(sent, "OVERLOADED"));
    assertEquals(Reason.OVERLOADED, user.reason());
  }

  @Test
  void aRefusalNamesTheHolder() {
    World.User user = waiting(0);
    world.reply(World.failed(sentAcquire(), "LOCK_ALREADY_HELD", Map.of("owner", "builder 7")));
    assertEquals("builder 7", user.failure.holder());
    assertNull(user.failure.heldFor());
  }

  @Test
  void aRefusalSaysForHowLongTheLockHasBeenHeld() {
    World.User user = waiting(0);
    world.reply(World.failed(sentAcquire(), "LOCK_ALREADY_HELD", Map.of("owner", "builder 7", "held_for", "12.045")));
    assertEquals(Duration.ofMillis(12_045), user.failure.heldFor());
  }

  @Test
  void aTimeThatCannotBeReadIsUnknown() {
    for (String text : List.of("", " ", "soon", "-1", "NaN", "Infinity", "1e3", "1.5 s", " 1", "1,5", "1\n", "9".repeat(400))) {
      Failure failure = Failure.of(
          Reason.LOCK_ALREADY_HELD, "no", 0, Map.of("owner", "builder 7", "held_for", text, "", "", "new", "x"));
      assertNull(failure.heldFor(), text);
      assertEquals("builder 7", failure.holder());
    }
  }

  // --- The end of the wait

  @Test
  void whenTheWaitIsOverTheDaemonSaysWhy() {
    World.User user = waiting(500 * Times.MILLIS);
    SessionOperation sent = sentAcquire();
    world.pass(500 * Times.MILLIS - 1);
    world.expect();
    world.pass(1);
    world.expect("cancel " + sent.getId());
    assertEquals(0, user.told);
    world.reply(World.failed(sent, "CANCELLED", Map.of("last_reason", "QUORUM_UNAVAILABLE")));
    assertEquals(Reason.QUORUM_UNAVAILABLE, user.reason());
    world.expect();
  }

  @Test
  void aWaitThatEndsInContentionNamesTheHolder() {
    World.User user = waiting(500 * Times.MILLIS);
    SessionOperation sent = sentAcquire();
    world.pass(500 * Times.MILLIS);
    world.reply(World.failed(sent, "CANCELLED", Map.of("last_reason", "LOCK_ALREADY_HELD", "owner", "builder 7")));
    assertEquals(Reason.DEADLINE_EXCEEDED, user.reason());
    assertEquals("builder 7", user.failure.holder());
    assertNull(user.failure.heldFor());
  }

  @Test
  void aWaitThatEndsInContentionSaysForHowLongTheLockHasBeenHeld() {
    World.User user = waiting(500 * Times.MILLIS);
    SessionOperation sent = sentAcquire();
    world.pass(500 * Times.MILLIS);
    world.reply(World.failed(
        sent, "CANCELLED", Map.of("last_reason", "LOCK_ALREADY_HELD", "owner", "builder 7", "held_for", "61")));
    assertEquals(Duration.ofSeconds(61), user.failure.heldFor());
  }

  @Test
  void theCallerWaitsForTheReasonAtMostAQuarterOfASecond() {
    World.User user = waiting(500 * Times.MILLIS);
    SessionOperation sent = sentAcquire();
    world.pass(749 * Times.MILLIS);
    assertEquals(0, user.told);
    world.pass(Times.MILLIS);
    assertEquals(Reason.DEADLINE_EXCEEDED, user.reason());
    world.expect("cancel " + sent.getId(), "release k rl-1");
    assertEquals(1, user.told);
  }

  @Test
  void aGrantThatCrossesTheEndOfTheWaitIsReleased() {
    World.User user = waiting(500 * Times.MILLIS);
    SessionOperation sent = sentAcquire();
    world.pass(500 * Times.MILLIS);
    world.expect("cancel " + sent.getId());
    world.reply(World.granted(sent, 1, World.TTL));
    assertEquals(Reason.DEADLINE_EXCEEDED, user.reason());
    world.expect("release k rl-1");
  }

  @Test
  void aWaitThatEndsWithoutASessionIsAnOutage() {
    World.User user = waiting(500 * Times.MILLIS);
    world.breakOff();
    world.pass(500 * Times.MILLIS);
    assertEquals(Reason.UNREACHABLE, user.reason());
    assertTrue(user.failure.message().contains("reset"), user.failure.message());
  }

  @Test
  void aSessionThatBreaksAfterTheWaitIsAnOutage() {
    World.User user = waiting(500 * Times.MILLIS);
    sentAcquire();
    world.pass(500 * Times.MILLIS);
    world.breakOff();
    assertEquals(Reason.UNREACHABLE, user.reason());
  }

  // --- Giving up

  @Test
  void givingUpBeforeAnythingWasSentSendsNothing() {
    World.User user = world.acquire("k");
    world.machine.giveUp(user.acquisition);
    assertEquals(List.of(), world.getReady());
    assertEquals(0, world.machine.pending());
  }

  @Test
  void givingUpCancelsWhatWasSent() {
    World.User user = world.acquire("k");
    SessionOperation sent = sentAcquire();
    world.machine.giveUp(user.acquisition);
    world.expect("cancel " + sent.getId());
    world.reply(World.failed(sent, "CANCELLED"));
    world.expect();
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aGrantAfterGivingUpIsReleased() {
    World.User user = world.acquire("k");
    SessionOperation sent = sentAcquire();
    world.machine.giveUp(user.acquisition);
    world.expect("cancel " + sent.getId());
    world.reply(World.granted(sent, 1, World.TTL));
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aLateGrantIsReleasedOnceMore() {
    World.User user = world.acquire("k");
    SessionOperation sent = sentAcquire();
    world.machine.giveUp(user.acquisition);
    world.expect("cancel " + sent.getId());
    world.pass(CANCEL_PATIENCE);
    world.sent().stream().filter(each -> each.hasRelease()).forEach(each -> world.reply(World.failed(each, "LOCK_NOT_HELD")));
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("release k rl-1");
  }

  @Test
  void givingUpDuringAnOutageReleasesOnTheNextSession() {
    World.User user = world.acquire("k");
    sentAcquire();
    world.machine.giveUp(user.acquisition);
    reconnect();
    world.expect("release k rl-1");
  }

  // --- Over several Sessions

  @Test
  void anUnansweredAcquireIsReleasedAndSentWithANewToken() {
    world.acquire("k");
    sentAcquire();
    reconnect();
    world.expect("release k rl-1", "acquire k rl-2");
  }

  @Test
  void anUnansweredAcquireWithTheCallersTokenIsExtendedAndAdopted() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE, -1);
    sentAcquire();
    reconnect();
    List<SessionOperation> again = world.expect("reacquire k mine");
    world.reply(World.granted(again.get(0), 70, World.TTL));
    assertEquals(0, user.told);
    List<SessionOperation> adopt = world.expect("adopt k mine #73");
    world.reply(World.granted(adopt.get(0), 70, World.TTL));
    assertNotNull(user.lease);
  }

  @Test
  void aLeaseOfTheCallersTokenThatIsGoneIsAcquiredAgain() {
    world.acquire("k", "mine", Kind.ACQUIRE, -1);
    sentAcquire();
    reconnect();
    world.reply(World.granted(world.expect("reacquire k mine").get(0), 70, World.TTL));
    world.reply(World.failed(world.expect("adopt k mine #73").get(0), "LOCK_NOT_HELD"));
    SessionOperation high = world.sent().get(0); // the sequence may have been the reason
    assertEquals(1_007_001, high.getAdopt().getSequence());
    world.reply(World.failed(high, "LOCK_NOT_HELD"));
    world.expect("reacquire k mine");
  }

  @Test
  void aFailedAcquireWithTheCallersTokenLeavesNoLock() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE, 0);
    sentAcquire();
    reconnect();
    world.reply(World.failed(world.expect("reacquire k mine").get(0), "QUORUM_UNAVAILABLE"));
    assertEquals(Reason.QUORUM_UNAVAILABLE, user.reason());
    world.expect("give_up k mine");
  }

  // --- acquire_or_extend and adopt

  private SessionOperation sentExtend() {
    SessionOperation sent = sentAcquire();
    assertEquals("extend k mine", World.describe(sent));
    assertTrue(sent.getExtend().getRetry().hasMaxRetries());
    assertEquals(0, sent.getExtend().getRetry().getMaxRetries());
    return sent;
  }

  private SessionOperation sentAdopt() {
    world.reply(World.granted(sentExtend(), 70, World.TTL));
    return world.expect("adopt k mine #72").get(0);
  }

  @Test
  void acquireOrExtendAdoptsALockThatTheTokenHolds() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    SessionOperation adopt = sentAdopt();
    assertEquals(0, user.told);
    world.reply(World.granted(adopt, 70, World.TTL));
    assertNotNull(user.lease);
  }

  @Test
  void acquireOrExtendAcquiresIfTheTokenHoldsNothing() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    world.reply(World.failed(sentExtend(), "LOCK_NOT_HELD"));
    world.reply(World.granted(world.expect("acquire k mine").get(0), 70, World.TTL));
    assertNotNull(user.lease);
  }

  @Test
  void acquireOrExtendBeginsAnewIfTheLockEndsMeanwhile() {
    world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    world.reply(World.failed(sentAdopt(), "LOCK_NOT_HELD"));
    world.reply(World.failed(world.sent().get(0), "LOCK_NOT_HELD")); // with a higher sequence
    world.reply(World.failed(world.expect("extend k mine").get(0), "LOCK_NOT_HELD"));
    world.expect("acquire k mine");
  }

  @Test
  void anAcquireOrExtendThatFailsBeforeItAdoptsGivesNothingUp() {
    World.User refused = world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    world.reply(World.failed(sentExtend(), "PERMISSION_DENIED"));
    assertEquals(Reason.PERMISSION_DENIED, refused.reason());
    World.User late = world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    SessionOperation extend = world.expect("extend k mine").get(0);
    world.machine.giveUp(late.acquisition);
    world.reply(World.granted(extend, 70, World.TTL));
    world.expect();
    World.User cutOff = world.acquire("k", "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    world.expect("extend k mine");
    reconnect();
    world.expect("extend k mine");
    world.machine.giveUp(cutOff.acquisition);
    world.expect();
    reconnect();
    world.expect();
  }

  @Test
  void adoptLearnsTheFencingTokenFirst() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    SessionOperation sent = sentAcquire();
    assertEquals("extend k theirs", World.describe(sent));
    world.reply(World.granted(sent, 70, World.TTL));
    world.reply(World.granted(world.expect("adopt k theirs #72").get(0), 70, World.TTL));
    assertEquals(70, user.lease.fence());
    reconnect();
    world.expect("adopt k theirs #73");
  }

  @Test
  void adoptGoesAboveTheSequenceOfTheClientBefore() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.granted(sentAcquire(), 70, World.TTL));
    world.reply(World.failed(world.expect("adopt k theirs #72").get(0), "LOCK_NOT_HELD"));
    SessionOperation high = world.sent().get(0);
    assertEquals(1_007_001, high.getAdopt().getSequence());
    world.reply(World.granted(high, 70, World.TTL));
    assertNotNull(user.lease);
    reconnect();
    world.expect("adopt k theirs #" + 1_007_002);
  }

  @Test
  void adoptFailsIfTheTokenHoldsNothing() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.failed(sentAcquire(), "LOCK_NOT_HELD"));
    assertEquals(Reason.LOCK_NOT_HELD, user.reason());
    world.expect();
  }

  @Test
  void adoptRetriesWhatIsUndecided() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.failed(sentAcquire(), "QUORUM_UNAVAILABLE"));
    world.pass(100 * Times.MILLIS);
    world.expect("extend k theirs");
    assertEquals(0, user.told);
  }

  @Test
  void anAdoptThatIsUndecidedUntilTheWaitIsOverSaysWhy() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, 50 * Times.MILLIS);
    world.reply(World.failed(sentAcquire(), "QUORUM_UNAVAILABLE"));
    world.pass(50 * Times.MILLIS);
    assertEquals(Reason.QUORUM_UNAVAILABLE, user.reason());
    assertEquals("not acquired within the wait: the last attempt failed with QUORUM_UNAVAILABLE", user.failure.message());
  }

  @Test
  void anAdoptThatIsRepeatedHasAHigherSequence() {
    world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.granted(sentAcquire(), 70, World.TTL));
    world.expect("adopt k theirs #72");
    reconnect();
    world.reply(World.granted(world.expect("extend k theirs").get(0), 70, World.TTL));
    world.expect("adopt k theirs #74");
  }

  @Test
  void anAdoptThatIsGivenUpAfterItWasSentGivesTheLockUp() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.granted(sentAcquire(), 70, World.TTL));
    SessionOperation adopt = world.expect("adopt k theirs #72").get(0);
    world.machine.giveUp(user.acquisition);
    world.expect("give_up k theirs");
    world.reply(World.granted(adopt, 70, World.TTL));
    world.expect("give_up k theirs"); // the daemon may adopt the lease after the first
  }

  @Test
  void anAdoptThatIsGivenUpBeforeThatGivesNothingUp() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    world.reply(World.failed(sentAcquire(), "QUORUM_UNAVAILABLE"));
    world.machine.giveUp(user.acquisition);
    world.pass(Times.SECONDS / 2);
    world.expect();
    assertEquals(0, world.machine.pending());
  }

  @Test
  void anAdoptThatWasOnlyExtendedWhenItWasGivenUpGivesNothingUp() {
    World.User user = world.acquire("k", "theirs", Kind.ADOPT, -1);
    SessionOperation extend = sentAcquire();
    world.machine.giveUp(user.acquisition);
    world.reply(World.granted(extend, 70, World.TTL));
    world.expect();
  }

  @Test
  void aTokenIsInUseFromTheRequestToTheRelease() {
    assertFalse(world.machine.inUse("k", "mine"));
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE, -1);
    assertTrue(world.machine.inUse("k", "mine"));
    assertFalse(world.machine.inUse("other", "mine"));
    world.reply(World.granted(sentAcquire(), 70, World.TTL));
    assertTrue(world.machine.inUse("k", "mine"));
    world.release(user);
    assertTrue(world.machine.inUse("k", "mine"));
    world.reply(World.ok(world.expect("release k mine").get(0)));
    assertFalse(world.machine.inUse("k", "mine"));
  }
}
