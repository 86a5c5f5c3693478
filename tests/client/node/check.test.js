import assert from 'node:assert/strict';
import test from 'node:test';
import { checkAcquire, checkByToken, checkClient, checkTtl, checkWatch } from '../../../client/node/lib/check.js';

const CLIENT = { grace: 5000, owner: 'host/1/app' };

const refused = (field, call) => assert.throws(call, (error) => {
  assert.equal(error.reason, 'INVALID_ARGUMENT');
  assert.ok(error.message.startsWith(`${field}: `), error.message);
  return true;
});

test('defaults are applied', () => {
  assert.deepEqual(checkAcquire('k', {}, CLIENT), {
    key: 'k', ttl: 30_000, owner: 'host/1/app', wait: undefined, token: undefined, retry: undefined, margin: 500,
    signal: undefined, onQueued: undefined, value: undefined, lockDelay: undefined, keepFor: undefined,
  });
  assert.equal(checkAcquire('k', { ttl: 1000 }, CLIENT).margin, 100);
  assert.equal(checkAcquire('k', {}, { grace: 200, owner: 'me' }).margin, 20);
});

test('invalid keys are rejected', () => {
  for (const key of ['', undefined, null, 5, new Set(['a']), {}, 'redlockd:k', 'x'.repeat(513), 'ö'.repeat(257), 'a\ud800b']) {
    refused('key', () => checkAcquire(key, {}, CLIENT));
  }
  checkAcquire('x'.repeat(512), {}, CLIENT);
  checkAcquire('🔒', {}, CLIENT);
});

test('several keys become one internal key, in any order', () => {
  const { key } = checkAcquire(['b', 'a'], {}, CLIENT);
  assert.equal(checkAcquire(Object.freeze(['a', 'b']), {}, CLIENT).key, key);
  assert.equal(checkByToken(['a', 'b'], 't', {}, []).key, key);
  assert.equal(checkWatch([{ key: ['b', 'a'], token: 't' }], () => {}, {}).items[0].key, key);
  assert.equal(checkAcquire(['a'], {}, CLIENT).key, 'a');
});

test('invalid lists of keys are rejected, and the message names the entry', () => {
  const count = (number) => Array.from({ length: number }, (_, i) => `k${i}`);
  for (const [list, field] of [
    [[], 'key'], [count(65), 'key'], [['a', 'b', 'a'], 'key[2]'], [['a', ''], 'key[1]'], [['a', 5], 'key[1]'],
    [[['a'], 'b'], 'key[0]'], [[, 'a'], 'key[0]'], [['a', 'redlockd:k'], 'key[1]'], [['a', 'a\ud800b'], 'key[1]'],
    [['ö'.repeat(257), 'a'], 'key[0]'],
  ]) {
    refused(field, () => checkAcquire(list, {}, CLIENT));
    refused(field, () => checkByToken(list, 't', {}, []));
    refused(field, () => checkWatch([{ key: list, token: 't' }], () => {}, {}));
  }
  checkAcquire(count(64), {}, CLIENT);
  const long = Array.from({ length: 16 }, (_, i) => String.fromCharCode(97 + i).repeat(512));
  checkAcquire(long, {}, CLIENT);
  refused('key', () => checkAcquire([...long, 'z'], {}, CLIENT));
});

test('a watch refuses the same keys twice, in whichever order', () => {
  const watch = (...list) => () => checkWatch(list.map((key) => ({ key, token: 't' })), () => {}, {});
  refused('items', watch(['a', 'b'], ['b', 'a']));
  refused('items', watch('a', ['a']));
  watch(['a', 'b'], ['a', 'c'], 'a')();
  for (const kind of [{ shared: true }, { maxHolders: 2 }]) {
    refused('items', () => checkWatch([{ key: 'a', token: 't' }, { key: 'a', token: 'u', ...kind }], () => {}, {}));
  }
});

test('options that are not an object are rejected', () => {
  for (const options of [5000, null, 'ttl']) refused('options', () => checkAcquire('k', options, CLIENT));
});

test('invalid times are rejected', () => {
  for (const ttl of [0, 9.9, -1, NaN, Infinity, '1000', null, 10n, new Date()]) {
    refused('ttl', () => checkAcquire('k', { ttl }, CLIENT));
    refused('ttl', () => checkTtl(ttl));
  }
  for (const wait of [-1, NaN, '0', null]) refused('wait', () => checkAcquire('k', { wait }, CLIENT));
  assert.equal(checkAcquire('k', { wait: Infinity }, CLIENT).wait, undefined);
});

test('margins', () => {
  for (const margin of [-1, NaN, '0', null, 1001]) refused('margin', () => checkAcquire('k', { ttl: 3000, margin }, CLIENT));
  for (const margin of [0, 1000]) assert.equal(checkAcquire('k', { ttl: 3000, margin }, CLIENT).margin, margin);
  assert.throws(() => checkAcquire('k', { margin: 101 }, { grace: 300, owner: 'me' }), { message: "margin: must be from 0 to 100 ms (a third of " +
    "the TTL or of the client's grace, whichever is less), not 101 ms" });
});

test('invalid labels, signals and callbacks are rejected', () => {
  for (const owner of [5, null, 'x'.repeat(129), '\udfff']) refused('owner', () => checkAcquire('k', { owner }, CLIENT));
  for (const signal of [5, null, {}]) refused('signal', () => checkAcquire('k', { signal }, CLIENT));
  for (const onQueued of [5, null, 'f']) refused('onQueued', () => checkAcquire('k', { onQueued }, CLIENT));
});

test('invalid client options are rejected', () => {
  refused('endpoints', () => checkClient([], { grace: 5000 }));
  refused('endpoints', () => checkClient([''], { grace: 5000 }));
  refused('endpoints', () => checkClient([undefined], { grace: 5000 }));
  for (const endpoint of ['h:0', 'h:65536', '[::1]:99999', '127.0.0.1:99999999999999999999']) {
    assert.throws(() => checkClient(['h:1', endpoint], { grace: 5000 }), {
      reason: 'INVALID_ARGUMENT', message: `endpoints: ${endpoint}: the port must be a number from 1 to 65535`,
    });
  }
  for (const endpoint of ['h:65535', '[::1]:1', 'unix:/s:0', 'unix:0', 'unix-abstract:s', 'ipv6:[::1]:1', 'dns:///h:1', '::0']) {
    assert.deepEqual(checkClient(endpoint, {}).endpoints, [endpoint]);
  }
  for (const endpoint of [
    'localhost', '10.0.0.1', '[::1]', 'h:', '[::1]:', ':', 'http://h:1', 'https://h:1', 'h\udc80:1', 'a b']) {
    for (const endpoints of [endpoint, ['h:1', endpoint]]) {
      assert.throws(() => checkClient(endpoints, {}), ({ reason, message }) => (
        reason === 'INVALID_ARGUMENT' && message.startsWith(`endpoints: ${JSON.stringify(endpoint)} `)), endpoint);
    }
  }
  const mine = ['h:1'];
  const { endpoints } = checkClient(mine, {});
  mine[0] = 'h:2';
  assert.deepEqual(endpoints, ['h:1']);
  for (const grace of [99, NaN, '5000', null]) refused('grace', () => checkClient('h:1', { grace }));
  for (const token of [5, 'two\nlines', 'caf\u00e9']) {
    refused('token', () => checkClient('h:1', { grace: 5000, token }));
  }
  assert.deepEqual(checkClient('h:1', { grace: 100 }).endpoints, ['h:1']);
});
