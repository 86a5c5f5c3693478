package io.redlockd.internal.core;

import io.redlockd.redlock.v1.RetryPolicy;

/**
 * What a caller asks for. All arguments have been checked.
 *
 * @param key the key
 * @param slot the slot of a semaphore that an adoption accepts; 0: whichever the token holds, or there is none
 * @param token the caller's own token; null: the client makes one
 * @param kind what to do with the token
 * @param ttl the TTL in nanoseconds
 * @param longest how long to wait in nanoseconds; negative: without a limit; 0: a single try
 * @param owner a label
 * @param value what the lock publishes
 * @param lockDelay for how long after its TTL a lost lock keeps others out, in nanoseconds
 * @param margin how much trust is left when the loss is signalled, in nanoseconds
 * @param retry how the daemon retries; null: the daemon's defaults
 */
public record AcquireCommand(
    String key,
    int slot,
    String token,
    Kind kind,
    long ttl,
    long longest,
    String owner,
    String value,
    long lockDelay,
    long margin,
    RetryPolicy retry) {
  /** The ways to get a lease into the Session. */
  public enum Kind {
    /** Acquires the lock. */
    ACQUIRE,
    /** Extends the lock if the token holds it, and acquires it otherwise. */
    ACQUIRE_OR_EXTEND,
    /** Takes over the lock that the token holds. */
    ADOPT
  }

  /** How long the lock outlives its last extension, in nanoseconds. */
  public long lasting() {
    return Times.after(ttl, lockDelay);
  }

  boolean isSingleTry() {
    return longest == 0;
  }

  @Override
  public String toString() {
    return kind + " " + KeyNames.inWords(key); // a token is a secret
  }
}
