package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.util.Collection;
import java.util.List;

/**
 * Keys that are locked together: all at once or not at all.
 *
 * <pre>{@code
 * try (Lock lock = client.acquire(Keys.together("account/7", "account/9"))) {
 *   storage.transfer(amount, lock.fencingToken());
 * }
 * }</pre>
 *
 * <p>The lock has one token, one TTL, and one fencing token, which is above all that any of the keys has seen. The loss of one key is
 * the loss of the lock. Nobody holds only a part of the keys, so that acquisitions cannot deadlock.
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
   * @param keys the keys; a single one is returned as it is
   * @return the key of all of them
   */
  public static String together(String... keys) {
    return together(List.of(keys));
  }

  /**
   * Makes one key of several, as {@link #together(String...)} does.
   *
   * @param keys the keys; a single one is returned as it is
   * @return the key of all of them
   */
  public static String together(Collection<String> keys) {
    return KeyNames.join(keys);
  }
}
