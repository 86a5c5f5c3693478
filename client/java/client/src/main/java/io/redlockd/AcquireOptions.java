package io.redlockd;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.function.IntConsumer;

/**
 * How a lock is acquired. Immutable: each {@code with} method returns a changed copy.
 *
 * <pre>{@code
 * AcquireOptions.defaults().withTtl(Duration.ofSeconds(10)).withWait(Duration.ofSeconds(5))
 * }</pre>
 */
public final class AcquireOptions {
  private static final AcquireOptions DEFAULTS =
      new AcquireOptions(Duration.ofSeconds(30), null, null, null, null, null, null, "", Duration.ZERO, null);

  private final Duration ttl;
  private final Duration wait;
  private final String owner;
  private final String token;
  private final Duration margin;
  private final RetryPolicy retry;
  private final IntConsumer onQueued;
  private final String value;
  private final Duration lockDelay;
  private final Duration keepFor;

  private AcquireOptions(
      Duration ttl,
      Duration wait,
      String owner,
      String token,
      Duration margin,
      RetryPolicy retry,
      IntConsumer onQueued,
      String value,
      Duration lockDelay,
      Duration keepFor) {
    this.ttl = ttl;
    this.wait = wait;
    this.owner = owner;
    this.token = token;
    this.margin = margin;
    this.retry = retry;
    this.onQueued = onQueued;
    this.value = value;
    this.lockDelay = lockDelay;
    this.keepFor = keepFor;
  }

  /**
   * Returns the defaults: a TTL of 30 s, no limit of the wait, the client's label, and a token that the client makes.
   *
   * @return the defaults
   */
  public static AcquireOptions defaults() {
    return DEFAULTS;
  }

  /**
   * Sets the TTL: how long the lock outlives a client and a daemon that have gone. From 10 ms to the daemon's {@code
   * --max-ttl}. The daemon keeps extending a lock of a living client.
   *
   * @param newTtl the TTL
   * @return the changed copy
   */
  public AcquireOptions withTtl(Duration newTtl) {
    Objects.requireNonNull(newTtl, "ttl");
    return new AcquireOptions(
        newTtl, wait, owner, token, margin, retry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets how long to wait for the lock. This bounds everything, connecting included.
   *
   * @param newWait the longest wait; null: without a limit; zero: a single try
   * @return the changed copy
   */
  public AcquireOptions withWait(Duration newWait) {
    return new AcquireOptions(
        ttl, newWait, owner, token, margin, retry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets the label for people, which {@code redlockctl inspect} and the errors of other callers show.
   *
   * @param newOwner at most 128 bytes of UTF-8; null: the client's label
   * @return the changed copy
   */
  public AcquireOptions withOwner(String newOwner) {
    return new AcquireOptions(
        ttl, wait, newOwner, token, margin, retry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets the owner token, the secret that proves ownership. A token of your own may be used again after a call that failed or
   * was cancelled, after a release that succeeded, and after a loss once the work under the lock has stopped. It must not be used
   * again after a release or a {@link Lock#downgrade} that failed, nor after a detached acquire that failed.
   *
   * @param newToken 1 to 128 bytes of UTF-8; null: the client makes one
   * @return the changed copy
   */
  public AcquireOptions withToken(String newToken) {
    return new AcquireOptions(
        ttl, wait, owner, newToken, margin, retry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets how much of the trust is left when a loss is signalled, so that there is time to stop.
   *
   * @param newMargin from 0 to a third of the TTL or of the client's grace, whichever is less; null: a tenth of the TTL or of the
   *     grace, whichever is less, and at most 500 ms
   * @return the changed copy
   */
  public AcquireOptions withMargin(Duration newMargin) {
    return new AcquireOptions(
        ttl, wait, owner, token, newMargin, retry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets how the daemon retries. If the retries are used up, the call fails with {@link Reason#MAX_RETRIES_EXCEEDED}.
   *
   * @param newRetry the policy; null: the daemon's defaults
   * @return the changed copy
   */
  public AcquireOptions withRetry(RetryPolicy newRetry) {
    return new AcquireOptions(
        ttl, wait, owner, token, margin, newRetry, onQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets a callback that receives the number of waiters ahead in the daemon's wait queue, when waiting begins and whenever the
   * number has changed. It runs on the client's executor. Exceptions that leave it are logged.
   *
   * @param newOnQueued the callback; null: none
   * @return the changed copy
   */
  public AcquireOptions withOnQueued(IntConsumer newOnQueued) {
    return new AcquireOptions(
        ttl, wait, owner, token, margin, retry, newOnQueued, value, lockDelay, keepFor);
  }

  /**
   * Sets a value that the lock publishes, such as the address of the leader of an election. Observers see it, and {@link
   * Lock#proclaim} replaces it. It is not secret.
   *
   * @param newValue at most 4096 bytes of UTF-8; empty: none
   * @return the changed copy
   */
  public AcquireOptions withValue(String newValue) {
    Objects.requireNonNull(newValue, "value");
    return new AcquireOptions(
        ttl, wait, owner, token, margin, retry, onQueued, newValue, lockDelay, keepFor);
  }

  /**
   * Sets for how long after its TTL a lock that is lost, rather than released, keeps others out. What the holder began can then come
   * to an end in storage that checks no fencing tokens.
   *
   * @param newLockDelay not negative, and together with the TTL at most the daemon's {@code --max-ttl}; zero: none
   * @return the changed copy
   */
  public AcquireOptions withLockDelay(Duration newLockDelay) {
    Objects.requireNonNull(newLockDelay, "lockDelay");
    return new AcquireOptions(
        ttl, wait, owner, token, margin, retry, onQueued, value, newLockDelay, keepFor);
  }

  /**
   * Sets for how long after its acquisition the key stays taken, although nobody holds it, once the lock is released or closed. A job
   * that several machines start at about the same time then runs once, although their clocks differ. A lock that is lost is not kept.
   *
   * @param newKeepFor from 1 ms to the daemon's {@code --max-ttl}; null: a release frees the key at once
   * @return the changed copy
   */
  public AcquireOptions withKeepFor(Duration newKeepFor) {
    return new AcquireOptions(
        ttl, wait, owner, token, margin, retry, onQueued, value, lockDelay, newKeepFor);
  }

  /**
   * Returns the TTL.
   *
   * @return the TTL
   */
  public Duration ttl() {
    return ttl;
  }

  /**
   * Returns the longest wait.
   *
   * @return the longest wait; empty: without a limit
   */
  public Optional<Duration> maxWait() {
    return Optional.ofNullable(wait);
  }

  /**
   * Returns the label.
   *
   * @return the label; empty: the client's
   */
  public Optional<String> owner() {
    return Optional.ofNullable(owner);
  }

  /**
   * Returns the owner token.
   *
   * @return the token; empty: the client makes one
   */
  public Optional<String> token() {
    return Optional.ofNullable(token);
  }

  /**
   * Returns the margin.
   *
   * @return the margin; empty: the default
   */
  public Optional<Duration> margin() {
    return Optional.ofNullable(margin);
  }

  /**
   * Returns how the daemon retries.
   *
   * @return the policy; empty: the daemon's defaults
   */
  public Optional<RetryPolicy> retry() {
    return Optional.ofNullable(retry);
  }

  /**
   * Returns the callback for the position in the wait queue.
   *
   * @return the callback; empty: none
   */
  public Optional<IntConsumer> onQueued() {
    return Optional.ofNullable(onQueued);
  }

  /**
   * Returns the value that the lock publishes.
   *
   * @return the value; empty text: none
   */
  public String value() {
    return value;
  }

  /**
   * Returns for how long after its TTL a lost lock keeps others out.
   *
   * @return the delay; zero: none
   */
  public Duration lockDelay() {
    return lockDelay;
  }

  /**
   * Returns for how long after its acquisition the key stays taken once the lock is released.
   *
   * @return the time; empty: a release frees the key at once
   */
  public Optional<Duration> keepFor() {
    return Optional.ofNullable(keepFor);
  }

  @Override
  public String toString() {
    return "AcquireOptions{ttl=" + ttl + ", wait=" + wait + ", owner=" + owner + "}"; // a token is a secret
  }
}
