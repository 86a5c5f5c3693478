package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;

/** See {@link RedlockClient#asJavaLock}. */
final class JavaLock implements java.util.concurrent.locks.Lock {
  private final RedlockClient client;
  private final String key;
  private final AcquireOptions options;
  private final Map<Thread, Lock> held = new ConcurrentHashMap<>();

  JavaLock(RedlockClient client, String key, AcquireOptions options) {
    this.client = client;
    this.key = key;
    this.options = options.withWait(null);
  }

  @Override
  public void lock() {
    refuseReentry();
    keep(client.start(key, options).awaitUninterruptibly());
  }

  @Override
  public void lockInterruptibly() throws InterruptedException {
    refuseReentry();
    keep(client.acquire(key, options));
  }

  @Override
  public boolean tryLock() {
    refuseReentry();
    try {
      keep(client.start(key, options.withWait(Duration.ZERO)).awaitUninterruptibly());
      return true;
    } catch (LockAlreadyHeldException held) {
      return false;
    }
  }

  @Override
  public boolean tryLock(long time, TimeUnit unit) throws InterruptedException {
    refuseReentry();
    if (Thread.interrupted()) {
      throw new InterruptedException();
    }
    Duration wait = Duration.ofNanos(Math.max(0, unit.toNanos(time)));
    try {
      keep(client.acquire(key, options.withWait(wait)));
      return true;
    } catch (LockAlreadyHeldException | LockTimeoutException held) {
      return false;
    }
  }

  private void refuseReentry() {
    if (held.containsKey(Thread.currentThread())) {
      throw new IllegalMonitorStateException(
          KeyNames.inWords(key) + ": this thread holds the lock already, and the lock is not reentrant");
    }
  }

  private void keep(Lock lock) {
    held.put(Thread.currentThread(), lock);
  }

  @Override
  public void unlock() {
    Optional.ofNullable(held.remove(Thread.currentThread()))
        .orElseThrow(() -> new IllegalMonitorStateException(KeyNames.inWords(key) + ": this thread does not hold the lock"))
        .close();
  }

  @Override
  public Condition newCondition() {
    throw new UnsupportedOperationException("a lock of redlockd has no conditions");
  }

  @Override
  public String toString() {
    return "redlockd lock " + KeyNames.inWords(key);
  }
}
