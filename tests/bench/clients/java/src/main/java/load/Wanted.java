package load;

import java.util.List;

/**
 * What a cycle acquires.
 *
 * @param keys one, or several together
 * @param maxHolders of a semaphore; 0: the keys are no semaphore
 */
record Wanted(List<String> keys, boolean shared, int maxHolders) {
  static Wanted exclusive(String... keys) {
    return new Wanted(List.of(keys), false, 0);
  }

  static Wanted share(String key) {
    return new Wanted(List.of(key), true, 0);
  }

  static Wanted semaphore(String key, int maxHolders) {
    return new Wanted(List.of(key), false, maxHolders);
  }

  /** The only key. */
  String key() {
    return keys.get(0);
  }
}
