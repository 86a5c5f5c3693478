'use strict';

const { errorOf, lockFailure } = require('./errors.js');

const CALLER_WAITS = 2000;
const ADOPT_AGAIN = 100;
const LEAST_RETRY_DELAY = 50;
// How long a give-up waits for a later call with the same token.
const GIVE_UP_AGAIN = 1000;

// An operation that a caller started. `caller(error, value)` is called once; undefined: no caller waits.
class Operation {
  sends = 0;
  // Its entry in the current Session; undefined while it is not queued or sent there.
  entry;
  // The deadline until which the caller waits.
  bound;

  constructor(machine, caller) {
    this.machine = machine;
    this.caller = caller;
    if (caller !== undefined) machine.awaited += 1;
  }

  settle(error, value) {
    const { caller, machine } = this;
    if (caller === undefined) return;
    this.caller = undefined;
    machine.awaited -= 1;
    machine.deadlines.remove(this.bound);
    caller(error, value);
  }
}

// Releases a lock. Continues after its caller has stopped waiting, until the lock would have expired.
class Release extends Operation {
  #expiry;

  // `onDone()` is called when the release has ended. `longest`: how long the lock may last by itself, apart from
  // `lockDelay`. `ownToken`: the token is the caller's. `keepFor`: how long after the acquisition the key stays taken.
  constructor(machine, { key, token, ttl, longest = ttl, lockDelay = 0, ownToken = false }, { caller, onDone, keepFor } = {}) {
    super(machine, caller);
    this.key = key;
    this.token = token;
    this.longest = longest;
    this.lockDelay = lockDelay;
    this.ownToken = ownToken;
    this.keepFor = keepFor;
    this.onDone = onDone;
    if (caller !== undefined) this.bound = machine.after(CALLER_WAITS, () => this.settle());
    if (!machine.ready) this.#expire();
  }

  body() { return { release: { key: this.key, token: this.token, keepFor: this.keepFor } }; }

  answered({ status }) {
    this.entry = undefined;
    const again = this.sends > 1;
    if (status?.reason === 'DRAINING') this.#expire();
    else if (status?.reason === 'OVERLOADED') this.#sendLater(status.retryDelay);
    else if (status?.reason === 'INVALID_ARGUMENT' && this.keepFor !== undefined) this.#releaseAnyway(status);
    else if (status !== undefined && !(status.reason === 'LOCK_NOT_HELD' && again)) this.end(errorOf(status, this.key));
    else if (again && this.ownToken) this.end(this.#undecided());
    else this.end();
  }

  abandoned() {
    this.entry = undefined;
    this.#expire();
  }

  // The answer may still come after the expiry.
  end(error) {
    if (!this.machine.releases.delete(this)) return;
    this.machine.deadlines.remove(this.#expiry);
    this.settle(error);
    this.onDone?.();
  }

  #sendLater(delay = 0) {
    this.sends -= 1; // the daemon has not carried it out
    this.machine.after(Math.max(delay, LEAST_RETRY_DELAY), () => {
      if (this.entry === undefined && this.machine.releases.has(this)) this.machine.submit(this);
    });
  }

  // The daemon has refused keepFor, which exceeds its --max-ttl, and the Session would keep the lock alive.
  #releaseAnyway(status) {
    this.machine.release(this, { onDone: this.onDone });
    this.onDone = undefined;
    this.end(errorOf(status, this.key));
  }

  // A daemon may still carry out an earlier copy, which would end a later hold of the same token.
  #undecided() {
    return lockFailure('UNREACHABLE', this.key, 'the lock is released, but a daemon that has not answered may carry out ' +
      'the release once more; do not use the token again');
  }

  // No Session keeps the lock alive any more. The last daemon releases it after the grace; without that daemon, it
  // expires.
  #expire() {
    this.#expiry ??= this.machine.after(Math.max(this.machine.grace, this.longest) + this.lockDelay, () => this.end());
  }
}

// Gives up a lock of the caller's token. The caller may use its token again, so this ends only what the current Session
// has, and is never sent on another one, whose end gives up its locks. A release that a silent daemon carries out late
// would end a later lock of the token.
class GiveUp {
  sends = 0;
  // The close of the client does not wait for it.
  postponed = false;
  #machine;
  #name;
  #timer;

  // `trustedUntil`: the caller may trust the lock until then. Goes on until the Session ends, which keeps the lock
  // alive.
  constructor(machine, { key, token }, trustedUntil) {
    this.#machine = machine;
    this.#name = { key, token };
    const delay = Math.max(0, trustedUntil - machine.clock.earliest(), this.#used ? GIVE_UP_AGAIN : 0);
    if (delay > 0) this.#postpone(delay);
    else machine.submit(this);
  }

  body() { return { giveUp: { ...this.#name } }; }

  answered({ status }) {
    if (status?.reason === 'OVERLOADED') this.#sendLater(Math.max(status.retryDelay ?? 0, LEAST_RETRY_DELAY));
    else this.end();
  }

  abandoned() {}

  end() {
    this.#machine.giveUps.delete(this);
    this.#machine.deadlines.remove(this.#timer);
  }

  get #used() { return this.#machine.uses(this.#name.key, this.#name.token); }

  #postpone(delay) {
    this.postponed = true;
    this.#sendLater(delay);
  }

  #sendLater(delay) {
    this.#timer = this.#machine.after(delay, () => {
      if (this.#used) this.#postpone(GIVE_UP_AGAIN);
      else this.#machine.submit(this);
    });
  }
}

// Extends a lock, after its adoption if it has yet to be adopted.
class Extend extends Operation {
  // `retry`: undefined for the daemon's default.
  constructor(machine, lease, { ttl, retry }, caller) {
    super(machine, caller);
    this.lease = lease;
    this.ttl = ttl;
    this.retry = retry;
    this.bound = machine.after(CALLER_WAITS, () => this.end(machine.timeoutError(lease.key, 'extended', CALLER_WAITS)));
  }

  body() {
    const { key, token, slot } = this.lease;
    return { extend: { key, token, slot, ttl: this.ttl, retry: this.retry } };
  }

  answered({ lease, status }, session, madeAt) {
    this.entry = undefined;
    if (status?.reason === 'DRAINING') return;
    if (status?.reason === 'LOCK_NOT_HELD') this.machine.lose(this.lease, status.message); // ends this extension too
    if (lease !== undefined && this.lease.session === session) this.lease.extended(lease, madeAt);
    this.end(status && errorOf(status, this.lease.key));
  }

  abandoned() { this.entry = undefined; }

  end(error) {
    this.machine.extensions.delete(this);
    this.settle(error);
  }
}

// Adopts a held lock on the current Session.
class Adopt {
  sends = 0;
  #machine;
  #lease;
  #sequence;

  constructor(machine, lease) {
    this.#machine = machine;
    this.#lease = lease;
    this.#sequence = lease.nextSequence();
  }

  body() {
    const { key, token, slot, ttl } = this.#lease;
    return { adopt: { key, token, slot, ttl, sequence: this.#sequence } };
  }

  answered({ lease, status }, session, madeAt) {
    if (this.#lease.state !== 'held') {
      // If the lock was downgraded, the adopted lease belongs to the share.
      if (lease !== undefined && this.#lease.state !== 'downgraded') this.#machine.adoptedTooLate(this.#lease);
    } else if (lease !== undefined) {
      this.#machine.adopted(this.#lease, session, lease, madeAt);
    } else if (status.reason === 'LOCK_NOT_HELD') {
      this.#machine.lose(this.#lease, status.message);
    } else {
      this.#machine.after(ADOPT_AGAIN, () => this.#machine.adopt(this.#lease, session));
    }
  }

  abandoned() {}
}

// Releases everything that the Session holds.
class Close {
  sends = 0;
  #done;

  // `done(ok)` is called with the answer.
  constructor(done) { this.#done = done; }

  body() { return { close: {} }; }

  answered({ status }) { this.#done(status === undefined); }

  abandoned() {}
}

const tooLate = (key) => lockFailure(
  'VALIDITY_EXPIRED', key, 'the lock was granted, but its validity had ended when the answer was read');

module.exports = { ADOPT_AGAIN, CALLER_WAITS, Operation, Release, GiveUp, Extend, Adopt, Close, tooLate };
