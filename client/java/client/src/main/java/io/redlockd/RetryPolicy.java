package io.redlockd;

import java.time.Duration;
import java.util.Objects;

/**
 * How the daemon retries an operation on the nodes. Immutable.
 *
 * @param maxRetries the number of retries after the first attempt: -1 for no limit, 0 for a single attempt
 * @param minDelay the minimum pause between attempts
 * @param maxJitter the upper bound of the random pause that is added to it
 */
public record RetryPolicy(int maxRetries, Duration minDelay, Duration maxJitter) {
  /** Retries without a limit, with up to 300 ms between the attempts: the daemon's default. */
  public static final RetryPolicy UNLIMITED = new RetryPolicy(-1, Duration.ZERO, Duration.ofMillis(300));

  /** Makes one attempt. */
  public static final RetryPolicy NONE = new RetryPolicy(0, Duration.ZERO, Duration.ZERO);

  /**
   * Creates a policy.
   *
   * @param maxRetries the number of retries after the first attempt: -1 for no limit, 0 for a single attempt
   * @param minDelay the minimum pause between attempts
   * @param maxJitter the upper bound of the random pause that is added to it
   */
  public RetryPolicy {
    Objects.requireNonNull(minDelay, "minDelay");
    Objects.requireNonNull(maxJitter, "maxJitter");
  }

  /**
   * Returns the default policy with a limit.
   *
   * @param maxRetries the number of retries
   * @return the policy
   */
  public static RetryPolicy atMost(int maxRetries) {
    return new RetryPolicy(maxRetries, UNLIMITED.minDelay, UNLIMITED.maxJitter);
  }
}
