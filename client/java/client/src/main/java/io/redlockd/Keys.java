package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.util.Collection;
import java.util.List;

/**
 * Keys that are locked together, all at once or not at all, keys that are shared, and semaphores.
 *
 * <pre>{@code
 * try (Lock lock = client.acquire(Keys.together("account/7", "account/9"))) {
 *   storage.transfer(amount, lock.fencingToken());
 * }
 * try (Lock reader = client.acquire(Keys.shared("catalog"))) {
 *   catalog.read();
 * }
 * try (Lock slot = client.acquire(Keys.semaphore("downloads", 5))) {
 *   downloads.fetch(file);
 * }
 * }</pre>
 *
 * <p>A lock of several keys has one token, one TTL, and one fencing token, which is above all that any of the keys has seen. The loss
 * of one key is the loss of the lock. Nobody holds only a part of the keys, so that acquisitions cannot deadlock.
 */
public final class Keys {
  private Keys() {}

  /**
   * Makes one key of several, which can be passed wherever this library accepts a key.
   *
   * <p>From 2 to 64 different keys, which have at most 8 KiB together. Their order does not matter: the results are equal. If a
   * key is not valid, the call that uses the result fails with {@link LockArgumentException}.
   *
   * <p>The result is opaque, and only for this library: it has no UTF-8 form. For people, and for other processes, use the
   * {@code keys()} of the lock or lease.
   *
   * @param keys the keys, none of which is shared or a semaphore; a single one is returned as it is
   * @return the key of all of them
   */
  public static String together(String... keys) {
    return together(List.of(keys));
  }

  /**
   * Makes one key of several, as {@link #together(String...)} does.
   *
   * @param keys the keys, none of which is shared or a semaphore; a single one is returned as it is
   * @return the key of all of them
   */
  public static String together(Collection<String> keys) {
    return KeyNames.join(keys);
  }

  /**
   * Makes a key that stands for a share of {@code key}, which can be passed wherever this library accepts a key. Any number of
   * holders share a key, and nobody holds it exclusively meanwhile: they are the readers of a readers-writer lock. {@link
   * Lock#downgrade} makes an exclusive lock a share. A share cannot become exclusive: release it and acquire the key again.
   *
   * <p>The mode belongs to the lock: who extends, adopts or watches a share passes {@code shared(key)} too, and gets {@link
   * LockLostException} for {@code key}. A release needs no mode. Several keys are shared by {@code shared(together(...))}. The
   * result is as opaque as that of {@link #together(String...)}.
   *
   * @param key the key; a shared one is returned as it is
   * @return the key in shared mode
   */
  public static String shared(String key) {
    return KeyNames.share(key);
  }

  /**
   * Makes a key that stands for a semaphore, which can be passed wherever this library accepts a key: at most {@code
   * maxHolders} holders have it at the same time, each with a slot of its own ({@link Lock#slot}).
   *
   * <p>Everyone must pass the same limit. If the key is in use as a lock, or with another limit, the call fails with {@link
   * LockKindMismatchException}. A call that extends or adopts what a token holds, in whichever slot, fails with {@link
   * LockLostException} if the token holds it with another limit. The result is as opaque as that of {@link #together(String...)}. If
   * an argument is not valid, the call that uses the result fails with {@link LockArgumentException}.
   *
   * @param key a single key that is not shared
   * @param maxHolders from 2 to 64
   * @return the key of the semaphore
   */
  public static String semaphore(String key, int maxHolders) {
    return KeyNames.semaphore(key, maxHolders);
  }

  /**
   * Makes a key that names a slot of a semaphore, for calls that extend, adopt or watch what a token holds, for example {@code
   * Keys.slot(Keys.semaphore("downloads", 5), slot)}. They fail with {@link LockLostException} if the token holds another slot.
   * With the key of the semaphore itself, they accept whichever slot the token holds.
   *
   * @param semaphore a key that comes from {@link #semaphore}, or the {@code key()} of the lock or lease
   * @param slot from 1 to the limit of the semaphore: the {@code slot()} of the lock or lease
   * @return the key of the slot
   */
  public static String slot(String semaphore, int slot) {
    return KeyNames.withSlot(semaphore, slot);
  }

  /**
   * Returns whether a key is shared: whether it comes from {@link #shared}.
   *
   * @param key the key, for example of a {@link Lease} that is to be handed to another process
   * @return whether it is shared
   */
  public static boolean isShared(String key) {
    return KeyNames.isShared(key);
  }
}
