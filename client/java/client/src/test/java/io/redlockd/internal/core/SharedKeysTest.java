package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Shared locks: the messages have the mode, and a share is no exclusive lock of the same key. */
class SharedKeysTest {
  private static final String SHARE = KeyNames.share("k");

  private final World world = new World(2);

  @Test
  void everyMessageHasTheModeExceptTheRelease() {
    World.User user = world.acquire(SHARE);
    var acquire = world.getReady();
    assertEquals(List.of("acquire k shared rl-1"), acquire.stream().map(World::describe).toList());
    world.reply(World.granted(acquire.get(0), 70, World.TTL));
    world.extend(user);
    world.expect("extend k shared rl-1");
    world.breakOff();
    world.reply(World.ok(world.expect("ping").get(0)));
    world.reply(World.granted(world.expect("adopt k shared rl-1 #72").get(0), 70, World.TTL));
    world.expect("extend k shared rl-1");
    world.release(user);
    world.expect("release k rl-1");
  }

  @Test
  void aShareIsTakenOverAndGivenUp() {
    World.User user = world.acquire(KeyNames.share(KeyNames.join(List.of("b", "a"))), "mine", Kind.ADOPT, -1);
    var extend = world.getReady();
    assertEquals(List.of("extend a+b shared mine"), extend.stream().map(World::describe).toList());
    world.reply(World.granted(extend.get(0), 70, World.TTL));
    world.expect("adopt a+b shared mine #72");
    world.machine.giveUp(user.acquisition);
    world.expect("give_up a+b mine");
  }

  @Test
  void anEventOfAnotherModeIsOfAnotherLock() {
    World.User user = world.hold(SHARE);
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    assertNull(user.loss);
    world.eventOfShare(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    assertNotNull(user.loss);
  }

  @Test
  void aHeldShareIsNoExclusiveLock() {
    World.User user = world.hold(SHARE);
    assertEquals(user.lease, world.machine.find(SHARE, "rl-1"));
    assertNull(world.machine.find("k", "rl-1"));
  }
}
