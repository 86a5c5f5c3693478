package load;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletionStage;

/** A library, used as its documentation shows. */
interface Subject {
  /** The same for all. */
  Duration TTL = Duration.ofSeconds(30);

  Held acquire(String key) throws Exception;

  CompletionStage<? extends Held> acquireAsync(String key);

  /** A held lock. */
  interface Held {
    void release() throws Exception;

    CompletionStage<Void> releaseAsync();
  }

  static Subject of(String name, String daemon, List<String> nodes) {
    return switch (name) {
      case "redlockd" -> new RedlockdSubject(daemon);
      case "stubs" -> new StubsSubject(daemon);
      case "RLock" -> new RedissonSubject(nodes.subList(0, 1));
      case "RedissonRedLock" -> new RedissonSubject(nodes);
      default -> throw new IllegalArgumentException("no such subject: " + name);
    };
  }
}
