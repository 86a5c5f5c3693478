// Shared keys: the internal key that stands for them, the checks, and the client against a real daemon. REDLOCKD: the
// daemon's binary; without it, the tests with a daemon are skipped.
import assert from 'node:assert/strict';
import test from 'node:test';
import { inspect } from 'node:util';
import errors from '../../../client/node/core/errors.js';
import keys from '../../../client/node/core/key.js';
import { Harness } from './harness.js';
import { client as redlockd, require } from './installed.js';
import { client, options, server } from './real_daemon.js';

const { isShared, joined, namesOf, shown } = keys;
const { Client, InvalidArgumentError, LockNotHeldError } = redlockd;
const { claimTo, eventFrom, leaseFrom, requestTo } = require('./lib/wire.js');
const { redlock } = require('./generated/messages.js');

const { LOCK_MODE_EXCLUSIVE, LOCK_MODE_SHARED, LOCK_MODE_UNSPECIFIED } = redlock.v1.LockMode;

test('the mode makes another internal key of the same names', () => {
  for (const names of [['k'], ['b', 'a'], ['🔒'], ['🔒', '\u{10000}']]) {
    const share = joined(names, true);
    assert.notEqual(share, joined(names));
    assert.deepEqual([isShared(share), isShared(joined(names))], [true, false]);
    assert.deepEqual(namesOf(share), namesOf(joined(names)));
    assert.equal(shown(share), shown(joined(names)));
  }
});

test('errors show the keys without the mode', () => {
  assert.equal(errors.lockFailure('OVERLOADED', joined(['b', 'a'], true), 'busy').message, 'a, b: busy');
  assert.equal(errors.lostError(joined(['k'], true), 'taken').key, 'k');
});

test('claims carry the mode, and a release and a give_up do not', () => {
  const single = joined(['k'], true);
  assert.deepEqual(claimTo({ key: single }), { key: 'k', mode: LOCK_MODE_SHARED });
  assert.deepEqual(claimTo({ key: joined(['b', 'a'], true) }), { key: undefined, keys: ['a', 'b'], mode: LOCK_MODE_SHARED });
  assert.deepEqual(claimTo({ key: 'k' }), { key: 'k' });
  assert.deepEqual(requestTo({ key: single }), { key: 'k' });
  assert.deepEqual(requestTo({ key: joined(['b', 'a'], true) }), { key: undefined, keys: ['a', 'b'] });
});

test('the mode of a lease and of an event is read', () => {
  for (const [mode, shared] of [[LOCK_MODE_SHARED, true], [LOCK_MODE_EXCLUSIVE, false], [LOCK_MODE_UNSPECIFIED, false]]) {
    assert.equal(leaseFrom({ key: 'k', keys: [], mode, token: 't', fencingToken: 1 }).key, joined(['k'], shared));
    assert.equal(eventFrom({ key: '', keys: ['b', 'a'], mode }).key, joined(['a', 'b'], shared));
  }
});

test('LOST of a share ends the share, and not the exclusive lock with the same key and token', () => {
  const world = new Harness();
  const share = world.hold(joined(['k'], true), { token: 'mine' });
  const exclusive = world.hold('k', { token: 'mine' });
  world.event({ type: 'LOST', lease: { key: share.lease.key, token: 'mine', fence: 0n, validity: 0 } });
  assert.equal(share.lost.message, 'k: the lock was lost: because');
  assert.equal(exclusive.losses, 0);
});

test('a wrong type of shared fails only its call, and the error names it', { timeout: 10_000 }, async () => {
  const own = new Client('127.0.0.1:1');
  const refused = (field) => (error) => (
    error instanceof InvalidArgumentError && error.message.startsWith(`${field}: must be true or false, not `));
  for (const shared of ['yes', 1, null, {}]) {
    for (const [name, call] of Object.entries({
      acquire: () => own.acquire('k', { shared }),
      tryAcquire: () => own.tryAcquire('k', { shared }),
      acquireOrExtend: () => own.acquireOrExtend('k', 't', { shared }),
      adopt: () => own.adopt('k', 't', { shared }),
      using: () => own.using('k', { shared }, () => {}),
      acquireDetached: () => own.acquireDetached('k', { shared }),
      extend: () => own.extend('k', 't', 1000, { shared }),
      tryExtend: () => own.tryExtend('k', 't', 1000, { shared }),
    })) {
      await assert.rejects(call(), refused('shared'), name);
    }
    assert.throws(() => own.watch([{ key: 'k', token: 't', shared }], () => {}), refused('items[0].shared'));
  }
  await assert.rejects(own.release('k', 't', { shared: true }), /there is no option "shared"/);
  await own.close();
});

test('readers share a key, and a writer excludes them', options, async () => {
  const readers = [
    await client.acquire('catalog', { shared: true }),
    await client.tryAcquire('catalog', { shared: true }),
    await client.acquireOrExtend('catalog', 'a reader', { shared: true }),
  ];
  assert.deepEqual(readers.map(({ shared, key, keys: names }) => [shared, key, names]), Array(3).fill([true, 'catalog', ['catalog']]));
  assert.equal(await client.tryAcquire('catalog'), null);
  await client.using('catalog', { shared: true }, ({ shared }) => assert.equal(shared, true));
  await readers[0].extend(20_000);
  for (const reader of readers) await reader.release();
  const writer = await client.acquire('catalog', { wait: 5000 });
  assert.equal(writer.shared, false);
  assert.equal(await client.tryAcquire('catalog', { shared: true }), null);
  await writer.release();
});

test('text of a shared lock has the keys without the mode', options, async () => {
  const lock = await client.acquire(['b', 'a'], { shared: true });
  const lease = await client.acquireDetached(['b', 'a'], { shared: true });
  for (const one of [lock, lease]) {
    assert.equal(JSON.parse(JSON.stringify(one)).key, 'a, b');
    assert.match(inspect(one), /\{ key: 'a, b', fencingToken/);
  }
  await lock.release();
  await client.release(lease.keys, lease.token);
});

test('a detached share is extended, handed over and adopted in its mode only', options, async () => {
  const lease = await client.acquireDetached(['d', 'e'], { shared: true, ttl: 20_000 });
  assert.deepEqual([lease.shared, lease.keys], [true, ['d', 'e']]);
  const { keys: names, token } = lease;
  assert.equal((await client.extend(names, token, 20_000, { shared: true })).shared, true);
  assert.equal((await client.tryExtend(names, token, 20_000, { shared: true })).shared, true);
  await assert.rejects(client.extend(names, token, 20_000), LockNotHeldError);
  await assert.rejects(client.tryExtend(names, token, 20_000), LockNotHeldError);
  const other = new Client(server.endpoint);
  await assert.rejects(other.adopt(names, token), LockNotHeldError);
  const lock = await other.adopt(names, token, { shared: true });
  assert.deepEqual([lock.shared, lock.held], [true, true]);
  const reader = await client.acquire('d', { shared: true, wait: 5000 });
  await reader.release();
  await lock.release();
  await other.close();
});

test('a watch extends a share, and its events say so', options, async () => {
  const lease = await client.acquireDetached('w', { shared: true, ttl: 5000 });
  const exclusive = await client.acquireDetached('x', { ttl: 5000 });
  const heard = new Map();
  await new Promise((resolve, reject) => {
    const watch = client.watch([
      { key: 'w', token: lease.token, ttl: 5000, interval: 50, shared: true },
      { key: 'x', token: exclusive.token, ttl: 5000, interval: 50 },
    ], ({ type, key, shared, error }) => {
      if (type === 'closed') resolve();
      else if (type !== 'extended') reject(error);
      else if (heard.set(key, shared).size === 2) watch.close();
    });
  });
  assert.deepEqual([...heard].sort(), [['w', true], ['x', false]]);
  await client.release('w', lease.token);
  await client.release('x', exclusive.token);
});
