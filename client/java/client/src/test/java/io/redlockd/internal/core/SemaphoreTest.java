package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Semaphores: the messages have the limit and the slot, and a slot is no lock of the same key. */
class SemaphoreTest {
  private static final String SEMAPHORE = KeyNames.semaphore("k", 5);

  private final World world = new World(2);

  private SessionOperation first(String wanted) {
    List<SessionOperation> first = world.getReady();
    assertEquals(List.of(wanted), first.stream().map(World::describe).toList());
    return first.get(0);
  }

  private SessionOperation next(String wanted) {
    return world.expect(wanted).get(0);
  }

  private void moveOn() {
    world.breakOff();
    world.reply(World.ok(next("ping")));
  }

  private World.User hold(int slot) {
    World.User user = world.acquire(SEMAPHORE);
    world.reply(World.grantedSlot(first("acquire k of 5 rl-1"), slot, 70, World.TTL));
    assertEquals(slot, user.lease.slot());
    return user;
  }

  @Test
  void everyMessageHasTheLimitAndTheSlotExceptTheRelease() {
    World.User user = hold(2);
    world.extend(user);
    next("extend k of 5 slot 2 rl-1");
    moveOn();
    world.reply(World.grantedSlot(next("adopt k of 5 slot 2 rl-1 #72"), 2, 70, World.TTL));
    next("extend k of 5 slot 2 rl-1");
    world.release(user);
    next("release k rl-1");
  }

  @Test
  void aSlotIsTakenOverAndGivenUp() {
    World.User user = world.acquire(SEMAPHORE, 3, "mine", Kind.ADOPT, -1);
    world.reply(World.grantedSlot(first("extend k of 5 slot 3 mine"), 3, 70, World.TTL));
    next("adopt k of 5 slot 3 mine #72");
    world.machine.giveUp(user.acquisition);
    next("give_up k of 5 mine");
  }

  @Test
  void anAdoptionThatNamesNoSlotAdoptsTheOneThatItFinds() {
    World.User user = world.acquire(SEMAPHORE, "mine", Kind.ADOPT, -1);
    world.reply(World.grantedSlot(first("extend k of 5 mine"), 3, 70, World.TTL));
    world.reply(World.grantedSlot(next("adopt k of 5 slot 3 mine #72"), 3, 70, World.TTL));
    assertEquals(3, user.lease.slot());
    moveOn();
    next("adopt k of 5 slot 3 mine #73");
  }

  @Test
  void aRepeatedAcquireAdoptsTheSlotThatItIsGranted() {
    World.User user = world.acquire(SEMAPHORE, "mine", Kind.ACQUIRE, -1);
    first("acquire k of 5 mine");
    moveOn();
    world.reply(World.grantedSlot(next("reacquire k of 5 mine"), 4, 70, World.TTL));
    world.reply(World.grantedSlot(next("adopt k of 5 slot 4 mine #73"), 4, 70, World.TTL));
    assertEquals(4, user.lease.slot());
  }

  @Test
  void anEventOfAnotherLimitIsOfAnotherLock() {
    World.User user = hold(2);
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    world.eventOfSemaphore(EventType.EVENT_TYPE_LOST, "k", 4, "rl-1", 0);
    assertNull(user.loss);
    world.eventOfSemaphore(EventType.EVENT_TYPE_LOST, "k", 5, "rl-1", 0);
    assertNotNull(user.loss);
  }

  @Test
  void aHeldSlotIsNoLock() {
    World.User user = hold(2);
    assertEquals(user.lease, world.machine.find(SEMAPHORE, "rl-1"));
    assertNull(world.machine.find("k", "rl-1"));
    assertNull(world.machine.find(KeyNames.semaphore("k", 4), "rl-1"));
  }

  @Test
  void aKeyOfAnotherKindEndsTheWait() {
    for (Kind kind : Kind.values()) {
      World other = new World(2);
      World.User user = other.acquire(SEMAPHORE, 1, "mine", kind, -1);
      List<SessionOperation> sent = other.getReady();
      other.reply(World.failed(sent.get(0), "KIND_MISMATCH", Map.of("in_use_as", "a lock")));
      assertEquals(Reason.KIND_MISMATCH, user.reason(), kind.name());
      assertEquals("a lock", user.failure.inUseAs());
      other.pass(10 * Times.SECONDS);
      assertEquals(List.of(), other.sent().stream().map(World::describe).filter(text -> !text.equals("ping")).toList());
    }
  }

  // --- acquire_or_extend: the daemon knows which slot the token holds

  private World.User acquireOrExtend() {
    World.User user = world.acquire(SEMAPHORE, "mine", Kind.ACQUIRE_OR_EXTEND, -1);
    world.reply(World.grantedSlot(first("extend k of 5 mine"), 2, 70, World.TTL));
    return user;
  }

  @Test
  void theSlotThatTheTokenHoldsIsAdopted() {
    World.User user = acquireOrExtend();
    assertNull(user.lease);
    world.reply(World.grantedSlot(next("adopt k of 5 slot 2 mine #72"), 2, 70, World.TTL));
    assertEquals(2, user.lease.slot());
  }

  @Test
  void aSlotThatWasLostBeforeItsAdoptionIsForgotten() {
    World.User user = acquireOrExtend();
    world.reply(World.failed(next("adopt k of 5 slot 2 mine #72"), "LOCK_NOT_HELD"));
    world.reply(World.failed(next("adopt k of 5 slot 2 mine #1007001"), "LOCK_NOT_HELD"));
    world.reply(World.failed(next("extend k of 5 mine"), "LOCK_NOT_HELD"));
    world.reply(World.grantedSlot(next("acquire k of 5 mine"), 3, 80, World.TTL));
    assertEquals(3, user.lease.slot());
  }

  @Test
  void theNextSessionAsksAgainWhichSlotTheTokenHolds() {
    World.User user = acquireOrExtend();
    next("adopt k of 5 slot 2 mine #72");
    moveOn();
    world.reply(World.grantedSlot(next("extend k of 5 mine"), 3, 80, World.TTL));
    world.reply(World.grantedSlot(next("adopt k of 5 slot 3 mine #84"), 3, 80, World.TTL));
    assertEquals(3, user.lease.slot());
  }
}
