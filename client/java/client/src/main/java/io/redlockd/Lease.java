package io.redlockd;

import io.redlockd.internal.BootClock;
import io.redlockd.internal.core.KeyNames;
import java.time.Duration;
import java.util.List;

/**
 * A detached lock: it outlives the process, and no client or daemon extends it. A plain value; to hand it to another process,
 * pass on {@link #keys}, {@link #token}, and whether {@link Keys#isShared} is true for the {@link #key}. There, {@link
 * Keys#together} and {@link Keys#shared} make the key. Of a semaphore, pass on {@link #maxHolders} too, for {@link
 * Keys#semaphore}.
 */
public final class Lease {
  private final String key;
  private final int slot;
  private final String token;
  private final long fencingToken;
  private final long validUntil;

  /**
   * Creates a lease. For the client itself.
   *
   * @param key the key
   * @param slot the slot of the semaphore; 0 if the key is none
   * @param token the owner token
   * @param fencingToken the fencing token
   * @param validUntil the end of the validity in nanoseconds, on the client's clock
   */
  Lease(String key, int slot, String token, long fencingToken, long validUntil) {
    this.key = key;
    this.slot = slot;
    this.token = token;
    this.fencingToken = fencingToken;
    this.validUntil = validUntil;
  }

  /**
   * Returns the key, which can be passed to the client.
   *
   * @return the key; of several, that of {@link Keys#together}; of a share, that of {@link Keys#shared}; of a semaphore, that of
   *     {@link Keys#semaphore}, without the slot
   */
  public String key() {
    return key;
  }

  /**
   * Returns the key; of several that are locked together, all of them.
   *
   * @return the keys, sorted
   */
  public List<String> keys() {
    return KeyNames.split(key);
  }

  /**
   * Returns which slot of the semaphore is held, from 1 to {@link #maxHolders}. No other holder has the same slot at the same time.
   *
   * @return the slot; 0 if the key is no semaphore
   */
  public int slot() {
    return slot;
  }

  /**
   * Returns how many holders the semaphore may have at the same time.
   *
   * @return the limit; 0 if the key is no semaphore
   */
  public int maxHolders() {
    return KeyNames.maxHolders(key);
  }

  /**
   * Returns the owner token, the secret that proves ownership.
   *
   * @return the token
   */
  public String token() {
    return token;
  }

  /**
   * Returns a number that is higher than that of every earlier holder; of a semaphore, than that of every earlier holder of the
   * slot. Pass it to the storage that the lock protects.
   *
   * @return the fencing token
   */
  public long fencingToken() {
    return fencingToken;
  }

  /**
   * Returns how long the lock can still be trusted, on a clock that counts suspend time.
   *
   * @return the validity; zero once it has ended
   */
  public Duration validity() {
    return Duration.ofNanos(Math.max(0, validUntil - BootClock.SYSTEM.now()));
  }

  @Override
  public String toString() {
    return "Lease{key=" + KeyNames.inWords(key) + ", fencingToken=" + fencingToken + "}"; // the token is a secret
  }
}
