// An exclusive lock is downgraded to a share: the state machine, and the client against a real daemon. REDLOCKD: the daemon's
// binary; without it, the tests with a daemon are skipped.
import assert from 'node:assert/strict';
import test from 'node:test';
import keys from '../../../client/node/core/key.js';
import { Harness, kindOf } from './harness.js';
import { client as redlockd, require } from './installed.js';
import { client, options, server } from './real_daemon.js';

const { joined } = keys;
const { Client, InvalidArgumentError, LockLostError, LockNotHeldError } = redlockd;
const { claimTo } = require('./lib/wire.js');

const TOKEN = 'mine';
const SHARE = joined(['k'], true);

// The operations of `kind` that the client sends now: [{ key, token, … }].
const sent = (world, kind) => world.take().filter((operation) => kindOf(operation) === kind).map((operation) => operation[kind]);

// A downgrade that has been sent.
const start = (holding = {}, key = 'k') => {
  const world = new Harness();
  const writer = world.hold(key, holding, { fence: 7n });
  const call = world.downgrade(writer.lease);
  const [extend] = world.expect('extend');
  return { world, writer, call, extend };
};

const adopting = (world, extend) => {
  world.grant(extend, { fence: 7n });
  return world.expect('adopt')[0];
};

const move = (world) => {
  world.breakStream();
  if (world.session === undefined) world.pass(100);
  world.ready();
};

test('trust ends before the downgrade is sent, and an adoption of the share follows', () => {
  const world = new Harness();
  const writer = world.hold(joined(['b', 'a']), {}, { fence: 7n });
  const call = world.downgrade(writer.lease);
  assert.deepEqual([writer.lease.trustedUntil, writer.lease.state], [-Infinity, 'downgraded']);
  const [extend] = world.expect('extend');
  world.grant(extend, { fence: 7n });
  assert.equal(call.done, undefined, 'an extension alone is not kept alive');
  const [adopt] = world.expect('adopt');
  world.grant(adopt, { fence: 7n });
  for (const { key, token, ttl, downgradeFrom } of [extend.extend, adopt.adopt]) {
    assert.deepEqual([key, token, ttl, downgradeFrom], [joined(['a', 'b'], true), writer.lease.token, 30_000, 7n]);
  }
  const { lease } = call;
  assert.ok(lease.trustedUntil > world.now);
  assert.deepEqual([lease.key, lease.token, lease.ttl, lease.margin, lease.ownToken, lease.fence],
    [joined(['a', 'b'], true), writer.lease.token, 30_000, 500, false, 7n]);
});

test('the share is adopted once on each Session', () => {
  const world = new Harness();
  const writer = world.hold('k', {}, { fence: 7n });
  world.pass(1500, { daemon: true });
  const call = world.downgrade(writer.lease);
  world.fail(adopting(world, world.expect('extend')[0]), 'QUORUM_UNAVAILABLE');
  world.breakStream(); // another Session is opened at once
  const [ping] = world.expect('ping');
  world.now += 200; // the pause after the refusal ends before anything is written
  world.answer(ping);
  world.tick();
  world.grant(world.expect('adopt')[0], { fence: 7n });
  assert.equal(call.lease.state, 'held');
  world.expect();
});

test('the message has the fencing token', () => {
  assert.deepEqual(claimTo({ key: 'k', downgradeFrom: 2n ** 32n + 7n }), { key: 'k', downgradeFrom: { low: 7, high: 1 } });
});

test('the old lock counts as released, and the share is released separately', () => {
  const { world, writer, call, extend } = start();
  world.grant(adopting(world, extend));
  assert.equal(writer.losses, 0);
  assert.equal(world.extend(writer.lease).error.message, 'k: the lock was downgraded');
  assert.equal(world.downgrade(writer.lease).error.reason, 'LOCK_NOT_HELD');
  assert.deepEqual(world.release(writer.lease), { done: true, error: undefined });
  world.expect();
  world.release(call.lease);
  assert.deepEqual(world.expect('release')[0].release, { key: SHARE, token: writer.lease.token, keepFor: undefined });
});

test('another call must not be requesting the key with the same token', () => {
  for (const key of ['k', SHARE]) {
    const world = new Harness();
    const { lease } = world.hold('k', { token: TOKEN });
    const waiting = world.acquire(key, { token: TOKEN, extendIfHeld: true });
    const [other] = world.expect('extend');
    assert.equal(world.downgrade(lease).error.reason, 'INVALID_ARGUMENT');
    assert.equal(lease.state, 'held');
    world.expect();
    world.fail(other, 'PERMISSION_DENIED');
    assert.equal(waiting.error.reason, 'PERMISSION_DENIED');
    world.acquire('other', { token: TOKEN });
    world.expect('acquire');
    world.downgrade(lease);
    world.expect('extend');
  }
});

test('the lock of a downgrade is released for as long as an extension may have made it last', () => {
  for (const fails of [true, false]) {
    const world = new Harness();
    const writer = world.hold('k', { ttl: 30_000 }, { fence: 7n });
    world.extend(writer.lease, 60_000);
    world.grant(world.expect('extend')[0], { validity: 60_000, fence: 7n });
    const call = world.downgrade(writer.lease);
    if (fails) {
      world.fail(world.expect('extend')[0], 'PERMISSION_DENIED');
      assert.equal(call.error.reason, 'PERMISSION_DENIED');
    } else {
      world.grant(adopting(world, world.expect('extend')[0]));
      world.release(call.lease);
    }
    world.breakStream();
    world.pass(59_000);
    assert.equal(world.machine.releases.size, 1);
    world.pass(5000);
    assert.equal(world.machine.releases.size, 0);
  }
});

test('a downgrade continues at another daemon, which does not adopt the exclusive lock', () => {
  const { world, call, extend } = start();
  move(world);
  const [again] = world.expect('extend');
  assert.deepEqual(again.extend, extend.extend);
  const lost = adopting(world, again);
  move(world);
  const [adopt] = world.expect('adopt');
  assert.deepEqual([adopt.adopt.key, adopt.adopt.downgradeFrom], [SHARE, 7n]);
  assert.ok(adopt.adopt.sequence > lost.adopt.sequence);
  world.grant(adopt);
  assert.equal(call.lease.state, 'held');
  move(world);
  const [later] = world.expect('adopt');
  assert.deepEqual([later.adopt.key, later.adopt.downgradeFrom], [SHARE, undefined]);
  assert.ok(later.adopt.sequence > adopt.adopt.sequence);
});

test('an adoption of the exclusive lock that is answered late does not release the share', () => {
  const world = new Harness();
  const writer = world.hold('k', {}, { fence: 7n });
  let adoption;
  for (let i = 0; i < 3; i += 1) { // until the sequence is higher than what follows from the fencing token
    move(world);
    [adoption] = world.expect('adopt');
  }
  const call = world.downgrade(writer.lease);
  const [extend] = world.expect('extend');
  world.grant(adoption);
  world.expect();
  assert.equal(writer.lease.trustedUntil, -Infinity);
  const adopt = adopting(world, extend);
  assert.ok(adopt.adopt.sequence > adoption.adopt.sequence);
  world.grant(adopt);
  assert.ok(call.lease.trustedUntil > world.now);
});

test('pending extensions end with the exclusive lock', () => {
  const world = new Harness();
  const writer = world.hold();
  const extension = world.extend(writer.lease);
  const [late] = world.expect('extend');
  world.downgrade(writer.lease);
  assert.equal(extension.error.reason, 'LOCK_NOT_HELD');
  world.grant(late, { validity: 60_000 });
  assert.equal(writer.lease.trustedUntil, -Infinity);
});

test('a failure releases the token, whoever made it, and the trust bounds the call', () => {
  for (const token of [undefined, TOKEN]) {
    const { world, writer, call, extend } = start({ token, ttl: 3000 });
    let asked = extend;
    const end = world.now + 30_000;
    let released;
    while (released === undefined) {
      assert.ok(world.now < end);
      if (asked) world.fail(asked, 'QUORUM_UNAVAILABLE');
      world.pass(50);
      asked = undefined;
      for (const operation of world.take()) {
        if (operation.ping) world.answer(operation);
        else if (operation.extend) asked = operation;
        else released = operation;
      }
    }
    assert.deepEqual(released.release, { key: SHARE, token: writer.lease.token, keepFor: undefined });
    assert.equal(call.error.reason, 'QUORUM_UNAVAILABLE');
    assert.match(call.error.message, /^k: not downgraded within \d+ ms: .*; the lock is being released/);
    assert.equal(call.error.message.endsWith(', and its token must not be used again'), token !== undefined);
  }
});

test('without an answer, the call ends with the trust', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { token: TOKEN }, { validity: 2000 });
  const call = world.downgrade(lease);
  world.expect('extend');
  world.pass(1990, { daemon: true });
  assert.equal(call.done, undefined);
  world.pass(10);
  assert.deepEqual(sent(world, 'release'), [{ key: SHARE, token: TOKEN, keepFor: undefined }]);
  assert.equal(call.error.reason, 'DEADLINE_EXCEEDED');
  assert.match(call.error.message, /must not be used again$/);
});

test('a share that comes too late is released', () => {
  const { world, call, extend } = start({ token: TOKEN });
  world.grant(adopting(world, extend), { validity: 400 }); // less than the margin
  assert.equal(call.error.reason, 'VALIDITY_EXPIRED');
  assert.match(call.error.message, /must not be used again$/);
  assert.deepEqual(sent(world, 'release'), [{ key: SHARE, token: TOKEN, keepFor: undefined }]);
});

test('giving up releases the token, and once more if the share is adopted late', () => {
  for (const adopts of [false, true]) {
    const { world, call, extend } = start({ token: TOKEN });
    const last = adopts ? adopting(world, extend) : extend;
    world.giveUp(call);
    assert.equal(call.error.message, 'given up');
    assert.deepEqual(sent(world, 'release'), [{ key: SHARE, token: TOKEN, keepFor: undefined }]);
    world.grant(last);
    assert.deepEqual(sent(world, 'release'), adopts ? [{ key: SHARE, token: TOKEN, keepFor: undefined }] : []);
  }
});

test('giving up without a Session releases the token on the next one', () => {
  const { world, call } = start({ token: TOKEN });
  world.breakStream();
  world.giveUp(call);
  world.ready();
  assert.deepEqual(world.expect('release')[0].release, { key: SHARE, token: TOKEN, keepFor: undefined });
});

test('a downgrade that is given up is released once on the next Session', () => {
  const { world, call, extend } = start({ token: TOKEN });
  adopting(world, extend);
  world.giveUp(call);
  world.expect('release');
  move(world);
  world.expect('release');
});

test('a lock that is no longer held is not released', () => {
  const { world, call, extend } = start({ token: TOKEN });
  world.fail(adopting(world, extend), 'LOCK_NOT_HELD');
  world.pass(101);
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  assert.deepEqual([call.error.reason, call.error.message], ['LOCK_NOT_HELD', 'k: it is LOCK_NOT_HELD']);
  world.pass(900);
  world.expect();
  world.acquire('k', { token: TOKEN });
  world.expect('acquire');
});

test('the token is refused until the downgrade has ended', () => {
  const { world, call, extend } = start({ token: TOKEN });
  for (const way of [{}, { extendIfHeld: true }, { adopt: true }]) {
    for (const key of ['k', SHARE]) {
      const { error } = world.acquire(key, { token: TOKEN, ...way });
      assert.equal(error.reason, 'INVALID_ARGUMENT');
      assert.match(error.message, /^token: this client is downgrading k with this token; wait /);
    }
  }
  world.acquire('other', { token: TOKEN });
  world.acquire('k', { token: 'yours' });
  world.acquire('k');
  world.expect('acquire', 'acquire', 'acquire');
  world.grant(adopting(world, extend));
  assert.equal(call.lease.state, 'held');
  assert.equal(world.acquire(SHARE, { token: TOKEN, adopt: true }).error, undefined);
  world.expect('extend');
});

test('only a held exclusive lock is downgraded', () => {
  const world = new Harness();
  const writer = world.hold();
  world.release(writer.lease);
  world.expect('release');
  assert.equal(world.downgrade(writer.lease).error.message, 'k: the lock was released');
  for (const key of [SHARE, joined(['s'], false, 3)]) {
    const { lease } = world.hold(key);
    assert.equal(world.downgrade(lease).error.reason, 'INVALID_ARGUMENT');
    assert.equal(lease.state, 'held');
  }
  const lost = world.hold('lost');
  world.machine.lose(lost.lease, 'taken');
  assert.equal(world.downgrade(lost.lease).error, lost.lease.endedBy());
  world.expect();
});

test('close releases the lock', () => {
  for (const adopts of [false, true]) {
    const { world, call, extend } = start({ token: TOKEN });
    if (adopts) adopting(world, extend);
    const closed = world.close();
    assert.equal(call.error.reason, 'CANCELLED');
    assert.match(call.error.message, /; the lock is being released/);
    const [release] = world.expect('release');
    assert.equal(release.release.token, TOKEN);
    assert.equal(closed.done, undefined);
    world.answer(release);
    assert.ok(closed.done);
  }
});

// ---- with a real daemon

test('a downgraded lock is shared, and the old lock has been released', options, async () => {
  const writer = await client.acquire(['dg b', 'dg a'], { token: TOKEN });
  const share = await writer.downgrade();
  assert.deepEqual([share.shared, share.token, share.keys, share.held], [true, TOKEN, writer.keys, true]);
  assert.deepEqual([writer.held, writer.lost.aborted, writer.loss], [false, false, undefined]);
  const reader = await client.acquire('dg a', { shared: true, wait: 5000 });
  assert.equal(await client.tryAcquire('dg a'), null);
  await assert.rejects(share.downgrade(), (error) => (
    error instanceof InvalidArgumentError && error.message.endsWith(': only an exclusive lock can be downgraded')));
  await assert.rejects(writer.downgrade(), LockNotHeldError);
  await assert.rejects(writer.extend(5000), LockNotHeldError);
  await writer.release();
  await share.extend(20_000);
  await share.release();
  await reader.release();
  const free = await client.acquire('dg a', { wait: 5000 });
  assert.ok(free.fencingToken > share.fencingToken);
  await free.release();
});

test('both locks end with their `await using` blocks', options, async () => {
  const writer = await client.acquire('dg using');
  const share = await writer.downgrade();
  await share[Symbol.asyncDispose]();
  await writer[Symbol.asyncDispose]();
  await (await client.acquire('dg using', { wait: 0 })).release();
});

test('using() releases the share, also if the downgrade is not awaited, or is repeated', options, async () => {
  for (const work of [
    (lock) => lock.downgrade(),
    (lock) => { lock.downgrade(); },
    async (lock) => {
      await lock.downgrade();
      await assert.rejects(lock.downgrade(), LockNotHeldError);
    },
    async (lock) => { await (await lock.downgrade()).release(); },
  ]) {
    await client.using('dg work', {}, work);
    await (await client.acquire('dg work', { wait: 0 })).release();
  }
  await assert.rejects(client.using('dg work', {}, async (lock) => {
    await lock.downgrade();
    throw new Error('of the work');
  }), /of the work/);
  await (await client.acquire('dg work', { wait: 0 })).release();
});

test('using() rejects if the share was lost', options, async () => {
  await assert.rejects(client.using('dg lost', {}, async (lock) => {
    const share = await lock.downgrade();
    await new Promise((resolve) => {
      share.lost.addEventListener('abort', resolve);
      server.lose('dg lost');
    });
    assert.equal(lock.lost.aborted, false);
  }), LockLostError);
});

test('a signal gives a downgrade up, and leaves no lock', options, async () => {
  for (let i = 0; i < 20; i += 1) {
    const own = new Client(server.endpoint);
    const lock = await own.acquire(`dg ${i}`);
    const abort = new AbortController();
    const begun = lock.downgrade({ signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), i / 4);
    const share = await begun.catch((error) => assert.equal(error.message, 'enough'));
    await share?.release();
    const free = await client.acquire(`dg ${i}`, { wait: 5000 });
    assert.equal(lock.held, false);
    await free.release();
    await own.close();
  }
});

test('a wrong option, or a signal that is aborted already, leaves the lock as it is', options, async () => {
  const lock = await client.acquire('dg options');
  await assert.rejects(lock.downgrade({ ttl: 5 }), /there is no option "ttl"/);
  await assert.rejects(lock.downgrade({ signal: 5 }), /^InvalidArgumentError: signal: /);
  await assert.rejects(lock.downgrade({ signal: AbortSignal.abort(new Error('before')) }), /before/);
  assert.ok(lock.held);
  await lock.release();
});
