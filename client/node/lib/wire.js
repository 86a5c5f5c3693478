'use strict';

// Converts between the messages of the gRPC API and those of the Machine. Durations become ms, ids become numbers, and
// fencing tokens become BigInts. `key`, `keys`, `mode` and `max_holders` become the internal key.

const { isShared, joined, maxHoldersOf, namesOf } = require('../core/key.js');
const { google, redlock } = require('../generated/messages.js');

const { EventType, HolderState, LockMode, SessionRequest, SessionResponse, Vote } = redlock.v1;

// The votes of the nodes are for people; they are as long as the rest of a message. They are not decoded.
Vote.decode = (reader, length) => { reader.pos += length; };

const EVENTS = new Map(Object.entries(EventType).map(([name, value]) => [value, name.slice('EVENT_TYPE_'.length)]));
const STATES = new Map(
  Object.entries(HolderState).map(([name, value]) => [value, name.slice('HOLDER_STATE_'.length).toLowerCase()]));

// protobufjs returns a Long, or a number in a bundle that does not contain its dependency `long`.
const toNumber = (value) => (typeof value === 'number' ? value : (value.high >>> 0) * 2 ** 32 + (value.low >>> 0));
const toBigInt = (value) => (
  typeof value === 'number' ? BigInt(value) : BigInt.asUintN(32, BigInt(value.high)) << 32n | BigInt.asUintN(32, BigInt(value.low)));
const fromBigInt = (value) => (
  { low: Number(BigInt.asUintN(32, value)), high: Number(BigInt.asUintN(32, value >> 32n)) });

const millis = (duration) => toNumber(duration.seconds) * 1000 + duration.nanos / 1e6;

// The same for a field that may be unset.
const optional = (duration) => (duration ? millis(duration) : undefined);

const duration = (ms) => {
  const seconds = Math.trunc(ms / 1000);
  return { seconds, nanos: Math.min(Math.round((ms - seconds * 1000) * 1e6), 999_999_999) };
};

// A key that is no semaphore has 0 for both numbers.
const keyFrom = ({ key, keys, mode, maxHolders }) => (
  joined(keys.length > 0 ? keys : [key], mode === LockMode.LOCK_MODE_SHARED, maxHolders || undefined));
const slotFrom = (slot) => slot || undefined;

const leaseFrom = (lease) => lease && {
  key: keyFrom(lease),
  token: lease.token,
  fence: toBigInt(lease.fencingToken),
  validity: lease.validity ? millis(lease.validity) : 0,
  slot: slotFrom(lease.slot),
};

const statusFrom = (status) => status && {
  reason: status.reason,
  message: status.message,
  retryDelay: optional(status.retryDelay),
  metadata: status.metadata,
};

const eventFrom = (event) => {
  const { type, lease, message, reason, slot } = event;
  return {
    type: EVENTS.get(type), key: keyFrom(event), slot: slotFrom(slot), lease: leaseFrom(lease), reason, message: message || reason };
};

const resultFrom = ({ id, lease, status }) => ({
  id: toNumber(id),
  lease: lease === null ? undefined : leaseFrom(lease),
  status: status === null ? undefined : statusFrom(status),
});

const messageFrom = ({ results, events, positions, clock }) => ({
  results: results.map(resultFrom),
  events: events.map(eventFrom),
  positions: positions.map(({ id, position }) => ({ id: toNumber(id), position })),
  clock: clock ? millis(clock) : 0,
});

const holderFrom = ({ owner, identity, peer, daemon, fencingToken, slot, heldFor, remaining, value }) => ({
  owner, identity, peer, daemon, value,
  fencingToken: toBigInt(fencingToken),
  slot: slotFrom(slot),
  heldFor: optional(heldFor),
  remaining: optional(remaining),
});

const stateFrom = (response) => {
  const { state, holders, owner, value, fencingToken, heldFor, remaining, heldBy, mode, maxHolders, keptFor, message } = response;
  const held = state === HolderState.HOLDER_STATE_HELD;
  return {
    state: STATES.get(state), holders, owner, value,
    fencingToken: held ? toBigInt(fencingToken) : undefined,
    heldFor: optional(heldFor),
    remaining: optional(remaining),
    heldBy: heldBy.map(holderFrom),
    shared: mode === LockMode.LOCK_MODE_SHARED,
    maxHolders: maxHolders || undefined,
    keptFor: optional(keptFor),
    message: message || undefined,
  };
};

const retryTo = (retry) => retry && {
  maxRetries: retry.maxRetries,
  minDelay: retry.minDelay === undefined ? undefined : duration(retry.minDelay),
  maxJitter: retry.maxJitter === undefined ? undefined : duration(retry.maxJitter),
};

// Converts the fields of a release, which has neither mode nor max_holders, in place.
const requestTo = (request) => {
  const names = namesOf(request.key);
  if (names.length > 1) Object.assign(request, { key: undefined, keys: names });
  else [request.key] = names;
  if (request.ttl !== undefined) request.ttl = duration(request.ttl);
  if (request.retry !== undefined) request.retry = retryTo(request.retry);
  if (request.sequence !== undefined) request.sequence = fromBigInt(request.sequence);
  if (request.downgradeFrom !== undefined) request.downgradeFrom = fromBigInt(request.downgradeFrom);
  if (request.interval !== undefined) request.interval = duration(request.interval);
  if (request.lockDelay !== undefined) request.lockDelay = duration(request.lockDelay);
  if (request.keepFor !== undefined) request.keepFor = duration(request.keepFor);
  return request;
};

// The same for an acquire, an extend, an adopt, a give_up or a watched item.
const claimTo = (request) => {
  if (isShared(request.key)) request.mode = LockMode.LOCK_MODE_SHARED;
  const maxHolders = maxHoldersOf(request.key);
  if (maxHolders !== undefined) request.maxHolders = maxHolders;
  return requestTo(request);
};

// Converts a message of the Machine in place: the Machine makes a new one each time.
const messageTo = (message) => {
  for (const { acquire, extend, release, adopt, giveUp } of message.operations) {
    const claim = acquire ?? extend ?? adopt ?? giveUp;
    if (claim !== undefined) claimTo(claim);
    else if (release !== undefined) requestTo(release);
  }
  if (message.disconnectGrace !== undefined) message.disconnectGrace = duration(message.disconnectGrace);
  return message;
};

// The Session's messages, from and to bytes.
const encodeSession = (message) => SessionRequest.encode(messageTo(message)).finish();
const decodeSession = (bytes) => messageFrom(SessionResponse.decode(bytes));

// What the details of a failed call say: reason, message, retryDelay and metadata. undefined: it was not answered by
// a daemon.
const statusOf = ({ details, metadata }) => {
  const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
  if (bytes === undefined) return undefined;
  const status = { message: details };
  for (const { type_url: type, value } of google.rpc.Status.decode(bytes).details) {
    if (type.endsWith('/google.rpc.ErrorInfo')) {
      const info = google.rpc.ErrorInfo.decode(value);
      Object.assign(status, { reason: info.reason, metadata: info.metadata });
    } else if (type.endsWith('/google.rpc.RetryInfo')) {
      const { retryDelay } = google.rpc.RetryInfo.decode(value);
      status.retryDelay = optional(retryDelay);
    }
  }
  return status.reason === undefined ? undefined : status;
};

module.exports = {
  claimTo, encodeSession, decodeSession, eventFrom, leaseFrom, millis, requestTo, stateFrom, statusOf,
};
