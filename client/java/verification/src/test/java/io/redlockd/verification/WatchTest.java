package io.redlockd.verification;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.AcquireOptions;
import io.redlockd.Keys;
import io.redlockd.Lease;
import io.redlockd.LockArgumentException;
import io.redlockd.Reason;
import io.redlockd.RedlockClient;
import io.redlockd.Watch;
import io.redlockd.WatchEvent;
import io.redlockd.WatchEvent.Type;
import io.redlockd.WatchItem;
import io.redlockd.testing.RedlockExtension;
import io.redlockd.testing.RedlockServer;
import java.text.MessageFormat;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Watches, against a real daemon. */
@ExtendWith(RedlockExtension.class)
class WatchTest {
  private static final Duration TTL = Duration.ofSeconds(1);

  private final List<WatchEvent> heard = new CopyOnWriteArrayList<>();
  private RedlockClient client;

  @BeforeEach
  void open(RedlockServer server) {
    client = RedlockClient.builder().endpoints(server.endpoint()).build();
  }

  @AfterEach
  void close() {
    client.close();
  }

  private boolean heard(Type type, String key) {
    return heard.stream().anyMatch(event -> event.type() == type && (key == null || event.key().orElse("").equals(key)));
  }

  private Lease detached(String key) throws InterruptedException {
    return client.acquireDetached(key, AcquireOptions.defaults().withTtl(TTL));
  }

  @Test
  void aWatchKeepsSeveralLocksAlive(RedlockServer server) throws InterruptedException {
    Lease one = detached("one");
    Lease two = detached("two");
    Watch watch = client.watch(
        List.of(new WatchItem("one", one.token(), TTL), new WatchItem("two", two.token(), TTL, Duration.ofMillis(200))),
        false,
        heard::add);
    Thread.sleep(1_500);
    assertTrue(client.tryAcquire("one").isEmpty());
    assertTrue(client.tryAcquire("two").isEmpty());
    assertTrue(heard(Type.EXTENDED, "one") && heard(Type.EXTENDED, "two"), heard::toString);
    server.lose("one");
    Threads.until(() -> heard(Type.LOST, "one"));
    assertFalse(heard(Type.LOST, "two"));
    watch.close();
    watch.close();
    Threads.until(() -> heard(Type.CLOSED, null));
    Thread.sleep(100);
    assertEquals(1, heard.stream().filter(event -> event.type() == Type.CLOSED).count());
    WatchEvent last = heard.get(heard.size() - 1);
    assertEquals(Type.CLOSED, last.type());
    assertEquals(Reason.CANCELLED, last.error().orElseThrow().reason());
  }

  @Test
  void aLeaseOfSeveralKeysIsLostWithOneOfThem(RedlockServer server) throws InterruptedException {
    Lease lease = detached(Keys.together("pair/a", "pair/b"));
    String key = Keys.together("pair/b", "pair/a");
    List<String> logged = new CopyOnWriteArrayList<>();
    Logger log = Logger.getLogger("io.redlockd");
    log.setLevel(Level.FINE);
    log.setFilter(line -> {
      logged.add(MessageFormat.format(line.getMessage(), line.getParameters()));
      return false;
    });
    try (Watch watch = client.watch(List.of(new WatchItem(key, lease.token(), TTL)), false, heard::add)) {
      Threads.until(() -> heard(Type.EXTENDED, key));
      server.lose("pair/b");
      Threads.until(() -> heard(Type.LOST, key));
      WatchEvent lost = heard.get(heard.size() - 1);
      assertEquals(lease.keys(), lost.keys());
      assertTrue(lost.toString().startsWith("LOST: pair/a, pair/b: "), lost.toString());
      assertTrue(logged.stream().anyMatch(line -> line.startsWith("watched lock lost: pair/a, pair/b: ")), logged::toString);
    } finally {
      log.setFilter(null);
      log.setLevel(null);
    }
  }

  @Test
  void aWatchExtendsTheSlotThatItNamesOrFinds() throws InterruptedException {
    Lease held = detached(Keys.semaphore("right", 2));
    Lease found = detached(Keys.semaphore("any", 2));
    Lease other = detached(Keys.semaphore("wrong", 2));
    List<WatchItem> items = List.of(
        new WatchItem(Keys.slot(held.key(), held.slot()), held.token(), TTL),
        new WatchItem(found.key(), found.token(), TTL),
        new WatchItem(Keys.slot(other.key(), 3 - other.slot()), other.token(), TTL));
    try (Watch watch = client.watch(items, false, heard::add)) {
      Threads.until(() -> heard(Type.EXTENDED, held.key()) && heard(Type.EXTENDED, found.key()) && heard(Type.LOST, other.key()));
      assertFalse(heard(Type.LOST, held.key()) || heard(Type.LOST, found.key()), heard::toString);
      assertFalse(heard(Type.EXTENDED, other.key()), heard::toString);
    }
  }

  @Test
  void aWatchSurvivesRestartsAndCallbacksThatThrow(RedlockServer server) throws InterruptedException {
    Lease lease = client.acquireDetached("restart", AcquireOptions.defaults().withTtl(Duration.ofSeconds(10)));
    WatchItem item = new WatchItem("restart", lease.token(), Duration.ofSeconds(10), Duration.ofMillis(200));
    try (Watch watch = client.watch(List.of(item), false, event -> {
      heard.add(event);
      throw new IllegalStateException("a callback that throws");
    })) {
      Threads.until(() -> heard(Type.EXTENDED, "restart"));
      server.restart(true);
      Threads.until(() -> heard(Type.STREAM_FAILED, null));
      int before = heard.size();
      Threads.until(() -> heard.subList(before, heard.size()).stream().anyMatch(event -> event.type() == Type.EXTENDED));
    }
  }

  @Test
  void aSilentDaemonIsLeft(RedlockServer server) throws InterruptedException {
    Lease lease = client.acquireDetached("silent", AcquireOptions.defaults().withTtl(Duration.ofSeconds(30)));
    WatchItem item = new WatchItem("silent", lease.token(), Duration.ofSeconds(30), Duration.ofMillis(200));
    try (Watch watch = client.watch(List.of(item), false, heard::add)) {
      Threads.until(() -> heard(Type.EXTENDED, "silent"));
      server.cut();
      Threads.until(() -> heard(Type.STREAM_FAILED, null));
      server.mend();
      int before = heard.size();
      Threads.until(() -> heard.subList(before, heard.size()).stream().anyMatch(event -> event.type() == Type.EXTENDED));
    }
  }

  @Test
  void aWatchMayBeginBeforeItsLock() throws InterruptedException {
    WatchItem item = new WatchItem("before", "mine", TTL, Duration.ofMillis(200));
    try (Watch watch = client.watch(List.of(item), true, heard::add)) {
      Threads.until(() -> heard(Type.LOST, "before"));
      client.acquireDetached("before", AcquireOptions.defaults().withTtl(TTL).withToken("mine"));
      Threads.until(() -> heard(Type.EXTENDED, "before"));
    }
  }

  @Test
  void theCloseOfTheClientEndsItsWatches() throws InterruptedException {
    Lease lease = detached("client-closes");
    client.watch(List.of(new WatchItem("client-closes", lease.token(), TTL)), false, heard::add);
    client.close();
    Threads.until(() -> heard(Type.CLOSED, null));
  }

  @Test
  void badItemsAreRefused() {
    assertThrows(LockArgumentException.class, () -> client.watch(List.of(), false, heard::add));
  }
}
