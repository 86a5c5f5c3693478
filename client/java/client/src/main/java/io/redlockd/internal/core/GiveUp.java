package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.SessionOperation;

/**
 * Gives up a lock whose token the caller may use again. It releases only what the current Session has, and ends with that
 * Session: a release that a silent daemon carries out late would end a later lock of the token.
 */
final class GiveUp extends Operation {
  private static final long AGAIN = Times.SECONDS; // while a later call may get the lock

  private final Machine machine;
  private final LockId id;
  private final long expires; // the lock has expired by then in any case
  private Timers.Timer timer; // null: sent, or to be sent at once

  GiveUp(Machine machine, LockId id, long expires) {
    this.machine = machine;
    this.id = id;
    this.expires = expires;
  }

  void begin(long at) {
    if (at <= machine.now()) {
      machine.enqueue(this);
    } else {
      timer = machine.timers.add(at, () -> {
        timer = null;
        machine.enqueue(this);
      });
    }
  }

  boolean isPostponed() {
    return timer != null;
  }

  long expires() {
    return expires;
  }

  @Override
  boolean fill(SessionOperation.Builder message) {
    if (machine.isWanted(id)) {
      begin(Times.after(machine.now(), AGAIN)); // until the Session ends, which keeps the lock alive
      return false;
    }
    var giveUp = message.getGiveUpBuilder();
    KeyNames.write(id.key(), giveUp::setKey, giveUp::addAllKeys, giveUp::setMode, giveUp::setMaxHolders);
    giveUp.setToken(id.token());
    return true;
  }

  @Override
  void onAnswer(Answer answer) {
    if (answer.failedWith(Reason.OVERLOADED)) {
      begin(Times.after(machine.now(), Math.max(answer.failure().retryAfter(), Acquisition.SHORTEST_RETRY)));
    } else {
      machine.releases.finish(this);
    }
  }

  /** The Session was abandoned. Its end gives up the lock. */
  void drop() {
    if (timer != null) {
      timer.cancel();
    }
  }
}
