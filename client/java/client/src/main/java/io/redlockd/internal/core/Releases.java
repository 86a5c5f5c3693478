package io.redlockd.internal.core;

import io.redlockd.Reason;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** The pending releases: those that a caller waits for, and those in the background. */
final class Releases {
  private final Machine machine;
  private final Map<LockId, Release> pending = new LinkedHashMap<>();

  Releases(Machine machine) {
    this.machine = machine;
  }

  /** Whether the client or a daemon made the token. Such a token is never used again after its release. */
  static boolean isMade(String token) {
    return token.startsWith("rl-");
  }

  boolean contains(LockId id) {
    return pending.containsKey(id);
  }

  int size() {
    return pending.size();
  }

  /** Releases the lock that the caller holds. {@code done} is called within 2 s, with null on success. */
  void release(Lease lease, Consumer<Failure> done) {
    switch (lease.state()) {
      case HELD -> {
        machine.leases.release(lease);
        beginAt(machine.now(), lease.id, lease.longest).await(done);
      }
      case LOST -> { // removes what is left of the lock on some nodes
        lease.endTrust();
        if (!machine.closing()) {
          begin(lease.id, lease.longest);
        }
        done.accept(lease.notHeld());
      }
      case RELEASED -> done.accept(null);
    }
  }

  /** Releases a lock in the background. */
  void begin(LockId id, long ttl) {
    beginAt(machine.now(), id, ttl);
  }

  /** Releases a lock in the background, but not before {@code at}. */
  Release beginAt(long at, LockId id, long ttl) {
    Release release = pending.computeIfAbsent(id, unused -> new Release(machine, id));
    // If the Session has ended, its daemon notices that after the grace, and extends the lease until then.
    long expires = Times.after(Times.after(Math.max(at, machine.now()), ttl), machine.grace());
    release.begin(at, expires);
    return release;
  }

  void beginForClose(LockId id, long ttl, boolean kept) {
    Release release = beginAt(machine.now(), id, ttl);
    release.byClose = kept;
  }

  /** Begins the releases that wait for the end of a trust. The client closes, so that no work relies on it. */
  void hurry() {
    for (Release release : List.copyOf(pending.values())) {
      if (release.notBefore() > machine.now()) {
        release.begin(machine.now(), Times.LONG_AGO);
      }
    }
  }

  void onReady() {
    pending.values().forEach(machine::enqueue);
  }

  void onAbandoned() {
    pending.values().forEach(release -> release.byClose = false);
  }

  /** Whether the close of the Session must still wait for a release. */
  boolean anyBeforeClose() {
    for (Release release : pending.values()) {
      if (!release.byClose) {
        return true;
      }
    }
    return false;
  }

  /** When the last lock will have expired by itself. */
  long expires(long now) {
    long last = now;
    for (Release release : pending.values()) {
      last = Math.max(last, release.expires());
    }
    return last;
  }

  void finish(Release release, Failure failure) {
    pending.remove(release.id, release);
    release.tell(failure);
    machine.onReleased();
  }

  /** The Session's close was answered, or all locks have expired. */
  void finishAll() {
    for (Release release : List.copyOf(pending.values())) {
      pending.remove(release.id, release);
      release.tell(release.byClose ? null : Failure.of(Reason.CANCELLED, "the client was closed before a daemon answered"));
    }
  }
}
