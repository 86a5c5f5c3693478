import type { ChannelCredentials } from '@grpc/grpc-js';

/** All times are in milliseconds. */
export interface ClientOptions {
  /** Of `grpc.credentials.createSsl()`. Unset: no TLS. */
  credentials?: ChannelCredentials;
  /** A bearer token, or a function that returns one. */
  token?: string | (() => string | undefined);
  /** How long the daemon keeps the locks of a client that has gone silent. From 100. Default 5000. */
  grace?: number;
}

export interface AcquireOptions {
  /** From 10 to the daemon's maximum. Default 30,000. */
  ttl?: number;
  /** How long to wait for the lock. 0: a single try. Unset: as long as it takes. */
  wait?: number;
  /** A label for people. At most 128 bytes. */
  owner?: string;
  /** `lost` is aborted when no more than this is left of the validity. Default: the smallest of a tenth of the TTL, a
   * tenth of the grace, and 500. */
  margin?: number;
  /** Gives up waiting. */
  signal?: AbortSignal;
  /** Called with how many acquires are before this one, when it begins to wait and when that changes. */
  onQueued?: (position: number) => void;
}

export class LockError extends Error {
  constructor(reason: string, message: string, retryAfter?: number);
  /** One of the contract's reasons, such as `LOCK_ALREADY_HELD`; or `UNREACHABLE` if no daemon answered. */
  readonly reason: string;
  /** When a repetition may help. Unset: it does not. */
  readonly retryAfter?: number;
}

/** A held lock. */
export class Lock {
  private constructor();
  readonly key: string;
  /** The secret that proves ownership. */
  readonly token: string;
  /** Higher than that of any holder before. May grow while the lock is held. */
  readonly fencingToken: bigint;
  /** Aborted, with the reason, when the lock is lost, or about to be. */
  readonly lost: AbortSignal;
  /** How long the lock can be trusted if nothing more arrives. */
  readonly validity: number;
  readonly held: boolean;
  extend(ttl: number): Promise<void>;
  /** Waits for the daemon for at most 2 s. A second release does nothing. */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export class Client {
  /** `endpoints`: 'host:port' or 'unix:/path'; tried in turn. Default '127.0.0.1:50051'. */
  constructor(endpoints?: string | string[], options?: ClientOptions);
  acquire(key: string, options?: AcquireOptions): Promise<Lock>;
  /** Calls `work` while the lock is held, and releases it. Rejects if the lock was lost meanwhile. */
  using<T>(key: string, options: AcquireOptions, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  /** Releases all locks and ends all waiting. Waits for the daemon for at most 2 s. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
