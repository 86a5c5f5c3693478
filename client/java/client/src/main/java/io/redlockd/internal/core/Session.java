package io.redlockd.internal.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** One Session: a stream to one daemon, from the attempt to connect until it is abandoned. */
final class Session {
  // The daemon requires a message at least every third of the grace.
  private static final int PINGS_PER_GRACE = 4;
  private static final int PATIENCES_PER_GRACE = 3;
  private static final long LONGEST_PATIENCE = 2 * Times.SECONDS;

  record Sent(Operation operation, long at) {}

  final long number;
  final SessionTrust trust;
  final ClockAnchor anchor = new ClockAnchor();
  final Map<Long, Sent> sent = new LinkedHashMap<>(); // by id; not answered yet
  boolean ready;
  long readySince;
  boolean opened; // the first message was handed to the transport
  boolean writing; // the transport is writing a message
  private final long grace;
  private boolean pinging = true; // the first message carries a ping
  private long patience;
  private long patienceEnds;

  /**
   * @param patience how long it may take until the first ping is answered
   */
  Session(long number, long grace, long now, long patience) {
    this.number = number;
    this.grace = grace;
    this.patience = patience;
    this.patienceEnds = Times.after(now, patience);
    this.trust = new SessionTrust(grace);
  }

  /** Records what an answer proves. Returns the operation that is answered; null if the id is unknown. */
  Operation onAnswer(long id, long clock) {
    Sent found = sent.remove(id);
    if (found == null) {
      return null;
    }
    trust.onAnswer(found.at);
    anchor.onAnswer(found.at, clock);
    return found.operation;
  }

  void onPing(long now) {
    pinging = true;
    patience = Math.min(grace / PATIENCES_PER_GRACE, LONGEST_PATIENCE);
    patienceEnds = now + patience;
  }

  void onPong() {
    pinging = false;
  }

  /** When the next ping is due. */
  long pingAt() {
    return pinging ? Times.NEVER : Times.after(trust.heard(), grace / PINGS_PER_GRACE);
  }

  /** When the daemon counts as silent. */
  long patienceEnds() {
    return pinging ? patienceEnds : Times.NEVER;
  }

  long patience() {
    return patience;
  }

  /**
   * Returns whether the client itself was held up when the patience ended. The Session then waits once more, so that the client
   * can read what has arrived.
   */
  boolean waitOnceMore(long now) {
    if (now - patienceEnds <= patience / 4) {
      return false;
    }
    patienceEnds = now + patience;
    return true;
  }
}
