package io.redlockd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.redlockd.internal.Checks;
import io.redlockd.internal.Errors;
import io.redlockd.internal.core.AcquireCommand;
import io.redlockd.internal.core.Failure;
import io.redlockd.internal.core.KeyNames;
import io.redlockd.redlock.v1.LockMode;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Keys that are locked together, and how people see them. */
class KeysTest {
  private static final Duration TTL = Duration.ofSeconds(1);
  private static final LockMode EXCLUSIVE = LockMode.LOCK_MODE_UNSPECIFIED;
  private static final String SEVERAL = Keys.together("b", "a");

  private static void showsNames(Object shown) {
    String text = shown.toString();
    assertTrue(text.contains("a, b"), text);
    assertFalse(text.chars().anyMatch(c -> Character.isSurrogate((char) c)), text);
  }

  @Test
  void theOrderDoesNotMatter() {
    assertEquals(Keys.together("a", "b", "c"), Keys.together("c", "a", "b"));
    assertEquals(Keys.together("a", "b"), Keys.together(Set.of("b", "a")));
    assertEquals(Keys.together("a", "b", "c"), Keys.together("b", Keys.together("c", "a")));
    assertNotEquals(Keys.together("a", "b"), Keys.together("ab"));
    assertNotEquals(Keys.together("a", "b"), Keys.together("a", "b", "b"));
  }

  @Test
  void aSingleKeyIsReturnedAsItIs() {
    assertEquals("a", Keys.together("a"));
    assertEquals("", Keys.together());
    assertThrows(NullPointerException.class, () -> Keys.together("a", null));
  }

  @Test
  void everyValidKeyComesBack() {
    List<String> names = List.of(",", "a, b", "a,b", "\ud800\udc00", "\ud800\udc00,", "\udbff\udfff");
    assertEquals(names, KeyNames.split(Keys.together(names)));
    for (String name : names) {
      assertEquals(List.of(name), KeyNames.split(name));
    }
  }

  @Test
  void aMessageHasTheKeysInOneOfTwoFields() {
    StringBuilder written = new StringBuilder();
    KeyNames.writeNames("a", key -> written.append("key ").append(key), keys -> written.append("keys"));
    KeyNames.writeNames(SEVERAL, key -> written.append("key"), keys -> written.append("; keys ").append(keys));
    assertEquals("key a; keys [a, b]", written.toString());
    assertEquals("a", KeyNames.read("a", List.of(), EXCLUSIVE));
    assertEquals(SEVERAL, KeyNames.read("", List.of("a", "b"), EXCLUSIVE));
    // A daemon sorts by bytes, which puts U+E000 before U+10000. This client sorts by UTF-16.
    List<String> sortedByBytes = List.of("\ue000", "\ud800\udc00");
    assertEquals(Keys.together(sortedByBytes), KeyNames.read("", sortedByBytes, EXCLUSIVE));
    assertEquals(List.of("\ud800\udc00", "\ue000"), KeyNames.split(KeyNames.read("", sortedByBytes, EXCLUSIVE)));
  }

  // --- Shared keys

  @Test
  void aSharedKeyIsAnotherKeyOfTheSameNames() {
    assertNotEquals("a", Keys.shared("a"));
    assertEquals(Keys.shared("a"), Keys.shared(Keys.shared("a")));
    assertTrue(Keys.isShared(Keys.shared("a")));
    assertFalse(Keys.isShared(SEVERAL));
    assertFalse(Keys.isShared("a"));
    assertEquals(List.of("a"), KeyNames.split(Keys.shared("a")));
    assertEquals(List.of("a", "b"), KeyNames.split(Keys.shared(SEVERAL)));
  }

  @Test
  void onlyAllOfSeveralKeysAreShared() {
    for (String share : List.of(Keys.shared(SEVERAL), Keys.shared(","))) {
      for (String other : List.of("\ue000", "0")) { // sorted after and before the mark
        String mixed = Keys.together(share, other);
        assertFalse(Keys.isShared(mixed));
        assertThrows(LockArgumentException.class, () -> Checks.key(mixed));
        assertThrows(LockArgumentException.class, () -> Checks.key(Keys.shared(mixed)));
      }
    }
  }

  @Test
  void aSharedKeyIsCheckedAsItsNamesAre() {
    Checks.key(Keys.shared(SEVERAL));
    Checks.key(Keys.shared("k".repeat(512)));
    for (String bad : List.of("", "redlockd:x", "k".repeat(513), Keys.together("a", "a"))) {
      LockException refused = assertThrows(LockArgumentException.class, () -> Checks.key(bad));
      LockException same = assertThrows(LockArgumentException.class, () -> Checks.key(Keys.shared(bad)));
      assertEquals(refused.getMessage(), same.getMessage());
    }
  }

  @Test
  void aMessageHasTheMode() {
    StringBuilder written = new StringBuilder();
    for (String key : List.of("a", Keys.shared("a"), Keys.shared(SEVERAL))) {
      KeyNames.write(key, written::append, written::append, mode -> written.append(' ').append(mode));
      written.append("; ");
    }
    assertEquals("a; a LOCK_MODE_SHARED; [a, b] LOCK_MODE_SHARED; ", written.toString());
    assertEquals(Keys.shared("a"), KeyNames.read("a", List.of(), LockMode.LOCK_MODE_SHARED));
    assertEquals(Keys.shared(SEVERAL), KeyNames.read("", List.of("b", "a"), LockMode.LOCK_MODE_SHARED));
  }

  @Test
  void peopleSeeTheNames() {
    showsNamesOf(SEVERAL);
    showsNamesOf(Keys.shared(SEVERAL));
  }

  private static void showsNamesOf(String several) {
    Failure failure = Failure.of(Reason.LOCK_NOT_HELD, "because");
    LockException error = Errors.of(several, failure);
    showsNames(error);
    assertEquals(List.of("a", "b"), error.keys());
    assertEquals(several, error.key().orElseThrow());
    showsNames(Errors.lost(several, failure));
    showsNames(new WatchItem(several, "token", TTL));
    WatchEvent event = new WatchEvent(WatchEvent.Type.LOST, several, error);
    showsNames(event);
    showsNames(new WatchEvent(WatchEvent.Type.EXTENDED, several, null));
    assertEquals(List.of("a", "b"), event.keys());
    showsNames(new Lease(several, "token", 1, 1));
    assertEquals(List.of("a", "b"), new Lease(several, "token", 1, 1).keys());
    showsNames(new AcquireCommand(several, "token", AcquireCommand.Kind.ACQUIRE, 1, 1, "", 1, null));
    assertEquals(List.of(), Errors.of(null, failure).keys());
    assertEquals(List.of(), new WatchEvent(WatchEvent.Type.CLOSED, null, error).keys());
  }

  @Test
  void theViewAsAJavaLockShowsTheNames() {
    try (RedlockClient client = RedlockClient.builder().build()) {
      var view = client.asJavaLock(SEVERAL, AcquireOptions.defaults());
      showsNames(view);
      showsNames(assertThrows(IllegalMonitorStateException.class, view::unlock));
    }
  }
}
