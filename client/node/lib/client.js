'use strict';

const {
  checkAcquire, checkAcquireOrExtend, checkAdopt, checkByToken, checkClient, checkDetached, checkFunction, checkName, checkObserve,
  checkTry, checkTtl, checkValue, checkWatch,
} = require('./check.js');
const { Calls } = require('./calls.js');
const { platformClock } = require('./clock.js');
const { Detached } = require('./detached.js');
const { Driver } = require('./driver.js');
const { Election } = require('./election.js');
const { latest, obtain } = require('./lock.js');
const { logTo } = require('./logging.js');
const { Observer } = require('./observer.js');
const { Transport } = require('./transport.js');
const { Watch } = require('./watch.js');
const { LockAlreadyHeldError, closedError } = require('../core/errors.js');

const BY_TOKEN = ['timeout', 'signal'];
const TRY_EXTEND = [...BY_TOKEN, 'shared', 'maxHolders', 'slot'];

// Acquires locks. Connects when necessary; tries `endpoints` ('host:port' or 'unix:/path') in turn. `key` is a key, or an
// array of keys that are locked together, all or none; the option `shared` shares them. The option `maxHolders` makes a key a
// semaphore. index.d.ts documents the options.
class Client {
  #options;
  #driver;
  #detached;
  #transport;
  #clock = platformClock();
  #log;
  #closing = new AbortController();

  constructor(endpoints = ['127.0.0.1:50051'], options = {}) {
    this.#options = checkClient(endpoints, options);
    const { endpoints: list, grace, logger } = this.#options;
    this.#log = logTo(logger);
    this.#transport = new Transport(list, this.#options);
    this.#detached = new Detached({
      calls: new Calls(this.#transport), clock: this.#clock, log: this.#log, closing: this.#closing.signal });
    this.#driver = new Driver({
      transport: this.#transport, detached: this.#detached, endpoints: list.length, grace, clock: this.#clock, log: this.#log });
  }

  // Returns a Lock. Waits for it as long as the options allow.
  async acquire(key, options = {}) { return this.#acquire(checkAcquire(key, options, this.#options)); }

  // Returns a Lock, or null if another holder has the lock. A single try.
  async tryAcquire(key, options = {}) {
    try {
      return await this.#acquire(checkTry(key, options, this.#options));
    } catch (error) {
      if (error instanceof LockAlreadyHeldError) return null;
      throw error;
    }
  }

  // Returns a Lock with this token. If the token already holds the lock, in whichever process, takes it over.
  async acquireOrExtend(key, token, options = {}) {
    return this.#acquire(checkAcquireOrExtend(key, token, options, this.#options));
  }

  // Returns a Lock: takes over the lock that the token holds, and keeps it alive from now on.
  async adopt(key, token, options = {}) { return this.#acquire(checkAdopt(key, token, options, this.#options)); }

  // Calls work(lock) while the lock is held, then releases the lock, or the share that it was downgraded to. Returns the
  // result of work. Throws a LockLostError if the lock was lost in the meantime, or a CancelledError if the client was closed,
  // whether or not the work succeeded.
  async using(key, options, work) {
    checkFunction('work', work ?? null);
    const lock = await this.acquire(key, options);
    const end = async () => (await latest(lock))[Symbol.asyncDispose]();
    let value;
    try {
      value = await work(lock);
    } catch (error) {
      await end().catch((loss) => {
        if (loss === error || loss.reason === 'INVALID_ARGUMENT') throw error; // a refused keepFor is less than that
        throw Object.assign(loss, { cause: error });
      });
      throw error;
    }
    await end();
    return value;
  }

  // Returns a Lease: a lock that outlives this process, and that no client extends.
  async acquireDetached(key, options = {}) {
    return this.#detached.acquire(checkDetached(key, options, this.#options));
  }

  // Extends the lock that the token holds to `ttl` from now. Returns a Lease.
  async extend(key, token, ttl, options = {}) {
    checkTtl(ttl);
    return this.#detached.extend(checkByToken(key, token, options, ['retry', ...TRY_EXTEND]), ttl);
  }

  // The same, but the daemon asks the nodes only once.
  async tryExtend(key, token, ttl, options = {}) {
    checkTtl(ttl);
    const checked = checkByToken(key, token, options, TRY_EXTEND);
    return this.#detached.extend({ ...checked, retry: { maxRetries: 0 } }, ttl);
  }

  // Releases the lock that the token holds.
  async release(key, token, options = {}) {
    await this.#detached.release(checkByToken(key, token, options, ['keepFor', ...BY_TOKEN]));
  }

  // Publishes another value with the lock that the token holds.
  async proclaim(key, token, value, options = {}) {
    checkValue(value);
    await this.#detached.proclaim(checkByToken(key, token, options, BY_TOKEN), value);
  }

  // Returns an Observer: an async iterator of the states of a key, which begins when it is first asked for a state.
  observe(key, options = {}) {
    const request = checkObserve(key, options);
    return new Observer({ transport: this.#transport, clock: this.#clock, client: this.#closing.signal }, request);
  }

  // Returns the Election of this name, for candidates and observers.
  election(name) {
    checkName('name', name);
    return new Election(this, name);
  }

  // Keeps locks alive that were acquired elsewhere: items [{ key, shared, maxHolders, slot, token, ttl, interval }].
  // Returns a Watch. Calls onEvent({ type, key, error, … }) with the types extended, extendFailed, lost, failed and, as the
  // last one, closed.
  watch(items, onEvent, options = {}) {
    const request = checkWatch(items, onEvent, options);
    return new Watch({
      transport: this.#transport, clock: this.#clock, log: this.#log, onEvent, client: this.#closing.signal }, request);
  }

  // Releases all locks, signals their loss, and fails all waiting calls. Waits for the daemon for at most 2 s; after
  // that, the close continues in the background.
  async close() {
    this.#closing.abort(closedError());
    await Promise.all([this.#driver.close(), this.#detached.close()]);
    this.#transport.closeUnary();
  }

  async [Symbol.asyncDispose]() { await this.close(); }

  // ----

  #acquire(request) {
    const { signal } = request;
    signal?.throwIfAborted();
    return obtain(this.#driver, signal, (caller) => this.#driver.acquire(request, caller));
  }
}

module.exports = { Client };
