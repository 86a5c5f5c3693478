package load;

import io.redlockd.AcquireOptions;
import io.redlockd.Keys;
import io.redlockd.Lock;
import io.redlockd.RedlockClient;
import java.util.concurrent.CompletionStage;

/** This project's client. */
final class RedlockdSubject implements Subject {
  private static final AcquireOptions OPTIONS = AcquireOptions.defaults().withTtl(TTL);

  private final RedlockClient client;

  RedlockdSubject(String daemon) {
    client = RedlockClient.builder().endpoints(daemon).build();
  }

  private static String key(Wanted wanted) {
    String key = Keys.together(wanted.keys());
    if (wanted.maxHolders() > 0) {
      return Keys.semaphore(key, wanted.maxHolders());
    }
    return wanted.shared() ? Keys.shared(key) : key;
  }

  @Override
  public Held acquire(Wanted wanted) throws InterruptedException {
    return new RedlockdHeld(client.acquire(key(wanted), OPTIONS));
  }

  @Override
  public CompletionStage<Held> acquireAsync(Wanted wanted) {
    return client.acquireAsync(key(wanted), OPTIONS).thenApply(RedlockdHeld::new);
  }

  private record RedlockdHeld(Lock lock) implements Held {
    @Override
    public void release() {
      lock.release();
    }

    @Override
    public CompletionStage<Void> releaseAsync() {
      return lock.releaseAsync();
    }
  }
}
