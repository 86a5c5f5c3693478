package io.redlockd.internal.core;

/**
 * Dates the messages of one daemon on the client's clock.
 *
 * <p>From every answer, the client knows that the daemon's clock read {@code daemon} no earlier than the client sent the
 * operation, at {@code sent}. This object keeps the pair that gives the latest bound. A pair loses 1 % of its age, because the
 * clocks may run at different rates, so newer pairs replace it.
 */
final class ClockAnchor {
  private boolean known;
  private long sent;
  private long daemon;

  void onAnswer(long sentAt, long clock) {
    if (known && sentAt < madeAt(clock)) {
      return;
    }
    known = true;
    sent = sentAt;
    daemon = clock;
  }

  /** Whether any operation has been answered; otherwise, a validity cannot be used. */
  boolean isKnown() {
    return known;
  }

  /** The earliest time at which the daemon can have made the message that carries {@code clock}. */
  long madeAt(long clock) {
    long passed = clock - daemon;
    return sent + passed - Times.drift(passed);
  }
}
