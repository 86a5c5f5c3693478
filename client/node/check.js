// Checks the arguments of a call before anything is sent, so that an invalid value fails only that call.
import { LockError } from './errors.js';

const LONGEST_KEY = 512; // bytes
const LONGEST_OWNER = 128; // bytes
const LEAST_TTL = 10;
const LEAST_GRACE = 100;
const LONGEST_DURATION = 315_576_000_000_000; // the maximum of google.protobuf.Duration

// A wrong port is refused here; otherwise the client would only report that no daemon answers. Other forms of address
// are left to gRPC.
const HOST_PORT = /^(?!unix:)(?:\[[^\]]*\]|[^:/]*):([0-9]+)$/;

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

// Returns the options with their defaults.
export const checkAcquire = (key, options, grace) => {
  checkText('key', key, LONGEST_KEY);
  if (key === '') refuse('key', 'must not be empty');
  if (key.startsWith('redlockd:')) refuse('key', 'must not begin with "redlockd:", which is reserved');
  if (typeof options !== 'object' || options === null) refuse('options', `must be an object, not ${shown(options)}`);
  const { ttl = 30_000, owner = '', signal, onQueued } = options;
  checkTtl(ttl);
  const margin = checkMargin(ttl, grace, options.margin);
  if (options.wait !== undefined) checkTime('wait', options.wait, 0, Infinity);
  checkText('owner', owner, LONGEST_OWNER);
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
    const port = HOST_PORT.exec(endpoint)?.[1];
    if (port !== undefined && !(port >= 1 && port <= 65535)) {
      refuse('endpoints', `${endpoint}: the port must be a number from 1 to 65535`);
    }
  }
  if (token !== undefined && typeof token !== 'string') checkFunction('token', token);
  checkTime('grace', grace, LEAST_GRACE);
  return list;
};
