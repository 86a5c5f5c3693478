package load;

import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import org.redisson.Redisson;
import org.redisson.RedissonRedLock;
import org.redisson.api.RLock;
import org.redisson.api.RReadWriteLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/**
 * The locks of Redisson. RedissonRedLock consists of the RLocks of all nodes; the others lock one node, without a
 * quorum. With a lease time, Redisson does not extend the lock; it saves the work of its watchdog.
 */
final class RedissonSubject implements Subject {
  // Redisson's pools are as large as the number of outstanding cycles, so that none waits for a connection.
  private static final int CONNECTIONS = 256;

  private final Function<Wanted, RLock> lock;
  // The locks are reentrant: each asynchronous holder needs an id of its own.
  private final AtomicLong holders = new AtomicLong(1 << 20);

  private RedissonSubject(Function<Wanted, RLock> lock) {
    this.lock = lock;
  }

  static Subject of(String name, List<String> nodes) {
    if (name.equals("RedissonRedLock")) {
      List<RedissonClient> clients = nodes.stream().map(RedissonSubject::client).toList();
      return new RedissonSubject(wanted -> new RedissonRedLock(
          clients.stream().map(client -> client.getLock(wanted.key())).toArray(RLock[]::new)));
    }
    RedissonClient client = client(nodes.get(0));
    return new RedissonSubject(switch (name) {
      case "RLock" -> wanted -> client.getLock(wanted.key());
      // MultiLock locks one key after another, in this order.
      case "MultiLock" -> wanted -> client.getMultiLock(
          wanted.keys().stream().map(client::getLock).toArray(RLock[]::new));
      case "RReadWriteLock" -> wanted -> {
        RReadWriteLock lock = client.getReadWriteLock(wanted.key());
        return wanted.shared() ? lock.readLock() : lock.writeLock();
      };
      default -> throw new IllegalArgumentException("no such lock: " + name);
    });
  }

  static RedissonClient client(String node) {
    Config config = new Config();
    config.useSingleServer().setAddress("redis://" + node).setConnectionPoolSize(CONNECTIONS);
    return Redisson.create(config);
  }

  @Override
  public Held acquire(Wanted wanted) {
    RLock held = lock.apply(wanted);
    held.lock(TTL.toSeconds(), TimeUnit.SECONDS);
    return new RedissonHeld(held, 0);
  }

  @Override
  public CompletionStage<Held> acquireAsync(Wanted wanted) {
    RLock held = lock.apply(wanted);
    long holder = holders.incrementAndGet();
    return held.lockAsync(TTL.toSeconds(), TimeUnit.SECONDS, holder).thenApply(done -> new RedissonHeld(held, holder));
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
