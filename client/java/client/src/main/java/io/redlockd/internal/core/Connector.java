package io.redlockd.internal.core;

import java.util.function.DoubleSupplier;

/** Decides which endpoint is tried next, when, and for how long. */
final class Connector {
  private static final long SHORTEST_PAUSE = 50 * Times.MILLIS;
  private static final long LONGEST_PAUSE = Times.SECONDS;
  // A Session that ends sooner does not count as a success: a daemon may end every Session at once.
  private static final long LASTING = Times.SECONDS;

  private final int endpoints;
  private final long connectTimeout;
  private final long grace;
  private final DoubleSupplier random;
  private int endpoint;
  private long connectAt = Times.LONG_AGO;
  private int failed; // attempts since a Session was last ready
  private int shortLived; // short Sessions in a row
  private long pause = SHORTEST_PAUSE;

  Connector(int endpoints, long connectTimeout, long grace, DoubleSupplier random) {
    this.endpoints = endpoints;
    this.connectTimeout = connectTimeout;
    this.grace = grace;
    this.random = random;
  }

  /** The endpoint of the current or the next Session. */
  int endpoint() {
    return endpoint;
  }

  /** The earliest time at which the next Session is opened. */
  long connectAt() {
    return connectAt;
  }

  /**
   * How long one attempt to connect may take. With locks at stake, the attempts until every endpoint has been tried once share
   * half of the grace.
   */
  long patience(boolean locksAtStake) {
    return !locksAtStake || failed >= endpoints ? connectTimeout : Math.min(connectTimeout, grace / 2 / endpoints);
  }

  /**
   * The Session was abandoned before it was ready. Returns whether every endpoint has now failed once more.
   */
  boolean onFailed(long now) {
    moveOn(now);
    if (++failed % endpoints != 0) {
      return false;
    }
    rest();
    return true;
  }

  /** The Session was abandoned after it had been ready for {@code lasted}. */
  void onLost(long now, long lasted) {
    moveOn(now);
    failed = 0;
    if (lasted >= LASTING) {
      shortLived = 0;
      pause = SHORTEST_PAUSE;
    } else if (++shortLived % endpoints == 0) {
      rest();
    }
  }

  private void moveOn(long now) {
    endpoint = (endpoint + 1) % endpoints;
    connectAt = now;
  }

  // From half of the pause up to all of it, with jitter.
  private void rest() {
    connectAt += pause / 2 + (long) (pause / 2 * random.getAsDouble());
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}
