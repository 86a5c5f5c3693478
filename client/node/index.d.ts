import type { ChannelCredentials } from '@grpc/grpc-js';

/** An object with these methods, such as `console`, a pino or a winston logger. */
export interface Logger {
  debug(message: string): unknown;
  info(message: string): unknown;
  warn(message: string): unknown;
  error(message: string): unknown;
}

/** A key: 1 to 512 bytes of UTF-8, not beginning with `redlockd:`. Or several, which are locked together, all or none: up to
 * 64 different keys of at most 8192 bytes together, in any order. They have one token, one fencing token and one validity;
 * the loss of one of them is the loss of the lock. */
export type Key = string | readonly string[];

/** All times are in milliseconds. */
export interface ClientOptions {
  /** From `grpc.credentials.createSsl()`. Not used for Unix sockets. Default: no TLS. */
  credentials?: ChannelCredentials;
  /** A bearer token, or a function that returns one. The function is called for each connection and for each call by
   * token. If it fails, the call that needs it fails with an UnauthenticatedError. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** How long the daemon keeps the locks of a silent client. At least 100. Default: 5000. */
  grace?: number;
  /** The label of the locks, for people, at most 128 bytes. Default: `HOST/PID/PROGRAM`. */
  owner?: string;
  /** Gets failovers, losses and reconnects. Never gets tokens. Default: nothing is logged. */
  logger?: Logger;
  /** Whether held locks keep the process running. Calls that wait always do. Default: false. */
  ref?: boolean;
}

/** How the daemon retries. Unset fields have the daemon's defaults. */
export interface RetryPolicy {
  /** The number of retries after the first attempt: -1 for no limit (default), 0 for a single attempt. */
  maxRetries?: number;
  /** The minimum pause between attempts. Default: 0. */
  minDelay?: number;
  /** The upper bound of the random pause that is added to `minDelay`. Default: 300. */
  maxJitter?: number;
}

/** An option of every call that names a key to acquire, extend or adopt, and of the items of a watch. */
export interface Shared {
  /** Holds the keys together with any number of other holders that pass `true` too, and with no holder that does not: many
   * readers, or one writer. A waiting exclusive holder lets no new sharing ones in. Only this mode extends, adopts and watches
   * a lock that was acquired in it. Default: false, exclusive. */
  shared?: boolean;
}

/** An option of every call that names a key to acquire, extend or adopt, and of the items of a watch. */
export interface Semaphore {
  /** Makes the key a semaphore: at most so many holders, from 2 to 64, have it at the same time, each with a numbered slot of
   * its own. Everyone must name the same number: while the key is in use as a lock or with another number, a call rejects with
   * a KindMismatchError. Not with several keys or with `shared`. Default: the key is a lock. */
  maxHolders?: number | undefined;
}

/** An option of every call that names a lock by its token to extend or adopt it, and of the items of a watch. */
export interface Slot extends Semaphore {
  /** The slot that the token must hold, for a caller that requires a certain one. If the token holds another slot, the
   * lock counts as not held. Only with `maxHolders`. Default: any slot. */
  slot?: number | undefined;
}

/** An option of every call whose Lock it releases later, and of the releases themselves. */
export interface Keep {
  /** At least 1. Keeps the key taken, after the release, until this long after its acquisition. A job that runs on several
   * machines at the same time thus runs once, although their clocks differ. Nobody holds the key in that time. Default:
   * the key is free at once. */
  keepFor?: number | undefined;
}

/** Options of every call that acquires. */
export interface Published {
  /** What the lock publishes to observers, such as the address of a leader: at most 4096 bytes of UTF-8. Not secret. If the
   * call takes over a lock, its value stays. Default: nothing. */
  value?: string;
  /** How long nobody else is granted the key after the TTL of a lock that was lost rather than released. What its holder
   * began can come to an end meanwhile, in storage that checks no fencing tokens. `ttl` and `lockDelay` together must not
   * exceed the daemon's `--max-ttl`. If the call takes over a lock, its delay stays. Default: 0, none. */
  lockDelay?: number;
}

/** `keepFor` applies to the release at the end of `using()` or of an `await using` block, and to every `release()` that names
 * no other. */
export interface TryOptions extends Shared, Semaphore, Published, Keep {
  /** The TTL of the lock, from 10 to the daemon's `--max-ttl`. Default: 30,000. */
  ttl?: number;
  /** A label for people, at most 128 bytes. Default: the client's `owner`. */
  owner?: string;
  /** The owner token: 1 to 128 bytes, unique to one owner. It may be used again after a failed call (for a detached lock,
   * it may not), or once `release()` has succeeded, but not after a release or a downgrade that failed. Default: a random
   * token. */
  token?: string;
  /** `lost` is aborted when at most this much of the validity is left. From 0 to a third of the TTL or of the grace,
   * whichever is less. Default: the smallest of a tenth of the TTL, a tenth of the grace, and 500. */
  margin?: number;
  /** Gives up when aborted: the call rejects with the signal's reason and leaves no lock behind. */
  signal?: AbortSignal;
}

export interface AcquireOptions extends TryOptions {
  /** How long to wait for the lock, connecting included. 0: a single try. Default: without a limit. */
  wait?: number;
  /** Default: retries without a limit. If the retries are used up, the call rejects with a MaxRetriesExceededError. */
  retry?: RetryPolicy;
  /** Called with the number of waiters ahead in the queue, when waiting begins and whenever the number changes. */
  onQueued?: (position: number) => void;
}

export type AcquireOrExtendOptions = Omit<AcquireOptions, 'token'>;
export type AdoptOptions = Omit<AcquireOptions, 'token' | 'owner' | 'retry' | 'onQueued' | keyof Published> & Slot;
export type DetachedOptions = Omit<AcquireOptions, 'margin' | 'onQueued' | keyof Keep>;
export type CampaignOptions = Omit<AcquireOptions, 'value' | keyof Shared | keyof Semaphore>;

export interface DowngradeOptions {
  /** Gives the downgrade up when aborted: the call rejects with the signal's reason. If the downgrade has begun, the lock is
   * released in the background. */
  signal?: AbortSignal;
}

export interface CallOptions {
  /** How long the call may take. Default: 5000. */
  timeout?: number;
  /** Ends the call when aborted; it rejects with the signal's reason. The daemon may still carry it out. */
  signal?: AbortSignal;
}

export interface ReleaseOptions extends CallOptions, Keep {}

export interface TryExtendOptions extends CallOptions, Shared, Slot {}

export interface ExtendOptions extends TryExtendOptions {
  retry?: RetryPolicy;
}

export interface WatchItem extends Shared, Slot {
  key: Key;
  /** The token that holds the key, now or later. */
  token: string;
  /** The TTL that each extension sets. Default: 30,000. */
  ttl?: number;
  /** The pause between extensions: at least 1 and less than `ttl`. Default: half of `ttl`. */
  interval?: number;
}

export interface WatchOptions {
  /** Whether a key is extended further after its lock was lost or was not held. Default: true. */
  keepWatchingAfterLoss?: boolean;
  /** Closes the watch when aborted. */
  signal?: AbortSignal;
}

export interface ObserveOptions {
  /** Ends the observer when aborted: `next()` rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A holder of a key that is observed. */
export interface Holder {
  /** The label of the lock, for people. */
  owner: string;
  /** The name that the holder's credentials prove, or empty. */
  identity: string;
  /** The network address of the holder's client, as the daemon saw it. */
  peer: string;
  /** The daemon that acquired the lock. */
  daemon: string;
  /** The value that the lock publishes, or empty. */
  value: string;
  fencingToken: bigint;
  /** Which slot of a semaphore the holder has. Unset: the key is a lock. */
  slot?: number;
  /** For how long the lock has been held. Unset: unknown. */
  heldFor?: number;
  /** After which time the lock expires unless it is extended. */
  remaining?: number;
}

/** What is known of the holder of a key. */
export interface KeyState {
  /** - `held`: a quorum of the Redis nodes names this holder.
   * - `vacant`: a quorum has no holder.
   * - `undecided`: neither could be confirmed. The key may be held. */
  state: 'held' | 'vacant' | 'undecided';
  /** The number of holders. More than 1 only if they share the key or if it is a semaphore. */
  holders: number;
  /** The label of the exclusive holder, or empty. */
  owner: string;
  /** The value that the exclusive holder publishes, or empty. */
  value: string;
  /** The fencing token of the holder, or the highest of all holders so far. It never decreases within one observer. Unset
   * unless the state is `held`. */
  fencingToken?: bigint;
  /** For how long the exclusive holder has held the key. Unset: unknown, or not held. */
  heldFor?: number;
  /** After which time the lock expires unless it is extended. Extensions are not reported. */
  remaining?: number;
  /** All holders, in the order of their fencing tokens. */
  heldBy: readonly Holder[];
  /** Whether the holders share the key. */
  shared: boolean;
  /** The limit of the semaphore. Unset: the key is not held as one. */
  maxHolders?: number;
  /** If nobody holds the key: how long nobody will be granted it, because of `keepFor` or `lockDelay`. Unset: it is free. */
  keptFor?: number;
  /** Why the state is undecided, for people. */
  message?: string;
}

/** The lock that an event is about. */
export interface WatchedLock {
  /** For people: all keys, joined by `', '`. */
  key: string;
  /** All keys of the lock. */
  keys: readonly string[];
  /** Whether other holders may share the keys. */
  shared: boolean;
  /** The limit of the semaphore. Unset: the key is a lock. */
  maxHolders?: number;
  /** Which of the semaphore's slots is held. Unset: the key is a lock. */
  slot?: number;
}

export type WatchEvent =
  /** The lock was extended; its validity counts from the arrival of the event. */
  | WatchedLock & { type: 'extended'; fencingToken: bigint; validity: number }
  /** An extension failed; the daemon retries. */
  | WatchedLock & { type: 'extendFailed'; error: LockError }
  /** The lock is not held, or must no longer be trusted. */
  | WatchedLock & { type: 'lost'; error: LockLostError }
  /** A stream ended; the watch moves to the next endpoint. */
  | { type: 'failed'; error: LockError }
  /** The watch has ended; always the last event. `error`: why, for example the signal's reason. */
  | { type: 'closed'; error: Error };

/** The error of all calls. */
export class LockError extends Error {
  constructor(reason: string, message: string, details?: { key?: string; holder?: string; heldFor?: number; retryAfter?: number });
  /** A reason of the gRPC API, such as `LOCK_ALREADY_HELD`, or `UNREACHABLE` if no daemon answered. */
  readonly reason: string;
  /** The key of the lock. Of several keys: all of them, joined by `', '`. */
  readonly key?: string;
  /** The label of the holder that has the lock, if the daemon knows it. */
  readonly holder?: string;
  /** For how long that holder has held the lock. Unset: unknown. */
  readonly heldFor?: number;
  /** The delay before a retry. Unset: a retry does not help. */
  readonly retryAfter?: number;
}

/** A single try found another holder. */
export class LockAlreadyHeldError extends LockError {}
/** The time to wait is over, and another holder has the lock. */
export class LockTimeoutError extends LockError {}
/** The retries of `RetryPolicy.maxRetries` are used up, and another holder has the lock. */
export class MaxRetriesExceededError extends LockError {}
/** The lock was granted too late to be trusted, and was released. */
export class ValidityExpiredError extends LockError {}
/** The token does not hold the lock. */
export class LockNotHeldError extends LockError {}
/** A Lock was lost while this client held it. */
export class LockLostError extends LockNotHeldError {}
/** The key is in use in another way: as a lock, as a semaphore, or with another `maxHolders`. The call did not wait. */
export class KindMismatchError extends LockError {
  constructor(reason: string, message: string, details?: {
    key?: string; holder?: string; heldFor?: number; retryAfter?: number; inUseAs?: string });
  /** How the key is in use, for people: `a lock` or, for example, `a semaphore of 5`. */
  readonly inUseAs?: string;
}
/** Too few Redis nodes answered. */
export class QuorumUnavailableError extends LockError {}
/** The daemon and the Redis nodes do not agree on the node set. */
export class NodeSetMismatchError extends LockError {}
/** No daemon answered. */
export class UnreachableError extends LockError {}
/** A limit of the daemon is reached. */
export class OverloadedError extends LockError {}
/** The daemon is shutting down, and there was no other. */
export class DrainingError extends LockError {}
/** An argument is invalid; nothing was sent. */
export class InvalidArgumentError extends LockError {}
/** The credentials are missing, invalid or revoked, or the token function failed. */
export class UnauthenticatedError extends LockError {}
/** The access list of the daemon does not allow this. */
export class PermissionDeniedError extends LockError {}
/** The client was closed, or the lock was released. */
export class CancelledError extends LockError {}

/** A held lock. The client keeps it alive until it is released or lost, or the client closes. `util.inspect()` and JSON
 * do not show its token. */
export class Lock {
  private constructor();
  /** The key. Of several keys: all of them, joined by `', '`. */
  get key(): string;
  /** All keys of the lock, in byte order. */
  get keys(): readonly string[];
  /** Whether other holders may share the keys. */
  get shared(): boolean;
  /** The limit of the semaphore. Unset: the key is a lock. */
  get maxHolders(): number | undefined;
  /** Which of the semaphore's slots is held, from 1 to `maxHolders`. No other holder has the same one at the same time.
   * Unset: the key is a lock. */
  get slot(): number | undefined;
  /** The owner token, the secret that proves ownership. */
  get token(): string;
  /** Higher than that of every earlier holder, or of every earlier holder of the same slot. Pass it to the storage that the
   * lock protects. It may grow while the lock is held. */
  get fencingToken(): bigint;
  /** Aborted, with a `LockLostError` as the reason, when the lock is lost or about to be lost; and with a
   * `CancelledError` when the client is closed. Not aborted by `release()`. */
  get lost(): AbortSignal;
  /** Why the lock was lost. Unset: it was not. */
  get loss(): LockError | undefined;
  /** How long the lock can be trusted if no further message arrives. 0: the lock is not held. */
  get validity(): number;
  get held(): boolean;
  /** Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock. */
  extend(ttl: number): Promise<void>;
  /** The same, but the daemon asks the Redis nodes only once. */
  tryExtend(ttl: number): Promise<void>;
  /** Replaces the value that the lock publishes (`value` of `acquire()`); an empty one removes it. Takes at most 2 s. After an
   * error other than a `LockNotHeldError`, observers may or may not see the value, now or later. A `LockNotHeldError` does not
   * abort `lost`: that is done when the loss is noticed. */
  proclaim(value: string): Promise<void>;
  /** Downgrades an exclusive lock to a share. Other holders may share the keys from then on, and nobody else holds them
   * exclusively in between. There is no upgrade. Returns the share: another Lock with the same token. Release it separately,
   * for example by `await using share = await lock.downgrade()`. This lock counts as released from the beginning of the
   * call, so the work that needs it must have stopped. Takes at most as long as this lock was valid. Rejects with an
   * `InvalidArgumentError`, and leaves the lock as it is, for a share, for a slot of a semaphore, and while another call
   * requests the keys with the same token. After any other failure, no lock is left behind: unless the error is a
   * `LockNotHeldError`, the lock is released in the background, and you must not use a token of your own again. */
  downgrade(options?: DowngradeOptions): Promise<Lock>;
  /** Releases the lock. Waits for the daemon for at most 2 s; after that, the release continues in the background.
   * Rejects with a `LockLostError` if the lock was lost before. A second release does nothing. */
  release(options?: Keep): Promise<void>;
  /** Releases the lock. Rejects only if the lock was lost before, if the client was closed (`CancelledError`), or if the daemon
   * has refused `keepFor` (`InvalidArgumentError`). Does nothing after a `release()`. */
  [Symbol.asyncDispose](): Promise<void>;
  toJSON(): { key: string; fencingToken: string; validity: number; held: boolean };
}

/** A detached lock: nobody keeps it alive. To hand it over, pass `keys`, `token`, `shared` and `maxHolders` to the other
 * process, which passes them to `adopt()`. `util.inspect()` and JSON do not show its token. */
export class Lease {
  private constructor();
  /** The key. Of several keys: all of them, joined by `', '`. */
  readonly key: string;
  /** All keys of the lock, in byte order. */
  readonly keys: readonly string[];
  /** Whether other holders may share the keys. */
  readonly shared: boolean;
  /** The limit of the semaphore. Unset: the key is a lock. */
  readonly maxHolders: number | undefined;
  /** Which of the semaphore's slots is held, from 1 to `maxHolders`. Unset: the key is a lock. */
  readonly slot: number | undefined;
  readonly fencingToken: bigint;
  get token(): string;
  /** How long the lock can be trusted. */
  get validity(): number;
  get held(): boolean;
  toJSON(): { key: string; fencingToken: string; validity: number };
}

/** Keeps locks alive that were acquired elsewhere. */
export class Watch {
  private constructor();
  /** Ends the watch. The locks are not released: they expire. Resolves after the last event. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Reports who holds a key, and every change: an async iterator, for one reader. It begins with the first `next()`. A state is
 * reported once; a reader that is slow gets only the latest state. If the stream breaks, the observer
 * moves to the next endpoint. If that takes longer than what was left of the last lock, and at least 1 s, it reports
 * `undecided`. Fencing tokens never decrease. It ends with the `break` of a `for await` loop, with `return()`, with the
 * signal, with the client, and with an error that no retry helps against. */
export class Observer implements AsyncIterableIterator<KeyState> {
  private constructor();
  next(): Promise<IteratorResult<KeyState, undefined>>;
  /** Ends the observer, also while a `next()` waits. */
  return(): Promise<IteratorResult<KeyState, undefined>>;
  [Symbol.asyncIterator](): this;
  [Symbol.asyncDispose](): Promise<void>;
}

/** An election: the holder of the lock on its name leads, and publishes a value with the lock, such as its address. */
export class Election {
  private constructor();
  get name(): string;
  /** Waits until this candidate is elected, as long as `options` allow. Returns the Lock: the leadership ends when it is lost
   * or released. Pass its `fencingToken` to the storage that only the leader may write to. */
  campaign(value: string, options?: CampaignOptions): Promise<Lock>;
  /** Replaces the value of the present leadership, as `lock.proclaim()` does. Rejects with a `LockNotHeldError` if the last
   * campaign of this object has not won, or if its leadership has ended. */
  proclaim(value: string): Promise<void>;
  /** Ends the present leadership, as `lock.release()` does. Rejects as `proclaim()` does. */
  resign(): Promise<void>;
  /** Returns the present state: `held` by the leader, or `vacant`. If it is not known within `timeout`, rejects with the
   * reason, for example a `QuorumUnavailableError`. */
  leader(options?: CallOptions): Promise<KeyState>;
  /** Observes the election. */
  observe(options?: ObserveOptions): Observer;
}

/** Acquires locks. All locks of a client share one stream to one daemon. */
export class Client {
  /** `endpoints`: 'host:port', '[::1]:port' or 'unix:/path', tried in turn. Default: '127.0.0.1:50051'. Connects when necessary. */
  constructor(endpoints?: string | readonly string[], options?: ClientOptions);
  /** Acquires a lock; waits for it as long as `options` allow. */
  acquire(key: Key, options?: AcquireOptions): Promise<Lock>;
  /** A single try. Returns null if another holder has the lock. */
  tryAcquire(key: Key, options?: TryOptions): Promise<Lock | null>;
  /** Acquires a lock with the caller's token. If the token already holds the lock, in whichever process, takes it over:
   * from then on this client keeps it alive. If the call fails, the lock that it has acquired is released, and the token
   * may be used again. */
  acquireOrExtend(key: Key, token: string, options?: AcquireOrExtendOptions): Promise<Lock>;
  /** Takes over the lock that the token holds, for example a detached one, and keeps it alive from then on. A shared lock is
   * adopted with `{ shared: true }`, a slot of a semaphore with its `maxHolders`. Rejects with a `LockNotHeldError` if the
   * token does not hold the lock in this way. If it is given up after it has begun, the lock may be released. */
  adopt(key: Key, token: string, options?: AdoptOptions): Promise<Lock>;
  /** Calls `work` while the lock is held, then releases the lock, or the share that it was downgraded to. Rejects with a
   * `LockLostError` if the lock was lost in the meantime, or with a `CancelledError` if the client was closed, whether or not
   * `work` succeeded; if it failed too, its error is the `cause`. Rejects with an `InvalidArgumentError` if `work` succeeded and
   * the daemon has refused `keepFor`. */
  using<T>(key: Key, options: AcquireOptions, work: (lock: Lock) => T | Promise<T>): Promise<T>;
  /** Acquires a lock that outlives this process, and that no client extends. */
  acquireDetached(key: Key, options?: DetachedOptions): Promise<Lease>;
  /** Extends the lock that the token holds to `ttl` from now. Rejects with a `LockNotHeldError` if the token does not hold it
   * in this mode, or in this slot. */
  extend(key: Key, token: string, ttl: number, options?: ExtendOptions): Promise<Lease>;
  /** The same, but the daemon asks the Redis nodes only once. */
  tryExtend(key: Key, token: string, ttl: number, options?: TryExtendOptions): Promise<Lease>;
  /** Releases the lock that the token holds. Rejects with a `LockNotHeldError` if it does not hold it. */
  release(key: Key, token: string, options?: ReleaseOptions): Promise<void>;
  /** Replaces the value that the lock of the token publishes. Rejects with a `LockNotHeldError` if the token does not hold the
   * lock. After any other error, observers may or may not see the value, now or later. */
  proclaim(key: Key, token: string, value: string, options?: CallOptions): Promise<void>;
  /** Observes who holds a key. */
  observe(key: string, options?: ObserveOptions): Observer;
  /** The election of this name, for candidates and observers. Its name is a key. */
  election(name: string): Election;
  /** Keeps locks alive that were acquired elsewhere, 1 to 1000, for as long as the watch is open. `onEvent` hears of
   * everything that happens to them; if it throws, the error is logged. */
  watch(items: readonly WatchItem[], onEvent: (event: WatchEvent) => unknown, options?: WatchOptions): Watch;
  /** Releases all locks, signals their loss, and fails all waiting calls. Waits for the daemon for at most 2 s; after
   * that, the close continues in the background. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
