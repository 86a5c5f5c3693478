package io.redlockd.verification;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.AcquireOptions;
import io.redlockd.Keys;
import io.redlockd.Lock;
import io.redlockd.LockArgumentException;
import io.redlockd.LockLostException;
import io.redlockd.RedlockClient;
import io.redlockd.testing.RedlockExtension;
import io.redlockd.testing.RedlockServer;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Exclusive locks that become shares, against a real daemon. Each test has keys of its own. */
@ExtendWith(RedlockExtension.class)
class DowngradeTest {
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults();
  private static final AcquireOptions SOON = OPTIONS.withWait(Duration.ofSeconds(5));

  private RedlockClient client;
  private RedlockClient rival;

  @BeforeEach
  void open(RedlockServer server) {
    client = RedlockClient.builder().endpoints(server.endpoint()).build();
    rival = RedlockClient.builder().endpoints(server.endpoint()).build();
  }

  @AfterEach
  void close() {
    client.close();
    rival.close();
  }

  private void untilFree(String key) throws InterruptedException {
    rival.acquire(key, SOON).close();
  }

  @Test
  void theShareIsSharedAndOutlivesTheOldLock() throws InterruptedException {
    String key = Keys.together("readers", "writers");
    try (Lock writer = client.acquire(key)) {
      try (Lock share = writer.downgrade()) {
        assertTrue(share.isHeld());
        assertEquals(Keys.shared(key), share.key());
        assertEquals(writer.token(), share.token());
        assertTrue(share.fencingToken() >= writer.fencingToken());
        rival.acquire(Keys.shared(key), SOON).close();
        assertTrue(rival.tryAcquire(key).isEmpty());

        writer.release();
        share.extend(Duration.ofSeconds(20)); // it is still held
        assertSame(share, client.adopt(Keys.shared(key), share.token(), OPTIONS));
        assertThrows(LockArgumentException.class, share::downgrade);
      }
      untilFree(key);
    }
  }

  @Test
  void theOldLockCountsAsReleased() throws Exception {
    Lock writer = client.acquire("old");
    try (Lock share = writer.downgradeAsync().get(5, TimeUnit.SECONDS)) {
      assertFalse(writer.isHeld());
      assertFalse(writer.isLost());
      assertFalse(writer.lost().toCompletableFuture().isDone());
      assertTrue(writer.toString().contains("not held"), writer.toString());
      assertThrows(LockLostException.class, () -> writer.extend(Duration.ofSeconds(20)));
      assertThrows(LockLostException.class, writer::downgrade);
      assertInstanceOf(
          LockLostException.class,
          assertThrows(ExecutionException.class, () -> writer.downgradeAsync().get()).getCause());
      writer.releaseAsync().get(5, TimeUnit.SECONDS);
      writer.close();
      assertTrue(share.isHeld());
    }
  }

  @Test
  void onlyAnExclusiveLockIsDowngraded() throws InterruptedException {
    try (Lock share = client.acquire(Keys.shared("share"));
        Lock slot = client.acquire(Keys.semaphore("semaphore", 3))) {
      for (Lock lock : new Lock[] {share, slot}) {
        LockArgumentException refused = assertThrows(LockArgumentException.class, lock::downgrade);
        assertEquals(lock.keys().get(0) + ": only an exclusive lock can be downgraded", refused.getMessage());
        assertTrue(lock.downgradeAsync().isCompletedExceptionally());
        assertTrue(lock.isHeld());
      }
    }
  }

  @Test
  void anInterruptedDowngradeLeavesNoLock() throws InterruptedException {
    try (Lock writer = client.acquire("interrupt", OPTIONS.withToken("interrupted"))) {
      Thread.currentThread().interrupt();
      assertThrows(InterruptedException.class, writer::downgrade);
      assertFalse(writer.isHeld());
    }
    untilFree("interrupt");
  }

  @Test
  void aCancelledDowngradeLeavesNoLock(RedlockServer server) throws InterruptedException {
    Lock writer = client.acquire("cancel");
    server.cut();
    CompletableFuture<Lock> share = writer.downgradeAsync();
    assertTrue(share.cancel(true));
    server.mend();
    assertFalse(writer.isHeld());
    untilFree("cancel");
  }

  @Test
  void itsTokenIsInUseUntilItHasEnded(RedlockServer server) throws InterruptedException {
    Lock writer = client.acquire("in-use", OPTIONS.withToken("used"));
    server.cut();
    CompletableFuture<Lock> share = writer.downgradeAsync();
    for (String key : new String[] {"in-use", Keys.shared("in-use")}) {
      LockArgumentException refused = assertThrows(
          LockArgumentException.class, () -> client.acquire(key, SOON.withToken("used")));
      assertTrue(refused.getMessage().contains("downgrades"), refused.getMessage());
      assertThrows(LockArgumentException.class, () -> client.acquireOrExtend(key, "used", SOON));
      assertThrows(LockArgumentException.class, () -> client.adopt(key, "used", SOON));
    }
    server.mend();
    share.join().close();
  }
}
