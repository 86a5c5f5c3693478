package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.LockMode;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** An exclusive lock is downgraded to a share. The token "" stands for one that the client makes. */
class DowngradeTest {
  private static final String SHARE = KeyNames.share("k");

  private final World world = new World(2);
  private World.User writer;

  private void hold(String token) {
    hold(token, World.TTL);
  }

  private void hold(String token, long validity) {
    writer = world.acquire("k", token.isEmpty() ? null : token, Kind.ACQUIRE, -1);
    world.reply(World.granted(world.getReady().get(0), 70, validity)); // the sequence begins at 71
    assertNotNull(writer.lease);
  }

  private World.User downgrade() {
    World.User user = new World.User();
    user.acquisition = world.machine.downgrade(writer.lease, user);
    return user;
  }

  /** Checks that the only operation is about a share and downgrades the exclusive lock. */
  private SessionOperation expectDowngrade(String wanted) {
    return checkDowngrade(world.expect(wanted).get(0), 70);
  }

  private static SessionOperation checkDowngrade(SessionOperation operation, long from) {
    boolean adopts = operation.hasAdopt();
    assertEquals(
        LockMode.LOCK_MODE_SHARED, adopts ? operation.getAdopt().getMode() : operation.getExtend().getMode());
    assertEquals(
        from, adopts ? operation.getAdopt().getDowngradeFrom() : operation.getExtend().getDowngradeFrom());
    return operation;
  }

  private World.User downgraded() {
    World.User user = downgrade();
    String token = writer.lease.token();
    world.reply(World.granted(expectDowngrade("extend k shared " + token), 70, World.TTL));
    world.reply(World.granted(expectDowngrade("adopt k shared " + token + " #72"), 70, World.TTL));
    assertNotNull(user.lease);
    return user;
  }

  private SessionOperation reconnect() {
    world.breakOff();
    world.pass(100 * Times.MILLIS);
    world.reply(World.ok(world.expect("ping").get(0)));
    List<SessionOperation> operations = world.sent();
    assertEquals(1, operations.size());
    return operations.get(0);
  }

  @Test
  void trustEndsBeforeTheDowngradeIsSent() {
    hold("");
    World.User user = downgrade();
    assertEquals(0, world.validity(writer));
    world.reply(World.granted(expectDowngrade("extend k shared rl-1"), 80, World.TTL));
    assertEquals(0, user.told); // an extension alone is not kept alive
    world.reply(World.granted(expectDowngrade("adopt k shared rl-1 #82"), 80, World.TTL));
    assertEquals(1, user.told);
    assertTrue(world.validity(user) > 0);
    assertEquals(SHARE, user.lease.key());
    assertEquals(writer.lease.token(), user.lease.token());
    assertEquals(writer.lease.ttl, user.lease.ttl);
    assertEquals(writer.lease.margin, user.lease.margin);
    assertFalse(user.lease.callersToken);
    assertEquals(0, world.validity(writer));
  }

  @Test
  void theOldLockCountsAsReleased() {
    hold("mine");
    World.User share = downgraded();
    assertEquals("LOCK_NOT_HELD", world.extend(writer).text());
    assertEquals("OK", world.release(writer).text());
    world.expect(); // the share is still held
    world.event(EventType.EVENT_TYPE_LOST, "k", "mine", 0);
    assertNull(share.loss);
    world.eventOfShare(EventType.EVENT_TYPE_LOST, "k", "mine", 0);
    assertNotNull(share.loss);
    assertNull(writer.loss);
  }

  @Test
  void anotherDaemonIsToldTheSame() {
    hold("");
    World.User user = downgrade();
    world.sent();
    SessionOperation extend = reconnect(); // the exclusive lock is not adopted
    assertEquals("extend k shared rl-1", World.describe(checkDowngrade(extend, 70)));
    world.reply(World.granted(extend, 70, World.TTL));
    expectDowngrade("adopt k shared rl-1 #73");
    extend = reconnect();
    world.reply(World.granted(checkDowngrade(extend, 70), 70, World.TTL));
    SessionOperation adopt = world.sent().get(0);
    assertTrue(checkDowngrade(adopt, 70).getAdopt().getSequence() > 73);
    world.reply(World.granted(adopt, 70, World.TTL));
    assertNotNull(user.lease);
    checkDowngrade(reconnect(), 0);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "mine"})
  void anAdoptionUnderWayDoesNotReleaseTheShare(String token) {
    hold(token);
    SessionOperation adopt = reconnect();
    assertEquals(72, adopt.getAdopt().getSequence());
    World.User user = downgrade();
    world.reply(World.granted(adopt, 70, World.TTL));
    world.reply(World.granted(expectDowngrade("extend k shared " + writer.lease.token()), 70, World.TTL));
    SessionOperation second = expectDowngrade("adopt k shared " + writer.lease.token() + " #73");
    assertEquals(0, world.validity(writer));
    world.reply(World.granted(second, 70, World.TTL));
    world.expect();
    assertTrue(world.validity(user) > 0);
  }

  @ParameterizedTest
  @CsvSource({"'',; the lock is being released", "mine,'; the lock is being released, and its token must not be used again'"})
  void aFailureReleasesTheTokenWhoeverMadeIt(String token, String aftermath) {
    hold(token, Times.SECONDS);
    World.User user = downgrade();
    for (int i = 0; i < 10; ++i) {
      assertEquals(0, user.told);
      for (SessionOperation operation : world.sent()) {
        world.reply(World.failed(operation, "QUORUM_UNAVAILABLE"));
      }
      world.pass(100 * Times.MILLIS);
    }
    assertEquals(1, user.told);
    assertEquals(Reason.QUORUM_UNAVAILABLE, user.reason());
    assertTrue(user.failure.message().endsWith(aftermath), user.failure.message());
    world.reply(World.ok(world.expect("release k " + writer.lease.token()).get(0)));
    assertEquals(0, world.machine.pending());
  }

  @Test
  void aReleaseIsRepeatedForAsLongAsTheLockMayLast() {
    hold("mine");
    World.Outcome extended = new World.Outcome();
    world.machine.extend(writer.lease, 10 * World.TTL, false, extended);
    world.reply(World.failed(world.sent().get(0), "QUORUM_UNAVAILABLE")); // some nodes have extended it
    World.User user = downgrade();
    world.sent();
    world.machine.giveUp(user.acquisition);
    world.expect("release k mine");
    world.pass(5 * World.TTL);
    world.reply(World.ok(world.expect("ping").get(0)));
    world.expect("release k mine");
  }

  @ParameterizedTest
  @ValueSource(strings = {"nothing", "extend", "adopt", "share"})
  void givingUpReleasesTheToken(String sent) {
    hold("mine");
    SessionOperation last = null;
    if (sent.equals("nothing")) {
      world.breakOff();
    }
    World.User user = downgrade();
    if (!sent.equals("nothing")) {
      last = world.sent().get(0);
    }
    if (sent.equals("adopt") || sent.equals("share")) {
      world.reply(World.granted(last, 70, World.TTL));
      last = world.sent().get(0);
    }
    if (sent.equals("share")) { // the caller does not take it
      world.reply(World.granted(last, 70, World.TTL));
    }
    world.machine.giveUp(user.acquisition);
    if (sent.equals("nothing")) {
      world.reply(World.ok(world.expect("ping").get(0)));
    }
    SessionOperation release = world.expect("release k mine").get(0);
    assertFalse(world.machine.isWanted(new LockId("k", "mine")));
    if (sent.equals("adopt")) { // carried out after the release
      world.reply(World.granted(last, 70, World.TTL), World.ok(release));
      world.expect("release k mine");
    }
  }

  @Test
  void aShareThatIsGrantedTooLateIsReleased() {
    hold("mine");
    World.User user = downgrade();
    world.reply(World.granted(world.sent().get(0), 70, World.TTL));
    world.reply(World.granted(world.sent().get(0), 70, Times.MILLIS));
    assertEquals(Reason.VALIDITY_EXPIRED, user.reason());
    world.expect("release k mine");
  }

  @Test
  void aLockThatIsNoLongerHeldIsNotReleased() {
    hold("mine");
    World.User user = downgrade();
    world.reply(World.failed(world.sent().get(0), "LOCK_NOT_HELD"));
    assertEquals(Reason.LOCK_NOT_HELD, user.reason());
    assertEquals("because", user.failure.message());
    assertEquals(0, world.machine.pending());
    world.expect();
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "mine"})
  void itsTokenIsInUseUntilItHasEnded(String token) {
    hold(token);
    String name = writer.lease.token();
    World.User user = downgrade();
    assertTrue(world.machine.inUse("k", name));
    assertTrue(world.machine.inUse(SHARE, name));
    assertFalse(world.machine.inUse("other", name));
    assertFalse(world.machine.inUse("k", "other"));
    world.reply(World.granted(world.sent().get(0), 70, World.TTL));
    world.reply(World.granted(world.sent().get(0), 70, World.TTL));
    assertEquals(user.lease, world.machine.find(SHARE, name));
    assertFalse(world.machine.inUse("k", name));
  }

  @Test
  void anotherCallMustNotBeRequestingTheKeyWithItsToken() {
    hold("mine");
    World.User other = world.acquire(SHARE, "mine", Kind.ACQUIRE, -1);
    SessionOperation acquire = world.sent().get(0);
    World.User user = downgrade();
    assertEquals(Reason.INVALID_ARGUMENT, user.reason());
    assertEquals("token: this client is requesting the key with it", user.failure.message());
    assertTrue(writer.lease.held());
    world.expect();
    world.reply(World.failed(acquire, "LOCK_ALREADY_HELD"));
    assertEquals(Reason.LOCK_ALREADY_HELD, other.reason());
    downgrade();
    expectDowngrade("extend k shared mine");
  }

  @Test
  void onlyAHeldLockIsDowngraded() {
    hold("");
    world.release(writer);
    world.sent();
    World.User user = downgrade();
    assertEquals(Reason.LOCK_NOT_HELD, user.reason());
    world.machine.giveUp(user.acquisition);
    assertEquals(1, user.told);
    world.expect();
  }

  @Test
  void aLostLockFailsWithItsLoss() {
    hold("");
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    World.User user = downgrade();
    assertEquals(writer.loss, user.failure);
    world.expect();
  }

  @Test
  void theExtensionsOfTheLockEnd() {
    hold("");
    World.Outcome extended = world.extend(writer);
    SessionOperation extend = world.sent().get(0);
    downgrade();
    assertEquals("LOCK_NOT_HELD", extended.text());
    world.reply(World.granted(extend, 70, World.TTL));
    assertEquals(0, world.validity(writer));
  }

  /** The acquire of the share may still be carried out, and its give_up would end the downgraded share. */
  @Test
  void itIsSentAfterAnEarlierCallForTheShareIsOver() {
    hold("mine");
    World.User other = world.acquire(SHARE, "mine", Kind.ACQUIRE, -1);
    SessionOperation acquire = world.expect("acquire k shared mine").get(0);
    world.machine.giveUp(other.acquisition);
    downgrade();
    world.expect("cancel " + acquire.getId());
    world.reply(World.failed(acquire, "CANCELLED"));
    expectDowngrade("extend k shared mine");
  }

  @Test
  void closeReleasesTheLock() {
    hold("mine");
    World.User user = downgrade();
    world.sent();
    World.Outcome closed = world.close();
    assertEquals(Reason.CANCELLED, user.reason());
    assertEquals(
        "the client was closed; the lock is being released, and its token must not be used again",
        user.failure.message());
    world.reply(World.ok(world.expect("release k mine").get(0)));
    world.reply(World.ok(world.expect("close").get(0)));
    assertEquals(1, user.told);
    assertEquals("OK", closed.text());
  }
}
