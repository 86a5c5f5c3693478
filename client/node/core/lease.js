'use strict';

// An acquired lock: its state, and until when it is trusted.
class Lease {
  // held | lost | released | downgraded
  state = 'held';
  // Returns why the lock is no longer held, as a LockError. Set when the lock is no longer held.
  endedBy;
  // The Session that keeps the lock alive; undefined while the lock has yet to be adopted.
  session;
  // The caller's object for this lock.
  handle;
  #validUntil = -Infinity;
  #frozen = -Infinity;
  #sequence = 0n;
  #obstacle = ''; // why the last extension has failed; empty: it has not
  #ended; // an AbortController, made when it is asked for

  // The longest TTL that was asked for, answered or not: how long the lock may last by itself.
  longest;

  // How long after the acquisition the key stays taken once the lock is released; undefined: it is free at once.
  keepFor;

  // Called once with the error if the lock is lost.
  onLost = () => {};

  // `lockDelay`: how long after its TTL the lock still keeps others out if it is lost. `slot`: of a semaphore. `ownToken`: the
  // token is the caller's.
  constructor({ key, ttl, margin, lockDelay = 0, keepFor, onLost, exclusive }, { token, slot, ownToken }) {
    this.key = key;
    this.ttl = ttl;
    this.longest = exclusive?.longest ?? ttl;
    this.margin = margin;
    this.lockDelay = lockDelay;
    this.keepFor = keepFor;
    this.token = token;
    this.slot = slot;
    this.fence = 0n;
    if (onLost !== undefined) this.onLost = onLost;
    this.ownToken = ownToken;
  }

  // An acquire or adopt with this TTL was answered. `sequence`: that of the last adopt, or a lower bound.
  acquired({ ttl, keepFor }, sequence) {
    this.ttl = ttl;
    this.askedFor(ttl);
    if (keepFor !== undefined) this.keepFor = keepFor;
    if (sequence > this.#sequence) this.#sequence = sequence;
  }

  // An extension with this TTL may be carried out.
  askedFor(ttl) { this.longest = Math.max(this.longest, ttl); }

  // The daemon of `session` granted, adopted or extended the lock, in a message made at `madeAt` or later.
  confirmed(session, { fence, validity }, madeAt) {
    this.session = session;
    this.extended({ fence, validity }, madeAt);
  }

  // The daemon failed to extend the lock, and will retry.
  notExtended(why) { this.#obstacle = why; }

  // Why a lock that was lost by the clock was not extended, in parentheses; empty: unknown.
  get why() { return this.#obstacle && ` (${this.#obstacle})`; }

  // The daemon extended the lock. Only for messages of the Session that keeps the lock alive.
  extended({ fence, validity }, madeAt) {
    this.#obstacle = '';
    this.#validUntil = Math.max(this.#validUntil, madeAt + validity);
    if (fence > this.fence) this.fence = fence;
  }

  // The lock is no longer held. `endedBy()` returns why.
  end(state, endedBy) {
    this.state = state;
    this.endedBy = endedBy;
    this.#ended?.abort(endedBy());
  }

  // An AbortSignal, aborted with the error when the lock is no longer held.
  get ended() {
    if (this.#ended === undefined) {
      this.#ended = new AbortController();
      if (this.state !== 'held') this.#ended.abort(this.endedBy());
    }
    return this.#ended.signal;
  }

  // The Session was abandoned: the trust is frozen until the lock is adopted.
  freeze() {
    this.#frozen = this.trustedUntil;
    this.session = undefined;
    this.#obstacle = '';
  }

  get trustedUntil() {
    if (this.state !== 'held') return -Infinity;
    if (this.session === undefined) return this.#frozen;
    return Math.min(this.#validUntil, this.session.trustedUntil);
  }

  get lossAt() { return this.trustedUntil - this.margin; }

  // No adopt had a higher one.
  get sequence() { return this.#sequence; }

  // The sequence of the next adopt: never repeated, and above the fencing token.
  nextSequence() {
    if (this.#sequence < this.fence) this.#sequence = this.fence;
    this.#sequence += 1n;
    return this.#sequence;
  }
}

module.exports = { Lease };
