package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Two calls of one client that get the same lock, and what still uses a token. */
class JoinTest {
  private final World world = new World(1);
  private World.User user;

  @BeforeEach
  void acquire() {
    user = world.acquire("k", "own", Kind.ACQUIRE, -1);
    world.reply(World.granted(world.getReady().get(0), 70, World.TTL));
  }

  @Test
  void aCallThatIsGoneDoesNotEndTheLockOfAnother() {
    World.Outcome joined = new World.Outcome();
    world.machine.join(user.lease, World.TTL, null, -1, joined);
    world.reply(World.granted(world.expect("extend k own").get(0), 70, World.TTL));
    assertEquals("OK", joined.text());
    world.machine.giveUp(user.acquisition);
    world.machine.giveUp(user.acquisition);
    assertTrue(user.lease.held());
    world.expect();
    world.machine.unjoin(user.lease);
    assertFalse(user.lease.held());
    world.expect("give_up k own");
  }

  @Test
  void aCallThatFailsDoesNotEndTheLockOfAnother() {
    World.Outcome joined = new World.Outcome();
    world.machine.join(user.lease, World.TTL, null, -1, joined);
    world.reply(World.failed(world.expect("extend k own").get(0), "QUORUM_UNAVAILABLE"));
    world.machine.unjoin(user.lease);
    assertTrue(user.lease.held());
    world.expect();
  }

  // A release that is sent again ends whatever the token holds: it has no mode.
  @Test
  void aTokenIsInUseInEveryModeWhileItIsReleased() {
    world.release(user);
    world.reply(World.failed(world.expect("release k own").get(0), "OVERLOADED"));
    for (String key : List.of("k", KeyNames.share("k"), KeyNames.semaphore("k", 3))) {
      assertTrue(world.machine.inUse(key, "own"));
      assertFalse(world.machine.inUse(key, "other"));
    }
    assertFalse(world.machine.inUse("l", "own"));
    world.pass(Acquisition.SHORTEST_RETRY);
    world.reply(World.ok(world.expect("release k own").get(0)));
    assertFalse(world.machine.inUse(KeyNames.share("k"), "own"));
  }

  // The answer to a ping may follow, in the same message, that which ends the machine.
  @Test
  void aReleaseThatIsNotAnsweredEndsWithTheClose() {
    World.User other = world.acquire("other");
    world.reply(World.granted(world.expect("acquire other rl-1").get(0), 71, World.TTL));
    assertTrue(other.lease.held());
    World.Outcome released = world.release(user);
    world.expect("release k own");
    World.Outcome closed = world.close();
    world.pass(Times.SECONDS);
    List<SessionOperation> last = world.sent();
    SessionOperation close = last.stream().filter(SessionOperation::hasClose).findAny().orElseThrow();
    SessionOperation ping = last.stream().filter(SessionOperation::hasPing).findAny().orElseThrow();
    assertEquals("pending", released.text());
    world.reply(World.ok(close), World.ok(ping));
    assertEquals("CANCELLED", released.text());
    assertEquals(1, closed.told);
  }
}
