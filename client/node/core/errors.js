'use strict';

const { shown } = require('./key.js');

// The error of all calls.
//   reason      as in proto/redlock/v1/lock_service.proto, or UNREACHABLE if no daemon answered
//   key         the key of the lock; of several, their names, joined by ', '; undefined if the error is not about a lock
//   holder      the label of the holder that has the lock, if the daemon knows it
//   heldFor     for how long that holder has held the lock, in ms; undefined if unknown
//   retryAfter  the delay before a retry, in ms; undefined if a retry does not help
class LockError extends Error {
  constructor(reason, message, { key, holder, heldFor, retryAfter } = {}) {
    super(message);
    this.reason = reason;
    this.key = key;
    this.holder = holder;
    this.heldFor = heldFor;
    this.retryAfter = retryAfter;
  }
}

class LockAlreadyHeldError extends LockError {}
class LockTimeoutError extends LockError {}
class MaxRetriesExceededError extends LockError {}
class ValidityExpiredError extends LockError {}
class LockNotHeldError extends LockError {}
// The key is in use in another way. `inUseAs`: how, for example 'a lock' or 'a semaphore of 5'; undefined if the daemon did
// not say so.
class KindMismatchError extends LockError {
  constructor(reason, message, details = {}) {
    super(reason, message, details);
    this.inUseAs = details.inUseAs;
  }
}
// A Lock of this client was lost.
class LockLostError extends LockNotHeldError {}
class QuorumUnavailableError extends LockError {}
class NodeSetMismatchError extends LockError {}
class UnreachableError extends LockError {}
class OverloadedError extends LockError {}
class DrainingError extends LockError {}
class InvalidArgumentError extends LockError {}
class UnauthenticatedError extends LockError {}
class PermissionDeniedError extends LockError {}
class CancelledError extends LockError {}

const CLASSES = new Map(Object.entries({
  LOCK_ALREADY_HELD: LockAlreadyHeldError,
  DEADLINE_EXCEEDED: LockTimeoutError,
  MAX_RETRIES_EXCEEDED: MaxRetriesExceededError,
  VALIDITY_EXPIRED: ValidityExpiredError,
  LOCK_NOT_HELD: LockNotHeldError,
  KIND_MISMATCH: KindMismatchError,
  QUORUM_UNAVAILABLE: QuorumUnavailableError,
  NODE_SET_MISMATCH: NodeSetMismatchError,
  UNREACHABLE: UnreachableError,
  OVERLOADED: OverloadedError,
  DRAINING: DrainingError,
  INVALID_ARGUMENT: InvalidArgumentError,
  UNAUTHENTICATED: UnauthenticatedError,
  PERMISSION_DENIED: PermissionDeniedError,
  CANCELLED: CancelledError,
}));

// Returns an error of the class for the reason.
const failure = (reason, message, details) => new (CLASSES.get(reason) ?? LockError)(reason, message, details);

// The same for an error about the lock on `key`, with which the message begins.
const lockFailure = (reason, key, message, details) => (
  failure(reason, `${shown(key)}: ${message}`, { ...details, key: shown(key) }));

const lostError = (key, why) => (
  new LockLostError('LOCK_NOT_HELD', `${shown(key)}: the lock was lost: ${why}`, { key: shown(key) }));

// The error of a failed downgrade whose lock is being released. `error`: why it failed. `ownToken`: the token is the caller's.
const releasedError = (error, ownToken) => failure(
  error.reason, `${error.message}; the lock is being released${ownToken ? ', and its token must not be used again' : ''}`, error);

const closedError = () => failure('CANCELLED', 'the client is closed; make a new one');

// Of a text in seconds, such as '12.345', the ms; undefined if it is anything else.
const millisIn = (seconds) => (/^\d{1,9}(\.\d{1,9})?$/.test(seconds ?? '') ? Math.round(Number(seconds) * 1000) : undefined);

const detailsFrom = (metadata) => ({
  holder: metadata?.owner, heldFor: millisIn(metadata?.held_for), inUseAs: metadata?.in_use_as });

// `held by "builder 7" for 12.345 s`, as far as it is known; empty if nothing is. The holder's label is quoted, because its
// owner chose it.
const heldText = ({ holder, heldFor }) => (holder === undefined && heldFor === undefined ? '' : 'held' +
  (holder === undefined ? '' : ` by ${JSON.stringify(holder)}`) +
  (heldFor === undefined ? '' : ` for ${(heldFor / 1000).toFixed(3)} s`));

// What follows the holder in the message. Without a label, the daemon's own message says more.
const AFTER_HOLDER = new Map([['LOCK_ALREADY_HELD', ''], ['MAX_RETRIES_EXCEEDED', '; the retries are used up']]);

// `status`: reason, message, retryDelay and metadata, as the daemon sent them.
const errorOf = ({ reason, message, retryDelay, metadata }, key) => {
  const details = detailsFrom(metadata);
  const named = details.holder !== undefined && AFTER_HOLDER.has(reason);
  const text = named ? heldText(details) + AFTER_HOLDER.get(reason) : message;
  return lockFailure(reason, key, text, { ...details, retryAfter: retryDelay });
};

// A failure to reach enough nodes, which must not read as if another holder had the lock.
const OUTAGES = new Set(['QUORUM_UNAVAILABLE', 'NODE_SET_MISMATCH']);
const ENDED = new Set(['CANCELLED', 'DEADLINE_EXCEEDED']);

// The error of a call whose time to wait is over. `message`: says so. `status`: the daemon's answer; its metadata names
// the holder, and the reason of the last attempt.
const timedOut = (reason, message, { metadata, message: why }, key) => {
  const last = metadata?.last_reason;
  const details = detailsFrom(metadata);
  if (!ENDED.has(reason)) return lockFailure(reason, key, `${message}: ${why}`, details);
  if (OUTAGES.has(last)) return lockFailure(last, key, `${message}: the last attempt failed with ${last}`, details);
  const held = heldText(details);
  return lockFailure('DEADLINE_EXCEEDED', key, held === '' ? message : `${held}; ${message}`, details);
};

const classes = {
  LockError, LockAlreadyHeldError, LockTimeoutError, MaxRetriesExceededError, ValidityExpiredError, LockNotHeldError,
  LockLostError, KindMismatchError, QuorumUnavailableError, NodeSetMismatchError, UnreachableError, OverloadedError,
  DrainingError, InvalidArgumentError, UnauthenticatedError, PermissionDeniedError, CancelledError,
};

// Not taken from the classes, whose names a bundler may shorten.
for (const [name, type] of Object.entries(classes)) Object.defineProperty(type.prototype, 'name', { value: name });

module.exports = {
  ...classes, classes, OUTAGES, failure, lockFailure, lostError, releasedError, closedError, errorOf, timedOut,
};
