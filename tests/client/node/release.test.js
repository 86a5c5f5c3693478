import assert from 'node:assert/strict';
import test from 'node:test';
import { Harness } from './harness.js';

test('trust ends before the release is sent, regardless of its answer', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const call = world.release(lease);
  assert.equal(lease.trustedUntil, -Infinity);
  const [operation] = world.expect('release');
  assert.deepEqual(operation.release, { key: 'k', token: lease.token, keepFor: undefined });
  world.fail(operation, 'QUORUM_UNAVAILABLE');
  assert.equal(call.error.reason, 'QUORUM_UNAVAILABLE');
  assert.equal(lease.trustedUntil, -Infinity);
});

test('a release does not signal a loss', () => {
  const world = new Harness();
  const held = world.hold();
  world.release(held.lease);
  world.answer(world.expect('release')[0]);
  world.event({ type: 'LOST', lease: { key: held.lease.key, token: held.lease.token, fence: 0n, validity: 0 } });
  assert.equal(held.losses, 0);
});

test('a release that is not answered is sent again at the next Session, and the lock is not adopted', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const call = world.release(lease);
  world.expect('release');
  world.breakStream();
  world.ready();
  const [again] = world.expect('release');
  world.fail(again, 'LOCK_NOT_HELD');
  assert.ok(call.done);
  assert.equal(call.error, undefined, 'LOCK_NOT_HELD is success for an operation that was sent twice');
});

test('a call with the same token waits until the release is not sent again', () => {
  for (const [reason, keepFor] of [['OVERLOADED'], ['INVALID_ARGUMENT', 600_000]]) {
    const world = new Harness();
    world.release(world.hold('k', { token: 'mine' }).lease, keepFor);
    const call = world.acquire('k', { token: 'mine' });
    world.fail(world.expect('release')[0], reason);
    world.pass(100);
    world.answer(world.expect('release')[0]);
    world.grant(world.expect('acquire')[0]);
    assert.ok(call.lease.trustedUntil > world.now);
    world.pass(100);
    world.expect();
  }
});

test('LOCK_NOT_HELD for a release that was sent once is an error', () => {
  const world = new Harness();
  const call = world.release(world.hold().lease);
  world.fail(world.expect('release')[0], 'LOCK_NOT_HELD');
  assert.equal(call.error.reason, 'LOCK_NOT_HELD');
});

test('a second release does nothing and succeeds', () => {
  const world = new Harness();
  const { lease } = world.hold();
  world.release(lease);
  const second = world.release(lease);
  assert.ok(second.done);
  assert.equal(second.error, undefined);
  world.expect('release');
});

test('the caller of a release waits at most 2 s; the release continues until the lock would have expired', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { ttl: 30_000 });
  world.breakStream();
  const call = world.release(lease);
  world.pass(1999);
  assert.ok(!call.done);
  world.pass(2);
  assert.ok(call.done);
  assert.equal(call.error, undefined);
  assert.equal(world.machine.awaited, 0);
  world.pass(10_000);
  while (world.take().length === 0) world.pass(10);
  world.breakStream();
  while (world.session === undefined) world.pass(10);
  world.ready();
  world.answer(world.expect('release')[0]);
  world.pass(2000, { daemon: true });
  assert.equal(world.session, undefined);
});

test('a release is abandoned once the lock has expired', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { ttl: 30_000 });
  world.breakStream();
  world.release(lease);
  world.pass(29_000);
  assert.equal(world.machine.releases.size, 1);
  world.pass(5000);
  assert.equal(world.machine.releases.size, 0);
  assert.equal(world.session, undefined);
});

test('a release lasts as long as an extension may have made the lock last', () => {
  for (const answered of [true, false]) {
    const world = new Harness();
    const { lease } = world.hold('k', { ttl: 30_000 });
    world.extend(lease, 60_000);
    const [extend] = world.expect('extend');
    if (answered) world.grant(extend, { validity: 60_000 });
    world.breakStream();
    world.release(lease);
    world.pass(59_000);
    assert.equal(world.machine.releases.size, 1);
    world.pass(5000);
    assert.equal(world.machine.releases.size, 0);
  }
});

test('a release during the adoption of the lock is sent after the adoption', () => {
  const world = new Harness();
  const { lease } = world.hold();
  world.breakStream();
  world.ready();
  const call = world.release(lease);
  const [adopt, release] = world.expect('adopt', 'release');
  world.grant(adopt);
  assert.equal(lease.trustedUntil, -Infinity);
  world.answer(release);
  assert.ok(call.done);
  world.drain();
  world.pass(2000);
  assert.equal(world.machine.leases.size, 0);
});

test('DRAINING as the answer to a release sends it to the next daemon', () => {
  const world = new Harness();
  const call = world.release(world.hold().lease);
  world.fail(world.expect('release')[0], 'DRAINING');
  assert.ok(!call.done);
  world.ready();
  world.answer(world.expect('release')[0]);
  assert.equal(call.error, undefined);
  assert.ok(call.done);
});

test('extend raises the validity, and fails with the reason if the answer is not a lease', () => {
  const world = new Harness({ grace: 60_000 });
  const { lease } = world.hold('k', { ttl: 10_000 }, { validity: 9000 });
  const good = world.extend(lease, 40_000);
  const [operation] = world.expect('extend');
  assert.deepEqual(operation.extend, { key: 'k', token: lease.token, slot: undefined, ttl: 40_000, retry: undefined });
  world.grant(operation, { validity: 39_000 });
  assert.ok(good.done && good.error === undefined);
  assert.equal(lease.trustedUntil, world.now + 39_000);
  const bad = world.extend(lease, 40_000);
  world.fail(world.expect('extend')[0], 'QUORUM_UNAVAILABLE');
  assert.equal(bad.error.reason, 'QUORUM_UNAVAILABLE');
  assert.equal(lease.state, 'held');
});

test('LOCK_NOT_HELD as the answer to extend means that the lock is lost', () => {
  const world = new Harness();
  const held = world.hold();
  const call = world.extend(held.lease);
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  assert.equal(call.error.reason, 'LOCK_NOT_HELD');
  assert.equal(held.losses, 1);
});

test('an extension during a move waits for the adoption, for at most 2 s', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { ttl: 60_000 }, { validity: 59_000 });
  world.breakStream();
  const call = world.extend(lease);
  world.ready();
  const more = world.extend(lease);
  const [adopt] = world.expect('adopt');
  world.grant(adopt);
  for (const operation of world.expect('extend', 'extend')) world.grant(operation);
  assert.ok(call.done && call.error === undefined);
  assert.ok(more.done && more.error === undefined);
  world.breakStream();
  const late = world.extend(lease);
  world.pass(1999);
  assert.ok(!late.done);
  world.pass(2);
  assert.equal(late.error.reason, 'UNREACHABLE');
});

test('an extension ends when its lock is released or lost', () => {
  const world = new Harness();
  const first = world.hold('a');
  const second = world.hold('b');
  const calls = [world.extend(first.lease), world.extend(second.lease)];
  world.release(first.lease);
  world.event({ type: 'LOST', lease: { key: second.lease.key, token: second.lease.token, fence: 0n, validity: 0 } });
  assert.deepEqual(calls.map(({ error }) => error.reason), ['LOCK_NOT_HELD', 'LOCK_NOT_HELD']);
  assert.equal(world.extend(first.lease).error.reason, 'LOCK_NOT_HELD');
  assert.equal(world.extend(second.lease).error.reason, 'LOCK_NOT_HELD');
});

test('close ends trust and waits at once, and releases everything with one operation', () => {
  const world = new Harness();
  const held = [world.hold('a'), world.hold('b')];
  const waiting = world.acquire('c');
  world.expect('acquire');
  const unsent = world.acquire('d');
  const call = world.close();
  for (const { losses, lost, lease } of held) {
    assert.equal(losses, 1);
    assert.equal(lost.reason, 'CANCELLED');
    assert.equal(lease.trustedUntil, -Infinity);
  }
  assert.equal(waiting.error.reason, 'CANCELLED');
  assert.equal(unsent.error.reason, 'CANCELLED');
  const [, close] = world.expect('cancel', 'close');
  assert.ok(!call.done);
  world.answer(close);
  assert.ok(call.done);
  assert.ok(world.machine.closed);
  assert.equal(world.session, undefined);
});

test('close with nothing to release completes at once', () => {
  const world = new Harness();
  assert.ok(world.close().done);
  assert.equal(world.opened.length, 0);
  const later = world.acquire();
  assert.equal(later.error.reason, 'CANCELLED');
  assert.ok(world.close().done, 'a second close too');
});

test('locks that are not adopted are released one by one before close', () => {
  const world = new Harness();
  world.hold('a');
  world.hold('b');
  world.drain();
  world.ready();
  const [a] = world.expect('adopt', 'adopt');
  world.grant(a);
  const call = world.close();
  const [release] = world.expect('release');
  assert.equal(release.release.key, 'b');
  world.answer(release);
  const [close] = world.expect('close');
  assert.ok(!call.done);
  world.answer(close);
  assert.ok(call.done);
});

test('close during a move releases every lock at the next daemon', () => {
  const world = new Harness();
  world.hold('a');
  world.hold('b');
  world.breakStream();
  const call = world.close();
  world.ready();
  const releases = world.expect('release', 'release');
  for (const release of releases) world.answer(release);
  assert.ok(call.done);
  assert.ok(world.machine.closed);
});

test('if the Session ends before close is answered, its locks are released one by one', () => {
  for (const sent of [true, false]) {
    const world = new Harness();
    world.hold('a');
    world.acquire('b');
    world.expect('acquire');
    const call = world.close();
    if (sent) world.expect('cancel', 'close');
    world.breakStream();
    world.ready();
    const keys = world.take().map(({ id, release }) => {
      world.fail({ id }, 'LOCK_NOT_HELD');
      return release.key;
    });
    assert.deepEqual([...new Set(keys)].sort(), ['a', 'b']);
    assert.ok(call.done);
    assert.ok(world.machine.closed);
  }
});

test('the caller of close waits at most 2 s; the rest continues in the background and ends', () => {
  const world = new Harness();
  world.hold('a', { ttl: 10_000 });
  world.breakStream();
  const call = world.close();
  world.pass(2001);
  assert.ok(call.done);
  assert.equal(world.machine.awaited, 0);
  assert.ok(!world.machine.closed);
  world.pass(12_000);
  assert.ok(world.machine.closed);
  assert.equal(world.session, undefined);
});

test('a pending release completes before close is sent', () => {
  const world = new Harness();
  const { lease } = world.hold('a');
  world.hold('b');
  const release = world.release(lease);
  const [operation] = world.expect('release');
  const call = world.close();
  world.expect();
  world.answer(operation);
  assert.ok(release.done && release.error === undefined);
  world.answer(world.expect('close')[0]);
  assert.ok(call.done);
});

test('many cycles leave no state in the client', () => {
  const world = new Harness();
  world.hold('first');
  for (let i = 0; i < 500; i += 1) {
    const { lease } = world.hold('k', { wait: 10_000 });
    const call = world.release(lease);
    world.answer(world.expect('release')[0]);
    assert.ok(call.done);
  }
  const { machine } = world;
  assert.equal(machine.session.unanswered, 0);
  assert.equal(machine.leases.size, 1);
  assert.equal(machine.acquires.size + machine.releases.size + machine.awaited, 0);
  assert.equal(machine.deadlines.size, 1, 'the next ping');
});
