import type { ChannelCredentials } from '@grpc/grpc-js';

/** All times are in milliseconds. */
export interface ClientOptions {
  /** From `grpc.credentials.createSsl()`. Unset: no TLS. */
  credentials?: ChannelCredentials;
  /** A bearer token, or a function that returns one. */
  token?: string | (() => string | undefined);
  /** How long the daemon keeps the locks of a silent client. At least 100. Default: 5000. */
  grace?: number;
}

export interface AcquireOptions {
  /** The TTL of the lock, from 10 to the daemon's `--max-ttl`. Default: 30,000. */
  ttl?: number;
  /** How long to wait for the lock. 0: a single try. Unset: without a limit. */
  wait?: number;
  /** A label for humans, at most 128 bytes. */
  owner?: string;
  /** `lost` is aborted when at most this much of the validity is left. From 0 to a third of the TTL or of the grace,
   * whichever is less. Default: the smallest of a tenth of the TTL, a tenth of the grace, and 500. */
  margin?: number;
  /** Gives up waiting when aborted. */
  signal?: AbortSignal;
  /** Called with the number of waiters ahead in the queue, when waiting begins and whenever the number changes. */
  onQueued?: (position: number) => void;
}

export class LockError extends Error {
  constructor(reason: string, message: string, retryAfter?: number);
  /** A reason of the gRPC API, such as `LOCK_ALREADY_HELD`, or `UNREACHABLE` if no daemon answered. */
  readonly reason: string;
  /** The delay before a retry. Unset: a retry does not help. */
  readonly retryAfter?: number;
}

/** A held lock. */
export class Lock {
  private constructor();
  readonly key: string;
  /** The owner token, the secret that proves ownership. */
  readonly token: string;
  /** Higher than that of every earlier holder. Pass it to the storage that the lock protects. It may grow while the
   * lock is held. */
  readonly fencingToken: bigint;
  /** Aborted, with a `LockError` as the reason, when the lock is lost or about to be lost. */
  readonly lost: AbortSignal;
  /** How long the lock can be trusted if no further message arrives. 0: the lock is not held. */
  readonly validity: number;
  readonly held: boolean;
  /** Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock. */
  extend(ttl: number): Promise<void>;
  /** Releases the lock. Waits for the daemon for at most 2 s. A second release does nothing. */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export class Client {
  /** `endpoints`: 'host:port' or 'unix:/path', tried in turn. Default: '127.0.0.1:50051'. */
  constructor(endpoints?: string | string[], options?: ClientOptions);
  /** Acquires the lock; waits for it as long as `options` allow. */
  acquire(key: string, options?: AcquireOptions): Promise<Lock>;
  /** Calls `work` while the lock is held, then releases the lock. Rejects if the lock was lost in the meantime. */
  using<T>(key: string, options: AcquireOptions, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  /** Releases all locks and fails all waiting calls. Waits for the daemon for at most 2 s. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
