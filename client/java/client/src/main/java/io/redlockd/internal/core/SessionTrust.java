package io.redlockd.internal.core;

/**
 * Until when a Session can be trusted: the daemon keeps its leases for {@code grace} after the last message that it has read.
 * The machine writes; other threads may read.
 */
final class SessionTrust {
  // The precision of the daemon's timers.
  private static final long PRECISION = 2 * Times.MILLIS;

  private final long grace;
  private volatile long heard = Times.LONG_AGO;

  SessionTrust(long grace) {
    this.grace = grace;
  }

  /** An operation that was sent at {@code sent} has been answered. */
  void onAnswer(long sent) {
    heard = Math.max(heard, sent);
  }

  /** The sending time of the last message that the daemon is known to have read. */
  long heard() {
    return heard;
  }

  long until() {
    return Times.after(heard, grace - Times.drift(grace) - PRECISION);
  }
}
