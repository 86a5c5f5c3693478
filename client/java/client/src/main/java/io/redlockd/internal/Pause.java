package io.redlockd.internal;

import io.redlockd.internal.core.Times;
import java.util.concurrent.ThreadLocalRandom;

/** The pause after a round in which all endpoints failed: 50 ms, doubled up to 1 s, with jitter. */
final class Pause {
  private static final long SHORTEST = 50 * Times.MILLIS;
  private static final long LONGEST = Times.SECONDS;

  private long next = SHORTEST;

  long take() {
    long pause = next / 2 + ThreadLocalRandom.current().nextLong(next / 2 + 1);
    next = Math.min(2 * next, LONGEST);
    return pause;
  }

  void reset() {
    next = SHORTEST;
  }
}
