// The Node client of redlockd, the lock service.
//
//   const client = new Client(['10.0.0.1:50051', '10.0.0.2:50051']);
//   await using lock = await client.acquire('reports', { ttl: 30_000, wait: 10_000 });
//   await store.write(report, lock.fencingToken, { signal: lock.lost });
//
// All locks of a client share one stream (Session) to one daemon, which keeps them alive. If the stream breaks, or the
// daemon shuts down or falls silent, the client moves its locks to the next endpoint (client/PROTOCOL.md). All times
// are in milliseconds. Fencing tokens are BigInts.

import { checkAcquire, checkClient, checkTtl } from './check.js';
import { platformClock } from './clock.js';
import { Driver } from './driver.js';
import { LockError } from './errors.js';
import { Transport } from './transport.js';

export { LockError };

Symbol.asyncDispose ??= Symbol('Symbol.asyncDispose');

// An exception in a user's callback must not affect other locks.
const contained = (callback) => callback && ((...values) => {
  try {
    callback(...values);
  } catch {
    // No caller waits for the outcome.
  }
});

// A held lock. Client.acquire() and Client.using() make it.
export class Lock {
  #driver;
  #lease;
  #lost;
  #released;

  constructor(driver, lease, lost) {
    this.#driver = driver;
    this.#lease = lease;
    this.#lost = lost;
  }

  get key() { return this.#lease.key; }

  // The owner token, the secret that proves ownership.
  get token() { return this.#lease.token; }

  // Higher than that of every earlier holder. Pass it to the storage that the lock protects. May grow while the lock
  // is held.
  get fencingToken() { return this.#lease.fence; }

  // An AbortSignal, aborted with the error when the lock is lost or about to be lost. The work that the lock protects
  // must stop then.
  get lost() { return this.#lost.signal; }

  // How long the lock can be trusted if no further message arrives.
  get validity() { return Math.max(0, this.#lease.trustedUntil - this.#driver.clock.latest()); }

  get held() { return this.validity > 0; }

  // Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock while it is held.
  async extend(ttl) {
    checkTtl(ttl);
    this.lost.throwIfAborted();
    await this.#driver.extend(this.#lease, ttl);
  }

  // Releases the lock. Waits for the daemon for at most 2 s; after that, the release continues in the background.
  // Throws LOCK_NOT_HELD if the lock was lost before. A second release does nothing.
  async release() {
    if (this.#released) {
      await this.#released.catch(() => {});
      return;
    }
    if (this.#lease.state === 'lost') throw this.#lease.endedBy();
    this.#released = this.#driver.release(this.#lease);
    await this.#released;
  }

  async [Symbol.asyncDispose]() {
    await this.release().catch(() => {});
  }
}

// Acquires locks. Connects when necessary; tries `endpoints` ('host:port' or 'unix:/path') in turn.
export class Client {
  #driver;
  #grace;

  // credentials: from grpc.credentials.createSsl(); unset for no TLS.
  // token: a bearer token, or a function that returns one.
  // grace: how long the daemon keeps the locks of a silent client. At least 100.
  constructor(endpoints = ['127.0.0.1:50051'], { credentials, token, grace = 5000 } = {}) {
    const list = checkClient(endpoints, { token, grace });
    this.#grace = grace;
    this.#driver = new Driver({
      transport: new Transport(list, { credentials, token }), endpoints: list.length, grace, clock: platformClock(),
    });
  }

  // Returns a Lock. Waits up to `wait` ms; 0 is a single try, unset waits without a limit. `signal` gives up waiting.
  // margin: `lost` is aborted when at most this much of the validity is left. From 0 to a third of the TTL or of the
  // grace, whichever is less. Default: the smallest of a tenth of the TTL, a tenth of the grace, and 500.
  // onQueued(position) is called with the number of waiters ahead in the queue.
  async acquire(key, options = {}) {
    const { signal, ...request } = checkAcquire(key, options, this.#grace);
    signal?.throwIfAborted();
    const lost = new AbortController();
    return new Promise((resolve, reject) => {
      const giveUp = () => this.#driver.giveUp(acquire, signal.reason);
      const acquire = this.#driver.acquire(
        { ...request, onQueued: contained(request.onQueued), onLost: (error) => lost.abort(error) },
        (error, lease) => {
          signal?.removeEventListener('abort', giveUp);
          if (lease === undefined) reject(error);
          else resolve(new Lock(this.#driver, lease, lost));
        });
      if (acquire.caller !== undefined) signal?.addEventListener('abort', giveUp);
    });
  }

  // Calls work(lock) while the lock is held, then releases the lock. Returns the result of work, or throws if the lock
  // was lost in the meantime.
  async using(key, options, work) {
    const lock = await this.acquire(key, options);
    try {
      const value = await work(lock);
      lock.lost.throwIfAborted();
      return value;
    } finally {
      await lock[Symbol.asyncDispose]();
    }
  }

  // Releases all locks, signals their loss, and fails all waiting calls. Waits for the daemon for at most 2 s; after
  // that, the close continues in the background.
  async close() { await this.#driver.close(); }

  async [Symbol.asyncDispose]() { await this.close(); }
}
