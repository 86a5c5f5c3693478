package io.redlockd.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.AcquireOptions;
import io.redlockd.Lock;
import io.redlockd.LockUnavailableException;
import io.redlockd.RedlockClient;
import java.io.FileNotFoundException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class RedlockServerTest {
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults();

  @Test
  void theServerLosesDelaysCutsResetsAndRestarts() throws Exception {
    try (RedlockServer server = RedlockServer.start();
        RedlockClient client = RedlockClient.builder().endpoints(server.endpoint()).build()) {
      Lock lost = client.acquire("lost");
      server.lose("lost", "the test says so");
      lost.lost().toCompletableFuture().get(10, TimeUnit.SECONDS);
      assertThrows(IllegalStateException.class, () -> server.lose("lost"));

      Lock lock = client.acquire("kept", OPTIONS.withTtl(Duration.ofSeconds(20)));
      server.delay(Duration.ofMillis(100));
      long began = System.nanoTime();
      lock.extend(Duration.ofSeconds(20));
      assertTrue(System.nanoTime() - began >= Duration.ofMillis(200).toNanos());
      server.mend();

      server.reset();
      lock.extend(Duration.ofSeconds(20));
      server.restart();
      lock.extend(Duration.ofSeconds(20));
      server.restart(true);
      lock.extend(Duration.ofSeconds(20));
      assertTrue(lock.isHeld());
      lock.close();
    }
  }

  @Test
  void whatWasCutPassesOnceItIsMended() throws Exception {
    try (RedlockServer server = RedlockServer.start();
        RedlockClient client =
            RedlockClient.builder().endpoints(server.endpoint()).grace(Duration.ofSeconds(30)).build()) {
      Lock lock = client.acquire("cut", OPTIONS.withTtl(Duration.ofSeconds(20)));
      server.cut();
      var extension = lock.extendAsync(Duration.ofSeconds(20));
      Thread.sleep(200);
      assertFalse(extension.isDone());
      try (RedlockClient other = RedlockClient.builder().endpoints(server.endpoint()).build()) {
        assertThrows(
            LockUnavailableException.class, () -> other.acquire("new", OPTIONS.withWait(Duration.ofMillis(300))));
      }
      server.mend();
      extension.get(10, TimeUnit.SECONDS);
    }
  }

  @Test
  void twoServersRunAtTheSameTime() throws Exception {
    try (RedlockServer one = RedlockServer.start();
        RedlockServer two = RedlockServer.start();
        RedlockClient first = RedlockClient.builder().endpoints(one.endpoint()).build();
        RedlockClient second = RedlockClient.builder().endpoints(two.endpoint()).build();
        Lock a = first.acquire("k");
        Lock b = second.acquire("k")) {
      assertTrue(a.isHeld() && b.isHeld());
    }
  }

  @Test
  void theErrorSaysWhereTheProgramWasLookedFor() {
    String message = assertThrows(FileNotFoundException.class, () -> Programs.find("no-such-program", null)).getMessage();
    assertTrue(message.startsWith("no-such-program: not found in PATH (") && message.contains(System.getenv("PATH")), message);
    assertEquals("/bin/false", assertThrows(
        java.io.IOException.class, () -> RedlockServer.start(Path.of("/bin/false"), List.of())).getMessage().lines()
            .findFirst().orElse("").replaceAll(".*serve: (\\S+) .*", "$1"));
  }
}
