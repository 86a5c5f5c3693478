package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.RetryPolicy;
import io.redlockd.redlock.v1.SessionOperation;
import java.util.function.Consumer;

/** One extension of a held lease. It is sent once the current Session has adopted the lease. */
final class Extension extends Operation {
  private final Machine machine;
  private final Lease lease;
  private final long ttl;
  private final RetryPolicy retry; // null: the daemon's default
  private final Consumer<Failure> done; // called with null on success
  private boolean over;
  private Timers.Timer timer; // the end of the wait; null: none

  Extension(Machine machine, Lease lease, long ttl, RetryPolicy retry, Consumer<Failure> done) {
    this.machine = machine;
    this.lease = lease;
    this.ttl = ttl;
    this.retry = retry;
    this.done = done;
  }

  void begin(long longest) {
    lease.longest = Math.max(lease.longest, Times.after(ttl, lease.lockDelay));
    lease.extensions.add(this);
    if (longest > 0) {
      timer = machine.timers.add(Times.after(machine.now(), longest), () -> finish(waitOver()));
    }
    if (lease.kept()) {
      machine.enqueue(this);
    }
  }

  private Failure waitOver() {
    return machine.ready()
        ? Failure.of(Reason.DEADLINE_EXCEEDED, "not extended within the wait")
        : Failure.of(Reason.UNREACHABLE, "not extended within the wait: no daemon answered (" + machine.failures() + ")");
  }

  @Override
  boolean fill(SessionOperation.Builder message) {
    if (over || sentAs != 0) {
      return false;
    }
    var extend = message.getExtendBuilder();
    KeyNames.write(lease.key(), extend::setKey, extend::addAllKeys, extend::setMode, extend::setMaxHolders);
    extend.setSlot(lease.slot()).setToken(lease.token()).setTtl(Times.proto(ttl));
    if (retry != null) {
      extend.setRetry(retry);
    }
    return true;
  }

  @Override
  void onAnswer(Answer answer) {
    if (over || answer.failedWith(Reason.DRAINING)) {
      return; // the next Session carries it out
    }
    if (answer.failedWith(Reason.LOCK_NOT_HELD)) {
      machine.leases.loseAtOnce(lease, answer.failure());
    } else if (answer.lease() != null) {
      lease.extended(answer.validUntil(), answer.lease().getFencingToken());
      finish(null);
    } else {
      finish(answer.failureOrNoLease());
    }
  }

  void finish(Failure failure) {
    if (!over) {
      over = true;
      lease.extensions.remove(this);
      if (timer != null) {
        timer.cancel();
      }
      done.accept(failure);
    }
  }
}
