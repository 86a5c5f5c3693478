package io.redlockd.internal.core;

import io.redlockd.Reason;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * A lock that the client has acquired: its state, and until when it can be trusted.
 *
 * <p>A lost or released lease is never held again. While a lease is held, its trust is bound to the Session that keeps it. If
 * that Session is abandoned, the trust is frozen until an adoption binds it to a new Session. The machine writes; other threads
 * may read what is public. Each change is written so that a reader sees at most the trust before it or after it.
 */
public final class Lease {
  /** The states of a lease. */
  public enum State {
    /** Held; see {@link #trustedUntil}. */
    HELD,
    /** Lost; see {@link #loss}. */
    LOST,
    /** Released or downgraded by the caller. */
    RELEASED
  }

  final LockId id;
  private final int slot; // of a semaphore; otherwise 0
  final boolean callersToken; // which the caller may use again
  final long ttl;
  final long lockDelay; // 0: none, or unknown because the lease was adopted
  final long margin;
  final Consumer<Failure> onLost;
  final List<Extension> extensions = new ArrayList<>(0);
  long longest; // the longest TTL that was asked for, and the lock delay: how long the lock may outlive the client
  int users = 1; // how many calls got the lease, or may still get it
  long sparedUntil = Times.LONG_AGO; // ACQUIRE_OR_EXTEND found a lock that lasts until then
  boolean downgraded; // a lease that a late adoption brings belongs to the share
  private long sequence; // of the last adoption
  private String obstacle = ""; // why the last extension has failed; empty: it has not
  private volatile Object attachment; // the caller's object for this lease
  private volatile State state = State.HELD;
  private volatile SessionTrust keeper; // null: frozen
  private volatile long validUntil;
  private volatile long fence;
  private volatile Failure loss;

  Lease(
      LockId id,
      int slot,
      boolean callersToken,
      long ttl,
      long lockDelay,
      long margin,
      Consumer<Failure> onLost,
      SessionTrust keeper,
      long validUntil,
      long fence,
      long sequence) {
    this.id = id;
    this.slot = slot;
    this.callersToken = callersToken;
    this.ttl = ttl;
    this.lockDelay = lockDelay;
    this.longest = Times.after(ttl, lockDelay);
    this.margin = margin;
    this.onLost = onLost;
    this.keeper = keeper;
    this.validUntil = validUntil;
    this.fence = fence;
    this.sequence = sequence;
  }

  /** The key; of several, that of {@link KeyNames#join}. */
  public String key() {
    return id.key();
  }

  /** The slot of the semaphore; 0 if the key is none. */
  public int slot() {
    return slot;
  }

  /** The owner token. */
  public String token() {
    return id.token();
  }

  /** The fencing token. It never decreases, and may grow while the lease is held. */
  public long fence() {
    return fence;
  }

  /** The caller's object for this lease. */
  public Object attachment() {
    return attachment;
  }

  /** Stores the caller's object for this lease. */
  public void attach(Object object) {
    attachment = object;
  }

  /** The state. */
  public State state() {
    return state;
  }

  /** Why the lease was lost; null if it was not lost. */
  public Failure loss() {
    return loss;
  }

  /** How long the lease can still be trusted at {@code now}; 0 if it is not held. */
  public long validity(long now) {
    return state == State.HELD ? Math.max(0, saturated(trustedUntil(), now)) : 0;
  }

  private static long saturated(long until, long now) {
    return until == Times.LONG_AGO ? Times.LONG_AGO : until - now;
  }

  boolean held() {
    return state == State.HELD;
  }

  /** Whether the current Session keeps the lease alive. */
  boolean kept() {
    return keeper != null;
  }

  /** No other client can hold the key before this time. In the past if trust has ended at once. */
  long trustedUntil() {
    SessionTrust session = keeper;
    return session == null ? validUntil : Math.min(validUntil, session.until());
  }

  /** When the loss must be signalled. */
  long signalAt() {
    return Times.after(trustedUntil(), -margin);
  }

  /** The daemon has failed to extend the lease, and will retry. */
  void notExtended(String why) {
    obstacle = why;
  }

  /** Why the last extension has failed; empty if it has not. */
  String obstacle() {
    return obstacle;
  }

  /** The daemon has extended the lease on the Session that keeps it. */
  void extended(long until, long newFence) {
    obstacle = "";
    validUntil = Math.max(validUntil, until);
    fence = Math.max(fence, newFence);
  }

  /** The Session that keeps the lease has been abandoned. */
  void freeze() {
    validUntil = trustedUntil();
    keeper = null;
    obstacle = "";
  }

  /** No adoption has had a higher sequence. */
  long sequence() {
    return sequence;
  }

  /** The sequence of the next adoption. */
  long nextSequence() {
    sequence = Math.max(sequence, fence) + 1;
    return sequence;
  }

  /** A new Session keeps the lease from now on. */
  void adopted(SessionTrust session, long until, long newFence) {
    keeper = session;
    extended(until, newFence);
  }

  /** Loses the lease. */
  void lose(Failure why) {
    freeze();
    loss = Failure.of(
        why.reason() == Reason.CANCELLED ? Reason.CANCELLED : Reason.LOCK_NOT_HELD,
        "the lock was lost: " + why.message());
    state = State.LOST;
  }

  void release() {
    state = State.RELEASED;
    endTrust();
  }

  /** Ends the trust at once, also that of a lost lease. */
  void endTrust() {
    validUntil = Times.LONG_AGO;
    keeper = null;
  }

  /** Why an operation fails that needs the lease, which is not held. */
  public Failure notHeld() {
    Failure why = loss;
    return why != null ? why : Failure.of(Reason.LOCK_NOT_HELD, "the lock has been released or downgraded");
  }
}
