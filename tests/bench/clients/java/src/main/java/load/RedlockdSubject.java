package load;

import io.redlockd.AcquireOptions;
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

  @Override
  public Held acquire(String key) throws InterruptedException {
    return new RedlockdHeld(client.acquire(key, OPTIONS));
  }

  @Override
  public CompletionStage<Held> acquireAsync(String key) {
    return client.acquireAsync(key, OPTIONS).thenApply(RedlockdHeld::new);
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
