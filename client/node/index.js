// Locks by redlockd.
//
//   const client = new Client(['10.0.0.1:50051', '10.0.0.2:50051']);
//   await using lock = await client.acquire('reports', { ttl: 30_000, wait: 10_000 });
//   await store.write(report, lock.fencingToken, { signal: lock.lost });
//
// A lock has a stream of its own (Session), in which the daemon keeps it alive. Where the stream
// breaks or the daemon shuts down, the lock is taken along to the next endpoint, if nobody else has
// had it since. All times are in milliseconds. Fencing tokens are BigInts.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { DaemonClock } from './daemon_clock.js';

Symbol.asyncDispose ??= Symbol('Symbol.asyncDispose');

const here = fileURLToPath(new URL('.', import.meta.url));
const packaged = `${here}proto`;
const definition = protoLoader.loadSync('redlock/v1/lock_service.proto', {
  includeDirs: [existsSync(packaged) ? packaged : `${here}../../proto`],
  longs: String,
  enums: String,
  defaults: true,
});
const { LockService } = grpc.loadPackageDefinition(definition).redlock.v1;

const CHANNEL_OPTIONS = {
  'grpc.keepalive_time_ms': 3000,
  'grpc.keepalive_timeout_ms': 2000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
};
const CONNECT_TIMEOUT = 2000;
const PAUSE = 50;
const LONGEST_PAUSE = 1000;
const LONGEST_TIMER = 2 ** 31 - 1;
const [PING, ACQUIRE, EXTEND, RELEASE] = ['1', '2', '3', '4'];

// `reason` is one of the contract's (proto/redlock/v1/lock_service.proto), or UNREACHABLE where no
// daemon answered. `retryAfter`: undefined where a repetition does not help.
export class LockError extends Error {
  constructor(reason, message, retryAfter) {
    super(message);
    this.name = 'LockError';
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

const millis = (duration) => (duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : 0);
const duration = (ms) => ({ seconds: Math.trunc(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });
const errorOf = (status) => new LockError(
  status.reason, status.message, status.retryDelay ? millis(status.retryDelay) : undefined);
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const about = (ms) => ms * (0.5 + Math.random() / 2);

// A stream that ended, or a daemon that is about to. `orderly`: it said so before.
class Broken extends Error {
  constructor(error, orderly = false) {
    super(error.message);
    this.error = error;
    this.orderly = orderly;
  }
}

// A Session for one lock. `onMessage(message, madeAt)` and, once, `onEnd(broken)` are called.
class Stream {
  #call;
  #clock = new DaemonClock();
  #sent = new Map();
  #endpoint;
  #ended = false;
  #closed;
  onMessage = () => {};
  onEnd = () => {};

  constructor(stub, endpoint, metadata) {
    this.#endpoint = endpoint;
    this.#call = stub.Session(metadata);
    this.#closed = new Promise((resolve) => { this.#call.on('status', resolve); });
    this.#call.on('data', (message) => this.#read(message));
    this.#call.on('error', (error) => {
      const denied = [grpc.status.UNAUTHENTICATED, grpc.status.PERMISSION_DENIED].includes(error.code);
      this.#end(new Broken(new LockError(
        denied ? grpc.status[error.code] : 'UNREACHABLE', `${endpoint}: ${error.details ?? error.message}`)));
    });
    this.#call.on('end', () =>
      this.#end(new Broken(new LockError('UNREACHABLE', `${endpoint}: the stream was closed`))));
  }

  // Resolves once the daemon answers.
  open() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.cancel();
        reject(new Broken(new LockError('UNREACHABLE', `${this.#endpoint}: no answer`)));
      }, CONNECT_TIMEOUT);
      this.onMessage = () => { clearTimeout(timer); resolve(); };
      this.onEnd = (broken) => { clearTimeout(timer); reject(broken); };
      this.send(PING, { ping: {} });
    });
  }

  send(id, operation) {
    if (!this.#sent.has(id)) this.#sent.set(id, performance.now());
    if (!this.#ended) this.#call.write({ operations: [{ id, ...operation }] });
  }

  #read(message) {
    const now = performance.now();
    const daemon = millis(message.clock);
    this.#clock.onMessage(daemon, now);
    for (const { id } of message.results) {
      if (this.#sent.has(id)) this.#clock.onRoundTrip(now - this.#sent.get(id));
      this.#sent.delete(id);
    }
    if (message.events.some(({ type }) => type === 'EVENT_TYPE_DRAINING')) {
      this.#end(new Broken(new LockError('DRAINING', `${this.#endpoint}: is shutting down`), true));
      this.close();
      return;
    }
    this.onMessage(message, this.#clock.madeAt(daemon));
  }

  #end(broken) {
    if (this.#ended) return;
    this.#ended = true;
    this.onEnd(broken);
  }

  // In an orderly way: what the daemon holds for the stream is released, or left to others where it
  // said DRAINING.
  async close() {
    this.#ended = true;
    this.#call.end();
    let timer;
    await Promise.race([this.#closed, new Promise((resolve) => { timer = setTimeout(resolve, CONNECT_TIMEOUT); })]);
    clearTimeout(timer);
    this.#call.cancel();
  }

  cancel() {
    this.#ended = true;
    this.#call.cancel();
  }
}

// A held lock. Made by Client.acquire() and Client.using().
export class Lock {
  #client;
  #ttl;
  #margin;
  #stream;
  #validUntil;
  #released = false;
  #lost = new AbortController();
  #timer;
  #asked = new Map(); // id -> { operation, resolve, reject }

  constructor(client, key, ttl, margin, stream, lease, made) {
    this.key = key;
    this.token = lease.token;
    // Higher than that of any holder before. Hand it to the storage that the lock protects.
    this.fencingToken = BigInt(lease.fencingToken);
    this.#client = client;
    this.#ttl = ttl;
    this.#margin = margin;
    this.#extended(lease, made);
    this.#attend(stream);
    client._locks.add(this);
  }

  // An AbortSignal: aborted, with the reason, when the lock is lost, or about to be. The work that it
  // protects has to stop.
  get lost() { return this.#lost.signal; }

  // For how long the lock can be trusted if nothing is heard any more.
  get validity() {
    if (this.#released || this.lost.aborted) return 0;
    return Math.max(0, this.#validUntil - performance.now());
  }

  get held() { return this.validity > 0; }

  // Makes it last for `ttl` from now. The daemon extends it all the while anyhow.
  async extend(ttl) {
    await this.#ask(EXTEND, { extend: { key: this.key, token: this.token, ttl: duration(ttl) } });
  }

  // Gives the lock back. Throws LOCK_NOT_HELD where it was lost before.
  async release() {
    this.lost.throwIfAborted();
    if (this.#released) return;
    try {
      await this.#ask(RELEASE, { release: { key: this.key, token: this.token } });
    } finally {
      await this._end();
    }
  }

  async [Symbol.asyncDispose]() {
    await this.release().catch(() => {});
  }

  #ask(id, operation) {
    this.lost.throwIfAborted();
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { operation, resolve, reject });
      this.#stream?.send(id, operation);
    });
  }

  #attend(stream) {
    this.#stream = stream;
    stream.onMessage = (message, made) => this.#read(message, made);
    stream.onEnd = () => {
      this.#stream = undefined;
      if (!this.#released && !this.lost.aborted) this.#takeAlong();
    };
    for (const [id, { operation }] of this.#asked) stream.send(id, operation);
  }

  #read(message, made) {
    for (const result of message.results) {
      const asked = this.#asked.get(result.id);
      if (result.lease) this.#extended(result.lease, made);
      if (!asked) continue;
      this.#asked.delete(result.id);
      if (result.status) asked.reject(errorOf(result.status));
      else asked.resolve();
    }
    for (const event of message.events) {
      if (event.type === 'EVENT_TYPE_EXTENDED') this.#extended(event.lease, made);
      if (event.type === 'EVENT_TYPE_LOST') this._lose(new LockError(event.reason, event.message));
    }
  }

  #extended(lease, made) {
    const until = made + millis(lease.validity);
    if (this.#validUntil > until) return;
    this.#validUntil = until;
    clearTimeout(this.#timer);
    const left = until - this.#margin - performance.now();
    this.#timer = setTimeout(
      () => this._lose(new LockError('VALIDITY_EXPIRED', 'it could not be extended in time')),
      Math.min(Math.max(left, 0), LONGEST_TIMER));
  }

  // To the next daemon, until one has it or the lock is lost.
  async #takeAlong() {
    while (!this.#released && !this.lost.aborted) {
      this.#client._nextEndpoint();
      await sleep(about(PAUSE));
      const stream = this.#client._stream();
      try {
        const lease = await this.#adopt(stream);
        if (this.#released || this.lost.aborted) {
          stream.cancel();
          return;
        }
        if (BigInt(lease.fencingToken) !== this.fencingToken) {
          throw new LockError('LOCK_NOT_HELD', 'it was let go before another daemon took it over');
        }
        this.#attend(stream);
        return;
      } catch (error) {
        stream.cancel(); // and with it what was taken afresh
        if (['LOCK_ALREADY_HELD', 'LOCK_NOT_HELD'].includes(error.reason)) this._lose(error);
      }
    }
  }

  async #adopt(stream) {
    await stream.open();
    return new Promise((resolve, reject) => {
      stream.onEnd = reject;
      stream.onMessage = (message, made) => {
        const result = message.results.find(({ id }) => id === ACQUIRE);
        if (!result) return;
        if (result.status) {
          reject(errorOf(result.status));
          return;
        }
        if (BigInt(result.lease.fencingToken) === this.fencingToken) this.#extended(result.lease, made);
        resolve(result.lease);
      };
      stream.send(ACQUIRE, {
        acquire: {
          key: this.key, token: this.token, ttl: duration(this.#ttl), extendIfHeld: true, retry: { maxRetries: 0 },
        },
      });
    });
  }

  _lose(error) {
    if (this.lost.aborted || this.#released) return;
    const loss = new LockError('LOCK_NOT_HELD', `the lock was lost: ${error.message}`);
    this.#lost.abort(loss);
    for (const { reject } of this.#asked.values()) reject(loss);
    this._end();
  }

  async _end() {
    this.#released = true;
    this.#client._locks.delete(this);
    clearTimeout(this.#timer);
    const stream = this.#stream;
    this.#stream = undefined;
    await stream?.close();
  }
}

// Connects when it has to. `endpoints` ('host:port' or 'unix:/path') are tried in turn.
export class Client {
  #endpoints;
  #credentials;
  #token;
  #stubs = new Map();
  #current = 0;
  _locks = new Set();

  // credentials: of grpc.credentials.createSsl(); unset for no TLS.
  // token: a bearer token, or a function that returns one.
  constructor(endpoints = ['127.0.0.1:50051'], { credentials, token } = {}) {
    this.#endpoints = [endpoints].flat();
    if (this.#endpoints.length === 0) throw new TypeError('endpoints: there is none');
    this.#credentials = credentials;
    this.#token = token;
  }

  // A Lock. Waits for it as long as it takes, or `wait` ms; 0 is a single try. `signal` gives up.
  // margin: `lost` is aborted when no more than this is left of the validity; unset: a tenth of the
  // TTL, at most 500. onQueued(position) hears how many are before it.
  async acquire(key, { ttl = 30_000, wait, owner = '', margin = Math.min(ttl / 10, 500), signal, onQueued } = {}) {
    const request = { key, ttl: duration(ttl), owner };
    if (wait !== undefined && wait <= 0) request.retry = { maxRetries: 0 };
    const overAt = wait > 0 ? performance.now() + wait : Infinity;
    let failures = 0;
    let pause = PAUSE;
    let wasThere = false;
    let last;
    while (true) {
      signal?.throwIfAborted();
      const left = overAt - performance.now();
      if (left <= 0) {
        throw last ?? new LockError('DEADLINE_EXCEEDED', `${key}: still held when the time was over`);
      }
      const stream = this._stream();
      try {
        const { lease, made } = await this.#acquireOnce(stream, request, left, signal, onQueued);
        return new Lock(this, key, ttl, margin, stream, lease, made);
      } catch (error) {
        stream.cancel(); // the daemon gives up, or back
        if (error instanceof Broken) {
          if (['UNAUTHENTICATED', 'PERMISSION_DENIED'].includes(error.error.reason)) throw error.error;
          last = error.orderly ? undefined : error.error;
          wasThere ||= error.orderly;
          failures += 1;
          this._nextEndpoint();
          if (failures < this.#endpoints.length) continue;
          if (!wasThere && last) throw last;
          await sleep(about(pause));
          pause = Math.min(pause * 2, LONGEST_PAUSE);
        } else if (error.reason === 'OVERLOADED' && !(wait <= 0)) {
          await sleep(Math.max(error.retryAfter ?? 0, PAUSE));
        } else {
          throw error;
        }
      }
    }
  }

  async #acquireOnce(stream, request, left, signal, onQueued) {
    await stream.open();
    let timer;
    let giveUp;
    try {
      return await new Promise((resolve, reject) => {
        if (left < LONGEST_TIMER) {
          timer = setTimeout(() => reject(new LockError(
            'DEADLINE_EXCEEDED', `${request.key}: still held when the time was over`)), left);
        }
        giveUp = () => reject(signal.reason);
        signal?.addEventListener('abort', giveUp);
        if (signal?.aborted) giveUp();
        stream.onEnd = reject;
        stream.onMessage = (message, made) => {
          for (const { position } of message.positions) onQueued?.(position);
          const result = message.results.find(({ id }) => id === ACQUIRE);
          if (!result) return;
          if (!result.status) resolve({ lease: result.lease, made });
          else if (result.status.reason === 'DRAINING') reject(new Broken(errorOf(result.status), true));
          else reject(errorOf(result.status));
        };
        stream.send(ACQUIRE, { acquire: request });
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  // Calls work(lock) while the lock is held, releases it, and returns what work returned, unless the
  // lock was lost meanwhile.
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

  // Releases all locks.
  async close() {
    const closed = new LockError('CANCELLED', 'the client was closed');
    await Promise.all([...this._locks].map((lock) => {
      lock._lose(closed);
      return lock._end();
    }));
    await sleep(0);
    for (const stub of this.#stubs.values()) stub.close();
    this.#stubs.clear();
  }

  async [Symbol.asyncDispose]() { await this.close(); }

  _stream() {
    const endpoint = this.#endpoints[this.#current];
    if (!this.#stubs.has(endpoint)) {
      const credentials = endpoint.startsWith('unix:') ? undefined : this.#credentials;
      this.#stubs.set(endpoint, new LockService(
        endpoint, credentials ?? grpc.credentials.createInsecure(), CHANNEL_OPTIONS));
    }
    const metadata = new grpc.Metadata();
    const token = typeof this.#token === 'function' ? this.#token() : this.#token;
    if (token) metadata.set('authorization', `Bearer ${token}`);
    return new Stream(this.#stubs.get(endpoint), endpoint, metadata);
  }

  _nextEndpoint() {
    this.#current = (this.#current + 1) % this.#endpoints.length;
  }
}
