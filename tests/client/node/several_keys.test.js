// Several keys in one lock: the internal key that stands for them, and what people see of it.
import assert from 'node:assert/strict';
import test from 'node:test';
import errors from '../../../client/node/core/errors.js';
import keys from '../../../client/node/core/key.js';
import { Harness } from './harness.js';

const { joined, namesOf, shown } = keys;
const FIRST = '\u{10000}'; // begins with the code unit of the separator
const AB = joined(['b', 'a']);

// Text for people has the names, and never the separator.
const shows = (error, text) => {
  assert.equal(error.message, text);
  assert.equal(error.key, 'a, b');
};

test('the order of the names does not matter', () => {
  assert.equal(joined(['a', 'b', 'c']), joined(['c', 'a', 'b']));
  assert.notEqual(joined(['a', 'b']), joined(['a', 'c']));
  assert.notEqual(joined(['a', 'b']), joined(['ab']));
  assert.notEqual(joined(['a', 'b']), joined(['a, b']));
  const given = ['b', 'a'];
  joined(given);
  assert.deepEqual(given, ['b', 'a'], 'the array of the caller is not changed');
});

test('names are in byte order, also above U+FFFF', () => {
  const names = ['a', 'a\0', 'b', 'ö', '\ue000', '\uffff', FIRST, '🔒', '\u{10ffff}'];
  assert.deepEqual(namesOf(joined([...names].reverse())), names);
});

test('a name may contain surrogate pairs that begin with the code unit of the separator', () => {
  for (const names of [[FIRST, `${FIRST}${FIRST}`], ['a', `a${FIRST}`], [`${FIRST}b`, '🔒'], [`x${FIRST}`, 'y']]) {
    assert.deepEqual(namesOf(joined(names)).sort(), [...names].sort());
  }
  assert.deepEqual(namesOf(FIRST), [FIRST]);
});

test('a single name is its own internal key', () => {
  assert.equal(joined(['k']), 'k');
  assert.deepEqual(namesOf('k'), ['k']);
  assert.equal(shown('a, b'), 'a, b');
});

test('errors show the names', () => {
  assert.equal(shown(AB), 'a, b');
  shows(errors.lockFailure('OVERLOADED', AB, 'busy'), 'a, b: busy');
  shows(errors.lostError(AB, 'taken'), 'a, b: the lock was lost: taken');
  shows(errors.errorOf({ reason: 'LOCK_ALREADY_HELD', message: 'held', metadata: { owner: 'me', held_for: '7' } }, AB),
    'a, b: held by "me" for 7.000 s');
  const status = { message: 'why', metadata: { last_reason: 'QUORUM_UNAVAILABLE' } };
  shows(errors.timedOut('OVERLOADED', 'not acquired', status, AB), 'a, b: not acquired: why');
  shows(errors.timedOut('CANCELLED', 'not acquired', status, AB), 'a, b: not acquired: the last attempt failed with QUORUM_UNAVAILABLE');
  shows(errors.timedOut('CANCELLED', 'not acquired', {}, AB), 'a, b: not acquired');
});

test('the state machine shows the names in every failure', () => {
  const world = new Harness();
  const { lease } = world.hold(AB, { token: 'mine' });
  shows(world.acquire(AB, { token: 'mine' }).error, 'a, b: this client holds the lock with the same token');
  const waiting = world.acquire(AB, { wait: 300 });
  const [operation] = world.expect('acquire');
  world.pass(301);
  world.expect('cancel');
  world.fail(operation, 'CANCELLED');
  shows(waiting.error, 'a, b: not acquired within 300 ms');
  const extension = world.extend(lease);
  world.expect('extend');
  world.pass(2001, { daemon: true });
  shows(extension.error, 'a, b: not extended within 2000 ms');
  const released = world.extend(lease);
  world.release(lease);
  shows(released.error, 'a, b: the lock was released');
});

test('without a daemon, the names are shown too', () => {
  const world = new Harness();
  const call = world.acquire(AB, { wait: 300 });
  world.pass(301);
  shows(call.error, 'a, b: not acquired within 300 ms: no daemon could be reached: no connection was made yet');
});

test('LOST of the internal key ends the lock, and not the locks of single names with the same token', () => {
  const world = new Harness();
  const both = world.hold(AB, { token: 'mine' });
  const single = world.hold('c', { token: 'mine' });
  const { key, token } = both.lease;
  world.event({ type: 'LOST', lease: { key, token, fence: 0n, validity: 0 } });
  shows(both.lost, 'a, b: the lock was lost: because');
  assert.equal(single.losses, 0);
});
