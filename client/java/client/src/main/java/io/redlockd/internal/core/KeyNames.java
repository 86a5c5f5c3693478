package io.redlockd.internal.core;

import io.redlockd.redlock.v1.LockMode;
import java.util.Collection;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * What a lock is named by: one key, or several that are locked together, exclusively or shared. The client treats all alike, as one
 * string: the sorted names with a separator in between, after a mark if the lock is shared. Only messages to and from a daemon,
 * checks, and texts for people look at the names and the mode.
 */
public final class KeyNames {
  // Occurs in no valid name, because it is not valid Unicode. The comma after the lone surrogate keeps a bad name that begins with
  // the other half of a pair from turning the separator into a character.
  private static final String SEPARATOR = "\ud800,";

  // At the beginning of a shared key. Not valid Unicode either.
  private static final String SHARED = "\udc00,";

  // Replaces the mark of a name among several, which is refused then: only all of them together can be shared.
  private static final String MISPLACED = "\udc01";

  private KeyNames() {}

  /** Returns the key of these names. Their order does not matter. */
  public static String join(Collection<String> names) {
    return String.join(SEPARATOR, names.stream().flatMap(KeyNames::splitExclusive).sorted().toList());
  }

  private static Stream<String> splitExclusive(String key) {
    return split(isShared(key) ? MISPLACED + key : key).stream();
  }

  /** Returns the key of the same names in shared mode. */
  public static String share(String key) {
    return isShared(key) ? key : SHARED + key;
  }

  /** Whether the key is shared. */
  public static boolean isShared(String key) {
    return key.startsWith(SHARED);
  }

  private static String withoutMode(String key) {
    return isShared(key) ? key.substring(SHARED.length()) : key;
  }

  /** Returns the names, sorted. */
  public static List<String> split(String key) {
    String names = withoutMode(key);
    return names.contains(SEPARATOR) ? List.of(names.split(SEPARATOR, -1)) : List.of(names);
  }

  /** Returns the names for people. */
  public static String inWords(String key) {
    return withoutMode(key).replace(SEPARATOR, ", ");
  }

  /** Returns the key of a message that has these fields. */
  public static String read(String key, List<String> keys, LockMode mode) {
    String exclusive = keys.isEmpty() ? key : join(keys);
    return mode == LockMode.LOCK_MODE_SHARED ? share(exclusive) : exclusive;
  }

  /** Fills the fields of a message: one of the two for the names, and the mode. */
  public static void write(
      String key, Consumer<String> setKey, Consumer<List<String>> setKeys, Consumer<LockMode> setMode) {
    writeNames(key, setKey, setKeys);
    if (isShared(key)) {
      setMode.accept(LockMode.LOCK_MODE_SHARED);
    }
  }

  /** Fills one of the two fields of a message that has no mode. */
  public static void writeNames(String key, Consumer<String> setKey, Consumer<List<String>> setKeys) {
    List<String> names = split(key);
    if (names.size() == 1) {
      setKey.accept(names.get(0));
    } else {
      setKeys.accept(names);
    }
  }
}
