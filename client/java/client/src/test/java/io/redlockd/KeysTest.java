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
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Keys that are locked together, shared, or semaphores, and how people see them. */
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
    assertEquals("a", KeyNames.read("a", List.of(), EXCLUSIVE, 0));
    assertEquals(SEVERAL, KeyNames.read("", List.of("a", "b"), EXCLUSIVE, 0));
    // A daemon sorts by bytes, which puts U+E000 before U+10000. This client sorts by UTF-16.
    List<String> sortedByBytes = List.of("\ue000", "\ud800\udc00");
    assertEquals(Keys.together(sortedByBytes), KeyNames.read("", sortedByBytes, EXCLUSIVE, 0));
    assertEquals(List.of("\ud800\udc00", "\ue000"), KeyNames.split(KeyNames.read("", sortedByBytes, EXCLUSIVE, 0)));
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
      KeyNames.write(
          key, written::append, written::append, mode -> written.append(' ').append(mode), written::append);
      written.append("; ");
    }
    assertEquals("a0; a LOCK_MODE_SHARED0; [a, b] LOCK_MODE_SHARED0; ", written.toString());
    assertEquals(Keys.shared("a"), KeyNames.read("a", List.of(), LockMode.LOCK_MODE_SHARED, 0));
    assertEquals(Keys.shared(SEVERAL), KeyNames.read("", List.of("b", "a"), LockMode.LOCK_MODE_SHARED, 0));
  }

  // --- Semaphores

  private static final String SEMAPHORE = Keys.semaphore("a", 5);

  private static void refused(String argument, String key) {
    String message = assertThrows(LockArgumentException.class, () -> Checks.key(key)).getMessage();
    assertTrue(message.startsWith(argument + ":"), message);
    assertFalse(message.contains("Unicode"), message);
  }

  @Test
  void aSemaphoreIsAnotherKeyOfTheSameName() {
    assertEquals(SEMAPHORE, Keys.semaphore("a", 5));
    assertEquals(4, Set.of("a", Keys.shared("a"), SEMAPHORE, Keys.semaphore("a", 6)).size());
    assertFalse(Keys.isShared(SEMAPHORE));
    assertEquals(5, KeyNames.maxHolders(SEMAPHORE));
    assertEquals(0, KeyNames.maxHolders(Keys.shared("a")));
    assertEquals(List.of("a"), KeyNames.split(SEMAPHORE));
    assertEquals("a", KeyNames.inWords(SEMAPHORE));
  }

  @Test
  void aSlotIsAnArgumentThatBelongsToNoKey() {
    String slot = Keys.slot(SEMAPHORE, 3);
    assertEquals(3, KeyNames.slot(slot));
    assertEquals(0, KeyNames.slot(SEMAPHORE));
    assertEquals(SEMAPHORE, KeyNames.withoutSlot(slot));
    assertEquals(SEMAPHORE, KeyNames.withoutSlot(SEMAPHORE));
    assertEquals(5, KeyNames.maxHolders(slot));
    assertEquals(List.of("a"), KeyNames.split(slot));
    assertEquals("a", KeyNames.inWords(slot));
  }

  @Test
  void theLimitAndTheSlotAreChecked() {
    for (int limit : List.of(2, 64)) {
      Checks.key(Keys.semaphore("a", limit));
      Checks.key(Keys.slot(Keys.semaphore("a", limit), limit));
    }
    for (int limit : List.of(1, 65, 0, -1, 0x10002, Integer.MAX_VALUE, Integer.MIN_VALUE)) {
      refused("maxHolders", Keys.semaphore("a", limit));
      refused("maxHolders", Keys.slot(Keys.semaphore("a", limit), 1));
    }
    for (int slot : List.of(6, 0, -1, 0x10001, Integer.MAX_VALUE, Integer.MIN_VALUE)) {
      refused("slot", Keys.slot(SEMAPHORE, slot));
    }
    refused("slot", Keys.slot("a", 1));
    refused("slot", Keys.slot(Keys.shared("a"), 1));
    for (String bad : List.of("", "redlockd:x", "k".repeat(513), "\ud800")) {
      LockException plain = assertThrows(LockArgumentException.class, () -> Checks.key(bad));
      LockException same = assertThrows(LockArgumentException.class, () -> Checks.key(Keys.semaphore(bad, 5)));
      assertEquals(plain.getMessage(), same.getMessage());
    }
  }

  @Test
  void aSemaphoreHasASingleKeyThatIsNotShared() {
    refused("key", Keys.semaphore(SEVERAL, 5));
    refused("key", Keys.together(SEMAPHORE, "b"));
    refused("key", Keys.together(Keys.slot(SEMAPHORE, 1), "b"));
    refused("key", Keys.semaphore(Keys.shared("a"), 5));
    refused("key", Keys.shared(SEMAPHORE));
    refused("key", Keys.shared(Keys.slot(SEMAPHORE, 1)));
    refused("key", Keys.semaphore(SEMAPHORE, 5));
    refused("key", Keys.semaphore(Keys.slot(SEMAPHORE, 1), 5));
    refused("slot", Keys.slot(Keys.slot(SEMAPHORE, 1), 1));
  }

  @Test
  void onlyWhatATokenHoldsMayNameItsSlot() {
    Checks.keyToAcquire(SEMAPHORE);
    assertThrows(LockArgumentException.class, () -> Checks.keyToAcquire(Keys.slot(SEMAPHORE, 5)));
    WatchItem item = new WatchItem(Keys.slot(SEMAPHORE, 1), "mine", TTL);
    Checks.items(List.of(item, new WatchItem("c", "mine", TTL), new WatchItem(Keys.slot(Keys.semaphore("b", 6), 1), "mine", TTL)));
    Checks.items(List.of(new WatchItem(SEMAPHORE, "mine", TTL)));
    for (String same : List.of("a", SEMAPHORE, Keys.slot(SEMAPHORE, 2))) {
      assertThrows(
          LockArgumentException.class, () -> Checks.items(List.of(item, new WatchItem(same, "mine", TTL))));
    }
  }

  @Test
  void everyCallChecksTheSlot() {
    try (RedlockClient client = RedlockClient.builder().build()) {
      AcquireOptions once = AcquireOptions.defaults().withWait(Duration.ZERO);
      String slot = Keys.slot(SEMAPHORE, 1);
      assertThrows(LockArgumentException.class, () -> client.acquire(slot, once));
      assertThrows(LockArgumentException.class, () -> client.acquireOrExtend(slot, "mine", once));
      assertThrows(LockArgumentException.class, () -> client.acquireDetached(slot, once));
      assertThrows(LockArgumentException.class, () -> client.asJavaLock(slot, once));
      String outside = Keys.slot(SEMAPHORE, 6);
      assertThrows(LockArgumentException.class, () -> client.adopt(outside, "mine", once));
      assertThrows(LockArgumentException.class, () -> client.extend(outside, "mine", TTL));
      assertThrows(LockArgumentException.class, () -> client.tryExtend(outside, "mine", TTL));
    }
  }

  @Test
  void aMessageHasTheLimit() {
    StringBuilder written = new StringBuilder();
    for (String key : List.of(SEMAPHORE, Keys.slot(SEMAPHORE, 3))) {
      KeyNames.write(key, written::append, written::append, written::append, limit -> written.append(" of ").append(limit));
    }
    assertEquals("a of 5a of 5", written.toString());
    assertEquals(SEMAPHORE, KeyNames.read("a", List.of(), EXCLUSIVE, 5));
  }

  @Test
  void aLeaseOfASemaphoreHasASlot() {
    Lease lease = new Lease(SEMAPHORE, 3, "token", 1, 1);
    assertEquals("3/5 [a]", lease.slot() + "/" + lease.maxHolders() + " " + lease.keys());
    assertEquals(0, new Lease(SEVERAL, 0, "token", 1, 1).maxHolders());
  }

  @Test
  void theErrorReportsHowTheKeyIsInUse() {
    Failure failure = Failure.of(
        Reason.of("KIND_MISMATCH"), "the key is in use as a lock", 0, Map.of("in_use_as", "a lock"));
    LockException error = Errors.of(SEMAPHORE, failure);
    assertEquals(Reason.KIND_MISMATCH, error.reason());
    assertEquals("a lock", ((LockKindMismatchException) error).inUseAs().orElseThrow());
    assertEquals("a: the key is in use as a lock", error.getMessage());
    Failure unknown = Failure.of(Reason.KIND_MISMATCH, "because");
    assertTrue(((LockKindMismatchException) Errors.of(SEMAPHORE, unknown)).inUseAs().isEmpty());
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
    showsNames(new Lease(several, 0, "token", 1, 1));
    assertEquals(List.of("a", "b"), new Lease(several, 0, "token", 1, 1).keys());
    showsNames(new AcquireCommand(several, 0, "token", AcquireCommand.Kind.ACQUIRE, 1, 1, "", "", 0, 1, null));
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
