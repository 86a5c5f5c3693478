package io.redlockd;

import static io.redlockd.FakeDaemon.next;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.redlockd.FakeDaemon.Observed;
import io.redlockd.KeyState.State;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Observers, against daemons that the test simulates. */
class ObserverTest {
  private static final StatusRuntimeException BROKEN = Status.UNAVAILABLE.withDescription("broken").asRuntimeException();
  private static final StatusRuntimeException DRAINING =
      FakeDaemon.decided(Status.Code.UNAVAILABLE, "DRAINING", "the daemon is shutting down");

  private final BlockingQueue<KeyState> heard = new LinkedBlockingQueue<>(); // what is decided
  private final BlockingQueue<KeyState> undecided = new LinkedBlockingQueue<>(); // also when this machine is slow
  private FakeDaemon one;
  private FakeDaemon two;
  private RedlockClient client;

  @BeforeEach
  void start() throws IOException {
    one = new FakeDaemon();
    two = new FakeDaemon();
    client = one.client(two).build();
  }

  @AfterEach
  void stop() {
    client.close();
    one.close();
    two.close();
  }

  private void hear(KeyState state) {
    (state.state() == State.UNDECIDED ? undecided : heard).add(state);
  }

  private void hears(State state, long fence) throws InterruptedException {
    KeyState next = next(heard);
    assertEquals(state + " " + fence, next.state() + " " + next.fencingToken(), next::toString);
  }

  private static LockException end(KeyObserver observer) throws Exception {
    return observer.ended().toCompletableFuture().get(FakeDaemon.PATIENCE.toSeconds(), TimeUnit.SECONDS);
  }

  private static void cancelled(Observed stream) throws Exception {
    stream.cancelled.get(FakeDaemon.PATIENCE.toSeconds(), TimeUnit.SECONDS);
  }

  // --- Reconnects

  @Test
  void eachChangeIsReported() throws InterruptedException {
    try (KeyObserver observer = client.observe(Keys.shared("k"), this::hear)) {
      Observed stream = next(one.observers);
      assertEquals("k", stream.request.getKey());
      stream.vacant();
      hears(State.VACANT, 0);
      stream.held(5, "value", Duration.ofSeconds(10));
      KeyState held = next(heard);
      assertEquals("value", held.value());
      assertEquals(Duration.ofSeconds(10), held.remaining());
      stream.undecided("why");
      while (!next(undecided).message().equals("why")) {}
    }
  }

  @Test
  void theNextDaemonContinuesWithoutRepetition() throws InterruptedException {
    try (KeyObserver observer = client.observe("k", this::hear)) {
      for (StatusRuntimeException error : List.of(BROKEN, DRAINING)) {
        Observed first = next(one.observers);
        first.held(5);
        first.fail(error);
        Observed second = next(two.observers);
        second.held(5);
        second.fail(error);
      }
      Observed third = next(one.observers);
      hears(State.HELD, 5);
      third.vacant();
      hears(State.VACANT, 0);
      third.complete();
      next(two.observers).held(6);
      hears(State.HELD, 6);
    }
  }

  @Test
  void fencingTokensDoNotGoBackAtTheNextDaemon() throws InterruptedException {
    try (KeyObserver observer = client.observe("k", this::hear)) {
      Observed first = next(one.observers);
      first.held(9);
      hears(State.HELD, 9);
      first.fail(BROKEN);
      Observed second = next(two.observers);
      second.held(7);
      second.held(10);
      hears(State.HELD, 10);
    }
  }

  @Test
  void whatALaterTryCanMendDoesNotEndTheObserver() throws InterruptedException {
    one.errors.addAll(List.of(
        BROKEN,
        FakeDaemon.decided(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", "too many observers"),
        Status.INTERNAL.asRuntimeException()));
    two.errors.addAll(List.of(DRAINING, Status.CANCELLED.asRuntimeException()));
    try (KeyObserver observer = client.observe("k", this::hear)) {
      next(two.observers).held(5);
      hears(State.HELD, 5);
      assertTrue(one.errors.isEmpty() && two.errors.isEmpty());
    }
  }

  @Test
  void withoutADaemonTheLastHolderBecomesUndecidedOnce() throws InterruptedException {
    try (KeyObserver observer = client.observe("k", this::hear)) {
      Observed stream = next(one.observers);
      stream.held(5, "", Duration.ofMillis(200));
      hears(State.HELD, 5);
      undecided.clear();
      one.always = () -> BROKEN;
      two.always = () -> BROKEN;
      stream.fail(BROKEN);
      assertTrue(next(undecided).message().contains("broken"));
      two.always = () -> null;
      next(two.observers).held(5);
      hears(State.HELD, 5);
    }
  }

  @Test
  void anAbsentDaemonIsUndecided() throws Exception {
    int port;
    try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      port = free.getLocalPort();
    }
    try (RedlockClient lonely = RedlockClient.builder().endpoints("127.0.0.1:" + port).build();
        KeyObserver observer = lonely.observe("k", this::hear)) {
      assertTrue(next(undecided).message().contains("127.0.0.1:" + port));
      observer.close();
      assertEquals(Reason.CANCELLED, end(observer).reason());
    }
  }

  @Test
  void aDaemonThatAcceptsAndStaysSilentIsLeft() throws Exception {
    try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        RedlockClient patient = RedlockClient.builder()
            .endpoints("127.0.0.1:" + silent.getLocalPort(), one.endpoint())
            .connectTimeout(Duration.ofMillis(100))
            .build();
        KeyObserver observer = patient.observe("k", this::hear)) {
      next(one.observers).vacant();
      hears(State.VACANT, 0);
    }
  }

  // --- The callback

  @Test
  void aSlowReaderGetsTheLatestState() throws InterruptedException {
    CountDownLatch reading = new CountDownLatch(1);
    CountDownLatch slow = new CountDownLatch(1);
    try (KeyObserver observer = client.observe("k", state -> {
      hear(state);
      if (state.state() != State.UNDECIDED) {
        reading.countDown();
        await(slow);
      }
    })) {
      Observed stream = next(one.observers);
      stream.held(1);
      await(reading);
      for (int fence = 2; fence <= 500; ++fence) {
        stream.held(fence);
      }
      stream.fail(BROKEN);
      next(two.observers); // the client has read all by now
      slow.countDown();
      hears(State.HELD, 1);
      hears(State.HELD, 500);
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      assertTrue(latch.await(FakeDaemon.PATIENCE.toSeconds(), TimeUnit.SECONDS));
    } catch (InterruptedException interrupted) {
      throw new AssertionError(interrupted);
    }
  }

  @Test
  void aCallbackThatThrowsHearsTheNextState() throws InterruptedException {
    try (KeyObserver observer = client.observe("k", state -> {
      hear(state);
      throw new IllegalStateException("a callback that throws");
    })) {
      Observed stream = next(one.observers);
      stream.held(1);
      hears(State.HELD, 1);
      stream.held(2);
      hears(State.HELD, 2);
    }
  }

  // --- The end

  @Test
  void aCloseEndsTheCall() throws Exception {
    KeyObserver observer = client.observe("k", this::hear);
    Observed stream = next(one.observers);
    stream.held(1);
    hears(State.HELD, 1);
    observer.close();
    observer.close();
    cancelled(stream);
    assertInstanceOf(LockCancelledException.class, end(observer));
  }

  @Test
  void aCloseBeforeTheFirstStateEndsTheCall() throws Exception {
    KeyObserver observer = client.observe("k", this::hear);
    Observed stream = next(one.observers);
    observer.close();
    cancelled(stream);
    assertEquals(Reason.CANCELLED, end(observer).reason());
    assertTrue(heard.isEmpty(), heard::toString);
  }

  @Test
  void aCloseBetweenTwoStreamsEndsTheRetries() throws Exception {
    one.always = () -> BROKEN;
    two.always = () -> BROKEN;
    KeyObserver observer = client.observe("k", this::hear);
    next(undecided);
    observer.close();
    assertEquals(Reason.CANCELLED, end(observer).reason());
    one.always = () -> null;
    two.always = () -> null;
    Thread.sleep(1_200); // longer than the longest pause
    assertTrue(one.observers.isEmpty() && two.observers.isEmpty());
  }

  @Test
  void aCloseWithinTheCallbackIsTheLastThingHeard() throws Exception {
    CountDownLatch created = new CountDownLatch(1);
    KeyObserver[] observer = new KeyObserver[1];
    observer[0] = client.observe("k", state -> {
      if (state.state() == State.UNDECIDED) {
        return;
      }
      await(created);
      observer[0].close();
      assertFalse(observer[0].ended().toCompletableFuture().isDone(), "the callback still runs");
      hear(state);
    });
    created.countDown();
    Observed stream = next(one.observers);
    stream.held(1);
    cancelled(stream);
    assertEquals(Reason.CANCELLED, end(observer[0]).reason());
    hears(State.HELD, 1);
    assertTrue(heard.isEmpty(), heard::toString);
  }

  @Test
  void aStateThatWaitsIsDroppedByTheClose() throws Exception {
    CountDownLatch reading = new CountDownLatch(1);
    CountDownLatch slow = new CountDownLatch(1);
    KeyObserver observer = client.observe("k", state -> {
      hear(state);
      if (state.state() != State.UNDECIDED) {
        reading.countDown();
        await(slow);
      }
    });
    Observed stream = next(one.observers);
    stream.held(1);
    await(reading);
    stream.held(2);
    stream.fail(BROKEN);
    next(two.observers); // the client has read the state
    observer.close();
    slow.countDown();
    end(observer);
    hears(State.HELD, 1);
    assertTrue(heard.isEmpty(), heard::toString);
  }

  @Test
  void theCloseOfTheClientEndsItsObservers() throws Exception {
    RedlockClient direct = one.client(two).executor(Runnable::run).build();
    KeyObserver observer = direct.observe("k", this::hear);
    Observed stream = next(one.observers);
    direct.close();
    assertTrue(observer.ended().toCompletableFuture().isDone());
    assertEquals(Reason.CANCELLED, end(observer).reason());
    cancelled(stream);
    assertThrows(LockCancelledException.class, () -> direct.observe("k", this::hear));
  }

  @Test
  void whatNoRetryCanMendEndsTheObserver() throws Exception {
    Map<StatusRuntimeException, Reason> ends = Map.of(
        FakeDaemon.decided(Status.Code.UNAUTHENTICATED, "UNAUTHENTICATED", "no token"), Reason.UNAUTHENTICATED,
        FakeDaemon.decided(Status.Code.PERMISSION_DENIED, "PERMISSION_DENIED", "not yours"), Reason.PERMISSION_DENIED,
        FakeDaemon.decided(Status.Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "key"), Reason.INVALID_ARGUMENT,
        Status.PERMISSION_DENIED.asRuntimeException(), Reason.PERMISSION_DENIED,
        Status.UNIMPLEMENTED.asRuntimeException(), Reason.INTERNAL);
    for (Map.Entry<StatusRuntimeException, Reason> each : ends.entrySet()) {
      one.errors.add(each.getKey());
      LockException end = end(client.observe("k", this::hear));
      assertEquals(each.getValue(), end.reason());
      assertTrue(end.getMessage().startsWith("k: "), end.getMessage());
    }
    assertTrue(two.observers.isEmpty());
    assertTrue(heard.isEmpty(), heard::toString);
  }

  @Test
  void badArgumentsAreRefused() {
    assertThrows(LockArgumentException.class, () -> client.observe("", this::hear));
    assertThrows(LockArgumentException.class, () -> client.observe(Keys.together("a", "b"), this::hear));
    assertThrows(NullPointerException.class, () -> client.observe("k", null));
  }
}
