package load;

import java.util.Map;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.redisson.api.RPermitExpirableSemaphore;
import org.redisson.api.RedissonClient;

/** Redisson's semaphore whose permits expire. It uses one node, without a quorum. */
final class PermitSubject implements Subject {
  private final RedissonClient client;
  private final Map<String, RPermitExpirableSemaphore> semaphores = new ConcurrentHashMap<>();

  PermitSubject(String node) {
    client = RedissonSubject.client(node);
  }

  private RPermitExpirableSemaphore semaphore(Wanted wanted) {
    return semaphores.computeIfAbsent(wanted.key(), key -> {
      RPermitExpirableSemaphore semaphore = client.getPermitExpirableSemaphore(key);
      semaphore.trySetPermits(wanted.maxHolders());
      return semaphore;
    });
  }

  @Override
  public Held acquire(Wanted wanted) throws InterruptedException {
    RPermitExpirableSemaphore semaphore = semaphore(wanted);
    return new Permit(semaphore, semaphore.acquire(TTL.toSeconds(), TimeUnit.SECONDS));
  }

  @Override
  public CompletionStage<Held> acquireAsync(Wanted wanted) {
    RPermitExpirableSemaphore semaphore = semaphore(wanted);
    return semaphore.acquireAsync(TTL.toSeconds(), TimeUnit.SECONDS).thenApply(id -> new Permit(semaphore, id));
  }

  private record Permit(RPermitExpirableSemaphore semaphore, String id) implements Held {
    @Override
    public void release() {
      semaphore.release(id);
    }

    @Override
    public CompletionStage<Void> releaseAsync() {
      return semaphore.releaseAsync(id);
    }
  }
}
