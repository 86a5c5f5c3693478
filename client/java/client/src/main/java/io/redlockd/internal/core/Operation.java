package io.redlockd.internal.core;

import io.redlockd.redlock.v1.SessionOperation;

/**
 * An operation of the client. It outlives the Session on which it was sent: if it was not answered there, it is sent again on
 * the next Session, with a new id.
 */
abstract class Operation {
  /** Its id on the current Session; 0: not sent there, or answered. */
  long sentAs;

  /** Fills in the message. Returns false if there is nothing to send any more. */
  abstract boolean fill(SessionOperation.Builder message);

  /** Processes the only answer. After DRAINING, the machine abandons the Session at once. */
  abstract void onAnswer(Answer answer);

  /** The Session was abandoned after the operation was sent and before it was answered. */
  void onCutOff() {}

  /** Whether the daemon answers it, under an id of its own. */
  boolean isAnswered() {
    return true;
  }
}
