'use strict';

// Locks by key and token, which this client does not keep alive: unary calls at whichever daemon answers.

const { setImmediate: turn } = require('node:timers/promises');
const { inspect } = require('node:util');
const { OUTAGES, timedOut } = require('../core/errors.js');
const { isShared, maxHoldersOf, namesOf, shown } = require('../core/key.js');
const { tooLate } = require('../core/operations.js');
const { RATE_DIFFERENCE } = require('../core/trust.js');
const { Pauses, sleep } = require('./calls.js');
const { ACQUIRE, EXTEND, PROCLAIM, RELEASE } = require('./methods.js');
const { aborted } = require('./signals.js');
const { newToken } = require('./tokens.js');
const { claimTo, leaseFrom, millis, requestTo } = require('./wire.js');

const LEAST_RETRY_DELAY = 50;
// What is left of a call's time when an attempt begins that a daemon need not answer in time.
const TOO_SHORT = 100;
const CLOSE_WAITS = 2000;
const RELEASE_AGAIN = [100, 1000];

// A lock that no client keeps alive: it expires `validity` after it was acquired or extended. To hand it over, pass keys,
// token, shared and maxHolders to the other process. inspect() and JSON do not show the token.
class Lease {
  #token;
  #clock;
  #validUntil;

  constructor({ key, token, fence, slot, clock, validUntil }) {
    this.key = shown(key);
    this.keys = Object.freeze(namesOf(key));
    this.shared = isShared(key);
    this.maxHolders = maxHoldersOf(key);
    this.slot = slot;
    this.fencingToken = fence;
    this.#token = token;
    this.#clock = clock;
    this.#validUntil = validUntil;
  }

  get token() { return this.#token; }

  get validity() { return Math.max(0, this.#validUntil - this.#clock.latest()); }

  get held() { return this.validity > 0; }

  toJSON() { return { key: this.key, fencingToken: String(this.fencingToken), validity: this.validity }; }

  [inspect.custom]() { return `Lease { key: ${inspect(this.key)}, fencingToken: ${this.fencingToken}n, held: ${this.held} }`; }
}

class Detached {
  #calls;
  #clock;
  #log;
  #closing;
  #releases = new Set(); // promises, of releases in the background

  // `closing`: an AbortSignal that fails all calls with its reason.
  constructor({ calls, clock, log, closing }) {
    this.#closing = closing;
    this.#calls = calls;
    this.#clock = clock;
    this.#log = log;
  }

  // Returns a Lease. If the call fails or is given up, no lock is left behind.
  async acquire({ key, ttl, owner, wait, token = newToken(), retry, value, lockDelay, signal }) {
    const signals = [signal, this.#closing];
    const single = wait === 0;
    const until = wait > 0 ? performance.now() + wait : Infinity;
    const pauses = new Pauses();
    let undecided = false; // an earlier copy may be carried out
    let refusal; // why a daemon has refused the attempt before; undefined: it did not
    for (let failures = 1; ; failures += 1) {
      const at = this.#clock.earliest();
      const began = performance.now();
      const request = claimTo({
        key, ttl, token, owner, retry: single ? { maxRetries: 0 } : retry, extendIfHeld: undecided || undefined, value, lockDelay });
      let error;
      try {
        aborted(signals)?.throwIfAborted();
        const { lease, waited } = await this.#calls.once(ACQUIRE, request, { key, until, wait: true, signals });
        // The daemon granted the lock no earlier than after it had waited for it.
        const result = this.#leaseOf(lease, at + (waited ? millis(waited) * (1 - RATE_DIFFERENCE) : 0));
        if (result.held) return result;
        error = Object.assign(tooLate(key), { answered: true });
        undecided = true;
      } catch (failed) {
        error = failed;
        undecided ||= error.sent && !error.answered;
        if (refusal !== undefined && until - began < TOO_SHORT && !error.answered) error = refusal;
      }
      refusal = error.reason === 'OVERLOADED' ? error : undefined;
      const over = performance.now() >= until;
      const again = single ? !error.answered && failures < this.#calls.endpoints
        : (!error.answered || error.reason === 'OVERLOADED') && !over;
      if (aborted(signals) || !again) {
        if (undecided) this.#releaseInBackground({ key, token, lasts: ttl + (lockDelay ?? 0) });
        throw aborted(signals)?.reason ?? acquireError(error, { key, wait, over });
      }
      let pause = failures % this.#calls.endpoints === 0 ? pauses.next() : 0;
      if (error.answered) pause = Math.max(error.retryAfter ?? 0, LEAST_RETRY_DELAY);
      else this.#calls.moveOn();
      await sleep(Math.min(pause, Math.max(0, until - performance.now())), signals);
    }
  }

  // Returns a Lease. The first argument of this and of the calls below is what checkByToken() returns.
  async extend({ key, token, slot, ...options }, ttl) {
    let at;
    const { lease } = await this.#repeat(EXTEND, () => {
      at = this.#clock.earliest();
      return claimTo({ key, token, slot, ttl, retry: options.retry });
    }, this.#ofCaller(key, options));
    const result = this.#leaseOf(lease, at);
    if (!result.held) throw tooLate(key);
    return result;
  }

  async release({ key, token, keepFor, ...options }) {
    await this.#repeat(RELEASE, () => requestTo({ key, token, keepFor }), this.#ofCaller(key, options));
  }

  async proclaim({ key, token, ...options }, value) {
    await this.#repeat(PROCLAIM, () => requestTo({ key, token, value }), this.#ofCaller(key, options));
  }

  // Waits for the releases in the background, but not for long.
  async close() {
    await turn(); // calls that have just been cancelled start their releases
    const done = new AbortController();
    await Promise.race([Promise.all(this.#releases), sleep(CLOSE_WAITS, [done.signal])]);
    done.abort();
  }

  // ----

  #ofCaller(key, { timeout, signal }) { return { key, timeout, signals: [signal, this.#closing] }; }

  #leaseOf(granted, at) {
    const { key, token, fence, validity, slot } = leaseFrom(granted);
    return new Lease({ key, token, fence, slot, clock: this.#clock, validUntil: at + validity });
  }

  // Repeats a call until a daemon has answered it, within `timeout`.
  async #repeat(call, request, { key, timeout, signals }) {
    const until = performance.now() + timeout;
    const pauses = new Pauses();
    let sent = 0;
    let refusal; // why a daemon has refused the attempt before; undefined: it did not
    for (let failures = 1; ; failures += 1) {
      aborted(signals)?.throwIfAborted();
      const began = performance.now();
      try {
        return await this.#calls.once(call, request(), { key, until, signals });
      } catch (error) {
        if (aborted(signals)) continue;
        // An earlier copy may have released the lock.
        if (error.reason === 'LOCK_NOT_HELD' && call === RELEASE && sent > 0) return {};
        if (error.sent && !error.answered) sent += 1;
        // The daemon itself repeats an extension. A release goes to all nodes that it reaches.
        const passing = error.reason === 'OVERLOADED' || (call === PROCLAIM && OUTAGES.has(error.reason));
        if (error.answered && !passing) throw error;
        if (passing) refusal = error;
        else if (until - began >= TOO_SHORT) refusal = undefined;
        if (performance.now() >= until) throw refusal ?? error;
      }
      this.#calls.moveOn();
      let pause = failures % this.#calls.endpoints === 0 ? pauses.next() : 0;
      if (refusal !== undefined) pause = Math.max(pause, refusal.retryAfter ?? 0, LEAST_RETRY_DELAY);
      await sleep(Math.min(pause, Math.max(0, until - performance.now())), signals);
    }
  }

  // Releases what a call that was given up may have acquired, until that is answered or the lock has expired.
  #releaseInBackground(name) {
    const release = this.#releaseUntilSettled(name)
      .catch((error) => this.#log('warn', `a lock that was given up is not released: ${error.message}`))
      .finally(() => this.#releases.delete(release));
    this.#releases.add(release);
  }

  // A release can overtake the cancellation of the call at the daemon, which then still grants the lock. So a release that
  // finds nothing is repeated.
  async #releaseUntilSettled({ key, token, lasts }) {
    for (const pause of [0, ...RELEASE_AGAIN]) {
      await sleep(pause, []);
      try {
        await this.#repeat(RELEASE, () => requestTo({ key, token }), { key, timeout: lasts, signals: [] });
        return;
      } catch (error) {
        if (error.reason !== 'LOCK_NOT_HELD') throw error;
      }
    }
  }
}

// The error of an acquire that ends with `error`. `over`: the time to wait has passed.
const acquireError = (error, { key, wait, over }) => (
  wait > 0 && (over || error.reason === 'DEADLINE_EXCEEDED')
    ? timedOut(error.reason, `not acquired within ${wait} ms`, error.status ?? { message: error.message }, key) : error);

module.exports = { Detached, Lease };
