package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.SessionOperation;

/** The adoption of a held lease by the current Session. It never acquires. */
final class Adoption extends Operation {
  private final Machine machine;
  private final Lease lease;

  Adoption(Machine machine, Lease lease) {
    this.machine = machine;
    this.lease = lease;
  }

  boolean isOf(Lease other) {
    return lease == other;
  }

  @Override
  boolean fill(SessionOperation.Builder message) {
    if (!lease.held()) {
      return false;
    }
    var adopt = message.getAdoptBuilder();
    KeyNames.write(lease.key(), adopt::setKey, adopt::addAllKeys, adopt::setMode, adopt::setMaxHolders);
    adopt.setSlot(lease.slot()).setToken(lease.token()).setTtl(Times.proto(lease.ttl)).setSequence(lease.nextSequence());
    return true;
  }

  @Override
  void onAnswer(Answer answer) {
    if (!lease.held()) {
      onLateAnswer(answer);
    } else if (answer.lease() != null) {
      lease.adopted(machine.sessionTrust(), answer.validUntil(), answer.lease().getFencingToken());
      lease.extensions.forEach(machine::enqueue);
    } else if (answer.failedWith(Reason.LOCK_NOT_HELD)) {
      machine.leases.loseAtOnce(lease, answer.failure());
    } else if (!answer.failedWith(Reason.DRAINING)) {
      long session = machine.sessionNumber();
      machine.timers.add(Times.after(machine.now(), Acquisition.ADOPT_AGAIN), () -> {
        if (machine.sessionNumber() == session) {
          machine.enqueue(this);
        }
      });
    }
  }

  // The Session would keep the lease alive. If the lock was downgraded, the lease belongs to the share. While the work under a lost lock may
  // still be stopping, the lock is not given back yet; it will be at the end of the trust.
  private void onLateAnswer(Answer answer) {
    if (answer.lease() != null && !lease.downgraded && lease.trustedUntil() <= machine.now()) {
      machine.releases.giveBack(lease);
    }
  }
}
