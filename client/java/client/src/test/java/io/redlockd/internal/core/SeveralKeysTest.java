package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Locks of several keys: one lease, whose messages have all names. */
class SeveralKeysTest {
  private static final String SEVERAL = KeyNames.join(List.of("b", "a"));

  private final World world = new World(2);

  @Test
  void everyMessageHasAllKeys() {
    World.User user = world.acquire(SEVERAL);
    var acquire = world.getReady();
    assertEquals(List.of("acquire a+b rl-1"), acquire.stream().map(World::describe).toList());
    world.reply(World.granted(acquire.get(0), 70, World.TTL));
    world.extend(user);
    world.expect("extend a+b rl-1");
    world.breakOff();
    world.reply(World.ok(world.expect("ping").get(0)));
    world.reply(World.granted(world.expect("adopt a+b rl-1 #72").get(0), 70, World.TTL));
    world.expect("extend a+b rl-1");
    world.release(user);
    world.expect("release a+b rl-1");
  }

  @Test
  void aTokenThatMayHoldThemIsExtendedAndAdopted() {
    world.acquire(SEVERAL, "mine", Kind.ADOPT, -1);
    var extend = world.getReady();
    assertEquals(List.of("extend a+b mine"), extend.stream().map(World::describe).toList());
    world.reply(World.granted(extend.get(0), 70, World.TTL));
    world.expect("adopt a+b mine #72");
  }

  @Test
  void anEventNamesTheKeysInAnyOrder() {
    World.User user = world.hold(SEVERAL);
    world.event(EventType.EVENT_TYPE_LOST, "a", "rl-1", 0);
    world.event(EventType.EVENT_TYPE_LOST, List.of("a", "c"), "rl-1", 0);
    assertEquals(null, user.loss);
    world.event(EventType.EVENT_TYPE_LOST, List.of("b", "a"), "rl-1", 0);
    assertEquals(Reason.LOCK_NOT_HELD, user.loss.reason());
    assertTrue(world.logged.stream().anyMatch(line -> line.startsWith("lock lost: a, b: ")), world.logged::toString);
  }

  @Test
  void theLeaseIsFoundByItsKeysInAnyOrder() {
    World.User user = world.hold(SEVERAL);
    assertEquals(user.lease, world.machine.find(KeyNames.join(List.of("a", "b")), "rl-1"));
    assertEquals("a, b", user.lease.id.toString());
  }
}
