package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.ArrayList;
import java.util.List;

/** The close of the client. It continues until all locks are released or have expired. */
final class Closing {
  // The close waits for the releases that must come before it for at most this time.
  private static final long CLOSE_ANYWAY = Times.SECONDS;

  private final Machine machine;
  private final List<Runnable> callers = new ArrayList<>();
  private boolean begun;
  private boolean finished;
  private boolean anyway; // the close no longer waits for releases
  private boolean sent; // in the current Session

  Closing(Machine machine) {
    this.machine = machine;
  }

  boolean begun() {
    return begun;
  }

  boolean finished() {
    return finished;
  }

  void begin(Runnable done) {
    if (finished) {
      done.run();
      return;
    }
    callers.add(done);
    if (begun) {
      return;
    }
    begun = true;
    boolean holding = !machine.leases.isEmpty();
    machine.leases.close();
    machine.releases.hurry();
    for (Acquisition acquisition : List.copyOf(machine.acquisitions)) {
      acquisition.onClose();
    }
    machine.timers.add(Times.after(machine.now(), CLOSE_ANYWAY), () -> {
      anyway = true;
      proceed();
    });
    long expires = machine.releases.expires(machine.now());
    for (Acquisition acquisition : machine.acquisitions) {
      expires = Math.max(expires, acquisition.expires());
    }
    machine.timers.add(expires, this::finish);
    if (!machine.ready() && machine.releases.isIdle()) {
      finish();
    } else if (!holding && machine.releases.isIdle() && machine.acquisitions.isEmpty()) {
      finish(); // nothing is locked
    } else {
      proceed();
    }
  }

  /** Sends the close once all locks that it does not release have been released. */
  void proceed() {
    if (!begun || finished) {
      return;
    }
    if (!machine.ready()) {
      if (machine.releases.isIdle()) {
        finish();
      }
    } else if (!sent && (anyway || !machine.releases.anyBeforeClose())) {
      sent = true;
      machine.enqueue(new Close());
    }
  }

  void onAbandoned() {
    sent = false;
  }

  private void finish() {
    if (finished) {
      return;
    }
    finished = true;
    machine.end();
    callers.forEach(Runnable::run);
  }

  /** Releases all locks of the Session, cancels its acquires, and ends it. */
  private final class Close extends Operation {
    @Override
    boolean fill(SessionOperation.Builder message) {
      message.getCloseBuilder();
      return true;
    }

    @Override
    void onAnswer(Answer answer) {
      if (!answer.failedWith(Reason.DRAINING)) {
        finish();
      }
    }
  }
}
