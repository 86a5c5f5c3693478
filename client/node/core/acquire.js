'use strict';

const { LockError, errorOf, releasedError, timedOut } = require('./errors.js');
const { Lease } = require('./lease.js');
const { Operation, ADOPT_AGAIN, tooLate } = require('./operations.js');

const LEAST_RETRY_DELAY = 50;
const CANCEL_ANSWERED_WITHIN = 1000;
// How long a caller whose time to wait is over waits for the daemon to say why.
const REASON_WITHIN = 250;
// Too few nodes answered, or the daemon is too busy: an adoption may succeed later.
const PASSING = new Set(['QUORUM_UNAVAILABLE', 'NODE_SET_MISMATCH', 'OVERLOADED']);

// The acquisition of a Lease. If the caller does not get it, no lock is left behind. Without a caller, it was given up.
// There are three ways:
//   acquire        with a token of the client's, or of the caller's
//   extend         (request.extendIfHeld) take over the lock if the caller's token already holds it, otherwise acquire
//   adopt          (request.adopt) only take over the lock
// To take over a lock takes two steps: an extend, whose answer has the fencing token, and then an adopt with a sequence
// above it. A call that fails never ends a lock that extendIfHeld has found: its caller may still rely on it.
// A downgrade (request.exclusive) is an adopt of the share. If it fails, the daemon may have carried it out, or may still do
// so. The token is therefore released, whether it is the client's or the caller's.
class Acquire extends Operation {
  // How many releases, pauses and earlier calls must end before the acquire may be sent.
  blocked = 0;
  // It waits for an earlier call with the token, which was given up.
  deferred = false;
  #followers = []; // the deferred calls that wait for this one
  #madeToken;
  // The token may hold the lock, because a Session was abandoned before it answered, or the lock cannot be used.
  #mayBeHeld = false;
  #takingOver; // the token may hold a lock that this call has not acquired: extend it
  #adopting = false; // the next step is the adopt
  #sparedUntil = -Infinity; // extendIfHeld found a lock that lasts until then
  #sequence = 0n; // of the last adopt
  #slot; // of a semaphore: the one to take over; undefined for whichever the token has
  #cancelled = false;
  #refusal; // the last status after which the acquire is sent again
  #timer;
  #failures = 0;

  // `request`: key, ttl, owner, wait (undefined: no limit; 0: a single try), retry, margin, token (the caller's),
  // extendIfHeld, adopt, slot (to adopt), value, lockDelay, keepFor and onLost (for the Lease), and exclusive (the Lease to
  // downgrade).
  constructor(machine, request, caller) {
    super(machine, caller);
    this.request = request;
    this.#madeToken = request.token === undefined;
    this.token = request.token ?? machine.newToken();
    this.#takingOver = Boolean(request.extendIfHeld || request.adopt);
    this.#slot = request.slot;
    if (this.exclusive !== undefined) this.#exceed(this.exclusive.sequence);
    if (request.wait > 0) this.bound = machine.after(request.wait, () => this.#waitOver());
  }

  get #single() { return this.request.wait === 0; }

  // The lock that becomes a share; otherwise undefined.
  get exclusive() { return this.request.exclusive; }

  // Whether the token is the caller's.
  get #ownToken() { return this.exclusive?.ownToken ?? !this.#madeToken; }

  // For a release.
  get name() {
    const { key, ttl, lockDelay } = this.request;
    return { key, token: this.token, ttl, lockDelay };
  }

  get sent() { return this.entry?.sentAt !== undefined; }

  // Whether what was sent can leave a lock behind that the Session keeps, and that may be given back at once. A downgrade
  // that is given up has released the lock itself.
  get leaves() {
    return this.exclusive === undefined && (!this.#takingOver || (this.#adopting && !this.#spares));
  }

  // Whether the call was given up, and the answer may be a lock of the caller's token.
  get leaving() { return this.caller === undefined && this.sent && !this.#madeToken && this.leaves; }

  // What the caller wants to be done with the lock, for error messages.
  get #done() {
    if (this.exclusive !== undefined) return 'downgraded';
    return this.request.adopt ? 'adopted' : 'acquired';
  }

  get #spares() { return this.#takingOver && this.request.extendIfHeld; }

  body() {
    const { key, ttl, owner, retry, value, lockDelay } = this.request;
    const { token } = this;
    const taken = { key, token, ttl, slot: this.#slot };
    if (this.exclusive !== undefined) taken.downgradeFrom = this.exclusive.fence;
    if (this.#adopting) {
      this.#sequence += 1n;
      return { adopt: { ...taken, sequence: this.#sequence } };
    }
    // The client itself repeats an extension.
    if (this.#takingOver) return { extend: { ...taken, retry: { maxRetries: 0 } } };
    const policy = this.#single ? { maxRetries: 0 } : retry;
    return { acquire: { key, token, ttl, owner, retry: policy, value, lockDelay, extendIfHeld: this.#mayBeHeld || undefined } };
  }

  answered({ lease, status }, session, madeAt, now) {
    this.entry = undefined;
    if (this.caller === undefined || this.#cancelled) this.#answeredTooLate(lease, status);
    else if (lease !== undefined) this.#leased(lease, session, madeAt, now);
    else if (status.reason === 'DRAINING') this.#refusal = undefined;
    else if (this.#adopting) this.#notAdopted(status);
    else if (this.#spares && status.reason === 'LOCK_NOT_HELD') this.#acquireInstead();
    else if (this.#takingOver ? PASSING.has(status.reason) : status.reason === 'OVERLOADED') this.#refused(status);
    else this.#fail(errorOf(status, this.request.key));
  }

  abandoned(sent) {
    this.entry = undefined;
    if (!sent) return;
    if (this.caller === undefined || this.#cancelled) {
      if (this.leaves) this.#mayBeHeld = true;
      this.#fail(this.#timeoutError());
    } else if (this.#madeToken) {
      // The daemon may have acquired the lock. The next attempt waits until it is released, because a single try must
      // not fail on this client's own lock.
      this.machine.release(this.name, { onDone: () => this.#unblock() });
      this.token = this.machine.newToken();
      this.blocked += 1;
    } else if (!this.#takingOver) {
      this.#mayBeHeld = true;
      this.#adopting = false;
    }
  }

  // Is not sent before the release, of the same token, has ended: it would end the new lock.
  waitFor(release) {
    const { onDone } = release;
    this.blocked += 1;
    release.onDone = () => {
      onDone?.();
      this.#unblock();
    };
  }

  // Is not sent before the earlier call, with the same token, has ended. If that is granted the lock, the lock is given up
  // first: this call would wait for it, and keep the client from giving it up.
  follow(earlier) {
    this.blocked += 1;
    this.deferred = true;
    earlier.#followers.push(this);
  }

  // Fails the caller with `error` now.
  giveUp(error) {
    if (this.caller === undefined) return;
    if (this.sent && this.exclusive === undefined) {
      this.settle(error);
      this.#cancel();
    } else {
      this.#fail(error);
    }
  }

  // A daemon could not be reached.
  unreachable(error, endpoints) {
    this.#failures += 1;
    if (this.#single && this.#failures >= endpoints) this.giveUp(error);
  }

  // ---- inside

  #exceed(sequence) {
    if (sequence > this.#sequence) this.#sequence = sequence;
  }

  #leased(granted, session, madeAt, now) {
    this.#exceed(granted.fence + BigInt(this.sends));
    if (this.#spares) this.#sparedUntil = Math.max(this.#sparedUntil, madeAt + granted.validity);
    if ((this.#takingOver || this.#mayBeHeld) && !this.#adopting) {
      // Another client may have adopted the lease before, many times.
      if (this.#takingOver) this.#exceed(this.machine.wallMicros());
      this.#slot = granted.slot;
      this.#adopting = true;
      this.machine.submit(this);
      return;
    }
    const { key } = this.request;
    const { token } = this;
    const held = this.#heldWith(granted.slot);
    const lease = held ?? new Lease(this.request, { token, slot: granted.slot, ownToken: this.#ownToken });
    lease.confirmed(session, granted, madeAt);
    lease.acquired(this.request, this.#sequence);
    if (lease.lossAt > now) {
      if (held === undefined) this.machine.hold(lease);
      this.#end();
      this.settle(undefined, lease);
    } else {
      this.#mayBeHeld = held === undefined;
      this.#fail(tooLate(key));
    }
  }

  // The caller's token may hold the lock in this client already. The trust in one slot says nothing about another one.
  #heldWith(slot) {
    const held = this.machine.held(this.request.key, this.token);
    if (held === undefined || held.slot === slot) return held;
    this.machine.lose(held, `its token has slot ${slot} instead of slot ${held.slot} now`);
    return undefined;
  }

  // The token holds nothing. Whatever it holds from now on, this call has acquired.
  #acquireInstead() {
    this.#takingOver = false;
    this.#sparedUntil = -Infinity;
    this.machine.submit(this);
  }

  // The lock is no longer held, or the daemon could not find out.
  #notAdopted(status) {
    if (status.reason === 'LOCK_NOT_HELD') this.#beginAnew();
    else if (!this.#takingOver) this.#mayBeHeld = true;
    this.#refused({ ...status, retryDelay: ADOPT_AGAIN });
  }

  #beginAnew() {
    this.#adopting = false;
    this.#slot = this.request.slot;
  }

  #refused(status) {
    if (this.#single) {
      this.#fail(errorOf(status, this.request.key));
      return;
    }
    this.#refusal = status;
    this.blocked += 1;
    this.#timer = this.machine.after(Math.max(status.retryDelay ?? 0, LEAST_RETRY_DELAY), () => this.#unblock());
  }

  #unblock() {
    this.blocked -= 1;
    if (this.caller !== undefined && this.blocked === 0) this.machine.submit(this);
  }

  // Asks the daemon why the lock was not acquired.
  #waitOver() {
    if (!this.sent || this.exclusive !== undefined) {
      this.giveUp(this.#timeoutError(this.#refusal));
      return;
    }
    this.#cancel();
    this.bound = this.machine.after(REASON_WITHIN, () => this.settle(this.#timeoutError(this.#refusal)));
  }

  // `status`: why the last attempt failed, if the daemon said so.
  #timeoutError(status) {
    const { key, wait } = this.request;
    const done = this.#done;
    if (status === undefined || !this.machine.ready) return this.machine.timeoutError(key, done, wait);
    return timedOut(status.reason, `not ${done} within ${wait} ms`, status, key);
  }

  #answeredTooLate(lease, status) {
    // The Session would keep the lock alive for ever. An extension keeps nothing alive.
    if (lease !== undefined && (this.#adopting || !this.#takingOver)) this.#mayBeHeld = true;
    const cancelled = status === undefined || status.reason === 'CANCELLED';
    this.#fail(cancelled ? this.#timeoutError(status) : errorOf(status, this.request.key));
  }

  #cancel() {
    if (this.#cancelled) return;
    this.#cancelled = true;
    if (!this.#adopting && !this.#takingOver) this.machine.session.cancel(this.entry);
    this.machine.deadlines.remove(this.#timer);
    this.#timer = this.machine.after(CANCEL_ANSWERED_WITHIN, () => {
      if (this.leaves) this.#mayBeHeld = true;
      this.#fail(this.#timeoutError());
    });
  }

  #fail(error) {
    this.#end();
    if (this.exclusive !== undefined) {
      this.#failDowngrade(error);
      return;
    }
    // Before the caller may use its token again.
    if (this.#mayBeHeld) this.machine.giveBack({ ...this.name, ownToken: this.#ownToken }, this.#sparedUntil);
    for (const follower of this.#followers.splice(0)) {
      follower.deferred = false;
      follower.#unblock();
    }
    this.settle(error);
  }

  // Releases the token if the caller still waits, and once more if a late answer says that the Session keeps the lock.
  #failDowngrade(error) {
    const held = this.caller !== undefined && error.reason !== 'LOCK_NOT_HELD';
    if (held || this.#mayBeHeld) this.machine.release({ ...this.name, longest: this.exclusive.longest });
    this.settle(held && error instanceof LockError ? releasedError(error, this.#ownToken) : error);
  }

  #end() {
    this.machine.acquires.delete(this);
    this.machine.deadlines.remove(this.#timer);
    if (this.entry !== undefined && !this.sent) this.machine.session.cancel(this.entry);
  }
}

module.exports = { Acquire };
