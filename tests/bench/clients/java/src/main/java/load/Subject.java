package load;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletionStage;

/** A library, used as its documentation shows. */
interface Subject {
  /** The same for all. */
  Duration TTL = Duration.ofSeconds(30);

  Held acquire(Wanted wanted) throws Exception;

  CompletionStage<? extends Held> acquireAsync(Wanted wanted);

  /** A held lock. */
  interface Held {
    void release() throws Exception;

    CompletionStage<Void> releaseAsync();
  }

  static Subject of(String name, String daemon, List<String> nodes) {
    return switch (name) {
      case "redlockd" -> new RedlockdSubject(daemon);
      case "stubs" -> new StubsSubject(daemon);
      case "RLock", "RedissonRedLock", "MultiLock", "RReadWriteLock" -> RedissonSubject.of(name, nodes);
      case "RPermitExpirableSemaphore" -> new PermitSubject(nodes.get(0));
      default -> throw new IllegalArgumentException("no such subject: " + name);
    };
  }
}
