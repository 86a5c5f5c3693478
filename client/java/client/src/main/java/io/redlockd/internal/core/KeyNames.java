package io.redlockd.internal.core;

import java.util.Collection;
import java.util.List;
import java.util.function.Consumer;

/**
 * What a lock is named by: one key, or several that are locked together. The client treats both alike, as one string: the sorted
 * names with a separator in between. Only messages to and from a daemon, checks, and texts for people look at the names.
 */
public final class KeyNames {
  // Occurs in no valid name, because it is not valid Unicode. The comma after the lone surrogate keeps a bad name that begins with
  // the other half of a pair from turning the separator into a character.
  private static final String SEPARATOR = "\ud800,";

  private KeyNames() {}

  /** Returns the key of these names. Their order does not matter. */
  public static String join(Collection<String> names) {
    return String.join(SEPARATOR, names.stream().flatMap(name -> split(name).stream()).sorted().toList());
  }

  /** Returns the names, sorted. */
  public static List<String> split(String key) {
    return key.contains(SEPARATOR) ? List.of(key.split(SEPARATOR, -1)) : List.of(key);
  }

  /** Returns the names for people. */
  public static String inWords(String key) {
    return key.replace(SEPARATOR, ", ");
  }

  /** Returns the key of a message that has these fields. */
  public static String read(String key, List<String> keys) {
    return keys.isEmpty() ? key : join(keys);
  }

  /** Fills one of the two fields of a message. */
  public static void write(String key, Consumer<String> setKey, Consumer<List<String>> setKeys) {
    List<String> names = split(key);
    if (names.size() == 1) {
      setKey.accept(key);
    } else {
      setKeys.accept(names);
    }
  }
}
