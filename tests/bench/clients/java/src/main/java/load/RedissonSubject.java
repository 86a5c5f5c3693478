package load;

import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.redisson.Redisson;
import org.redisson.RedissonRedLock;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/**
 * One node: RLock, without a quorum. Several nodes: RedissonRedLock over the RLocks of all. With a lease time, Redisson
 * does not extend the lock; it saves the work of its watchdog.
 */
final class RedissonSubject implements Subject {
  // Redisson's pools are as large as the number of outstanding cycles, so that none waits for a connection.
  private static final int CONNECTIONS = 256;

  private final List<RedissonClient> clients;
  // The locks are reentrant: each asynchronous holder needs an id of its own.
  private final AtomicLong holders = new AtomicLong(1 << 20);

  RedissonSubject(List<String> nodes) {
    clients = nodes.stream().map(RedissonSubject::client).toList();
  }

  private static RedissonClient client(String node) {
    Config config = new Config();
    config.useSingleServer().setAddress("redis://" + node).setConnectionPoolSize(CONNECTIONS);
    return Redisson.create(config);
  }

  private RLock lock(String key) {
    RLock[] locks = clients.stream().map(client -> client.getLock(key)).toArray(RLock[]::new);
    return locks.length == 1 ? locks[0] : new RedissonRedLock(locks);
  }

  @Override
  public Held acquire(String key) {
    RLock lock = lock(key);
    lock.lock(TTL.toSeconds(), TimeUnit.SECONDS);
    return new RedissonHeld(lock, 0);
  }

  @Override
  public CompletionStage<Held> acquireAsync(String key) {
    RLock lock = lock(key);
    long holder = holders.incrementAndGet();
    return lock.lockAsync(TTL.toSeconds(), TimeUnit.SECONDS, holder).thenApply(done -> new RedissonHeld(lock, holder));
  }

  private record RedissonHeld(RLock lock, long holder) implements Held {
    @Override
    public void release() {
      lock.unlock();
    }

    @Override
    public CompletionStage<Void> releaseAsync() {
      return lock.unlockAsync(holder);
    }
  }
}
