package io.redlockd.internal;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.AcquireOptions;
import io.redlockd.Keys;
import io.redlockd.LockArgumentException;
import io.redlockd.RedlockClient;
import io.redlockd.RetryPolicy;
import io.redlockd.WatchItem;
import io.redlockd.internal.core.Times;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Arguments, labels and texts. */
class ChecksTest {
  private static void refused(String field, Runnable check) {
    String message = assertThrows(LockArgumentException.class, check::run).getMessage();
    assertTrue(message.startsWith(field + ":"), message);
  }

  @Test
  void keys() {
    assertDoesNotThrow(() -> Checks.key("ä".repeat(256)));
    refused("key", () -> Checks.key(""));
    refused("key", () -> Checks.key("ä".repeat(256) + "x"));
    refused("key", () -> Checks.key("redlockd:meta"));
    refused("key", () -> Checks.key("\ud800"));
    refused("key", () -> Checks.key("x\udc00y"));
    assertDoesNotThrow(() -> Checks.key("\ud83d\ude00"));
  }

  private static String numbered(int count, String prefix) {
    return Keys.together(IntStream.range(0, count).mapToObj(i -> prefix + (100 + i)).toList());
  }

  @Test
  void severalKeys() {
    assertDoesNotThrow(() -> Checks.key(Keys.together("a", "b")));
    assertDoesNotThrow(() -> Checks.key(numbered(64, "")));
    refused("keys", () -> Checks.key(numbered(65, "")));
    refused("keys", () -> Checks.key(Keys.together("c", "b", "c")));
    refused("key", () -> Checks.key(Keys.together(List.of())));
    refused("key", () -> Checks.key(Keys.together("a", "")));
    refused("key", () -> Checks.key(Keys.together("a", "x".repeat(513))));
    refused("key", () -> Checks.key(Keys.together("a", "redlockd:meta")));
    for (String half : List.of("\ud800", "\udc00", "x\ud800", "x\udc00", "\udc00x", "\ud800x")) {
      refused("key", () -> Checks.key(Keys.together("a", half)));
      refused("key", () -> Checks.key(Keys.together(half, "\udc01y", "z\ud801")));
    }
    assertDoesNotThrow(() -> Checks.key(numbered(16, "x".repeat(509))));
    refused("keys", () -> Checks.key(Keys.together(numbered(16, "x".repeat(509)), "y")));
    refused("items", () -> Checks.items(List.of(
        new WatchItem(Keys.together("a", "b"), "mine", Duration.ofSeconds(1)),
        new WatchItem(Keys.together("b", "a"), "mine", Duration.ofSeconds(1)))));
  }

  @Test
  void tokensAndOwners() {
    assertDoesNotThrow(() -> Checks.token("x".repeat(128)));
    refused("token", () -> Checks.token(""));
    refused("token", () -> Checks.token("x".repeat(129)));
    refused("token", () -> Checks.token("redlockd:x"));
    assertDoesNotThrow(() -> Checks.owner(""));
    refused("owner", () -> Checks.owner("x".repeat(129)));
  }

  @Test
  void times() {
    refused("ttl", () -> Checks.ttl(Duration.ofMillis(9)));
    refused("ttl", () -> Checks.ttl(Duration.ofSeconds(-1)));
    refused("wait", () -> Checks.longestWait(AcquireOptions.defaults().withWait(Duration.ofNanos(-1))));
    assertEquals(-1, Checks.longestWait(AcquireOptions.defaults()));
    long ttl = 3 * Times.SECONDS;
    assertEquals(ttl / 10, Checks.margin(null, ttl, 5 * Times.SECONDS));
    assertEquals(Times.SECONDS, Checks.margin(Duration.ofSeconds(1), ttl, 5 * Times.SECONDS));
    refused("margin", () -> Checks.margin(Duration.ofMillis(1_001), ttl, 5 * Times.SECONDS));
    refused("margin", () -> Checks.margin(Duration.ofMillis(-1), ttl, 5 * Times.SECONDS));
    assertTrue(Checks.ttl(Duration.ofSeconds(Long.MAX_VALUE)) > 0);
  }

  @Test
  void values() {
    assertDoesNotThrow(() -> Checks.value(""));
    assertDoesNotThrow(() -> Checks.value("ä".repeat(2048)));
    refused("value", () -> Checks.value("ä".repeat(2048) + "x"));
    refused("value", () -> Checks.value("x".repeat(4097)));
    refused("value", () -> Checks.value("\ud800"));
  }

  @Test
  void delaysAndKeptKeys() {
    assertEquals(0, Checks.lockDelay(Duration.ZERO));
    assertEquals(2 * Times.SECONDS, Checks.lockDelay(Duration.ofSeconds(2)));
    refused("lockDelay", () -> Checks.lockDelay(Duration.ofNanos(-1)));
    assertEquals(Times.MILLIS, Checks.keepFor(Duration.ofMillis(1)));
    refused("keepFor", () -> Checks.keepFor(Duration.ZERO));
    refused("keepFor", () -> Checks.keepFor(Duration.ofNanos(999_999)));
    refused("keepFor", () -> Checks.keepFor(Duration.ofSeconds(-1)));
  }

  @Test
  void keysOfObserversAndElections() {
    assertEquals("k", Checks.keyToObserve("k"));
    assertEquals("k", Checks.keyToObserve(Keys.shared("k")));
    assertEquals("k", Checks.keyToObserve(Keys.semaphore("k", 3)));
    refused("key", () -> Checks.keyToObserve(""));
    refused("key", () -> Checks.keyToObserve(Keys.together("a", "b")));
    assertDoesNotThrow(() -> Checks.election("k"));
    refused("name", () -> Checks.election(Keys.shared("k")));
    refused("name", () -> Checks.election(Keys.semaphore("k", 3)));
    refused("key", () -> Checks.election(Keys.together("a", "b")));
  }

  @Test
  void policies() {
    assertNull(Checks.retry(null));
    refused("retry", () -> Checks.retry(RetryPolicy.atMost(-2)));
    refused("retry", () -> Checks.retry(new RetryPolicy(1, Duration.ofMillis(-1), Duration.ZERO)));
    assertEquals(0, Checks.retry(RetryPolicy.NONE).getMaxRetries());
  }

  @Test
  void itemsOfAWatch() {
    Duration ttl = Duration.ofSeconds(1);
    refused("items", () -> Checks.items(List.of()));
    refused("items", () -> Checks.items(List.of(new WatchItem("k", "t", ttl), new WatchItem("k", "u", ttl))));
    refused("items", () -> Checks.items(List.of(new WatchItem("k", "t", ttl), new WatchItem(Keys.shared("k"), "u", ttl))));
    refused("items", () -> Checks.items(List.of(new WatchItem(Keys.semaphore("k", 2), "t", ttl), new WatchItem("k", "u", ttl))));
    refused("interval", () -> Checks.items(List.of(new WatchItem("k", "t", ttl, ttl))));
    assertDoesNotThrow(() -> Checks.items(List.of(new WatchItem("k", "t", ttl, Duration.ofMillis(1)))));
  }

  @Test
  void endpoints() {
    refused("endpoints", () -> Checks.endpoints(List.of()));
    for (String wrong : List.of(
        "host:0", "host:65536", "host:", "[::1]:99999", "", "host", "[::1]", "http://host:50051", "https://host")) {
      refused("endpoints", () -> Checks.endpoints(List.of(wrong)));
    }
    Checks.endpoints(List.of("host:50051", "[::1]:50051", "unix:/run/x:y", "dns:///host:50051"));
  }

  @Test
  void options() {
    refused("grace", () -> RedlockClient.builder().grace(Duration.ofMillis(99)).build());
    refused("connectTimeout", () -> RedlockClient.builder().connectTimeout(Duration.ofMillis(9)).build());
    refused("TLS", () -> RedlockClient.builder().tls(java.nio.file.Path.of("/nowhere")).build());
    refused("owner", () -> RedlockClient.builder().owner("x".repeat(129)).build());
  }

  @Test
  void theLabelIsCutToValidUtf8() {
    assertTrue(Owner.label().contains("/" + ProcessHandle.current().pid() + "/"), Owner.label());
    assertEquals("app.jar", Owner.program("/opt/app.jar --password secret"));
    assertEquals("com.acme.Main", Owner.program("com.acme.Main"));
    assertEquals("java", Owner.program(""));
    String cut = Owner.cut("ä".repeat(64) + "x");
    assertEquals("ä".repeat(64), cut);
    assertEquals(126, Owner.cut("€".repeat(50)).getBytes(StandardCharsets.UTF_8).length);
    assertEquals("a?b", Owner.cut("a\ud800b"));
  }

  @Test
  void bearerTokens() {
    assertNull(Bearer.problemOf("abc.def"));
    for (String unfit : List.of("", "a b", "a\nb", "ä")) {
      assertTrue(Bearer.problemOf(unfit) != null, unfit);
    }
  }

  @Test
  void noTextShowsAToken() {
    assertTrue(!AcquireOptions.defaults().withToken("secret").toString().contains("secret"));
    assertTrue(!new WatchItem("k", "secret", Duration.ofSeconds(1)).toString().contains("secret"));
  }
}
