package io.redlockd;

import static io.redlockd.FakeDaemon.next;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import io.redlockd.FakeDaemon.Observed;
import io.redlockd.KeyState.State;
import io.redlockd.internal.core.Times;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.ProclaimRequest;
import io.redlockd.redlock.v1.ReleaseRequest;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Values, kept keys and elections, against a daemon that the test simulates. */
class ElectionTest {
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults();
  private static final String LONG = "x".repeat(4097);

  private FakeDaemon daemon;
  private FakeDaemon other;
  private RedlockClient client;
  private Election election;

  @BeforeEach
  void start() throws IOException {
    daemon = new FakeDaemon();
    other = new FakeDaemon();
    client = daemon.client(other).build();
    election = client.election("e");
  }

  @AfterEach
  void stop() {
    client.close();
    daemon.close();
    other.close();
  }

  private static <T> T result(CompletableFuture<T> future) throws Exception {
    return future.get(FakeDaemon.PATIENCE.toSeconds(), TimeUnit.SECONDS);
  }

  private static Reason failure(CompletableFuture<?> future) {
    ExecutionException failed = assertThrows(ExecutionException.class, () -> result(future));
    return ((LockException) failed.getCause()).reason();
  }

  private static void notHeld(Executable call) {
    assertEquals(Reason.LOCK_NOT_HELD, assertThrows(LockLostException.class, call).reason());
  }

  private static void invalid(Executable call) {
    assertThrows(LockArgumentException.class, call);
  }

  // --- Arguments

  @Test
  void badArgumentsFailOnlyTheirCall() throws Exception {
    invalid(() -> client.acquire("k", OPTIONS.withValue(LONG)));
    invalid(() -> client.acquire("k", OPTIONS.withLockDelay(Duration.ofMillis(-1))));
    invalid(() -> client.acquire("k", OPTIONS.withKeepFor(Duration.ZERO)));
    invalid(() -> client.acquireOrExtend("k", "mine", OPTIONS.withValue(LONG)));
    invalid(() -> client.acquireDetached("k", OPTIONS.withValue(LONG)));
    invalid(() -> client.acquireDetached("k", OPTIONS.withLockDelay(Duration.ofMillis(-1))));
    assertEquals(Reason.INVALID_ARGUMENT, failure(client.acquireAsync("k", OPTIONS.withValue(LONG))));
    invalid(() -> client.proclaim("k", "mine", LONG));
    invalid(() -> client.proclaim("", "mine", ""));
    invalid(() -> client.proclaim("k", "", ""));
    assertEquals(Reason.INVALID_ARGUMENT, failure(client.proclaimAsync("k", "mine", LONG)));
    invalid(() -> client.release("k", "mine", Duration.ZERO));
    assertEquals(Reason.INVALID_ARGUMENT, failure(client.releaseAsync("k", "mine", Duration.ofSeconds(-1))));
    invalid(() -> client.election(""));
    invalid(() -> election.campaign(LONG));
    assertEquals(Reason.INVALID_ARGUMENT, failure(election.campaignAsync(LONG, OPTIONS)));
    Lock lock = client.acquire("k");
    invalid(() -> lock.release(Duration.ZERO));
    assertEquals(Reason.INVALID_ARGUMENT, failure(lock.releaseAsync(Duration.ofSeconds(-1))));
    invalid(() -> lock.proclaim(LONG));
    assertEquals(Reason.INVALID_ARGUMENT, failure(lock.proclaimAsync(LONG)));
    assertTrue(lock.isHeld());
    assertEquals(1, daemon.acquires.size());
    assertTrue(daemon.releases.isEmpty() && daemon.proclaims.isEmpty());
    assertThrows(NullPointerException.class, () -> OPTIONS.withValue(null));
    assertThrows(NullPointerException.class, () -> OPTIONS.withLockDelay(null));
  }

  // --- What is sent

  private void sent(AcquireRequest request) {
    assertEquals("10.0.0.1:80", request.getValue());
    assertEquals(7 * Times.SECONDS, Times.nanos(request.getLockDelay()));
  }

  @Test
  void everyAcquireSendsItsValueAndDelay() throws Exception {
    AcquireOptions options = OPTIONS.withValue("10.0.0.1:80").withLockDelay(Duration.ofSeconds(7));
    client.acquire("k", options);
    sent(next(daemon.acquires));
    client.acquireDetached("k", options);
    sent(next(daemon.acquires));
    client.acquireDetached("k", OPTIONS);
    AcquireRequest plain = next(daemon.acquires);
    assertEquals("", plain.getValue());
    assertFalse(plain.hasLockDelay());
  }

  private static void keeps(ReleaseRequest request, long time) {
    assertEquals(time > 0, request.hasKeepFor());
    assertEquals(time, Times.nanos(request.getKeepFor()));
  }

  @Test
  void aReleaseKeepsTheKeyIfItIsToldSo() throws Exception {
    AcquireOptions keeping = OPTIONS.withKeepFor(Duration.ofSeconds(10));
    client.acquire("k", keeping).close();
    keeps(next(daemon.releases), 10 * Times.SECONDS);
    client.acquire("k", keeping).release();
    keeps(next(daemon.releases), 10 * Times.SECONDS);
    client.run("k", keeping, lock -> {});
    keeps(next(daemon.releases), 10 * Times.SECONDS);
    client.acquire("k", keeping).release(Duration.ofSeconds(3));
    keeps(next(daemon.releases), 3 * Times.SECONDS);
    result(client.acquire("k").releaseAsync(Duration.ofSeconds(3)));
    keeps(next(daemon.releases), 3 * Times.SECONDS);
    client.acquire("k").close();
    keeps(next(daemon.releases), 0);
  }

  @Test
  void aReleaseByTokenKeepsTheKeyIfItIsToldSo() throws Exception {
    client.release("k", "mine", Duration.ofSeconds(3));
    keeps(next(daemon.releases), 3 * Times.SECONDS);
    daemon.errors.add(Status.UNAVAILABLE.asRuntimeException());
    result(client.releaseAsync("k", "mine", Duration.ofSeconds(3)));
    keeps(next(daemon.releases), 3 * Times.SECONDS);
    keeps(next(other.releases), 3 * Times.SECONDS); // each copy
    client.release("k", "mine");
    keeps(next(daemon.releases), 0);
  }

  @Test
  void aCloseReportsThatTheKeyIsNotKept() throws Exception {
    daemon.refusesToKeep = true;
    Lock lock = client.acquire("k", OPTIONS.withKeepFor(Duration.ofDays(1)));
    invalid(lock::close);
    keeps(next(daemon.releases), 24 * 3600 * Times.SECONDS);
    keeps(next(daemon.releases), 0);
  }

  // --- Proclaim

  @Test
  void aProclaimNamesTheTokenAndTheKeys() throws Exception {
    Lock lock = client.acquire(Keys.together("a", "b"));
    lock.proclaim("two");
    ProclaimRequest request = next(daemon.proclaims);
    assertEquals(lock.keys(), request.getKeysList());
    assertEquals(lock.token(), request.getToken());
    assertEquals("two", request.getValue());
    Lock slot = client.acquire(Keys.semaphore("s", 3));
    result(slot.proclaimAsync(""));
    request = next(daemon.proclaims);
    assertEquals("s", request.getKey());
    assertEquals(slot.token(), request.getToken());
    client.proclaim(Keys.shared("k"), "mine", "three");
    request = next(daemon.proclaims);
    assertEquals("k", request.getKey());
    assertEquals("mine", request.getToken());
    assertEquals("three", request.getValue());
  }

  @Test
  void aProclaimOfALockThatIsNotHeldIsNotSent() throws Exception {
    Lock released = client.acquire("k");
    released.release();
    notHeld(() -> released.proclaim("two"));
    Lock lost = client.acquire("k");
    daemon.losing = true;
    notHeld(() -> lost.extend(Duration.ofSeconds(1)));
    notHeld(() -> lost.proclaim("two"));
    assertEquals(Reason.LOCK_NOT_HELD, failure(lost.proclaimAsync("two")));
    assertTrue(daemon.proclaims.isEmpty());
  }

  @Test
  void aProclaimThatFindsNothingDoesNotEndTheLock() throws Exception {
    Lock lock = client.acquire("k");
    daemon.errors.add(FakeDaemon.decided(Status.Code.FAILED_PRECONDITION, "LOCK_NOT_HELD", "another token holds the key"));
    notHeld(() -> lock.proclaim("two"));
    assertTrue(lock.isHeld());
    daemon.errors.add(FakeDaemon.decided(Status.Code.FAILED_PRECONDITION, "LOCK_NOT_HELD", "nobody holds the key"));
    notHeld(() -> client.proclaim("k", "mine", "two"));
  }

  @Test
  void aProclaimMovesToAnotherDaemon() throws Exception {
    Lock lock = client.acquire("k");
    daemon.errors.add(Status.UNAVAILABLE.asRuntimeException());
    lock.proclaim("two");
    assertEquals("two", next(daemon.proclaims).getValue());
    assertEquals("two", next(other.proclaims).getValue());
    daemon.errors.add(FakeDaemon.decided(Status.Code.UNAVAILABLE, "DRAINING", "the daemon is shutting down"));
    client.proclaim("k", "mine", "three");
    assertEquals("three", next(other.proclaims).getValue());
  }

  @Test
  void aProclaimIsRepeatedWhileTooFewNodesAnswer() throws Exception {
    Lock lock = client.acquire("k");
    daemon.errors.add(FakeDaemon.decided(Status.Code.UNAVAILABLE, "QUORUM_UNAVAILABLE", "1 of 3 nodes answered"));
    other.errors.add(FakeDaemon.decided(Status.Code.UNAVAILABLE, "NODE_SET_MISMATCH", "another node set"));
    lock.proclaim("two");
    assertEquals("two", next(daemon.proclaims).getValue());
    assertEquals("two", next(other.proclaims).getValue());
    assertEquals("two", next(daemon.proclaims).getValue());
  }

  @Test
  void theEndOfACallSaysThatTheDaemonsRefusedIt() throws Exception {
    try (RedlockClient hasty = daemon.client(other).callTimeout(Duration.ofSeconds(1)).build()) {
      daemon.always = () -> FakeDaemon.decided(Status.Code.UNAVAILABLE, "QUORUM_UNAVAILABLE", "1 of 3 nodes answered");
      other.always = daemon.always;
      assertEquals(Reason.QUORUM_UNAVAILABLE, failure(hasty.proclaimAsync("k", "mine", "two")));
      for (Duration retryAfter : List.of(Duration.ofMillis(100), Duration.ofMinutes(1))) { // the latter is too late
        daemon.always = () -> FakeDaemon.overloaded(retryAfter);
        other.always = daemon.always;
        assertEquals(Reason.OVERLOADED, failure(hasty.releaseAsync("k", "mine")));
      }
    }
  }

  @Test
  void aProclaimTakesAtMostTheTimeOfACall() throws Exception {
    try (RedlockClient hasty = daemon.client(other).callTimeout(Duration.ofSeconds(1)).build()) {
      Lock lock = hasty.acquire("k");
      daemon.always = Status.UNAVAILABLE::asRuntimeException;
      other.always = daemon.always;
      LockException failure = assertThrows(LockUnavailableException.class, () -> lock.proclaim("two"));
      assertEquals(Reason.UNREACHABLE, failure.reason());
      assertTrue(failure.getMessage().contains(daemon.endpoint()), failure.getMessage());
      assertTrue(lock.isHeld());
    }
  }

  @Test
  void aReleaseEndsAProclaim() throws Exception {
    Lock lock = client.acquire("k");
    daemon.silent = true;
    CompletableFuture<Void> proclaiming = lock.proclaimAsync("two");
    next(daemon.proclaims);
    lock.release();
    assertEquals(Reason.LOCK_NOT_HELD, failure(proclaiming));
    assertTrue(other.proclaims.isEmpty());
  }

  @Test
  void aLossEndsAProclaim() throws Exception {
    Lock lock = client.acquire("k");
    daemon.silent = true;
    CompletableFuture<Void> proclaiming = lock.proclaimAsync("two");
    next(daemon.proclaims);
    daemon.losing = true;
    notHeld(() -> lock.extend(Duration.ofSeconds(1)));
    assertEquals(Reason.LOCK_NOT_HELD, failure(proclaiming));
  }

  @Test
  void theWaitBoundsTheExtensionOfALockThatThisClientHolds() throws Exception {
    try (Lock lock = client.acquire("k", OPTIONS.withToken("own"))) {
      daemon.ignoresExtends = true;
      AcquireOptions hasty = OPTIONS.withWait(Duration.ofMillis(300));
      assertEquals(Reason.DEADLINE_EXCEEDED, failure(client.acquireOrExtendAsync("k", "own", hasty)));
      assertEquals(Reason.DEADLINE_EXCEEDED, failure(client.adoptAsync("k", "own", hasty)));
      assertTrue(lock.isHeld());
    }
  }

  @Test
  void theRetryPolicyIsThatOfTheExtensionToo() throws Exception {
    try (Lock lock = client.acquire("k", OPTIONS.withToken("own"))) {
      RetryPolicy retry = new RetryPolicy(3, Duration.ofMillis(10), Duration.ofMillis(10));
      assertSame(lock, client.acquireOrExtend("k", "own", OPTIONS.withRetry(retry)));
      assertEquals(3, next(daemon.extendsInSession).getRetry().getMaxRetries());
      assertSame(lock, client.acquireOrExtend("k", "own", OPTIONS.withWait(Duration.ZERO)));
      assertTrue(next(daemon.extendsInSession).hasRetry());
      assertSame(lock, client.acquireOrExtend("k", "own", OPTIONS));
      assertFalse(next(daemon.extendsInSession).hasRetry());
    }
  }

  @Test
  void theTimeOfTheTokenFunctionCounts() throws Exception {
    CountDownLatch over = new CountDownLatch(1);
    try (RedlockClient slow = daemon.client().bearerToken(() -> {
      try {
        over.await();
      } catch (InterruptedException ignored) {
        return "t";
      }
      return "t";
    }).callTimeout(Duration.ofMillis(300)).build()) {
      assertEquals(Reason.UNREACHABLE, failure(slow.acquireDetachedAsync("k", OPTIONS.withWait(Duration.ofMillis(300)))));
      assertEquals(Reason.UNREACHABLE, failure(slow.releaseAsync("k", "own")));
      CompletableFuture<Lease> given = slow.acquireDetachedAsync("k", OPTIONS);
      given.cancel(true);
      assertTrue(given.isCancelled());
    } finally {
      over.countDown();
    }
    assertTrue(daemon.acquires.isEmpty());
  }

  // --- The end of the client

  @Test
  void theEndOfTheClientEndsItsUnaryCalls() throws Exception {
    daemon.silent = true;
    CompletableFuture<Lease> waiting = client.acquireDetachedAsync("k", OPTIONS);
    String token = next(daemon.acquires).getToken();
    CompletableFuture<Void> releasing = client.releaseAsync("l", "own");
    next(daemon.releases);
    daemon.silent = false;
    client.close();
    assertEquals(Reason.CANCELLED, failure(waiting));
    assertEquals(Reason.CANCELLED, failure(releasing));
    assertEquals(token, next(daemon.releases).getToken()); // the daemon may have granted the lock
    assertEquals(Reason.CANCELLED, failure(client.acquireDetachedAsync("k", OPTIONS)));
    assertTrue(daemon.acquires.isEmpty());
  }

  // --- Elections

  @Test
  void aCampaignAcquiresTheLockWithTheOptions() throws Exception {
    AcquireOptions options = OPTIONS
        .withTtl(Duration.ofSeconds(4))
        .withOwner("me")
        .withValue("not this one")
        .withLockDelay(Duration.ofSeconds(7))
        .withKeepFor(Duration.ofSeconds(10));
    Lock won = election.campaign("one", options);
    AcquireRequest request = next(daemon.acquires);
    assertEquals("e", request.getKey());
    assertEquals("one", request.getValue());
    assertEquals("me", request.getOwner());
    assertEquals(4 * Times.SECONDS, Times.nanos(request.getTtl()));
    assertEquals(7 * Times.SECONDS, Times.nanos(request.getLockDelay()));
    assertTrue(won.fencingToken() > 0);
    election.proclaim("two");
    ProclaimRequest proclaimed = next(daemon.proclaims);
    assertEquals(won.token(), proclaimed.getToken());
    assertEquals("two", proclaimed.getValue());
    election.resign();
    assertEquals(won.token(), next(daemon.releases).getToken());
    assertFalse(won.isHeld());
    notHeld(election::resign);
    notHeld(() -> election.proclaim("three"));
    Lock again = election.campaign("four");
    assertEquals("four", next(daemon.acquires).getValue());
    assertTrue(again.fencingToken() > won.fencingToken());
  }

  @Test
  void nobodyProclaimsOrResignsWithoutLeading() throws Exception {
    notHeld(() -> election.proclaim("one"));
    notHeld(election::resign);
    assertEquals(Reason.LOCK_NOT_HELD, failure(election.proclaimAsync("one")));
    assertEquals(Reason.LOCK_NOT_HELD, failure(election.resignAsync()));
    election.campaign("one").release();
    notHeld(() -> election.proclaim("one"));
    notHeld(election::resign);
    Lock lost = election.campaign("two");
    daemon.losing = true;
    notHeld(() -> lost.extend(Duration.ofSeconds(1)));
    notHeld(() -> election.proclaim("one"));
    notHeld(election::resign);
  }

  @Test
  void anAsynchronousCampaignLeadsWhenItCompletes() throws Exception {
    CompletableFuture<Lock> campaign = election.campaignAsync("one", OPTIONS);
    result(campaign.thenCompose(won -> election.proclaimAsync("two")));
    assertEquals("two", next(daemon.proclaims).getValue());
    result(election.resignAsync());
    assertFalse(result(campaign).isHeld());
  }

  @Test
  void theLeaderIsTheFirstDecidedState() throws Exception {
    CompletableFuture<KeyState> leader = election.leaderAsync();
    Observed stream = next(daemon.observers);
    assertEquals("e", stream.request.getKey());
    stream.undecided("no quorum yet");
    stream.held(7, "one", Duration.ofSeconds(10));
    assertEquals("one", result(leader).value());
    result(stream.cancelled);
    leader = election.leaderAsync();
    stream = next(daemon.observers);
    stream.vacant();
    assertEquals(State.VACANT, result(leader).state());
    result(stream.cancelled);
  }

  @Test
  void theLeaderIsUnknownWithoutAQuorumOrADaemon() throws Exception {
    try (RedlockClient hasty = daemon.client(other).callTimeout(Duration.ofSeconds(2)).build()) {
      CompletableFuture<KeyState> leader = hasty.election("e").leaderAsync();
      Observed stream = next(daemon.observers);
      stream.undecided("2 of 3 nodes do not answer");
      ExecutionException failed = assertThrows(ExecutionException.class, () -> result(leader));
      LockUnavailableException error = (LockUnavailableException) failed.getCause();
      assertEquals(Reason.QUORUM_UNAVAILABLE, error.reason());
      assertTrue(error.getMessage().contains("2 of 3 nodes"), error.getMessage());
      result(stream.cancelled);
      daemon.always = () -> Status.UNAVAILABLE.withDescription("broken").asRuntimeException();
      other.always = daemon.always;
      error = assertThrows(LockUnavailableException.class, () -> hasty.election("e").leader());
      assertEquals(Reason.UNREACHABLE, error.reason());
      assertTrue(error.getMessage().contains("broken"), error.getMessage());
    }
  }

  @Test
  void theLeaderIsNotSoughtInVain() throws Exception {
    daemon.errors.add(FakeDaemon.decided(Status.Code.PERMISSION_DENIED, "PERMISSION_DENIED", "not yours"));
    assertThrows(LockAccessException.class, () -> election.leader());
    CompletableFuture<KeyState> leader = election.leaderAsync();
    Observed stream = next(daemon.observers);
    client.close();
    assertEquals(Reason.CANCELLED, failure(leader));
    result(stream.cancelled);
    assertThrows(LockCancelledException.class, () -> election.leader());
  }

  @Test
  void anElectionCanBeObserved() throws Exception {
    BlockingQueue<KeyState> heard = new LinkedBlockingQueue<>();
    try (KeyObserver observer = election.observe(heard::add)) {
      Observed stream = next(daemon.observers);
      assertEquals("e", stream.request.getKey());
      stream.held(7);
      while (next(heard).fencingToken() != 7) {} // UNDECIDED if this machine is slow
    }
  }
}
