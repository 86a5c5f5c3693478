'use strict';

const { inspect } = require('node:util');
const { lostError } = require('../core/errors.js');
const { isShared, maxHoldersOf, namesOf, shown } = require('../core/key.js');
const { checkDowngrade, checkRelease, checkTtl, checkValue } = require('./check.js');
const { forget, listen } = require('./signals.js');

Symbol.asyncDispose ??= Symbol('Symbol.asyncDispose');

const ONE_ROUND = { maxRetries: 0 };
const shares = new WeakMap(); // a Lock -> a promise of the share that it was downgraded to

// A held lock, which the client keeps alive until it is released or lost, or the client closes. inspect() and JSON do
// not show its token.
class Lock {
  #driver;
  #lease;
  #keys; // made when they are asked for
  #lost; // an AbortController, made when it is asked for
  #loss;
  #released;

  constructor(driver, lease) {
    this.#driver = driver;
    this.#lease = lease;
    lease.handle = this;
    lease.onLost = (error) => {
      this.#loss = error;
      this.#lost?.abort(error);
    };
  }

  // The key; of several, their names, joined by ', '.
  get key() { return shown(this.#lease.key); }

  // All keys of the lock, in byte order.
  get keys() { return this.#keys ??= Object.freeze(namesOf(this.#lease.key)); }

  // Whether other holders may share the keys.
  get shared() { return isShared(this.#lease.key); }

  // The limit of the semaphore; undefined if the key is none.
  get maxHolders() { return maxHoldersOf(this.#lease.key); }

  // Which of the semaphore's slots is held, from 1 to maxHolders; undefined if the key is no semaphore.
  get slot() { return this.#lease.slot; }

  // The owner token, the secret that proves ownership.
  get token() { return this.#lease.token; }

  // Higher than that of every earlier holder. Pass it to the storage that the lock protects. May grow while the lock
  // is held.
  get fencingToken() { return this.#lease.fence; }

  // An AbortSignal, aborted with the error when the lock is lost or about to be lost. The work that the lock protects
  // must stop then.
  get lost() {
    if (this.#lost === undefined) {
      this.#lost = new AbortController();
      if (this.#loss !== undefined) this.#lost.abort(this.#loss);
    }
    return this.#lost.signal;
  }

  // Why the lock was lost; undefined if it was not.
  get loss() { return this.#loss; }

  // How long the lock can be trusted if no further message arrives.
  get validity() { return Math.max(0, this.#lease.trustedUntil - this.#driver.clock.latest()); }

  get held() { return this.validity > 0; }

  // Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock while it is held.
  async extend(ttl) { await this.#extend({ ttl }); }

  // The same, but the daemon asks the nodes only once.
  async tryExtend(ttl) { await this.#extend({ ttl, retry: ONE_ROUND }); }

  // Publishes another value. The daemon may refuse it with a LockNotHeldError before the loss of the lock is noticed.
  async proclaim(value) {
    checkValue(value);
    await this.#driver.proclaim(this.#lease, value);
  }

  // Downgrades an exclusive lock to a share, and returns the share: another Lock with the same token. This lock counts as
  // released, so the end of its `await using` block does nothing. The share has to be released separately. If the call
  // fails or `signal` is aborted meanwhile, the lock is released in the background.
  async downgrade(options = {}) {
    checkDowngrade(options);
    options.signal?.throwIfAborted();
    const share = obtain(this.#driver, options.signal, (caller) => this.#driver.downgrade(this.#lease, caller));
    if (!shares.has(this)) shares.set(this, share);
    return share;
  }

  // Releases the lock. Waits for the daemon for at most 2 s; after that, the release continues in the background.
  // With `keepFor`, nobody is granted the key until that long after it was acquired. Throws a LockLostError if the lock was
  // lost before. A second release does nothing.
  async release(options = {}) {
    const keepFor = checkRelease(options);
    if (this.#released) {
      await this.#released.catch(() => {});
      return;
    }
    this.#released = this.#release(keepFor);
    await this.#released;
  }

  // Releases the lock at the end of an `await using` block. Throws a LockLostError if the lock was lost before, or a
  // CancelledError if the client was closed: the work in the block was not protected to its end. Throws an
  // InvalidArgumentError if the daemon has refused keepFor. A release that fails for another reason is only logged, because
  // the lock expires.
  async [Symbol.asyncDispose]() {
    if (this.#released) return;
    await this.release().catch((error) => {
      if (error.reason === 'LOCK_NOT_HELD' || error.reason === 'INVALID_ARGUMENT') throw error;
      this.#driver.log('warn', `the release failed: ${error.message}`);
    });
    if (this.#loss !== undefined) throw this.#loss;
  }

  toJSON() {
    return { key: this.key, fencingToken: String(this.fencingToken), validity: this.validity, held: this.held };
  }

  [inspect.custom]() {
    return `Lock { key: ${inspect(this.key)}, fencingToken: ${this.fencingToken}n, held: ${this.held} }`;
  }

  // ----

  async #extend(options) {
    checkTtl(options.ttl);
    if (this.#loss) throw this.#loss;
    await this.#driver.extend(this.#lease, options);
  }

  async #release(keepFor) {
    if (this.#lease.state === 'lost') throw this.#lease.endedBy();
    try {
      await this.#driver.release(this.#lease, keepFor);
    } catch (error) {
      throw error.reason === 'LOCK_NOT_HELD' ? lostError(this.#lease.key, error.message) : error;
    }
  }
}

// Returns a promise of a Lock. `start(caller)` starts the acquisition and returns its Acquire; the caller gets the Lease.
const obtain = (driver, signal, start) => new Promise((resolve, reject) => {
  const giveUp = signal && (() => driver.giveUp(acquire, signal.reason));
  const acquire = start((error, lease) => {
    if (signal) forget(signal, giveUp);
    if (lease === undefined) reject(error);
    else resolve(lease.handle ?? new Lock(driver, lease));
  });
  if (signal && acquire.caller !== undefined) listen(signal, giveUp);
});

// The share that the lock was downgraded to, or else the lock.
const latest = async (lock) => (await shares.get(lock)?.catch(() => undefined)) ?? lock;

module.exports = { Lock, latest, obtain };
