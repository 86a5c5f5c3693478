package io.redlockd.internal.core;

import io.redlockd.Reason;
import io.redlockd.internal.core.AcquireCommand.Kind;
import io.redlockd.redlock.v1.AcquireRequest;
import io.redlockd.redlock.v1.RetryPolicy;
import io.redlockd.redlock.v1.SessionOperation;

/** One acquisition. It continues over as many Sessions as necessary, until it has a lease or has failed. */
public final class Acquisition extends Operation {
  static final long ADOPT_AGAIN = 100 * Times.MILLIS;
  static final long SHORTEST_RETRY = 50 * Times.MILLIS;

  // How long the client waits for the answer to the cancellation once the time to wait is over, which is the caller's limit.
  static final long REASON_PATIENCE = 250 * Times.MILLIS;

  // The same once the caller has cancelled. A daemon answers at once.
  static final long CANCEL_PATIENCE = Times.SECONDS;

  static final RetryPolicy NO_RETRY = RetryPolicy.newBuilder().setMaxRetries(0).build();

  final AcquireCommand command;
  private final Machine machine;
  private final Lease from; // the exclusive lock that this call downgrades; null: none
  private AcquireCaller caller; // null: it has been told
  private String token; // that of the command, or a new one for each sending
  private int sendings;
  private boolean unsure; // the daemon may hold the lock for the token, although the acquisition has no lease; always in a downgrade
  private boolean takes; // the token may hold a lock that this call has not acquired: extend it
  private int slot; // of the lease that was granted or found; 0: none
  private long sparedUntil = Times.LONG_AGO; // ACQUIRE_OR_EXTEND found a lock that lasts until then
  private boolean adopting; // granted; counts once the current Session has adopted the lease
  private long sequence; // of the last adoption
  private boolean outdone; // the lease has been adopted in a higher sequence before
  private boolean resting; // sent again later
  private Failure refused; // why the last extension or adoption of the token's lock failed; null: none failed
  private Reason givenUp; // the caller no longer waits, and the client has cancelled the acquire
  private boolean over;
  private Lease granted; // null: none
  private Timers.Timer timer; // the end of the wait, or of a patience

  Acquisition(Machine machine, AcquireCommand command, AcquireCaller caller) {
    this(machine, command, caller, null);
  }

  private Acquisition(Machine machine, AcquireCommand command, AcquireCaller caller, Lease from) {
    this.machine = machine;
    this.command = command;
    this.caller = caller;
    this.from = from;
    this.token = command.token();
    this.takes = command.kind() != Kind.ACQUIRE;
  }

  /** Adopts the share, for at most as long as the exclusive lock can be trusted. The caller must end the trust in that lock. */
  static Acquisition downgrade(Machine machine, Lease from, AcquireCaller caller) {
    AcquireCommand command = new AcquireCommand(
        KeyNames.share(from.key()),
        0,
        from.token(),
        Kind.ADOPT,
        from.ttl,
        Math.max(1, from.validity(machine.now())),
        "",
        "",
        from.lockDelay,
        from.margin,
        null);
    Acquisition acquisition = new Acquisition(machine, command, caller, from);
    acquisition.unsure = true;
    acquisition.sequence = from.sequence();
    return acquisition;
  }

  void begin() {
    if (command.longest() > 0) {
      timer = machine.timers.add(
          Times.after(machine.now(), command.longest()), () -> giveUp(Reason.DEADLINE_EXCEEDED));
    }
    machine.enqueue(this);
  }

  boolean isSingleTry() {
    return command.isSingleTry();
  }

  /** Whether the caller has asked for this lock with this token of its own, or downgrades it, and still waits for it. */
  boolean wants(LockId id) {
    return givenUp == null && isFor(id);
  }

  /** Whether a daemon may carry out what the caller {@link #wants}. */
  boolean mayGet(LockId id) {
    return sendings > 0 && wants(id);
  }

  private boolean isFor(LockId id) {
    boolean named = id.token().equals(command.token()) && id.key().equals(command.key());
    return !over && (named || (from != null && id.equals(from.id)));
  }

  private LockId id() {
    return new LockId(command.key(), token);
  }

  // Whether an earlier call that used the token is still being given up. What this call sends must come after that.
  private boolean mustWait() {
    if (!keepsToken()) {
      return false;
    }
    for (Acquisition other : machine.acquisitions) {
      if (other != this && other.givenUp != null && other.isFor(id())) {
        return true;
      }
    }
    return false;
  }

  // Whether each sending has the same token.
  private boolean keepsToken() {
    return command.token() != null;
  }

  private boolean hasCallersToken() {
    return from == null ? keepsToken() : from.callersToken;
  }

  // How long the lock may outlive the client.
  private long longestTtl() {
    return from == null ? command.lasting() : from.longest;
  }

  private long downgradeFrom() {
    return from == null ? 0 : from.fence();
  }

  void onPosition(int position) {
    if (caller != null && givenUp == null) {
      caller.queued(position);
    }
  }

  @Override
  boolean fill(SessionOperation.Builder message) {
    if (over || resting || sentAs != 0 || mustWait()) {
      return false;
    }
    ++sendings;
    if (adopting) {
      var adopt = message.getAdoptBuilder();
      KeyNames.write(command.key(), adopt::setKey, adopt::addAllKeys, adopt::setMode, adopt::setMaxHolders);
      adopt.setSlot(slot).setToken(token).setTtl(Times.proto(command.ttl())).setSequence(++sequence);
      adopt.setDowngradeFrom(downgradeFrom());
    } else if (takes) { // returns the fencing token, from which the sequence starts; the client itself repeats it
      var extend = message.getExtendBuilder();
      KeyNames.write(command.key(), extend::setKey, extend::addAllKeys, extend::setMode, extend::setMaxHolders);
      extend.setSlot(command.slot()).setToken(token).setTtl(Times.proto(command.ttl())).setRetry(NO_RETRY);
      extend.setDowngradeFrom(downgradeFrom());
    } else {
      fillAcquire(message.getAcquireBuilder());
    }
    return true;
  }

  private void fillAcquire(AcquireRequest.Builder acquire) {
    if (!keepsToken()) {
      token = machine.makeToken();
    }
    KeyNames.write(command.key(), acquire::setKey, acquire::addAllKeys, acquire::setMode, acquire::setMaxHolders);
    acquire.setToken(token).setTtl(Times.proto(command.ttl())).setOwner(command.owner()).setValue(command.value());
    if (command.lockDelay() > 0) {
      acquire.setLockDelay(Times.proto(command.lockDelay()));
    }
    acquire.setExtendIfHeld(unsure);
    if (isSingleTry()) {
      acquire.setRetry(NO_RETRY);
    } else if (command.retry() != null) {
      acquire.setRetry(command.retry());
    }
  }

  @Override
  void onAnswer(Answer answer) {
    if (over) {
      onLateAnswer(answer);
    } else if (givenUp != null) {
      unsure |= answer.lease() != null;
      fail(givenUp(answer.failure()));
    } else if (answer.failedWith(Reason.DRAINING)) {
      return; // refused: the next Session sends it again
    } else if (answer.lease() != null) {
      onLease(answer);
    } else if (adopting || takes) {
      onNotAdopted(answer.failureOrNoLease());
    } else if (answer.failedWith(Reason.OVERLOADED) && !isSingleTry()) {
      rest(Math.max(answer.failure().retryAfter(), SHORTEST_RETRY));
    } else {
      fail(answer.failureOrNoLease());
    }
  }

  private void onLease(Answer answer) {
    boolean again = !adopting && (unsure || takes);
    slot = answer.lease().getSlot();
    if (spares()) {
      sparedUntil = Math.max(sparedUntil, answer.validUntil());
    }
    if (!again && !machine.usable(answer.validUntil(), command.margin())) {
      unsure = true;
      fail(Failure.of(
          Reason.VALIDITY_EXPIRED, "the lock was granted, but its validity had ended when the answer was read"));
    } else if (again) {
      adoptNext(answer);
    } else {
      grant(answer);
    }
  }

  // Each copy that was sent with extend_if_held may have moved the lease to another stream. The adoption is ordered after all of
  // them.
  private void adoptNext(Answer answer) {
    adopting = true;
    sequence = Math.max(sequence, answer.lease().getFencingToken() + sendings);
    machine.enqueue(this);
  }

  private void grant(Answer answer) {
    long fence = answer.lease().getFencingToken();
    long last = adopting ? sequence : fence + sendings;
    AcquireCaller told = caller;
    finish();
    Lease lease = machine.leases.add(
        id(), slot, hasCallersToken(), command, told::lost, answer.validUntil(), fence, last);
    lease.longest = longestTtl();
    lease.sparedUntil = sparedUntil;
    granted = lease;
    told.granted(lease);
  }

  private void onNotAdopted(Failure failure) {
    if (failure.reason() == Reason.LOCK_NOT_HELD && adopting && !outdone) {
      // Either the lease is gone, or a client that kept it before has adopted it in a higher sequence.
      outdone = true;
      sequence = Math.max(sequence, machine.highSequence());
      machine.enqueue(this);
    } else if (failure.reason() == Reason.LOCK_NOT_HELD && command.kind() != Kind.ADOPT) {
      if (!adopting) { // whatever the token holds from now on, this call has acquired
        takes = false;
        sparedUntil = Times.LONG_AGO;
      }
      adopting = false; // the lease that was granted or extended is no longer held: begin anew
      refused = null;
      machine.enqueue(this);
    } else if (takes
        && (failure.reason() == Reason.LOCK_NOT_HELD || failure.isRefusal() || isSingleTry())) {
      fail(failure);
    } else {
      refused = failure;
      rest(ADOPT_AGAIN);
    }
  }

  private void rest(long pause) {
    resting = true;
    machine.timers.add(Times.after(machine.now(), pause), () -> {
      resting = false;
      machine.enqueue(this);
    });
  }

  boolean isGranted() {
    return granted != null;
  }

  /** The caller no longer waits. If the acquire was sent, waits for its answer: the daemon may already have granted the lock. */
  void giveUp(Reason why) {
    if (granted != null) {
      Lease unseen = granted;
      granted = null;
      if (--unseen.users == 0) { // otherwise, nobody would tell the other callers
        machine.releases.refuse(unseen, mayUseTokenAgain(), sparedUntil);
      }
      return;
    }
    if (over || givenUp != null) {
      return;
    }
    if (sentAs == 0 || adopting || takes) {
      fail(givenUp(why, refused));
      return;
    }
    givenUp = why;
    cancelTimer();
    machine.enqueue(new Cancel(this, sentAs));
    long patience = why == Reason.DEADLINE_EXCEEDED ? REASON_PATIENCE : CANCEL_PATIENCE;
    timer = machine.timers.add(machine.now() + patience, () -> {
      unsure = true;
      fail(givenUp(why, null));
    });
  }

  private Failure givenUp(Failure answered) {
    return givenUp(givenUp, answered);
  }

  private Failure givenUp(Reason why, Failure answered) {
    if (why != Reason.DEADLINE_EXCEEDED) {
      return Failure.of(why, "the caller gave up waiting for the lock");
    }
    if (!machine.ready()) {
      return Failure.of(
          Reason.UNREACHABLE, "not acquired within the wait: no daemon answered (" + machine.failures() + ")");
    }
    return Failure.waitOver(answered);
  }

  @Override
  void onCutOff() {
    if (over) {
      machine.acquisitions.remove(this);
      return;
    }
    if (keepsToken()) {
      unsure |= !takes || (adopting && !spares());
    } else {
      machine.releases.begin(id(), command.lasting());
    }
  }

  /** The Session was abandoned, whether or not the acquire was sent there. */
  void onAbandoned() {
    adopting = false;
    if (givenUp != null) {
      fail(givenUp(null));
    }
  }

  /** Fails the call and leaves no lock behind. */
  void fail(Failure failure) {
    if (from != null && failure.reason() == Reason.LOCK_NOT_HELD) {
      unsure = false;
    }
    // If the daemon adopts a lock that must be spared, its late answer says so early enough.
    boolean mayBeHeld = unsure || (adopting && sentAs != 0 && !spares());
    finish();
    if (mayBeHeld) {
      giveBack();
    }
    if (givenUp != null && keepsToken()) {
      machine.acquisitions.stream().filter(later -> later.wants(id())).forEach(machine::enqueueAsLast); // they had to wait
    }
    tell(failure);
  }

  // Whether the token held the lock before, so that the caller may still rely on it.
  private boolean spares() {
    return takes && command.kind() == Kind.ACQUIRE_OR_EXTEND;
  }

  private void giveBack() {
    machine.releases.giveBack(id(), longestTtl(), mayUseTokenAgain(), sparedUntil);
  }

  // The nodes may still carry out a failed downgrade, which would end a later exclusive lock of the same token.
  private boolean mayUseTokenAgain() {
    return from == null && keepsToken();
  }

  // Adds to the message of a failed downgrade what becomes of the lock.
  private Failure withAftermath(Failure failure) {
    if (from == null || failure.reason() == Reason.LOCK_NOT_HELD) {
      return failure;
    }
    return failure.followedBy(
        "; the lock is being released" + (from.callersToken ? ", and its token must not be used again" : ""));
  }

  /** The client closes, which fails the call and leaves no lock behind. */
  void onClose() {
    tell(Failure.closed());
    giveUp(Reason.CANCELLED);
  }

  /** When a lock that the daemon may have granted will have expired by itself. */
  long expires() {
    return Times.after(machine.now(), CANCEL_PATIENCE + longestTtl() + machine.grace());
  }

  private void tell(Failure failure) {
    AcquireCaller told = caller;
    caller = null;
    if (told != null) {
      told.failed(withAftermath(failure));
    }
  }

  private void finish() {
    over = true;
    cancelTimer();
    if (sentAs == 0) {
      machine.acquisitions.remove(this);
    }
  }

  private void cancelTimer() {
    if (timer != null) {
      timer.cancel();
      timer = null;
    }
  }

  // The lock was given up.
  private void onLateAnswer(Answer answer) {
    machine.acquisitions.remove(this);
    if (answer.lease() != null && (adopting || !takes)) { // an extension keeps nothing alive
      giveBack();
    }
  }

  /** Cancels the acquire that was sent with this id. The daemon does not answer it. */
  private static final class Cancel extends Operation {
    private final Acquisition acquisition;
    private final long id;

    Cancel(Acquisition acquisition, long id) {
      this.acquisition = acquisition;
      this.id = id;
    }

    @Override
    boolean fill(SessionOperation.Builder message) {
      if (acquisition.sentAs != id) {
        return false;
      }
      message.setId(id).getCancelBuilder();
      return true;
    }

    @Override
    void onAnswer(Answer answer) {
      throw new IllegalStateException("a cancel is not answered");
    }

    @Override
    boolean isAnswered() {
      return false;
    }
  }
}
