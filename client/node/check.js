// Checks the arguments of a call before anything is sent, so that an invalid value fails only that call.
import { LockError } from './errors.js';

const LONGEST_KEY = 512; // bytes
const LONGEST_OWNER = 128; // bytes
const LEAST_TTL = 10;
const LEAST_GRACE = 100;
const LONGEST_DURATION = 315_576_000_000_000; // the maximum of google.protobuf.Duration

const refuse = (field, what) => { throw new LockError('INVALID_ARGUMENT', `${field}: ${what}`); };
const shown = (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));

const checkText = (field, value, longest) => {
  if (typeof value !== 'string') refuse(field, `must be a string, not ${typeof value}`);
  if (/\p{Surrogate}/u.test(value)) refuse(field, 'contains a lone surrogate, which cannot be encoded as UTF-8');
  const bytes = Buffer.byteLength(value);
  if (bytes > longest) refuse(field, `has ${bytes} bytes as UTF-8; use at most ${longest}`);
};

const checkTime = (field, value, least, most = LONGEST_DURATION) => {
  if (typeof value !== 'number' || !(value >= least && value <= most)) {
    refuse(field, `must be a number of ms from ${least} to ${most}, not ${shown(value)}`);
  }
};

const checkFunction = (field, value) => {
  if (value !== undefined && typeof value !== 'function') refuse(field, `must be a function, not ${typeof value}`);
};

export const checkTtl = (ttl) => checkTime('ttl', ttl, LEAST_TTL);

// Returns the options with their defaults.
export const checkAcquire = (key, options, grace) => {
  checkText('key', key, LONGEST_KEY);
  if (key === '') refuse('key', 'must not be empty');
  if (key.startsWith('redlockd:')) refuse('key', 'must not begin with "redlockd:", which is reserved');
  if (typeof options !== 'object' || options === null) refuse('options', `must be an object, not ${shown(options)}`);
  const { ttl = 30_000, owner = '', signal, onQueued } = options;
  checkTtl(ttl);
  const { margin = Math.min(ttl / 10, grace / 10, 500) } = options;
  if (options.wait !== undefined) checkTime('wait', options.wait, 0, Infinity);
  checkText('owner', owner, LONGEST_OWNER);
  checkTime('margin', margin, 0, Math.min(ttl, grace));
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function') refuse('signal', 'must be an AbortSignal');
  checkFunction('onQueued', onQueued);
  return { key, ttl, owner, wait: options.wait, margin, signal, onQueued };
};

// Returns the endpoints as an array.
export const checkClient = (endpoints, { token, grace }) => {
  const list = [endpoints].flat();
  if (list.length === 0) refuse('endpoints', 'none given; pass at least one address such as "127.0.0.1:50051"');
  for (const endpoint of list) {
    if (typeof endpoint !== 'string' || endpoint === '') {
      refuse('endpoints', `${shown(endpoint)} is not an address such as "127.0.0.1:50051"`);
    }
  }
  if (token !== undefined && typeof token !== 'string') checkFunction('token', token);
  checkTime('grace', grace, LEAST_GRACE);
  return list;
};
