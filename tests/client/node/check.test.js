import assert from 'node:assert/strict';
import test from 'node:test';
import { checkAcquire, checkClient, checkTtl } from '../../../client/node/check.js';

const refused = (field, call) => assert.throws(call, (error) => {
  assert.equal(error.reason, 'INVALID_ARGUMENT');
  assert.ok(error.message.startsWith(`${field}: `), error.message);
  return true;
});

test('defaults are applied', () => {
  assert.deepEqual(checkAcquire('k', {}, 5000), {
    key: 'k', ttl: 30_000, owner: '', wait: undefined, margin: 500, signal: undefined, onQueued: undefined,
  });
  assert.equal(checkAcquire('k', { ttl: 1000 }, 5000).margin, 100);
  assert.equal(checkAcquire('k', {}, 200).margin, 20);
});

test('invalid keys are rejected', () => {
  for (const key of ['', undefined, null, 5, ['a'], {}, 'redlockd:k', 'x'.repeat(513), 'ö'.repeat(257), 'a\ud800b']) {
    refused('key', () => checkAcquire(key, {}, 5000));
  }
  checkAcquire('x'.repeat(512), {}, 5000);
  checkAcquire('🔒', {}, 5000);
});

test('options that are not an object are rejected', () => {
  for (const options of [5000, null, 'ttl']) refused('options', () => checkAcquire('k', options, 5000));
});

test('invalid times are rejected', () => {
  for (const ttl of [0, 9.9, -1, NaN, Infinity, '1000', null, 10n, new Date()]) {
    refused('ttl', () => checkAcquire('k', { ttl }, 5000));
    refused('ttl', () => checkTtl(ttl));
  }
  for (const wait of [-1, NaN, '0', null]) refused('wait', () => checkAcquire('k', { wait }, 5000));
  assert.equal(checkAcquire('k', { wait: Infinity }, 5000).wait, Infinity);
  for (const margin of [-1, NaN, '0', null, 2001]) refused('margin', () => checkAcquire('k', { ttl: 2000, margin }, 5000));
});

test('invalid labels, signals and callbacks are rejected', () => {
  for (const owner of [5, null, 'x'.repeat(129), '\udfff']) refused('owner', () => checkAcquire('k', { owner }, 5000));
  for (const signal of [5, null, {}]) refused('signal', () => checkAcquire('k', { signal }, 5000));
  for (const onQueued of [5, null, 'f']) refused('onQueued', () => checkAcquire('k', { onQueued }, 5000));
});

test('invalid client options are rejected', () => {
  refused('endpoints', () => checkClient([], { grace: 5000 }));
  refused('endpoints', () => checkClient([''], { grace: 5000 }));
  refused('endpoints', () => checkClient([undefined], { grace: 5000 }));
  for (const grace of [99, NaN, '5000', null]) refused('grace', () => checkClient('h:1', { grace }));
  refused('token', () => checkClient('h:1', { grace: 5000, token: 5 }));
  assert.deepEqual(checkClient('h:1', { grace: 100 }), ['h:1']);
});
