'use strict';

// Checks the arguments of a call before anything is sent, so that an invalid value fails only that call.

const { InvalidArgumentError } = require('../core/errors.js');
const { joined, namesOf } = require('../core/key.js');
const { defaultOwner } = require('./owner.js');

const RESERVED = 'redlockd:';
const LONGEST_KEY = 512; // bytes
const MOST_KEYS = 64; // of one lock
const LONGEST_KEYS = 8192; // bytes, of several keys together
const LEAST_HOLDERS = 2; // of a semaphore
const MOST_HOLDERS = 64;
const LONGEST_LABEL = 128; // bytes, of an owner or a token
const LONGEST_VALUE = 4096; // bytes
const LEAST_TTL = 10;
const LEAST_GRACE = 100;
const LEAST_KEEP = 1;
const LONGEST_DURATION = 315_576_000_000_000; // the maximum of google.protobuf.Duration
const LONGEST_PAUSE = 31_536_000_000; // between attempts: a year
const MOST_RETRIES = 2 ** 31 - 1;
const MOST_ITEMS = 1000; // of a Watch
const LONGEST_TIMER = 2 ** 31 - 1; // of setTimeout()
const LEAST_INTERVAL = 1;
const DEFAULT_TTL = 30_000;
const DEFAULT_TIMEOUT = 5000;

// A wrong port, or none, is refused here; otherwise the client would only report that no daemon answers. Other forms of
// address are left to gRPC.
const HOST_PORT = /^(?!unix:)(?:\[[^\]]*\]|[^:/]*):([0-9]+)$/;
const ADDRESS = /^(?!https?:\/\/)(?!\[[^\]]*\]:?$|[^:]*:$)[^:]*:/;

const refuse = (field, what) => { throw new InvalidArgumentError('INVALID_ARGUMENT', `${field}: ${what}`); };

// Never shows a string that may be a secret: see its callers.
const shown = (value) => {
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
};
const kindOf = (value) => {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : typeof value;
};

// Refuses names that are no option: they may be misspelled.
const checkNames = (field, options, names) => {
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) refuse(field, `there is no option ${JSON.stringify(name)}; the options are ${names.join(', ')}`);
  }
};

const checkOptions = (options, names) => {
  if (typeof options === 'number') {
    refuse('options', `must be an object, not a number; for a TTL of ${options} ms, write { ttl: ${options} }`);
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    refuse('options', `must be an object, not ${kindOf(options)}`);
  }
  checkNames('options', options, names);
};

const checkText = (field, value, longest) => {
  if (typeof value !== 'string') refuse(field, `must be a string, not ${kindOf(value)}`);
  if (/\p{Surrogate}/u.test(value)) refuse(field, 'contains a lone surrogate, which cannot be encoded as UTF-8');
  const bytes = Buffer.byteLength(value);
  if (bytes > longest) refuse(field, `has ${bytes} bytes as UTF-8; use at most ${longest}`);
};

const checkName = (field, name) => {
  checkText(field, name, LONGEST_KEY);
  if (name === '') refuse(field, 'must not be empty');
  if (name.startsWith(RESERVED)) refuse(field, `must not begin with "${RESERVED}", which is reserved`);
};

const checkFlag = (field, value) => {
  if (typeof value !== 'boolean') refuse(field, `must be true or false, not ${shown(value)}`);
};

const checkMaxHolders = (field, maxHolders, names, shared) => {
  if (!(Number.isInteger(maxHolders) && maxHolders >= LEAST_HOLDERS && maxHolders <= MOST_HOLDERS)) {
    refuse(field, `must be an integer from ${LEAST_HOLDERS} to ${MOST_HOLDERS}, not ${shown(maxHolders)}`);
  }
  if (names.length > 1) refuse(field, `a semaphore has one key, not ${names.length}`);
  if (shared) refuse(field, 'a semaphore cannot be shared; pass either maxHolders or shared');
};

// `key`: a key, or an array of keys that are locked together. `prefix`: of the names of the other arguments. Returns the
// internal key (core/key.js).
const checkKey = (key, { shared = false, maxHolders }, prefix = '') => {
  if (Array.isArray(key) && (key.length === 0 || key.length > MOST_KEYS)) {
    refuse('key', `an array must have from 1 to ${MOST_KEYS} keys, not ${key.length}`);
  }
  const names = Array.isArray(key) ? [...key] : [key];
  for (const [index, name] of names.entries()) {
    const field = Array.isArray(key) ? `key[${index}]` : 'key';
    checkName(field, name);
    if (names.indexOf(name) < index) refuse(field, `${shown(name)} is given twice; the keys of a lock must be different`);
  }
  const bytes = names.reduce((sum, name) => sum + Buffer.byteLength(name), 0);
  if (bytes > LONGEST_KEYS) refuse('key', `the keys have ${bytes} bytes together as UTF-8; use at most ${LONGEST_KEYS}`);
  checkFlag(`${prefix}shared`, shared);
  if (maxHolders !== undefined) checkMaxHolders(`${prefix}maxHolders`, maxHolders, names, shared);
  return joined(names, shared, maxHolders);
};

// For a call that names a lock by its token. `slot`: the slot of the semaphore that the token must hold; undefined: any.
// `maxHolders` was checked before.
const checkSlot = (slot, maxHolders, prefix = '') => {
  if (slot === undefined) return;
  const field = `${prefix}slot`;
  if (maxHolders === undefined) {
    refuse(field, 'only a semaphore has slots; pass its maxHolders too');
  } else if (!(Number.isInteger(slot) && slot >= 1 && slot <= maxHolders)) {
    refuse(field, `must be an integer from 1 to ${maxHolders}: the slot of the lock; not ${shown(slot)}`);
  }
};

const checkToken = (token) => {
  checkText('token', token, LONGEST_LABEL);
  if (token === '') refuse('token', 'must not be empty');
  if (token.startsWith(RESERVED)) refuse('token', `must not begin with "${RESERVED}", which is reserved`);
};

const checkTime = (field, value, least, most = LONGEST_DURATION) => {
  if (typeof value !== 'number' || !(value >= least && value <= most)) {
    refuse(field, `must be a number of ms from ${least} to ${most}, not ${shown(value)}`);
  }
};

const checkFunction = (field, value) => {
  if (value !== undefined && typeof value !== 'function') refuse(field, `must be a function, not ${kindOf(value)}`);
};

const checkSignal = (signal) => {
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function') refuse('signal', 'must be an AbortSignal');
};

const checkDowngrade = (options) => {
  checkOptions(options, ['signal']);
  checkSignal(options.signal);
};

const checkTtl = (ttl) => checkTime('ttl', ttl, LEAST_TTL);

// `value`: what a lock publishes.
const checkValue = (value) => checkText('value', value, LONGEST_VALUE);

const checkKeepFor = (keepFor) => {
  if (keepFor !== undefined) checkTime('keepFor', keepFor, LEAST_KEEP);
};

// Returns keepFor.
const checkRelease = (options) => {
  checkOptions(options, ['keepFor']);
  checkKeepFor(options.keepFor);
  return options.keepFor;
};

const checkRetry = (retry) => {
  if (retry === undefined) return;
  if (typeof retry !== 'object' || retry === null) refuse('retry', `must be an object, not ${kindOf(retry)}`);
  checkNames('retry', retry, ['maxRetries', 'minDelay', 'maxJitter']);
  const { maxRetries, minDelay, maxJitter } = retry;
  if (maxRetries !== undefined && !(Number.isInteger(maxRetries) && maxRetries >= -1 && maxRetries <= MOST_RETRIES)) {
    refuse('retry.maxRetries', `must be an integer: -1 (no limit), 0 (a single attempt) or more, not ${shown(maxRetries)}`);
  }
  if (minDelay !== undefined) checkTime('retry.minDelay', minDelay, 0, LONGEST_PAUSE);
  if (maxJitter !== undefined) checkTime('retry.maxJitter', maxJitter, 0, LONGEST_PAUSE);
};

// The daemon extends a lock when about half of its TTL is left. A margin close to that would signal a loss before the
// extension arrives.
const checkMargin = (ttl, grace, margin = Math.min(ttl / 10, grace / 10, 500)) => {
  const longest = Math.min(ttl, grace) / 3;
  if (typeof margin !== 'number' || !(margin >= 0 && margin <= longest)) {
    refuse('margin', `must be from 0 to ${Number(longest.toPrecision(6))} ms (a third of the TTL or of the client's grace, ` +
      `whichever is less), not ${typeof margin === 'number' ? `${margin} ms` : shown(margin)}`);
  }
  return margin;
};

const ACQUIRE = [
  'ttl', 'wait', 'owner', 'token', 'retry', 'margin', 'signal', 'onQueued', 'shared', 'maxHolders', 'value', 'lockDelay', 'keepFor'];

// `client`: grace and owner. `names`: the options that the call has. Returns the request, with the defaults.
const checkAcquire = (given, options, { grace, owner: label }, names = ACQUIRE) => {
  checkOptions(options, names);
  const { ttl = DEFAULT_TTL, wait, owner = label, token, retry, signal, onQueued, value, lockDelay, keepFor } = options;
  const key = checkKey(given, options);
  checkTtl(ttl);
  const margin = checkMargin(ttl, grace, options.margin);
  if (wait !== undefined) checkTime('wait', wait, 0, Infinity);
  checkText('owner', owner, LONGEST_LABEL);
  if (token !== undefined) checkToken(token);
  checkRetry(retry);
  checkSignal(signal);
  checkFunction('onQueued', onQueued);
  if (value !== undefined) checkValue(value);
  if (lockDelay !== undefined) checkTime('lockDelay', lockDelay, 0);
  checkKeepFor(keepFor);
  return {
    key, ttl, owner, wait: wait === Infinity ? undefined : wait, token, retry, margin, signal, onQueued, value, lockDelay, keepFor };
};

const without = (...names) => ACQUIRE.filter((name) => !names.includes(name));
const TRY = without('wait', 'retry', 'onQueued');
const OR_EXTEND = without('token');
const ADOPT = [...without('owner', 'token', 'retry', 'onQueued', 'value', 'lockDelay'), 'slot'];
const DETACHED = without('margin', 'onQueued', 'keepFor');

const checkTry = (key, options, client) => ({ ...checkAcquire(key, options, client, TRY), wait: 0 });

const checkAcquireOrExtend = (key, token, options, client) => {
  checkToken(token);
  return { ...checkAcquire(key, options, client, OR_EXTEND), token, extendIfHeld: true };
};

const checkAdopt = (key, token, options, client) => {
  checkToken(token);
  const request = checkAcquire(key, options, client, ADOPT);
  const { slot, maxHolders } = options;
  checkSlot(slot, maxHolders);
  return { ...request, token, adopt: true, slot };
};

const checkDetached = (key, options, client) => checkAcquire(key, options, client, DETACHED);

// Returns the key, the token and the options of a call by key and token.
const checkByToken = (given, token, options, names) => {
  checkOptions(options, names);
  const { timeout = DEFAULT_TIMEOUT, retry, signal, slot, maxHolders, keepFor } = options;
  const key = checkKey(given, options);
  checkSlot(slot, maxHolders);
  checkToken(token);
  checkTime('timeout', timeout, 1);
  checkRetry(retry);
  checkSignal(signal);
  checkKeepFor(keepFor);
  return { key, token, timeout, retry, signal, slot, keepFor };
};

const checkObserve = (key, options) => {
  checkName('key', key);
  checkOptions(options, ['signal']);
  checkSignal(options.signal);
  return { key, signal: options.signal };
};

const CAMPAIGN = without('value', 'shared', 'maxHolders');

// Returns the options of an acquisition.
const checkCampaign = (value, options) => {
  checkValue(value);
  checkOptions(options, CAMPAIGN);
  return { ...options, value };
};

const checkLeader = (options) => {
  checkOptions(options, ['timeout', 'signal']);
  const { timeout = DEFAULT_TIMEOUT, signal } = options;
  checkTime('timeout', timeout, 1, LONGEST_TIMER);
  checkSignal(signal);
  return { timeout, signal };
};

const checkItem = (item, index) => {
  const field = `items[${index}]`;
  if (typeof item !== 'object' || item === null) refuse(field, `must be an object, not ${kindOf(item)}`);
  checkNames(field, item, ['key', 'token', 'ttl', 'interval', 'shared', 'maxHolders', 'slot']);
  const { token, ttl = DEFAULT_TTL, interval, slot, maxHolders } = item;
  const key = checkKey(item.key, item, `${field}.`);
  checkSlot(slot, maxHolders, `${field}.`);
  checkToken(token);
  checkTtl(ttl);
  if (interval !== undefined) checkTime(`${field}.interval`, interval, LEAST_INTERVAL, ttl - LEAST_INTERVAL);
  return { key, token, ttl, interval, slot };
};

const checkWatch = (items, onEvent, options) => {
  if (!Array.isArray(items) || items.length === 0 || items.length > MOST_ITEMS) {
    refuse('items', `must be an array of 1 to ${MOST_ITEMS} items such as { key, token, ttl }`);
  }
  const list = items.map(checkItem);
  if (new Set(list.map(({ key }) => joined(namesOf(key)))).size < list.length) refuse('items', 'each key must occur only once');
  if (typeof onEvent !== 'function') refuse('onEvent', `must be a function, not ${kindOf(onEvent)}`);
  checkOptions(options, ['keepWatchingAfterLoss', 'signal']);
  const { keepWatchingAfterLoss = true, signal } = options;
  checkFlag('keepWatchingAfterLoss', keepWatchingAfterLoss);
  checkSignal(signal);
  return { items: list, keepWatchingAfterLoss, signal };
};

// Checks that an HTTP header can carry the bearer token.
const checkBearer = (token) => {
  if (typeof token !== 'string' || !/^[ -~]*$/.test(token)) {
    refuse('token', 'must be a string of printable ASCII characters, or a function that returns one');
  }
};

const LEVELS = ['debug', 'info', 'warn', 'error'];

const checkLogger = (logger) => {
  if (logger !== undefined && !LEVELS.every((level) => typeof logger?.[level] === 'function')) {
    refuse('logger', `must be an object with the methods ${LEVELS.join(', ')}, such as console`);
  }
};

const checkEndpoints = (endpoints) => {
  const list = [endpoints].flat();
  if (list.length === 0) refuse('endpoints', 'none given; pass at least one address such as "127.0.0.1:50051"');
  for (const endpoint of list) {
    if (typeof endpoint !== 'string' || endpoint === '' || /\p{Surrogate}/u.test(endpoint)) {
      refuse('endpoints', `${shown(endpoint)} is not an address such as "127.0.0.1:50051"`);
    }
    if (!ADDRESS.test(endpoint)) refuse('endpoints', `${shown(endpoint)} must be host:port or unix:/path`);
    const port = HOST_PORT.exec(endpoint)?.[1];
    if (port !== undefined && !(port >= 1 && port <= 65535)) {
      refuse('endpoints', `${endpoint}: the port must be a number from 1 to 65535`);
    }
  }
  return list;
};

// Returns the options with their defaults, and the endpoints as an array.
const checkClient = (endpoints, options) => {
  const list = checkEndpoints(endpoints);
  checkOptions(options, ['credentials', 'token', 'grace', 'owner', 'logger', 'ref']);
  const { credentials, token, grace = 5000, owner = defaultOwner(), logger, ref = false } = options;
  if (credentials !== undefined && typeof credentials?._isSecure !== 'function') {
    refuse('credentials', 'must be ChannelCredentials of @grpc/grpc-js, for example grpc.credentials.createSsl()');
  }
  if (typeof token === 'string') checkBearer(token);
  else checkFunction('token', token);
  checkTime('grace', grace, LEAST_GRACE);
  checkText('owner', owner, LONGEST_LABEL);
  checkLogger(logger);
  checkFlag('ref', ref);
  return { endpoints: list, credentials, token, grace, owner, logger, ref };
};

module.exports = {
  checkAcquire, checkAcquireOrExtend, checkAdopt, checkBearer, checkByToken, checkCampaign, checkClient, checkDetached,
  checkDowngrade, checkFunction, checkLeader, checkName, checkObserve, checkRelease, checkRetry, checkTry, checkTtl, checkValue, checkWatch,
};
