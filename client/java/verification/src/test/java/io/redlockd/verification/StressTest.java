package io.redlockd.verification;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.redlockd.AcquireOptions;
import io.redlockd.Lease;
import io.redlockd.Lock;
import io.redlockd.LockException;
import io.redlockd.RedlockClient;
import io.redlockd.testing.RedlockExtension;
import io.redlockd.testing.RedlockServer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Acquires that are given up at any moment leave no lock. STRESS in the environment multiplies the number of attempts. */
@ExtendWith(RedlockExtension.class)
class StressTest {
  private static final int ATTEMPTS = 100 * Integer.parseInt(System.getenv().getOrDefault("STRESS", "1"));
  private static final int KEYS = 8;
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults().withTtl(Duration.ofSeconds(60));

  private final Random random = new Random(1);

  private long moment() {
    return random.nextInt(6_000); // in microseconds
  }

  private static void pause(long micros) {
    long end = System.nanoTime() + TimeUnit.MICROSECONDS.toNanos(micros);
    while (System.nanoTime() < end) {
      Thread.onSpinWait();
    }
  }

  private static void noLockIsLeft(RedlockServer server, String prefix) throws InterruptedException {
    try (RedlockClient other = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      for (int i = 0; i < KEYS; ++i) {
        other.acquire(prefix + i, OPTIONS.withWait(Duration.ofSeconds(10))).close();
      }
    }
  }

  @Test
  void futuresThatAreCancelled(RedlockServer server) throws Exception {
    try (RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      for (int i = 0; i < ATTEMPTS; ++i) {
        CompletableFuture<Lock> future = client.acquireAsync("future" + i % KEYS, OPTIONS);
        pause(moment());
        if (!future.cancel(true)) {
          future.join().releaseAsync();
        }
      }
      noLockIsLeft(server, "future");
    }
  }

  @Test
  void detachedFuturesThatAreCancelled(RedlockServer server) throws Exception {
    try (RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      for (int i = 0; i < ATTEMPTS / 2; ++i) {
        CompletableFuture<Lease> future = client.acquireDetachedAsync("detached" + i % KEYS, OPTIONS);
        pause(moment());
        if (!future.cancel(true)) {
          client.releaseAsync("detached" + i % KEYS, future.join().token());
        }
      }
      noLockIsLeft(server, "detached");
    }
  }

  @Test
  void threadsThatAreInterrupted(RedlockServer server) throws Exception {
    ExecutorService threads = Threads.virtual();
    try (RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      for (int i = 0; i < ATTEMPTS; ++i) {
        String key = "thread" + i % KEYS;
        CountDownLatch begun = new CountDownLatch(1);
        Future<Void> task = threads.submit((Callable<Void>) () -> {
          begun.countDown();
          client.acquire(key, OPTIONS).close();
          return null;
        });
        begun.await();
        pause(moment());
        task.cancel(true); // interrupts
      }
      noLockIsLeft(server, "thread");
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void connectionsThatBreakMeanwhile(RedlockServer server) throws Exception {
    try (RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      List<CompletableFuture<Lock>> kept = new ArrayList<>();
      for (int i = 0; i < ATTEMPTS; ++i) {
        CompletableFuture<Lock> future = client.acquireAsync("reset" + i % KEYS, OPTIONS.withWait(Duration.ofSeconds(20)));
        pause(moment() / 4);
        if (i % 50 == 49) {
          server.reset();
        }
        if (i % 2 == 0) {
          future.cancel(true);
        }
        kept.add(future.whenComplete((lock, failure) -> {
          if (lock != null) {
            lock.releaseAsync();
          }
        }));
      }
      int failed = 0;
      for (CompletableFuture<Lock> future : kept) {
        try {
          future.join();
        } catch (java.util.concurrent.CompletionException | java.util.concurrent.CancellationException ended) {
          failed += ended.getCause() instanceof LockException ? 1 : 0;
        }
      }
      assertEquals(0, failed, "acquires that were not cancelled ride out the resets");
      noLockIsLeft(server, "reset");
    }
  }
}
