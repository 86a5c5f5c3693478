package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Locks of callers' tokens that no caller gets or keeps: they are given up, so that the token can be used again at once. */
class GiveUpTest {
  private final World world = new World(2);

  private World.User other;

  @BeforeEach
  void connect() {
    other = world.acquire("other");
    world.reply(World.granted(world.getReady().get(0), 70, 100 * World.TTL));
    assertNotNull(other.lease);
  }

  private World.User acquire(Kind kind) {
    return world.acquire("k", "mine", kind, -1);
  }

  private void releaseOther() {
    world.release(other);
    world.reply(World.ok(world.expect("release other rl-1").get(0)));
  }

  private void reconnect() {
    world.breakOff();
    world.pass(100 * Times.MILLIS); // short Sessions in a row are followed by a pause
    world.reply(World.ok(world.expect("ping").get(0)));
    world.reply(World.granted(world.sent().get(0), 70, 100 * World.TTL)); // the adoption of "other"
  }

  /** Lets time pass while the daemon answers. Returns what gave up or released a lock. */
  private List<String> endedWithin(long time) {
    List<String> ended = new ArrayList<>();
    for (long passed = 0; passed < time; passed += 100 * Times.MILLIS) {
      world.pass(100 * Times.MILLIS);
      for (SessionOperation operation : world.sent()) {
        if (operation.hasGiveUp() || operation.hasRelease()) {
          ended.add(World.describe(operation));
        }
        world.reply(World.ok(operation));
      }
    }
    return ended;
  }

  private SessionOperation sentAdopt() {
    world.reply(World.granted(world.expect("extend k mine").get(0), 70, World.TTL));
    return world.sent().get(0);
  }

  private World.User holdByExtending(long validity) {
    World.User user = acquire(Kind.ACQUIRE_OR_EXTEND);
    world.reply(World.granted(sentAdopt(), 70, validity));
    assertNotNull(user.lease);
    return user;
  }

  // --- Calls that fail

  @Test
  void aGrantAfterGivingUpIsGivenUpOnThisSessionOnly() {
    World.User user = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(user.acquisition);
    world.expect("cancel " + sent.getId());
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("give_up k mine");
    reconnect();
    world.expect();
    assertEquals(1, world.machine.pending()); // "other"
  }

  @Test
  void aMadeTokenIsReleasedOnTheNextSession() {
    World.User user = world.acquire("k");
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(user.acquisition);
    world.expect("cancel " + sent.getId());
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("release k rl-2");
    world.breakOff();
    world.pass(100 * Times.MILLIS);
    world.reply(World.ok(world.expect("ping").get(0)));
    world.expect("release k rl-2", "adopt other rl-1 #72");
  }

  @Test
  void nothingIsGivenUpOnAnotherSession() {
    World.User cutOff = acquire(Kind.ACQUIRE);
    world.sent();
    world.machine.giveUp(cutOff.acquisition);
    world.sent();
    reconnect();
    assertEquals(Reason.CANCELLED, cutOff.reason());
    World.User waiting = acquire(Kind.ACQUIRE);
    world.expect("acquire k mine");
    world.breakOff();
    world.machine.giveUp(waiting.acquisition);
    assertEquals(Reason.CANCELLED, waiting.reason());
    world.pass(100 * Times.MILLIS);
    world.reply(World.ok(world.expect("ping").get(0)));
    assertEquals(List.of(), world.sent().stream().filter(each -> !each.hasAdopt()).toList());
  }

  @Test
  void whatTheTokenLooksLikeDoesNotMatter() {
    World.User user = world.acquire("k", "rl-mine", Kind.ACQUIRE, -1);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(user.acquisition);
    world.sent();
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("give_up k rl-mine");
  }

  @Test
  void aWaitThatIsOverGivesTheTokenUpBeforeALaterCall() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE, 500 * Times.MILLIS);
    SessionOperation late = world.sent().get(0);
    world.pass(750 * Times.MILLIS);
    assertEquals(Reason.DEADLINE_EXCEEDED, user.reason());
    assertFalse(world.machine.inUse("k", "mine"));
    acquire(Kind.ACQUIRE);
    world.expect("cancel " + late.getId(), "give_up k mine", "acquire k mine");
  }

  @Test
  void aLaterCallFollowsACallThatIsStillBeingGivenUp() {
    World.User first = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(first.acquisition);
    assertFalse(world.machine.inUse("k", "mine"));
    acquire(Kind.ACQUIRE);
    world.acquire("free", "mine", Kind.ACQUIRE, -1);
    world.expect("cancel " + sent.getId(), "acquire free mine");
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("give_up k mine", "acquire k mine");
  }

  @Test
  void aLaterCallFollowsEvenIfItWasQueuedBefore() {
    World.User first = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(first.acquisition);
    assertEquals(1, world.takeMessage().getOperationsCount()); // the cancel is being written
    acquire(Kind.ACQUIRE);
    world.reply(World.granted(sent, 1, World.TTL));
    world.machine.onWritten(world.session());
    world.expect("give_up k mine", "acquire k mine");
  }

  @Test
  void anAcquireOrExtendThatIsGivenUpGivesUpWhatItHasAcquired() {
    World.User user = acquire(Kind.ACQUIRE_OR_EXTEND);
    world.reply(World.failed(world.expect("extend k mine").get(0), "LOCK_NOT_HELD"));
    SessionOperation acquire = world.expect("acquire k mine").get(0);
    world.machine.giveUp(user.acquisition);
    world.sent();
    world.reply(World.granted(acquire, 70, World.TTL));
    world.expect("give_up k mine");
    reconnect();
    world.expect();
  }

  @Test
  void aLockWhoseValidityIsOverOnArrivalIsGivenUp() {
    World.User user = acquire(Kind.ACQUIRE);
    world.reply(World.granted(world.sent().get(0), 1, 0));
    assertEquals(Reason.VALIDITY_EXPIRED, user.reason());
    world.expect("give_up k mine");
  }

  @Test
  void aLockThatNobodyTakesIsGivenUp() {
    World.User user = acquire(Kind.ACQUIRE);
    world.reply(World.granted(world.sent().get(0), 1, World.TTL));
    world.machine.giveUp(user.acquisition);
    assertEquals(0, world.validity(user));
    assertFalse(world.machine.inUse("k", "mine"));
    world.expect("give_up k mine");
    world.machine.giveUp(user.acquisition);
    world.expect();
  }

  // --- Locks that the caller had before

  private void giveUpWhileAdopting() {
    World.User user = acquire(Kind.ACQUIRE_OR_EXTEND);
    SessionOperation adopt = sentAdopt();
    world.machine.giveUp(user.acquisition);
    world.reply(World.granted(adopt, 70, World.TTL));
  }

  @Test
  void acquireOrExtendSparesTheLockThatItHasFound() {
    giveUpWhileAdopting();
    assertEquals(List.of(), endedWithin(World.TTL - Times.SECONDS));
    assertEquals(List.of("give_up k mine"), endedWithin(2 * Times.SECONDS));
  }

  @Test
  void acquireOrExtendSparesALockThatNobodyTakes() {
    World.User user = holdByExtending(World.TTL);
    world.machine.giveUp(user.acquisition);
    assertEquals(List.of(), endedWithin(World.TTL - Times.SECONDS));
    assertEquals(List.of("give_up k mine"), endedWithin(2 * Times.SECONDS));
  }

  @Test
  void aLaterCallKeepsTheLockThatWasSpared() {
    giveUpWhileAdopting();
    holdByExtending(10 * World.TTL);
    assertEquals(List.of(), endedWithin(2 * World.TTL));
  }

  @Test
  void aLaterCallThatFailsDoesNotKeepTheLock() {
    giveUpWhileAdopting();
    assertEquals(List.of(), endedWithin(World.TTL - Times.SECONDS));
    World.User later = acquire(Kind.ACQUIRE_OR_EXTEND);
    SessionOperation extend = world.expect("extend k mine").get(0);
    assertEquals(List.of(), endedWithin(2 * Times.SECONDS), "the later call may get the lock");
    world.machine.giveUp(later.acquisition);
    world.reply(World.failed(extend, "QUORUM_UNAVAILABLE"));
    assertEquals(List.of("give_up k mine"), endedWithin(2 * Times.SECONDS));
  }

  @Test
  void nothingGivesUpASparedLockOnceItsSessionHasEnded() {
    giveUpWhileAdopting();
    reconnect();
    assertEquals(List.of(), endedWithin(2 * World.TTL));
  }

  @Test
  void aCloseDoesNotWaitForASparedLock() {
    giveUpWhileAdopting();
    releaseOther();
    assertEquals(1, world.close().told);
  }

  // --- Later holds of the same token

  @Test
  void aLateGrantDoesNotEndALaterHoldOfTheSameToken() {
    World.User first = acquire(Kind.ACQUIRE);
    SessionOperation late = world.sent().get(0);
    world.machine.giveUp(first.acquisition);
    world.pass(Times.SECONDS);
    List<SessionOperation> sent = world.sent();
    world.reply(World.ok(sent.stream().filter(SessionOperation::hasGiveUp).findFirst().orElseThrow()));
    World.User second = holdByExtending(World.TTL);
    world.reply(World.granted(late, 1, World.TTL));
    assertEquals(List.of(), endedWithin(3 * Times.SECONDS));
    assertNull(second.loss);
  }

  @Test
  void aGiveUpThatTheDaemonRefusedDoesNotEndALaterHoldOfTheSameToken() {
    World.User first = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(first.acquisition);
    world.sent();
    world.reply(World.granted(sent, 1, World.TTL));
    world.reply(World.failed(world.expect("give_up k mine").get(0), "OVERLOADED"));
    World.User second = holdByExtending(10 * World.TTL);
    assertEquals(List.of(), endedWithin(3 * Times.SECONDS));
    assertNull(second.loss);
    World.Outcome closed = world.close();
    world.reply(World.ok(world.expect("close").get(0)));
    assertEquals(1, closed.told, "the close does not wait for the give_up");
  }

  @Test
  void aRefusedGiveUpIsSentAgain() {
    World.User user = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(user.acquisition);
    world.sent();
    world.reply(World.granted(sent, 1, World.TTL));
    world.reply(World.failed(world.expect("give_up k mine").get(0), "OVERLOADED"));
    world.pass(50 * Times.MILLIS);
    world.reply(World.ok(world.expect("give_up k mine").get(0)));
    assertEquals(1, world.machine.pending()); // "other"
  }

  @Test
  void aCloseWaitsForALockThatIsBeingGivenUp() {
    World.User user = acquire(Kind.ACQUIRE);
    SessionOperation sent = world.sent().get(0);
    world.machine.giveUp(user.acquisition);
    world.sent();
    world.reply(World.granted(sent, 1, World.TTL));
    world.expect("give_up k mine");
    releaseOther();
    World.Outcome closed = world.close();
    SessionOperation close = world.expect("close").get(0);
    world.pass(Times.SECONDS / 2);
    assertEquals(0, closed.told);
    world.reply(World.ok(close));
    assertEquals(1, closed.told);
  }

  // --- Lost locks

  private World.User losing(long validity) {
    World.User user = acquire(Kind.ACQUIRE);
    world.reply(World.granted(world.sent().get(0), 1, validity));
    assertEquals(List.of(), endedWithin(validity - 200 * Times.MILLIS));
    assertNotNull(user.loss);
    assertTrue(world.machine.pending() > 1);
    return user;
  }

  @Test
  void aLostLockIsGivenUpOnceItsTrustHasEnded() {
    losing(2 * Times.SECONDS);
    assertEquals(List.of("give_up k mine"), endedWithin(Times.SECONDS));
    assertEquals(1, world.machine.pending());
  }

  @Test
  void aLostLockIsGivenUpAtOnceWhenItsWorkHasStopped() {
    World.User user = losing(2 * Times.SECONDS);
    assertEquals("LOCK_NOT_HELD", world.release(user).text());
    world.expect("give_up k mine");
    world.release(user);
    assertEquals(List.of(), endedWithin(Times.SECONDS));
  }

  @Test
  void aLostLockIsNotGivenUpIfALaterCallHasIt() {
    losing(2 * Times.SECONDS);
    World.User later = holdByExtending(World.TTL);
    assertEquals(List.of(), endedWithin(3 * Times.SECONDS));
    assertNull(later.loss);
  }

  @Test
  void aLostLockIsNotGivenUpWithoutASession() {
    losing(2 * Times.SECONDS);
    world.breakOff();
    world.pass(300 * Times.MILLIS);
    assertEquals(1, world.machine.pending()); // "other"
    world.reply(World.ok(world.expect("ping").get(0)));
    world.expect("adopt other rl-1 #72");
  }

  @Test
  void aCloseReleasesALostLockWhoseTrustHasNotEnded() {
    losing(2 * Times.SECONDS);
    world.close();
    world.expect("release k mine");
  }

  @Test
  void aLateAdoptionOfALostLockIsGivenUp() {
    World.User user = acquire(Kind.ACQUIRE);
    world.reply(World.granted(world.sent().get(0), 70, World.TTL));
    world.breakOff();
    world.pass(100 * Times.MILLIS);
    world.reply(World.ok(world.expect("ping").get(0)));
    SessionOperation adopt = world.expect("adopt other rl-1 #72", "adopt k mine #72").get(1);
    for (int i = 0; i < 8; ++i) { // the Session lives, but the adoption is not answered
      world.pass(World.GRACE / 8);
      world.sent().stream().filter(SessionOperation::hasPing).forEach(ping -> world.reply(World.ok(ping)));
    }
    assertNotNull(user.loss);
    world.reply(World.granted(adopt, 70, World.TTL));
    world.expect("give_up k mine");
  }
}
