package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.redlock.v1.EventType;
import io.redlockd.redlock.v1.RetryPolicy;
import io.redlockd.redlock.v1.WatchResponse;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** The held leases. */
final class Leases {
  private final Machine machine;
  private final Map<LockId, Lease> held = new LinkedHashMap<>();
  private long lookAt = Times.NEVER; // no lease is due before this

  Leases(Machine machine) {
    this.machine = machine;
  }

  Lease add(
      LockId id,
      int slot,
      boolean callersToken,
      AcquireCommand command,
      Consumer<Failure> onLost,
      long validUntil,
      long fence,
      long sequence) {
    Lease lease = new Lease(
        id,
        slot,
        callersToken,
        command.ttl(),
        command.lockDelay(),
        command.margin(),
        onLost,
        machine.sessionTrust(),
        validUntil,
        fence,
        sequence);
    held.put(id, lease);
    lookAt = Math.min(lookAt, lease.signalAt());
    return lease;
  }

  Lease find(LockId id) {
    return held.get(id);
  }

  boolean isEmpty() {
    return held.isEmpty();
  }

  int size() {
    return held.size();
  }

  /** When a lease may be due. Trust only grows, except when it ends at once. */
  long next() {
    return lookAt;
  }

  void extend(Lease lease, long ttl, RetryPolicy retry, long longest, Consumer<Failure> done) {
    if (lease.held()) {
      new Extension(machine, lease, ttl, retry, done).begin(longest);
    } else {
      done.accept(lease.notHeld());
    }
  }

  /** Ends the trust in the lease, and forgets it. */
  void release(Lease lease) {
    held.remove(lease.id);
    lease.release();
    finishExtensions(lease, lease.notHeld());
  }

  void onReady() {
    for (Lease lease : held.values()) {
      machine.enqueue(new Adoption(machine, lease));
    }
  }

  void freeze() {
    held.values().forEach(Lease::freeze);
  }

  void failExtensions(Failure failure) {
    held.values().forEach(lease -> finishExtensions(lease, failure));
  }

  void onEvent(WatchResponse event, long validUntil, boolean usable) {
    String key = KeyNames.read(event.getKey(), event.getKeysList(), event.getMode(), event.getMaxHolders());
    Lease lease = held.get(new LockId(key, event.getLease().getToken()));
    if (lease == null || !lease.kept()) {
      return; // the pending adoption decides
    }
    if (event.getType() == EventType.EVENT_TYPE_LOST) {
      loseAtOnce(lease, Failure.of(Reason.of(event.getReason()), event.getMessage()));
    } else if (event.getType() == EventType.EVENT_TYPE_EXTEND_FAILED) {
      lease.notExtended(event.getMessage());
    } else if (event.getType() == EventType.EVENT_TYPE_EXTENDED && usable) {
      lease.extended(validUntil, event.getLease().getFencingToken());
    }
  }

  /** Loses the leases whose trust has ended and, with {@code margins}, those whose trust is down to the margin. */
  void checkTrust(long now, boolean margins) {
    if (now < lookAt) {
      return;
    }
    long next = Times.NEVER;
    List<Lease> losing = new ArrayList<>();
    for (Lease lease : held.values()) {
      long at = margins ? lease.signalAt() : lease.trustedUntil();
      if (at <= now) {
        losing.add(lease);
      } else {
        next = Math.min(next, lease.signalAt());
      }
    }
    for (Lease lease : losing) {
      loseByClock(lease, now);
    }
    lookAt = next;
  }

  // No daemon reported the loss, so a daemon may still extend the lease, or adopt it late. It is therefore given back as soon as
  // no work can rely on it any more. That would end the lock delay, which the end of a Session does not.
  private void loseByClock(Lease lease, long now) {
    long trust = Math.max(now, lease.trustedUntil());
    boolean delayed = lease.lockDelay > 0;
    boolean leave = delayed && machine.mayKeep(lease);
    String why = machine.ready() ? lease.obstacle() : machine.failures();
    lose(lease, Failure.of(Reason.VALIDITY_EXPIRED, "no daemon extended it in time" + (why.isEmpty() ? "" : " (" + why + ")")));
    if (!delayed) {
      machine.releases.giveBackAt(trust, lease);
    } else if (leave) {
      machine.leaveSession();
    }
  }

  /** The daemon has reported the loss. */
  void loseAtOnce(Lease lease, Failure why) {
    lose(lease, why);
    lease.endTrust();
  }

  private void lose(Lease lease, Failure why) {
    held.remove(lease.id);
    lease.lose(why);
    machine.log(Level.DEBUG, "lock lost: " + KeyNames.inWords(lease.key()) + ": " + why.message());
    finishExtensions(lease, lease.loss());
    lease.onLost.accept(lease.loss());
  }

  /** Ends all leases, because the client closes. Their releases have begun when this returns. */
  void close() {
    for (Lease lease : List.copyOf(held.values())) {
      boolean kept = lease.kept();
      held.remove(lease.id);
      lease.lose(Failure.closed());
      lease.endTrust();
      finishExtensions(lease, lease.loss());
      lease.onLost.accept(lease.loss());
      machine.releases.beginForClose(lease.id, lease.longest, kept);
    }
  }

  private static void finishExtensions(Lease lease, Failure failure) {
    for (Extension extension : List.copyOf(lease.extensions)) {
      extension.finish(failure);
    }
  }
}
