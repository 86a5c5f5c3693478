// Locks by redlockd.
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

// A callback of the user that throws must not harm other locks.
const contained = (callback) => callback && ((...values) => {
  try {
    callback(...values);
  } catch {
    // Nobody waits for its outcome.
  }
});

// A held lock. Made by Client.acquire() and Client.using().
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

  // The secret that proves ownership.
  get token() { return this.#lease.token; }

  // Higher than that of any holder before. Hand it to the storage that the lock protects. May grow while the lock
  // is held.
  get fencingToken() { return this.#lease.fence; }

  // An AbortSignal: aborted, with the reason, when the lock is lost, or about to be. The work that it protects has to
  // stop.
  get lost() { return this.#lost.signal; }

  // How long the lock can be trusted if nothing more arrives.
  get validity() { return Math.max(0, this.#lease.trustedUntil - this.#driver.clock.latest()); }

  get held() { return this.validity > 0; }

  // Makes it last for `ttl` from now. The daemon extends the lock anyway for as long as it is held.
  async extend(ttl) {
    checkTtl(ttl);
    this.lost.throwIfAborted();
    await this.#driver.extend(this.#lease, ttl);
  }

  // Gives the lock back. Waits for the daemon for at most 2 s; after that, the release continues in the background.
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

// Connects when it has to. `endpoints` ('host:port' or 'unix:/path') are tried in turn.
export class Client {
  #driver;
  #grace;

  // credentials: of grpc.credentials.createSsl(); unset for no TLS.
  // token: a bearer token, or a function that returns one.
  // grace: how long the daemon keeps the locks of a client that has gone silent. At least 100.
  constructor(endpoints = ['127.0.0.1:50051'], { credentials, token, grace = 5000 } = {}) {
    const list = checkClient(endpoints, { token, grace });
    this.#grace = grace;
    this.#driver = new Driver({
      transport: new Transport(list, { credentials, token }), endpoints: list.length, grace, clock: platformClock(),
    });
  }

  // A Lock. Waits for it as long as it takes, or `wait` ms; 0 is a single try. `signal` gives up.
  // margin: `lost` is aborted when no more than this is left of the validity; unset: the smallest of a tenth of the
  // TTL, a tenth of the grace, and 500. onQueued(position) is called with how many are before it.
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

  // Calls work(lock) while the lock is held, releases it, and returns what work returned, unless the lock was lost
  // meanwhile.
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

  // Releases all locks, which are lost to their holders, and ends all waiting. Waits for the daemon for at most 2 s;
  // after that, it continues in the background.
  async close() { await this.#driver.close(); }

  async [Symbol.asyncDispose]() { await this.close(); }
}
