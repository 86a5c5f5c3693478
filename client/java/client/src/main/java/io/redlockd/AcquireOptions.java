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
      new AcquireOptions(Duration.ofSeconds(30), null, null, null, null, null, null);

  private final Duration ttl;
  private final Duration wait;
  private final String owner;
  private final String token;
  private final Duration margin;
  private final RetryPolicy retry;
  private final IntConsumer onQueued;

  private AcquireOptions(
      Duration ttl,
      Duration wait,
      String owner,
      String token,
      Duration margin,
      RetryPolicy retry,
      IntConsumer onQueued) {
    this.ttl = ttl;
    this.wait = wait;
    this.owner = owner;
    this.token = token;
    this.margin = margin;
    this.retry = retry;
    this.onQueued = onQueued;
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
    return new AcquireOptions(newTtl, wait, owner, token, margin, retry, onQueued);
  }

  /**
   * Sets how long to wait for the lock. This bounds everything, connecting included.
   *
   * @param newWait the longest wait; null: without a limit; zero: a single try
   * @return the changed copy
   */
  public AcquireOptions withWait(Duration newWait) {
    return new AcquireOptions(ttl, newWait, owner, token, margin, retry, onQueued);
  }

  /**
   * Sets the label for people, which {@code redlockctl inspect} and the errors of other callers show.
   *
   * @param newOwner at most 128 bytes of UTF-8; null: the client's label
   * @return the changed copy
   */
  public AcquireOptions withOwner(String newOwner) {
    return new AcquireOptions(ttl, wait, newOwner, token, margin, retry, onQueued);
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
    return new AcquireOptions(ttl, wait, owner, newToken, margin, retry, onQueued);
  }

  /**
   * Sets how much of the trust is left when a loss is signalled, so that there is time to stop.
   *
   * @param newMargin from 0 to a third of the TTL or of the client's grace, whichever is less; null: a tenth of the TTL or of the
   *     grace, whichever is less, and at most 500 ms
   * @return the changed copy
   */
  public AcquireOptions withMargin(Duration newMargin) {
    return new AcquireOptions(ttl, wait, owner, token, newMargin, retry, onQueued);
  }

  /**
   * Sets how the daemon retries. If the retries are used up, the call fails with {@link Reason#MAX_RETRIES_EXCEEDED}.
   *
   * @param newRetry the policy; null: the daemon's defaults
   * @return the changed copy
   */
  public AcquireOptions withRetry(RetryPolicy newRetry) {
    return new AcquireOptions(ttl, wait, owner, token, margin, newRetry, onQueued);
  }

  /**
   * Sets a callback that receives the number of waiters ahead in the daemon's wait queue, when waiting begins and whenever the
   * number has changed. It runs on the client's executor. Exceptions that leave it are logged.
   *
   * @param newOnQueued the callback; null: none
   * @return the changed copy
   */
  public AcquireOptions withOnQueued(IntConsumer newOnQueued) {
    return new AcquireOptions(ttl, wait, owner, token, margin, retry, newOnQueued);
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

  @Override
  public String toString() {
    return "AcquireOptions{ttl=" + ttl + ", wait=" + wait + ", owner=" + owner + "}"; // a token is a secret
  }
}
