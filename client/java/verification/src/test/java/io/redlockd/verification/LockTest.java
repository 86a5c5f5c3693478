package io.redlockd.verification;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.AcquireOptions;
import io.redlockd.Keys;
import io.redlockd.Lease;
import io.redlockd.Lock;
import io.redlockd.LockAlreadyHeldException;
import io.redlockd.LockArgumentException;
import io.redlockd.LockCancelledException;
import io.redlockd.LockException;
import io.redlockd.LockKindMismatchException;
import io.redlockd.LockLostException;
import io.redlockd.LockTimeoutException;
import io.redlockd.LockUnavailableException;
import io.redlockd.Reason;
import io.redlockd.RedlockClient;
import io.redlockd.testing.RedlockExtension;
import io.redlockd.testing.RedlockServer;
import java.io.ByteArrayOutputStream;
import java.io.ObjectOutputStream;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Locks of a client, against a real daemon. Each test has keys of its own. */
@ExtendWith(RedlockExtension.class)
class LockTest {
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults();
  private static final AcquireOptions TRY = OPTIONS.withWait(Duration.ZERO);

  private RedlockClient client;
  private RedlockClient rival;

  @BeforeEach
  void open(RedlockServer server) {
    client = RedlockClient.builder().endpoints(server.endpoint()).build();
    rival = RedlockClient.builder().endpoints(server.endpoint()).owner("rival").build();
  }

  @AfterEach
  void close() {
    client.close();
    rival.close();
  }

  private boolean isFree(String key) throws InterruptedException {
    var lock = rival.tryAcquire(key);
    lock.ifPresent(Lock::close);
    return lock.isPresent();
  }

  private void untilFree(String key) throws InterruptedException {
    rival.acquire(key, OPTIONS.withWait(Duration.ofSeconds(5))).close();
  }

  // --- Acquiring and releasing

  @Test
  void aLockExcludesOthersUntilItIsClosed() throws InterruptedException {
    try (Lock lock = client.acquire("excludes")) {
      assertTrue(lock.isHeld());
      assertTrue(lock.validity().compareTo(Duration.ofSeconds(2)) > 0);
      assertTrue(rival.tryAcquire("excludes").isEmpty());
      assertFalse(lock.toString().contains(lock.token()));
    }
    assertTrue(isFree("excludes"));
  }

  @Test
  void theFencingTokenGrows() throws InterruptedException {
    long first;
    try (Lock lock = client.acquire("fence")) {
      first = lock.fencingToken();
    }
    try (Lock lock = rival.acquire("fence")) {
      assertTrue(lock.fencingToken() > first);
    }
  }

  @Test
  void aWaitThatIsOverIsATimeout() throws InterruptedException {
    try (Lock lock = client.acquire("timeout")) {
      LockTimeoutException over = assertThrows(
          LockTimeoutException.class, () -> rival.acquire("timeout", OPTIONS.withWait(Duration.ofMillis(300))));
      assertEquals(Reason.DEADLINE_EXCEEDED, over.reason());
      assertTrue(lock.isHeld());
    }
  }

  @Test
  void aSecondReleaseEndsAsTheFirst() throws InterruptedException {
    Lock lock = client.acquire("twice");
    lock.release();
    lock.release();
    lock.close();
    assertThrows(LockLostException.class, () -> lock.extend(Duration.ofSeconds(1)));
  }

  @Test
  void anExtensionRaisesTheValidity() throws InterruptedException {
    try (Lock lock = client.acquire("extend", OPTIONS.withTtl(Duration.ofSeconds(1)))) {
      lock.extend(Duration.ofSeconds(30));
      lock.tryExtend(Duration.ofSeconds(40));
      lock.extendAsync(Duration.ofSeconds(50)).join();
      assertTrue(lock.validity().toMillis() > 2_000);
    }
  }

  @Test
  void aBadArgumentFailsOnlyItsOwnCall() throws InterruptedException {
    try (Lock lock = client.acquire("bad")) {
      assertThrows(LockArgumentException.class, () -> client.acquire("\ud800"));
      assertThrows(LockArgumentException.class, () -> client.tryAcquire("k", OPTIONS.withTtl(Duration.ofMillis(1))));
      CompletableFuture<Lock> future = client.acquireAsync("", OPTIONS);
      assertInstanceOf(LockArgumentException.class, assertThrows(ExecutionException.class, future::get).getCause());
      LockException daemons = assertThrows(
          LockArgumentException.class, () -> client.acquire("long", OPTIONS.withTtl(Duration.ofDays(30))));
      assertEquals(Reason.INVALID_ARGUMENT, daemons.reason());
      assertTrue(lock.isHeld());
    }
  }

  @Test
  void aTokenThatHoldsTheLockIsRefused() throws InterruptedException {
    AcquireOptions own = OPTIONS.withToken("mine");
    try (Lock lock = client.acquire("token", own)) {
      assertEquals("mine", lock.token());
      assertThrows(LockAlreadyHeldException.class, () -> client.acquire("token", own.withWait(Duration.ZERO)));
      assertThrows(LockAlreadyHeldException.class, () -> client.acquire("token", own));
      assertSame(lock, client.acquireOrExtend("token", "mine", OPTIONS));
      assertSame(lock, client.adopt("token", "mine", OPTIONS));
    }
  }

  // --- Several keys together

  @Test
  void severalKeysAreLockedTogether() throws InterruptedException {
    try (Lock lock = client.acquire(Keys.together("several/b", "several/a"))) {
      assertEquals(List.of("several/a", "several/b"), lock.keys());
      assertTrue(lock.toString().contains("several/a, several/b"), lock.toString());
      assertFalse(isFree("several/a"));
      assertFalse(isFree("several/b"));
      LockException refused = assertThrows(
          LockAlreadyHeldException.class, () -> rival.acquire(Keys.together("several/b", "several/c"), TRY));
      assertEquals(List.of("several/b", "several/c"), refused.keys());
      assertTrue(refused.getMessage().startsWith("several/b, several/c: "), refused.getMessage());
      assertTrue(isFree("several/c"));
      assertSame(lock, client.adopt(Keys.together("several/a", "several/b"), lock.token(), OPTIONS));
    }
    assertTrue(isFree("several/a"));
    assertTrue(isFree("several/b"));
  }

  @Test
  void theLossOfOneKeyIsTheLossOfTheLock(RedlockServer server) throws Exception {
    Lock lock = client.acquire(Keys.together("lose/a", "lose/b"));
    server.lose("lose/b");
    LockLostException loss = lock.lost().toCompletableFuture().get(10, TimeUnit.SECONDS);
    assertEquals(lock.keys(), loss.keys());
    assertTrue(loss.getMessage().startsWith("lose/a, lose/b: "), loss.getMessage());
    assertThrows(LockLostException.class, lock::close);
  }

  @Test
  void aLeaseOfSeveralKeysIsHandedOverByItsNames() throws InterruptedException {
    Lease lease = client.acquireDetached(Keys.together("hand/b", "hand/a"), OPTIONS.withTtl(Duration.ofSeconds(5)));
    assertEquals(List.of("hand/a", "hand/b"), lease.keys());
    String key = Keys.together(lease.keys());
    assertEquals(lease.key(), rival.extend(key, lease.token(), Duration.ofSeconds(5)).key());
    try (Lock adopted = rival.adopt(key, lease.token(), OPTIONS)) {
      assertEquals(lease.keys(), adopted.keys());
    }
    assertTrue(isFree("hand/a"));
    lease = client.acquireDetached(key, OPTIONS.withToken("mine"));
    client.release(key, "mine");
    assertTrue(isFree("hand/b"));
  }

  @Test
  void aShareIsHandedOverAsAShare() throws InterruptedException {
    Lease lease = client.acquireDetached(Keys.shared("share"), OPTIONS.withTtl(Duration.ofSeconds(5)));
    assertTrue(Keys.isShared(lease.key()));
    assertEquals(List.of("share"), lease.keys());
    assertThrows(LockLostException.class, () -> rival.adopt("share", lease.token(), OPTIONS));
    try (Lock other = client.acquire(Keys.shared("share"));
        Lock adopted = rival.adopt(Keys.shared("share"), lease.token(), OPTIONS)) {
      assertEquals(other.key(), adopted.key());
      assertFalse(isFree("share"));
    }
    assertTrue(isFree("share"));
  }

  @Test
  void aSlotIsHandedOverWithItsLimit() throws InterruptedException {
    String semaphore = Keys.semaphore("slots", 2);
    Lease lease = client.acquireDetached(semaphore, OPTIONS.withTtl(Duration.ofSeconds(5)));
    assertEquals(semaphore, lease.key());
    assertEquals(2, lease.maxHolders());
    String slot = Keys.slot(semaphore, lease.slot());
    String otherLimit = Keys.semaphore("slots", 3);
    String otherSlot = Keys.slot(semaphore, 3 - lease.slot());
    for (String wrong : List.of(otherSlot, otherLimit)) {
      assertThrows(LockLostException.class, () -> rival.extend(wrong, lease.token(), Duration.ofSeconds(5)));
      assertThrows(LockLostException.class, () -> rival.adopt(wrong, lease.token(), OPTIONS));
    }
    for (String right : List.of(slot, semaphore)) {
      assertEquals(lease.slot(), rival.extend(right, lease.token(), Duration.ofSeconds(5)).slot());
    }
    try (Lock other = client.acquire(semaphore);
        Lock adopted = rival.adopt(semaphore, lease.token(), OPTIONS)) {
      assertEquals(lease.slot(), adopted.slot());
      assertEquals(3 - lease.slot(), other.slot());
      assertTrue(client.tryAcquire(semaphore).isEmpty());
      for (String right : List.of(slot, semaphore)) {
        assertSame(adopted, rival.adopt(right, lease.token(), OPTIONS));
      }
      assertThrows(LockLostException.class, () -> rival.adopt(otherSlot, lease.token(), OPTIONS));
      assertTrue(adopted.isHeld());
    }
    assertTrue(isFree("slots"));
  }

  @Test
  void acquireOrExtendFindsTheSlotOfItsToken() throws InterruptedException {
    String semaphore = Keys.semaphore("found", 64);
    Lease lease = client.acquireDetached(semaphore, OPTIONS.withTtl(Duration.ofSeconds(5)));
    try (Lock found = rival.acquireOrExtend(semaphore, lease.token(), OPTIONS)) {
      assertEquals(lease.slot(), found.slot());
      assertEquals(lease.token(), found.token());
    }
    assertTrue(isFree("found"));
  }

  @Test
  void theErrorReportsHowTheKeyIsInUse() throws InterruptedException {
    try (Lock slot = client.acquire(Keys.semaphore("kind", 5))) {
      for (String key : List.of("kind", Keys.shared("kind"), Keys.semaphore("kind", 6))) {
        LockKindMismatchException refused = assertThrows(LockKindMismatchException.class, () -> rival.acquire(key));
        assertEquals("a semaphore of 5", refused.inUseAs().orElseThrow());
        refused = assertThrows(LockKindMismatchException.class, () -> rival.acquireDetached(key, OPTIONS));
        assertEquals("a semaphore of 5", refused.inUseAs().orElseThrow());
        assertEquals(key, refused.key().orElseThrow());
      }
      assertTrue(slot.isHeld());
    }
    assertTrue(isFree("kind"));
  }

  @Test
  void aDetachedAcquireThatIsCancelledAfterTheGrantLeavesNoKey(RedlockServer server) throws InterruptedException {
    String key = Keys.together("granted/a", "granted/b");
    client.acquire("connects").close();
    server.delay(Duration.ofMillis(400));
    CompletableFuture<Lease> future = client.acquireDetachedAsync(key, OPTIONS);
    Thread.sleep(600); // the daemon has granted the lock, and the answer is on its way
    if (!future.cancel(true)) { // this machine is slow
      client.release(key, future.join().token());
    }
    server.mend();
    untilFree("granted/a");
    untilFree("granted/b");
  }

  @Test
  void aTokenInUseIsReportedWithTheNames() throws InterruptedException {
    String key = Keys.together("in-use/b", "in-use/a");
    Lock lock = rival.acquire("in-use/a");
    CompletableFuture<Lock> waiter = client.acquireAsync(key, OPTIONS.withToken("mine"));
    LockException refused = assertThrows(LockArgumentException.class, () -> client.acquire(key, OPTIONS.withToken("mine")));
    assertTrue(refused.getMessage().contains("\"in-use/a, in-use/b\""), refused.getMessage());
    waiter.cancel(true);
    lock.close();
  }

  // --- Cancelling

  @Test
  void anInterruptedAcquireLeavesNoLock() throws InterruptedException {
    Lock lock = client.acquire("interrupt");
    var waiting = Threads.start(() -> rival.acquire("interrupt"));
    Threads.until(waiting::isWaiting);
    waiting.interrupt();
    assertInstanceOf(InterruptedException.class, waiting.failure());
    lock.close();
    untilFree("interrupt");
  }

  @Test
  void aCancelledFutureLeavesNoLock() throws InterruptedException {
    Lock lock = client.acquire("cancel");
    CompletableFuture<Lock> future = rival.acquireAsync("cancel", OPTIONS);
    assertTrue(future.cancel(true));
    assertThrows(CancellationException.class, future::join);
    lock.close();
    untilFree("cancel");
  }

  // The cancellation may come before the grant, cross it, or come before the future has completed.
  @Test
  void aTokenIsUsedAgainAtOnceAfterACancellation() throws InterruptedException {
    AcquireOptions own = OPTIONS.withToken("mine").withWait(Duration.ofSeconds(10));
    for (int i = 0; i < 200; ++i) {
      CompletableFuture<Lock> future = client.acquireAsync("again", own);
      LockSupport.parkNanos(10_000L * i);
      if (!future.cancel(true)) {
        future.join().close();
      }
      try (Lock lock = client.acquire("again", own)) {
        assertTrue(lock.isHeld());
      }
    }
    assertTrue(isFree("again"));
  }

  @Test
  void aFutureThatTimesOutLeavesNoLock() throws InterruptedException {
    Lock lock = client.acquire("or-timeout");
    CompletableFuture<Lock> future = rival.acquireAsync("or-timeout", OPTIONS).orTimeout(50, TimeUnit.MILLISECONDS);
    assertThrows(ExecutionException.class, future::get);
    lock.close();
    untilFree("or-timeout");
  }

  @Test
  void stagesRunOnTheExecutorOfTheUsersChoice(RedlockServer server) {
    var executor = Executors.newSingleThreadExecutor(task -> new Thread(task, "mine"));
    try (RedlockClient own = RedlockClient.builder().endpoints(server.endpoint()).executor(executor).build()) {
      String name = own.acquireAsync("executor", OPTIONS)
          .thenApply(lock -> Thread.currentThread().getName())
          .join();
      assertTrue(name.equals("mine") || name.equals(Thread.currentThread().getName()), name);
    } finally {
      executor.shutdown();
    }
  }

  // --- Losses

  @Test
  void aLossIsSignalledAndEndsTheTrust(RedlockServer server) throws Exception {
    Lock lock = client.acquire("lose");
    AtomicReference<LockLostException> heard = new AtomicReference<>();
    lock.onLost(loss -> {
      throw new IllegalStateException("a callback that throws");
    });
    lock.onLost(heard::set);
    server.lose("lose");
    LockLostException loss = lock.lost().toCompletableFuture().get(10, TimeUnit.SECONDS);
    assertEquals(Reason.LOCK_NOT_HELD, loss.reason());
    Threads.until(() -> heard.get() != null);
    assertTrue(lock.isLost());
    assertFalse(lock.isHeld());
    assertThrows(LockLostException.class, lock::close);
    assertThrows(LockLostException.class, lock::release);
  }

  @Test
  void aLossInterruptsTheWorkAndClearsItsInterrupt(RedlockServer server) throws InterruptedException {
    var working = Threads.start(() -> {
      LockLostException loss = assertThrows(LockLostException.class, () -> client.run("work", OPTIONS, lock -> {
        Threads.start(() -> {
          server.lose("work");
          return null;
        });
        Thread.sleep(20_000);
      }));
      assertInstanceOf(InterruptedException.class, loss.getSuppressed()[0]);
      assertFalse(Thread.currentThread().isInterrupted());
      return loss;
    });
    working.result();
    assertTrue(isFree("work"));
  }

  @Test
  void workWithoutALossReturnsItsResult() throws InterruptedException {
    assertEquals("done", client.call("result", OPTIONS, lock -> "done"));
    assertThrows(IllegalStateException.class, () -> client.run("throws", OPTIONS, lock -> {
      throw new IllegalStateException("the work failed");
    }));
    assertTrue(isFree("result"));
    assertTrue(isFree("throws"));
  }

  // --- Restarts and outages

  @Test
  void aLockSurvivesRestarts(RedlockServer server) throws InterruptedException {
    try (Lock lock = client.acquire("restart", OPTIONS.withTtl(Duration.ofSeconds(10)))) {
      server.restart();
      server.restart(true);
      server.reset();
      assertTrue(rival.tryAcquire("restart", OPTIONS).isEmpty());
      assertTrue(lock.isHeld());
      lock.extend(Duration.ofSeconds(10));
    }
  }

  @Test
  void anOutageIsNotContention(RedlockServer server) {
    server.cut();
    LockException outage = assertThrows(
        LockUnavailableException.class, () -> client.acquire("outage", OPTIONS.withWait(Duration.ofMillis(500))));
    assertEquals(Reason.UNREACHABLE, outage.reason());
    assertTrue(outage.getMessage().contains(server.endpoint()), outage.getMessage());
  }

  @Test
  void theCloseOfTheClientEndsWaitersAndLocks() throws Exception {
    Lock lock = client.acquire("closing");
    CompletableFuture<Lock> waiter = client.acquireAsync("closing", OPTIONS);
    client.close();
    assertInstanceOf(
        LockCancelledException.class, assertThrows(ExecutionException.class, () -> waiter.get(10, TimeUnit.SECONDS)).getCause());
    assertTrue(lock.isLost());
    assertThrows(LockCancelledException.class, () -> client.acquire("closing"));
    assertThrows(LockLostException.class, lock::close);
    assertTrue(isFree("closing"));
  }

  // --- java.util.concurrent.locks.Lock

  @Test
  void theViewAsAJavaLock() throws InterruptedException {
    java.util.concurrent.locks.Lock view = client.asJavaLock("view", OPTIONS);
    view.lock();
    assertFalse(isFree("view"));
    assertThrows(IllegalMonitorStateException.class, view::lock);
    var other = Threads.start(() -> {
      assertThrows(IllegalMonitorStateException.class, view::unlock);
      assertFalse(view.tryLock());
      return view.tryLock(50, TimeUnit.MILLISECONDS);
    });
    assertFalse(other.result());
    view.unlock();
    assertTrue(isFree("view"));
    assertThrows(IllegalMonitorStateException.class, view::unlock);
    assertThrows(UnsupportedOperationException.class, view::newCondition);
    assertTrue(view.tryLock());
    view.unlock();
  }

  @Test
  void theUnlockOfTheViewReportsALoss(RedlockServer server) throws InterruptedException {
    java.util.concurrent.locks.Lock view = client.asJavaLock("view-loss", OPTIONS);
    view.lockInterruptibly();
    server.lose("view-loss");
    assertThrows(LockLostException.class, view::unlock);
  }

  // --- Handing over

  @Test
  void acquireOrExtendReturnsTheLockThatThisClientHolds() throws InterruptedException {
    Lock lock = client.acquireOrExtend("or-extend", "mine", OPTIONS);
    assertSame(lock, client.acquireOrExtend("or-extend", "mine", OPTIONS));
    assertFalse(isFree("or-extend"));
    lock.close();
  }

  @Test
  void aDetachedLockIsHandedOverAndAdopted() throws InterruptedException {
    Lease lease = client.acquireDetached("detached", OPTIONS.withTtl(Duration.ofSeconds(5)));
    assertTrue(lease.validity().toMillis() > 3_000);
    assertFalse(lease.toString().contains(lease.token()));
    client.close();
    assertEquals(lease.fencingToken(), rival.extend("detached", lease.token(), Duration.ofSeconds(20)).fencingToken());
    try (Lock adopted = rival.adopt("detached", lease.token(), OPTIONS)) {
      assertTrue(adopted.isHeld());
      assertEquals(lease.fencingToken(), adopted.fencingToken());
    }
    assertTrue(isFree("detached"));
    assertThrows(LockLostException.class, () -> rival.release("detached", lease.token()));
    assertThrows(LockLostException.class, () -> rival.adopt("detached", lease.token(), OPTIONS));
    assertThrows(LockLostException.class, () -> rival.tryExtend("detached", lease.token(), Duration.ofSeconds(1)));
  }

  @Test
  void aDetachedAcquireThatIsInterruptedLeavesNoLock() throws InterruptedException {
    Lock lock = client.acquire("detached-interrupt");
    var waiting = Threads.start(() -> rival.acquireDetached("detached-interrupt", OPTIONS));
    Threads.until(waiting::isWaiting);
    waiting.interrupt();
    assertInstanceOf(InterruptedException.class, waiting.failure());
    lock.close();
    untilFree("detached-interrupt");
  }

  // --- User code and text

  @Test
  void aTokenFunctionThatThrowsIsAFailedAttempt(RedlockServer server) throws InterruptedException {
    AtomicBoolean broken = new AtomicBoolean(true);
    try (RedlockClient own = RedlockClient.builder().endpoints(server.endpoint()).bearerToken(() -> {
      if (broken.get()) {
        throw new IllegalStateException("the token service is away");
      }
      return "token";
    }).build()) {
      LockException outage = assertThrows(LockUnavailableException.class, () -> own.acquire("bearer", TRY));
      assertTrue(outage.getMessage().contains("the bearer token"), outage.getMessage());
      CompletableFuture<Lock> waiter = own.acquireAsync("bearer", OPTIONS);
      broken.set(false);
      waiter.join().close();
    }
  }

  @Test
  void exceptionsCanBeSerialized() throws Exception {
    LockException failure = assertThrows(LockArgumentException.class, () -> client.acquire(""));
    new ObjectOutputStream(new ByteArrayOutputStream()).writeObject(failure);
  }

  @Test
  void manyThreadsShareTheClient() throws Exception {
    int[] counter = {0};
    var threads = Threads.virtual();
    try {
      var all = new java.util.ArrayList<java.util.concurrent.Future<?>>();
      for (int i = 0; i < 50; ++i) {
        all.add(threads.submit(() -> {
          client.run("counter", OPTIONS, lock -> {
            int before = counter[0];
            Thread.yield();
            counter[0] = before + 1;
          });
          return null;
        }));
      }
      for (var one : all) {
        one.get(60, TimeUnit.SECONDS);
      }
    } finally {
      threads.shutdownNow();
    }
    assertEquals(50, counter[0]);
  }
}
