package io.redlockd.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.SessionOperation;
import io.redlockd.redlock.v1.SessionRequest;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Connecting, keeping a Session, and moving to the next daemon. */
class SessionTest {
  private final World world = new World(2);

  @Test
  void theFirstMessageCarriesTheGraceAndAPingOnly() {
    world.acquire("k");
    var first = world.takeMessage();
    assertEquals(World.GRACE, Times.nanos(first.getDisconnectGrace()));
    assertEquals(1, first.getOperationsCount());
    assertTrue(first.getOperations(0).hasPing());
  }

  @Test
  void nothingIsOpenedBeforeTheFirstUse() {
    assertEquals(Times.NEVER, world.machine.nextDeadline());
    assertEquals(0, world.session());
  }

  @Test
  void operationsThatAreIssuedWhileAMessageIsWrittenShareTheNextOne() {
    world.hold("k");
    world.acquire("a");
    assertEquals(1, world.takeMessage().getOperationsCount());
    world.acquire("b");
    world.acquire("c");
    assertNull(world.takeMessage());
    world.machine.onWritten(world.session());
    assertEquals(2, world.takeMessage().getOperationsCount());
  }

  @Test
  void aMessageHasAtMostAThousandOperations() {
    world.hold("k");
    world.acquire("first");
    world.takeMessage();
    for (int i = 0; i < 1_500; ++i) {
      world.acquire("k" + i);
    }
    world.machine.onWritten(world.session());
    assertEquals(1_000, world.takeMessage().getOperationsCount());
    world.machine.onWritten(world.session());
    assertEquals(500, world.takeMessage().getOperationsCount());
  }

  @Test
  void aMessageStaysBelowTheDaemonsLimitOfBytes() {
    world.hold("k");
    world.acquire("first");
    world.takeMessage();
    for (int i = 0; i < 300; ++i) {
      world.acquire("k".repeat(8_000) + i);
    }
    int operations = 0;
    while (operations < 300) {
      world.machine.onWritten(world.session());
      SessionRequest message = world.takeMessage();
      assertTrue(message.getSerializedSize() < 600_000);
      operations += message.getOperationsCount();
    }
    assertEquals(300, operations);
  }

  @Test
  void aPingIsSentWhenNothingWasAnsweredForAQuarterOfTheGrace() {
    world.hold("k");
    world.pass(World.GRACE / 4 - 1);
    world.expect();
    world.pass(1);
    world.expect("ping");
    world.pass(World.GRACE / 4);
    world.expect(); // one ping at a time
  }

  @Test
  void aSilentDaemonIsAbandonedAfterAThirdOfTheGrace() {
    world.hold("k");
    world.pass(World.GRACE / 4);
    world.expect("ping");
    world.pass(World.GRACE / 3 - 1);
    assertEquals(1, world.session());
    world.pass(1);
    assertEquals(List.of(0, 1), world.opened);
    assertEquals(List.of(1L), world.cancelled);
  }

  @Test
  void aClientThatWasHeldUpWaitsOnceMoreForThePing() {
    world.hold("k");
    world.pass(World.GRACE / 4);
    List<SessionOperation> ping = world.expect("ping");
    world.holdUp(World.GRACE / 3 + World.GRACE / 10);
    world.machine.tick();
    world.pass(30 * Times.MILLIS);
    assertEquals(1, world.session());
    world.reply(World.ok(ping.get(0)));
    world.pass(World.GRACE / 8);
    assertEquals(1, world.session());
  }

  @Test
  void messagesOfAnAbandonedSessionAreIgnored() {
    World.User user = world.acquire("k");
    List<SessionOperation> sent = world.getReady();
    world.breakOff();
    world.machine.onMessage(1, io.redlockd.redlock.v1.SessionResponse.newBuilder()
        .addResults(World.granted(sent.get(0), 1, World.TTL)).build());
    world.machine.onWritten(1);
    world.machine.onEnded(1, Failure.of(Reason.UNREACHABLE, "late"));
    assertEquals(0, user.told);
    assertEquals(2, world.session());
  }

  @Test
  void drainingMovesToTheNextDaemonAtOnce() {
    world.hold("k");
    world.event(EventType.EVENT_TYPE_DRAINING, "", "", 0);
    assertEquals(List.of(0, 1), world.opened);
    world.reply(World.ok(world.expect("ping").get(0)));
    world.expect("adopt k rl-1 #72");
  }

  @Test
  void drainingAsAReasonMovesToo() {
    World.User user = world.acquire("k");
    world.reply(World.failed(world.getReady().get(0), "DRAINING"));
    assertEquals(List.of(0, 1), world.opened);
    world.reply(World.ok(world.expect("ping").get(0)));
    world.expect("acquire k rl-2");
    assertEquals(0, user.told);
  }

  @Test
  void theClientPausesWhenAllEndpointsHaveFailed() {
    world.acquire("k");
    world.breakOff();
    world.breakOff();
    assertEquals(2, world.session());
    world.pass(50 * Times.MILLIS - 1);
    assertEquals(2, world.session());
    world.pass(1);
    assertEquals(3, world.session());
    world.breakOff();
    world.breakOff();
    world.pass(100 * Times.MILLIS - 1);
    assertEquals(4, world.session());
    world.pass(1);
    assertEquals(5, world.session());
  }

  @Test
  void aSessionThatEndsSoonDoesNotCountAsASuccess() {
    world.acquire("k");
    world.getReady();
    world.breakOff();
    world.reply(World.ok(world.expect("ping").get(0)));
    world.breakOff();
    assertEquals(2, world.session()); // pauses
    world.pass(50 * Times.MILLIS);
    assertEquals(3, world.session());
  }

  @Test
  void aDaemonThatDoesNotAnswerTheFirstPingIsLeft() {
    world.acquire("k");
    world.pass(2 * Times.SECONDS);
    assertEquals(List.of(0, 1), world.opened);
  }

  @Test
  void withLocksAtStakeAllEndpointsAreTriedWithinHalfOfTheGrace() {
    world.hold("k");
    world.breakOff();
    world.pass(World.GRACE / 4);
    assertEquals(3, world.session());
  }

  @Test
  void waitersWaitThroughAnOutageAndSingleTriesFail() {
    World.User waiter = world.acquire("k");
    World.User single = world.acquire("k", null, Kind.ACQUIRE, 0);
    world.breakOff();
    assertEquals(0, single.told);
    world.breakOff();
    assertEquals(Reason.UNREACHABLE, single.reason());
    assertTrue(single.failure.message().contains("reset"));
    assertEquals(0, waiter.told);
  }

  @Test
  void aRefusalFailsAllCalls() {
    World.User waiter = world.acquire("k");
    world.machine.onEnded(1, Failure.of(Reason.UNAUTHENTICATED, "no token"));
    assertEquals(Reason.UNAUTHENTICATED, waiter.reason());
  }

  @Test
  void logLinesNameEndpointsAndKeysAndNoToken() {
    World.User user = world.hold("k");
    world.event(EventType.EVENT_TYPE_LOST, "k", "rl-1", 0);
    world.breakOff();
    assertTrue(world.logged.get(0).contains("daemon0"), world.logged::toString);
    assertTrue(world.logged.stream().anyMatch(line -> line.contains("lock lost: k")), world.logged::toString);
    assertTrue(world.logged.stream().noneMatch(line -> line.contains(user.lease.token())), world.logged::toString);
  }
}
