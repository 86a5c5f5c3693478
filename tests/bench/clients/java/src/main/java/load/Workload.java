package load;

import java.util.concurrent.ThreadLocalRandom;

/** What the workers acquire. */
interface Workload {
  Wanted wanted(int worker, int cycle);

  /** A key that nobody else wants. */
  static Workload newKeys(String prefix) {
    return (worker, cycle) -> Wanted.exclusive(prefix + "-" + worker + "-" + cycle);
  }

  static Workload of(String name, String prefix) {
    return switch (name) {
      case "transfers-1000" -> transfers(prefix, 1000);
      case "transfers-10" -> transfers(prefix, 10);
      case "readers" -> (worker, cycle) -> // one cycle of ten is a writer
          (worker + cycle) % 10 == 0 ? Wanted.exclusive(prefix) : Wanted.share(prefix);
      case "semaphore" -> (worker, cycle) -> Wanted.semaphore(prefix, 10);
      default -> throw new IllegalArgumentException("no such workload: " + name);
    };
  }

  /** Two keys, in ascending order: a library that locks them one after another would deadlock otherwise. */
  private static Workload transfers(String prefix, int keys) {
    return (worker, cycle) -> {
      int one = ThreadLocalRandom.current().nextInt(keys);
      int other = (one + ThreadLocalRandom.current().nextInt(1, keys)) % keys;
      return Wanted.exclusive(prefix + "-" + Math.min(one, other), prefix + "-" + Math.max(one, other));
    };
  }
}
