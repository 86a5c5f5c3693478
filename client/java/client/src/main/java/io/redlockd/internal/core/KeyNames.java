package io.redlockd.internal.core;

import io.redlockd.redlock.v1.LockMode;
import java.util.Collection;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import java.util.stream.Stream;

/**
 * What a lock is named by: one key, or several that are locked together, exclusively or shared, or a semaphore. The client treats
 * all alike, as one string: the sorted names with a separator in between, after a mark if the lock is shared or if the key is a
 * semaphore. Only messages to and from a daemon, checks, and texts for people look at the names, the mode and the limit.
 *
 * <p>A caller names a slot of a semaphore by a further mark in front. The slot is no part of what names the lock.
 */
public final class KeyNames {
  // Occurs in no valid name, because it is not valid Unicode. The comma after the lone surrogate keeps a bad name that begins with
  // the other half of a pair from turning the separator into a character.
  private static final String SEPARATOR = "\ud800,";

  // At the beginning of a shared key. Not valid Unicode either.
  private static final String SHARED = "\udc00,";

  // Replaces the mark of a name among several, which is refused then: only all of them together can be shared, and a semaphore has
  // a single key.
  private static final String MISPLACED = "\udc01";

  // At the beginning of the key of a semaphore and of a slot, before the limit or the slot. Not valid Unicode either.
  private static final char SEMAPHORE = '\udc02';
  private static final char SLOT = '\udc03';

  // The length of such a mark and of the number, which is in two characters, also if it is out of range.
  private static final int NUMBERED = 3;

  private KeyNames() {}

  /** Returns the key of these names. Their order does not matter. */
  public static String join(Collection<String> names) {
    return String.join(SEPARATOR, names.stream().flatMap(KeyNames::splitUnmarked).sorted().toList());
  }

  private static Stream<String> splitUnmarked(String key) {
    return split(isMarked(key) ? MISPLACED + key : key).stream();
  }

  private static boolean isMarked(String key) {
    return isShared(key) || isNumbered(SEMAPHORE, key) || isNumbered(SLOT, key);
  }

  /** Whether one of the names that {@link #split} returns is a key that cannot be a part of this one. */
  public static boolean isMisplaced(String name) {
    return isMarked(name) || name.startsWith(MISPLACED);
  }

  /** Returns the key of the same names in shared mode. */
  public static String share(String key) {
    return isShared(key) ? key : SHARED + key;
  }

  /** Whether the key is shared. */
  public static boolean isShared(String key) {
    return key.startsWith(SHARED);
  }

  /** Returns the key of a semaphore. */
  public static String semaphore(String key, int maxHolders) {
    return numbered(SEMAPHORE, maxHolders) + key;
  }

  /** Whether the key is a semaphore. */
  public static boolean isSemaphore(String key) {
    return isNumbered(SEMAPHORE, withoutSlot(key));
  }

  /** Returns the limit of a semaphore; 0: the key is none. */
  public static int maxHolders(String key) {
    return isSemaphore(key) ? number(withoutSlot(key)) : 0;
  }

  /** Returns the key of one slot of the semaphore. */
  public static String withSlot(String key, int slot) {
    return numbered(SLOT, slot) + key;
  }

  /** Whether the key names a slot. */
  public static boolean hasSlot(String key) {
    return isNumbered(SLOT, key);
  }

  /** Returns the slot; 0: the key names none. */
  public static int slot(String key) {
    return hasSlot(key) ? number(key) : 0;
  }

  /** Returns the key of the semaphore. */
  public static String withoutSlot(String key) {
    return hasSlot(key) ? key.substring(NUMBERED) : key;
  }

  private static String numbered(char mark, int number) {
    return new String(new char[] {mark, (char) (number >>> Character.SIZE), (char) number});
  }

  private static boolean isNumbered(char mark, String key) {
    return key.length() >= NUMBERED && key.charAt(0) == mark;
  }

  private static int number(String key) {
    return key.charAt(1) << Character.SIZE | key.charAt(2);
  }

  private static String unmarked(String key) {
    String whole = withoutSlot(key);
    if (isSemaphore(whole)) {
      return whole.substring(NUMBERED);
    }
    return isShared(whole) ? whole.substring(SHARED.length()) : whole;
  }

  /** Returns the names, sorted. */
  public static List<String> split(String key) {
    String names = unmarked(key);
    return names.contains(SEPARATOR) ? List.of(names.split(SEPARATOR, -1)) : List.of(names);
  }

  /** Returns the names for people. */
  public static String inWords(String key) {
    return unmarked(key).replace(SEPARATOR, ", ");
  }

  /** Returns the key of a message that has these fields. */
  public static String read(String key, List<String> keys, LockMode mode, int maxHolders) {
    String exclusive = keys.isEmpty() ? key : join(keys);
    if (maxHolders != 0) {
      return semaphore(exclusive, maxHolders);
    }
    return mode == LockMode.LOCK_MODE_SHARED ? share(exclusive) : exclusive;
  }

  /** Fills the fields of a message: one of the two for the names, the mode, and the limit of a semaphore. */
  public static void write(
      String key,
      Consumer<String> setKey,
      Consumer<List<String>> setKeys,
      Consumer<LockMode> setMode,
      IntConsumer setMaxHolders) {
    writeNames(key, setKey, setKeys);
    if (isShared(key)) {
      setMode.accept(LockMode.LOCK_MODE_SHARED);
    }
    setMaxHolders.accept(maxHolders(key));
  }

  /** Fills one of the two fields of a message that has neither mode nor limit. */
  public static void writeNames(String key, Consumer<String> setKey, Consumer<List<String>> setKeys) {
    List<String> names = split(key);
    if (names.size() == 1) {
      setKey.accept(names.get(0));
    } else {
      setKeys.accept(names);
    }
  }
}
