package io.redlockd;

import io.redlockd.internal.core.KeyNames;
import java.time.Duration;
import java.util.Objects;

/**
 * One lock that {@link RedlockClient#watch} keeps alive. Immutable.
 *
 * @param key the key; several: {@link Keys#together}; a share: {@link Keys#shared}; a semaphore: {@link Keys#semaphore},
 *     or {@link Keys#slot} to name the slot
 * @param token the token that holds the key, or will hold it
 * @param ttl the TTL that each extension sets
 * @param interval the pause between extensions, at least 1 ms and less than {@code ttl}; null: half of {@code ttl}
 */
public record WatchItem(String key, String token, Duration ttl, Duration interval) {
  /**
   * Creates an item.
   *
   * @param key the key; several: {@link Keys#together}; a share: {@link Keys#shared}; a semaphore: {@link Keys#semaphore},
   *     or {@link Keys#slot} to name the slot
   * @param token the token that holds the key, or will hold it
   * @param ttl the TTL that each extension sets
   * @param interval the pause between extensions; null: half of {@code ttl}
   */
  public WatchItem {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(token, "token");
    Objects.requireNonNull(ttl, "ttl");
  }

  /**
   * An item that is extended whenever half of its TTL has passed.
   *
   * @param key the key; several: {@link Keys#together}; a share: {@link Keys#shared}; a semaphore: {@link Keys#semaphore},
   *     or {@link Keys#slot} to name the slot
   * @param token the token
   * @param ttl the TTL
   */
  public WatchItem(String key, String token, Duration ttl) {
    this(key, token, ttl, null);
  }

  @Override
  public String toString() {
    return "WatchItem{key=" + KeyNames.inWords(key) + ", ttl=" + ttl + "}"; // a token is a secret
  }
}
