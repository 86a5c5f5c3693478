package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Adoptions, extensions, releases, and the close. */
class ReleaseTest {
  private final World world = new World(2);

  private void reconnect() {
    world.breakOff();
    world.pass(100 * Times.MILLIS); // short Sessions in a row are followed by a pause
    world.reply(World.ok(world.expect("ping").get(0)));
  }

  // --- Adoptions of held locks

  @Test
  void aNewSessionAdoptsHeldLocks() {
    World.User user = world.hold("k");
    reconnect();
    world.reply(World.granted(world.expect("adopt k rl-1 #72").get(0), 90, World.TTL));
    assertEquals(90, user.lease.fence());
    reconnect();
    world.expect("adopt k rl-1 #91");
  }

  @Test
  void anAdoptionThatFindsNothingIsALoss() {
    World.User user = world.hold("k");
    reconnect();
    world.reply(World.failed(world.sent().get(0), "LOCK_NOT_HELD"));
    assertNotNull(user.loss);
  }

  @Test
  void anUndecidedAdoptionIsRetried() {
    World.User user = world.hold("k");
    reconnect();
    world.reply(World.failed(world.expect("adopt k rl-1 #72").get(0), "QUORUM_UNAVAILABLE"));
    world.pass(100 * Times.MILLIS);
    world.expect("adopt k rl-1 #73");
    assertNull(user.loss);
  }

  @Test
  void aLateAdoptionOfALostLockIsReleased() {
    World.User user = world.hold("k");
    reconnect();
    SessionOperation adopt = world.expect("adopt k rl-1 #72").get(0);
    for (int i = 0; i < 8; ++i) { // the Session lives, but the adoption is not answered
      world.pass(World.GRACE / 8);
      world.sent().stream().filter(SessionOperation::hasPing).forEach(ping -> world.reply(World.ok(ping)));
    }
    assertNotNull(user.loss);
    world.reply(World.granted(adopt, 70, World.TTL));
    world.sent();
    assertTrue(world.machine.inUse("k", "rl-1"), "a release is pending");
  }

  // --- Extensions

  @Test
  void anExtensionRaisesTheValidity() {
    World.User user = world.acquire("k");
    world.reply(World.granted(world.getReady().get(0), 70, Times.SECONDS));
    World.Outcome outcome = world.extend(user);
    world.reply(World.granted(world.expect("extend k rl-1").get(0), 70, 2 * Times.SECONDS));
    assertEquals("OK", outcome.text());
    assertEquals(2 * Times.SECONDS, world.validity(user));
  }

  @Test
  void anExtensionFollowsTheAdoption() {
    World.User user = world.hold("k");
    world.breakOff();
    World.Outcome outcome = world.extend(user);
    world.reply(World.ok(world.expect("ping").get(0)));
    world.reply(World.granted(world.expect("adopt k rl-1 #72").get(0), 70, World.TTL));
    world.reply(World.granted(world.expect("extend k rl-1").get(0), 70, World.TTL));
    assertEquals("OK", outcome.text());
  }

  @Test
  void anExtensionThatFindsNothingIsALoss() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.extend(user);
    world.reply(World.failed(world.sent().get(0), "LOCK_NOT_HELD"));
    assertEquals("LOCK_NOT_HELD", outcome.text());
    assertNotNull(user.loss);
  }

  @Test
  void anExtensionFailsWhenAllEndpointsHaveFailed() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.extend(user);
    world.breakOff();
    world.breakOff();
    world.breakOff();
    assertEquals("UNREACHABLE", outcome.text());
    assertNull(user.loss);
  }

  @Test
  void aReleaseEndsAnExtension() {
    World.User user = world.hold("k");
    World.Outcome extension = world.extend(user);
    world.release(user);
    assertEquals("LOCK_NOT_HELD", extension.text());
  }

  // --- Releases

  @Test
  void trustEndsBeforeTheReleaseIsSent() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.release(user);
    assertEquals(0, world.validity(user));
    assertEquals("pending", outcome.text());
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    assertEquals("OK", outcome.text());
    assertNull(user.loss);
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aSecondReleaseSucceeds() {
    World.User user = world.hold("k");
    world.release(user);
    assertEquals("OK", world.release(user).text());
    world.expect("release k rl-1");
  }

  @Test
  void anUnansweredReleaseIsSentAgainAndNotHeldIsThenASuccess() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.release(user);
    world.expect("release k rl-1");
    reconnect();
    world.reply(World.failed(world.expect("release k rl-1").get(0), "LOCK_NOT_HELD"));
    assertEquals("OK", outcome.text());
  }

  @Test
  void aRepeatedReleaseOfTheCallersTokenFails() {
    World.User user = world.acquire("k", "mine", Kind.ACQUIRE, -1);
    world.reply(World.granted(world.getReady().get(0), 70, World.TTL));
    World.Outcome outcome = world.release(user);
    world.expect("release k mine");
    reconnect();
    world.reply(World.ok(world.expect("release k mine").get(0)));
    assertEquals("UNREACHABLE", outcome.text());
    assertTrue(outcome.failure.message().contains("must not be used again"));
  }

  @Test
  void aCallerWaitsForAReleaseAtMostTwoSeconds() {
    World.User user = world.hold("k");
    world.breakOff();
    World.Outcome outcome = world.release(user);
    world.pass(2 * Times.SECONDS - 1);
    assertEquals("pending", outcome.text());
    world.pass(1);
    assertEquals("UNREACHABLE", outcome.text());
    world.reply(World.ok(world.expect("ping").get(0)));
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    assertEquals(1, outcome.told);
  }

  @Test
  void aReleaseEndsWhenTheLockHasExpired() {
    World.User user = world.hold("k");
    world.breakOff();
    world.release(user);
    world.pass(World.TTL + World.GRACE);
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aReleasedLockIsNotAdopted() {
    World.User user = world.hold("k");
    world.release(user);
    world.expect("release k rl-1");
    reconnect();
    world.expect("release k rl-1");
  }

  @Test
  void aReleaseRetriesOverload() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.release(user);
    world.reply(World.failed(world.sent().get(0), "OVERLOADED"));
    world.pass(50 * Times.MILLIS);
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    assertEquals("OK", outcome.text());
  }

  // --- Keys that stay taken, values and lock delays

  private static final long KEEP = 5 * Times.SECONDS;

  private static void keeps(SessionOperation operation, long time) {
    assertEquals(time > 0, operation.getRelease().hasKeepFor());
    assertEquals(time, Times.nanos(operation.getRelease().getKeepFor()));
  }

  @Test
  void eachCopyOfAReleaseKeepsTheKey() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.release(user, KEEP);
    keeps(world.expect("release k rl-1").get(0), KEEP);
    world.pass(2 * Times.SECONDS); // the caller no longer waits
    assertEquals("UNREACHABLE", outcome.text());
    reconnect();
    keeps(world.expect("release k rl-1").get(0), KEEP);
  }

  @Test
  void aReleaseThatWasRefusedBecauseOfTheTimeIsCarriedOutWithoutIt() {
    World.User user = world.hold("k");
    World.Outcome outcome = world.release(user, KEEP);
    world.reply(World.failed(world.expect("release k rl-1").get(0), "INVALID_ARGUMENT"));
    assertEquals("INVALID_ARGUMENT", outcome.text());
    assertTrue(outcome.failure.message().contains("released without being kept"), outcome.failure.message());
    SessionOperation again = world.expect("release k rl-1").get(0);
    keeps(again, 0);
    world.reply(World.ok(again));
    assertEquals(1, outcome.told);
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aLostLockIsNotKept() {
    World.User user = world.hold("k");
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    assertEquals("LOCK_NOT_HELD", world.release(user, KEEP).text());
    keeps(world.expect("release k rl-1").get(0), 0);
  }

  private World.User holdWithDelay(long lockDelay) {
    World.User user = world.acquire(new AcquireCommand(
        "k", 0, null, Kind.ACQUIRE, World.TTL, -1, "me", "10.0.0.1:80", lockDelay, World.GRACE / 10, null));
    SessionOperation sent = world.getReady().get(0);
    assertEquals("10.0.0.1:80", sent.getAcquire().getValue());
    assertEquals(lockDelay > 0, sent.getAcquire().hasLockDelay());
    assertEquals(lockDelay, Times.nanos(sent.getAcquire().getLockDelay()));
    world.reply(World.granted(sent, 70, World.TTL));
    return user;
  }

  @Test
  void anAcquireWithoutADelayNamesNone() {
    holdWithDelay(0);
  }

  @Test
  void aReleaseContinuesForAsLongAsTheDelay() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.breakOff();
    world.release(user);
    world.pass(World.TTL + 7 * Times.SECONDS + World.GRACE - 1);
    assertEquals(1, world.machine.pending());
    world.pass(1);
    assertEquals(0, world.machine.pending());
  }

  @Test
  void anExtensionAddsTheDelay() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.machine.extend(user.lease, 2 * World.TTL, false, failure -> {});
    world.breakOff();
    world.release(user);
    world.pass(2 * World.TTL + 7 * Times.SECONDS + World.GRACE - 1);
    assertEquals(1, world.machine.pending());
    world.pass(1);
    assertEquals(0, world.machine.pending());
  }

  // A release, a give_up or a close would end the delay.
  @Test
  void theDelayOfALockThatIsLostByTheClockIsNotEnded() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.breakOff();
    world.pass(World.GRACE);
    assertEquals(Reason.LOCK_NOT_HELD, user.loss.reason());
    assertEquals(List.of(), world.getReady());
    assertEquals("LOCK_NOT_HELD", world.release(user).text());
    world.pass(World.GRACE / 4);
    world.expect("ping");
    assertEquals(0, world.machine.pending());
  }

  @Test
  void theDelayOfALockThatIsReportedAsLostIsNotEnded() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    assertEquals("LOCK_NOT_HELD", world.release(user).text());
    world.expect();
  }

  // Otherwise, the Session would keep the lock alive, and its close would end the delay.
  @Test
  void theClientLeavesTheSessionOfALostLockWithADelay() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.suspend(World.TTL);
    world.machine.tick();
    assertEquals(Reason.LOCK_NOT_HELD, user.loss.reason());
    assertEquals(List.of(1L), world.cancelled);
    assertEquals(List.of(), world.getReady());
    assertEquals(1, world.close().told);
    world.expect();
  }

  @Test
  void theClientLeavesTheSessionThatMayStillAdoptALostLockWithADelay() {
    World.User user = holdWithDelay(7 * Times.SECONDS);
    world.breakOff();
    world.getReady();
    world.suspend(World.TTL);
    world.machine.tick();
    assertEquals(Reason.LOCK_NOT_HELD, user.loss.reason());
    assertEquals(List.of(1L, 2L), world.cancelled);
    assertEquals(List.of(), world.getReady());
  }

  // --- Close

  @Test
  void theCloseReleasesWhatTheSessionKeeps() {
    World.User user = world.hold("k");
    World.Outcome closed = world.close();
    assertEquals(Reason.CANCELLED, user.loss.reason());
    assertEquals(0, world.validity(user));
    world.reply(World.ok(world.expect("close").get(0)));
    assertEquals(1, closed.told);
    assertEquals(List.of(1L), world.cancelled);
    assertEquals(Times.NEVER, world.machine.nextDeadline());
  }

  @Test
  void theCloseFollowsTheReleasesOfLocksThatTheSessionDoesNotKeep() {
    world.hold("k");
    reconnect();
    world.expect("adopt k rl-1 #72"); // not answered
    World.Outcome closed = world.close();
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    world.reply(World.ok(world.expect("close").get(0)));
    assertEquals(1, closed.told);
  }

  @Test
  void theCloseFailsWaitersAndCancelsTheirAcquires() {
    World.User user = world.acquire("k");
    SessionOperation sent = world.getReady().get(0);
    World.Outcome closed = world.close();
    assertEquals(Reason.CANCELLED, user.reason());
    List<SessionOperation> last = world.expect("cancel " + sent.getId(), "close");
    world.reply(World.failed(sent, "CANCELLED"), World.ok(last.get(1)));
    assertEquals(1, closed.told);
    assertEquals(1, user.told);
  }

  @Test
  void aCloseThatIsNotAnsweredContinuesOnTheNextSession() {
    world.hold("k");
    World.Outcome closed = world.close();
    world.expect("close");
    reconnect();
    world.reply(World.ok(world.expect("release k rl-1").get(0)));
    world.reply(World.ok(world.expect("close").get(0)));
    assertEquals(1, closed.told);
  }

  @Test
  void aCloseWithoutDaemonsEndsWhenTheLocksHaveExpired() {
    world.hold("k");
    world.breakOff();
    World.Outcome closed = world.close();
    world.pass(World.TTL + World.GRACE);
    assertEquals(1, closed.told);
    assertEquals(Times.NEVER, world.machine.nextDeadline());
  }

  @Test
  void aCloseOfAClientThatHoldsNothingEndsAtOnce() {
    assertEquals(1, world.close().told);
    World.User user = world.acquire("k");
    assertEquals(Reason.CANCELLED, user.reason());
  }

  @Test
  void callsAfterTheCloseEndAtOnce() {
    World.User user = world.hold("k");
    world.close();
    world.reply(World.ok(world.sent().get(0)));
    assertEquals("CANCELLED", world.release(user).text());
    assertEquals("CANCELLED", world.extend(user).text());
    assertEquals(1, world.close().told);
  }
}
