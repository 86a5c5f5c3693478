package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Until when a lock is trusted, and when its loss is signalled. */
class TrustTest {
  private static final long TRUST = World.GRACE - World.GRACE / 100 - 2 * Times.MILLIS;

  private final World world = new World(2);

  @Test
  void aValidityCountsFromTheDaemonsClockLessTheDrift() {
    World.User user = world.acquire("k");
    List<SessionOperation> sent = world.getReady();
    world.holdUp(500 * Times.MILLIS);
    world.reply(World.granted(sent.get(0), 1, Times.SECONDS));
    assertEquals(995 * Times.MILLIS, world.validity(user));
  }

  @Test
  void theErrorOfTheClockIsCountedAgainstTheTrust() {
    world.error = 11 * Times.MILLIS;
    World.User user = world.acquire("k");
    List<SessionOperation> sent = world.getReady();
    world.reply(World.granted(sent.get(0), 1, Times.SECONDS));
    assertEquals(Times.SECONDS - 11 * Times.MILLIS, world.validity(user));
  }

  @Test
  void aSessionIsTrustedForItsGraceAfterTheSendingOfTheLastMessageThatWasAnswered() {
    World.User user = world.hold("k");
    assertEquals(TRUST, world.validity(user));
    world.pass(Times.SECONDS); // a ping is sent, and not answered
    world.expect("ping");
    assertEquals(TRUST - Times.SECONDS, world.validity(user));
  }

  @Test
  void anyAnswerCountsAsAnAnswer() {
    World.User user = world.hold("k");
    world.pass(500 * Times.MILLIS);
    World.Outcome extended = world.extend(user);
    world.reply(World.failed(world.sent().get(0), "QUORUM_UNAVAILABLE"));
    assertEquals("QUORUM_UNAVAILABLE", extended.text());
    assertEquals(TRUST, world.validity(user));
  }

  @Test
  void aValidityThatNobodyAskedForCountsFromTheDaemonsClock() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 2 * Times.SECONDS));
    world.pass(Times.SECONDS - 1);
    world.event(EventType.EVENT_TYPE_EXTENDED, "k", "rl-1", 2 * Times.SECONDS);
    long drift = Times.SECONDS / 100;
    assertTrue(world.validity(user) >= 2 * Times.SECONDS - drift - 2, () -> "" + world.validity(user));
    assertTrue(world.validity(user) <= 2 * Times.SECONDS - drift + 2, () -> "" + world.validity(user));
  }

  @Test
  void theLossIsSignalledWhenOnlyTheMarginIsLeft() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 2 * Times.SECONDS));
    long margin = World.GRACE / 10;
    world.pass(2 * Times.SECONDS - margin - 1);
    assertNull(user.loss);
    world.pass(1);
    assertNotNull(user.loss);
    assertEquals(Reason.LOCK_NOT_HELD, user.loss.reason());
    assertEquals(0, world.validity(user));
  }

  @Test
  void aLossNamesTheFailureOfTheLastExtension() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 900 * Times.MILLIS));
    world.event(EventType.EVENT_TYPE_EXTEND_FAILED, "k", "rl-1", 0);
    world.pass(500 * Times.MILLIS);
    assertEquals("the lock was lost: no daemon extended it in time (too few nodes)", user.loss.message());
    world.pass(400 * Times.MILLIS);
    world.expect("release k rl-1");
    user = world.acquire("other");
    world.reply(World.granted(world.expect("acquire other rl-2").get(0), 1, 900 * Times.MILLIS));
    world.event(EventType.EVENT_TYPE_EXTEND_FAILED, "other", "rl-2", 0);
    world.event(EventType.EVENT_TYPE_EXTENDED, "other", "rl-2", 900 * Times.MILLIS);
    world.pass(500 * Times.MILLIS);
    assertEquals("the lock was lost: no daemon extended it in time", user.loss.message());
  }

  @Test
  void aLockThatTheClockEndedIsReleasedWhenItsTrustHasEnded() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 900 * Times.MILLIS));
    world.pass(500 * Times.MILLIS);
    assertNotNull(user.loss);
    world.expect();
    world.pass(400 * Times.MILLIS);
    world.expect("release k rl-1");
  }

  @Test
  void aLossThatTheDaemonReportsEndsTheTrustAtOnce() {
    World.User user = world.hold("k");
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    assertNotNull(user.loss);
    assertEquals(0, world.validity(user));
    assertEquals("LOCK_NOT_HELD", world.release(user).text());
  }

  @Test
  void aLossOfAnotherTokenIsIgnored() {
    World.User user = world.hold("k");
    world.event(EventType.EVENT_TYPE_LOST, "k", "another", 0);
    assertNull(user.loss);
  }

  @Test
  void aSuspendLosesWhatCannotBeTrustedEvenIfAnExtensionWaitsToBeRead() {
    World.User user = world.hold("k");
    world.suspend(World.GRACE);
    world.event(EventType.EVENT_TYPE_EXTENDED, "k", "rl-1", World.TTL);
    assertNotNull(user.loss);
  }

  @Test
  void aClientThatWasHeldUpReadsWhatHasArrivedBeforeItJudges() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 2 * Times.SECONDS));
    world.holdUp(2500 * Times.MILLIS);
    assertEquals(0, world.validity(user));
    world.machine.tick(); // late: judges in 20 ms
    world.event(EventType.EVENT_TYPE_EXTENDED, "k", "rl-1", 2 * Times.SECONDS);
    world.pass(20 * Times.MILLIS);
    assertNull(user.loss);
    assertTrue(world.validity(user) > 0);
  }

  @Test
  void aClientThatWasHeldUpLosesWhatNothingHasExtended() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 1, 2 * Times.SECONDS));
    world.holdUp(2500 * Times.MILLIS);
    world.machine.tick();
    assertNull(user.loss);
    world.pass(20 * Times.MILLIS);
    assertNotNull(user.loss);
  }

  @Test
  void trustIsFrozenWhenTheSessionIsAbandoned() {
    World.User user = world.hold("k");
    world.pass(900 * Times.MILLIS);
    world.breakOff();
    long frozen = world.validity(user);
    assertEquals(TRUST - 900 * Times.MILLIS, frozen);
    world.reply(World.ok(world.expect("ping").get(0))); // the new Session is ready, and has not adopted the lock
    assertEquals(frozen, world.validity(user));
  }

  @Test
  void aGrantWhoseValidityIsOverFailsAndIsReleased() {
    World.User user = world.acquire("k");
    List<SessionOperation> sent = world.getReady();
    world.reply(World.granted(sent.get(0), 1, World.GRACE / 10)); // no more than the margin
    assertEquals(Reason.VALIDITY_EXPIRED, user.reason());
    world.expect("release k rl-1");
  }

  @Test
  void theAnchorKeepsThePairThatDatesMessagesLatest() {
    ClockAnchor anchor = new ClockAnchor();
    assertFalse(anchor.isKnown());
    anchor.onAnswer(1_000_000, 5_000_000);
    anchor.onAnswer(1_500_000, 9_000_000); // slow: dates 9,000,000 earlier than the first pair does
    assertEquals(1_000_000 + 4_000_000 - 40_000, anchor.madeAt(9_000_000));
    anchor.onAnswer(8_999_999, 9_000_000);
    assertEquals(8_999_999, anchor.madeAt(9_000_000));
    assertEquals(8_999_999 - 1_000_000 - 10_000, anchor.madeAt(8_000_000));
  }
}
