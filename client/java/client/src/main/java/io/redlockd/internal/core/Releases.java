package io.redlockd.internal.core;

import io.redlockd.Reason;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/** The pending releases: those that a caller waits for, and those in the background. */
final class Releases {
  private final Machine machine;
  private final Map<LockId, Release> pending = new LinkedHashMap<>();
  private final Set<GiveUp> giveUps = new LinkedHashSet<>(); // on the current Session
  private final Map<Lease, Timers.Timer> ending = new LinkedHashMap<>(); // lost ones of callers' tokens, by the end of their trust

  Releases(Machine machine) {
    this.machine = machine;
  }

  /** Whether the client or a daemon made the token. Such a token is never used again after its release. */
  static boolean isMade(String token) {
    return token.startsWith("rl-");
  }

  // A release has no mode: if it is sent again, it ends a lock of the same keys in any mode.
  boolean contains(LockId id) {
    List<String> names = KeyNames.split(id.key());
    return pending.keySet().stream()
        .anyMatch(each -> each.token().equals(id.token()) && KeyNames.split(each.key()).equals(names));
  }

  int size() {
    return pending.size() + giveUps.size() + ending.size();
  }

  /** Whether a close need not wait for anything that is left here. */
  boolean isIdle() {
    return pending.isEmpty() && giveUps.stream().allMatch(GiveUp::isPostponed);
  }

  /** Releases the lock that the caller holds, as {@link Machine#release} describes it. */
  void release(Lease lease, long keepFor, Consumer<Failure> done) {
    switch (lease.state()) {
      case HELD -> {
        machine.leases.release(lease);
        beginAt(machine.now(), lease.id, lease.longest).await(keepFor, done);
      }
      case LOST -> { // removes what is left of the lock on some nodes, unless that would end the lock delay
        lease.endTrust();
        if (lease.lockDelay > 0) {
          done.accept(lease.notHeld());
          return;
        }
        if (lease.callersToken) {
          giveBackNow(lease);
        } else if (!machine.closing()) {
          begin(lease.id, lease.longest);
        }
        done.accept(lease.notHeld());
      }
      case RELEASED -> done.accept(null);
    }
  }

  /** Ends a lease that its caller does not take. */
  void refuse(Lease lease, boolean callersToken, long sparedUntil) {
    if (lease.held()) {
      machine.leases.release(lease);
      giveBack(lease.id, lease.longest, callersToken, sparedUntil);
    }
  }

  void giveBack(Lease lease) {
    giveBack(lease.id, lease.longest, lease.callersToken, Times.LONG_AGO);
  }

  /**
   * Leaves nothing of a lock that no caller gets or keeps: releases it in the background, or gives it up if the caller may use the
   * token again. If the caller had the lock before, it is given up only once it would have expired otherwise.
   *
   * @param sparedUntil the caller may trust the lock until then
   */
  void giveBack(LockId id, long ttl, boolean callersToken, long sparedUntil) {
    long at = Math.max(sparedUntil, machine.now());
    boolean closing = machine.closing() && at == machine.now();
    if (!callersToken || closing) {
      begin(id, ttl);
    } else if (machine.ready()) { // otherwise, the end of the Session gives it up
      GiveUp giveUp = new GiveUp(machine, id, expires(at, ttl));
      giveUps.add(giveUp);
      giveUp.begin(at);
    }
  }

  /** Gives back a lost lock at the end of its trust. */
  void giveBackAt(long at, Lease lease) {
    if (!lease.callersToken) {
      beginAt(at, lease.id, lease.longest);
    } else if (at <= machine.now()) {
      giveBack(lease);
    } else {
      ending.put(lease, machine.timers.add(at, () -> giveBackNow(lease)));
    }
  }

  private void giveBackNow(Lease lease) {
    Timers.Timer timer = ending.remove(lease);
    if (timer != null) {
      timer.cancel();
      giveBack(lease);
    }
  }

  void finish(GiveUp giveUp) {
    giveUps.remove(giveUp);
    machine.onReleased();
  }

  /** Releases a lock in the background. */
  void begin(LockId id, long ttl) {
    beginAt(machine.now(), id, ttl);
  }

  /** Releases a lock in the background, but not before {@code at}. */
  Release beginAt(long at, LockId id, long ttl) {
    Release release = pending.computeIfAbsent(id, unused -> new Release(machine, id));
    release.begin(at, expires(Math.max(at, machine.now()), ttl));
    return release;
  }

  // If the Session has ended, its daemon notices that after the grace, and extends the lease until then.
  private long expires(long at, long ttl) {
    return Times.after(Times.after(at, ttl), machine.grace());
  }

  void beginForClose(LockId id, long ttl, boolean kept) {
    Release release = beginAt(machine.now(), id, ttl);
    release.byClose = kept;
  }

  /** Begins what waits for the end of a trust. The client closes, so that no work relies on it. */
  void hurry() {
    List.copyOf(ending.keySet()).forEach(this::giveBackNow);
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
    giveUps.forEach(GiveUp::drop);
    giveUps.clear();
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
    for (GiveUp giveUp : giveUps) {
      last = Math.max(last, giveUp.isPostponed() ? now : giveUp.expires());
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
    giveUps.clear();
    ending.clear();
    for (Release release : List.copyOf(pending.values())) {
      pending.remove(release.id, release);
      release.tell(release.byClose ? null : Failure.of(Reason.CANCELLED, "the client was closed before a daemon answered"));
    }
  }
}
