// keepFor keeps a key taken after its release, and lockDelay after its loss.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Harness, kindOf } from './harness.js';

const DELAY = { ttl: 10_000, lockDelay: 20_000 };

// Loses a lock by the clock, while the daemon still answers. Returns it.
const loseByTheClock = (world, options) => {
  const held = world.hold('k', options, { validity: 9000 });
  world.pass(8501, { daemon: true });
  assert.equal(held.losses, 1);
  return held;
};

test('a loss names the failure of the last extension', () => {
  const world = new Harness();
  const held = ['a', 'b'].map((key) => world.hold(key, { ttl: 10_000 }, { validity: 9000 }));
  const event = (type, { lease: { key, token } }, validity = 0) => world.event({ type, lease: { key, token, fence: 0n, validity } });
  held.forEach((each) => event('EXTEND_FAILED', each));
  event('EXTENDED', held[1], 9000);
  world.pass(8501, { daemon: true });
  assert.deepEqual(held.map(({ losses }) => losses), [1, 1]);
  assert.match(held[0].lease.endedBy().message, /no daemon extended it in time \(because\)$/);
  assert.match(held[1].lease.endedBy().message, /no daemon extended it in time$/);
});

test('an acquire carries its value and its delay, also when it is repeated', () => {
  const world = new Harness();
  world.acquire('k', { ...DELAY, value: '10.0.0.1:80' });
  world.ready();
  for (const again of [false, true]) {
    if (again) {
      world.breakStream();
      world.ready();
      world.answer(world.expect('release')[0]);
    }
    const { acquire } = world.expect('acquire')[0];
    assert.deepEqual([acquire.value, acquire.lockDelay], ['10.0.0.1:80', 20_000]);
  }
});

test('an acquireOrExtend carries them only if it acquires; an adoption carries none', () => {
  const world = new Harness();
  world.hold('other');
  world.acquire('k', { ...DELAY, value: 'v', token: 'mine', extendIfHeld: true });
  const [extend] = world.expect('extend');
  assert.deepEqual([extend.extend.value, extend.extend.lockDelay], [undefined, undefined]);
  world.fail(extend, 'LOCK_NOT_HELD');
  const [{ acquire }] = world.expect('acquire');
  assert.deepEqual([acquire.value, acquire.lockDelay], ['v', 20_000]);
});

test('a release names keepFor, also on the next Session', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const call = world.release(lease, 5000);
  assert.equal(world.expect('release')[0].release.keepFor, 5000);
  world.breakStream();
  world.pass(2001);
  assert.ok(call.done, 'the caller no longer waits');
  while (world.session === undefined) world.pass(10);
  world.ready();
  const [again] = world.expect('release');
  assert.equal(again.release.keepFor, 5000);
  world.answer(again);
  assert.equal(world.machine.releases.size, 0);
});

test('a lock is released although the daemon refuses keepFor', () => {
  const world = new Harness();
  const call = world.release(world.hold().lease, 600_000);
  world.fail(world.expect('release')[0], 'INVALID_ARGUMENT');
  assert.equal(call.error.reason, 'INVALID_ARGUMENT');
  const [again] = world.expect('release');
  assert.equal(again.release.keepFor, undefined);
  world.fail(again, 'INVALID_ARGUMENT');
  world.expect();
  assert.equal(world.machine.releases.size, 0);
});

test('the keepFor of the acquisition is that of a release which names none', () => {
  const world = new Harness();
  world.release(world.hold('k', { keepFor: 3000 }).lease);
  assert.equal(world.expect('release')[0].release.keepFor, 3000);
  world.release(world.hold('other', { keepFor: 3000 }).lease, 5000);
  assert.equal(world.expect('release')[0].release.keepFor, 5000);
  const { lease } = world.hold('mine', { token: 'mine' });
  world.acquire('mine', { token: 'mine', adopt: true, keepFor: 7000 });
  world.grant(world.expect('extend')[0]);
  world.grant(world.expect('adopt')[0]);
  world.release(lease);
  assert.equal(world.expect('release')[0].release.keepFor, 7000, 'a later call for the same lock');
});

test('a share that a lock was downgraded to keeps the key as the lock would have', () => {
  const world = new Harness();
  const call = world.downgrade(world.hold('k', { keepFor: 3000, lockDelay: 1000 }).lease);
  world.grant(world.expect('extend')[0]);
  world.grant(world.expect('adopt')[0]);
  assert.equal(call.lease.lockDelay, 1000);
  world.release(call.lease);
  assert.equal(world.expect('release')[0].release.keepFor, 3000);
});

test('what a close releases is not kept', () => {
  const world = new Harness();
  world.hold('k', { keepFor: 3000 });
  world.breakStream();
  world.close();
  world.ready();
  assert.equal(world.expect('release')[0].release.keepFor, undefined);
});

test('a lost lock is given back only after its delay', () => {
  const world = new Harness();
  const { lease } = loseByTheClock(world, DELAY);
  world.hold('other', { ttl: 60_000 }, { validity: 59_000 });
  world.pass(499 + 19_990, { daemon: true });
  world.pass(20);
  const [release] = world.expect('release');
  assert.deepEqual(release.release, { key: 'k', token: lease.token, keepFor: undefined });
});

test('a release is pursued until the delay is over', () => {
  const world = new Harness();
  const { lease } = world.hold('k', DELAY);
  world.breakStream();
  world.release(lease);
  world.pass(29_000);
  assert.equal(world.machine.releases.size, 1);
  world.pass(5000);
  assert.equal(world.machine.releases.size, 0);
});

test('a close does not release a lost lock before its delay is over, and still releases the others', () => {
  const world = new Harness();
  loseByTheClock(world, DELAY);
  const others = [world.hold('a').lease, world.hold('b').lease];
  const call = world.close();
  const releases = world.expect('release', 'release');
  assert.deepEqual(releases.map(({ release }) => release.key), ['a', 'b']);
  for (const release of releases) world.answer(release);
  assert.ok(call.done);
  assert.ok(world.machine.closed, 'no close was sent');
  assert.equal(world.dropped.length, 1);
  assert.deepEqual(others.map(({ state }) => state), ['released', 'released']);
  assert.equal(world.machine.deadlines.size, 0);
});

test('a release of a lost lock does not end its delay, nor does its late adoption', () => {
  for (const token of [undefined, 'mine']) {
    const world = new Harness();
    const { lease } = world.hold('k', { ...DELAY, token });
    world.breakStream();
    world.ready();
    const [adopt] = world.expect('adopt');
    world.event({ type: 'LOST', lease: { key: 'k', token: lease.token, fence: 0n, validity: 0 } });
    world.release(lease);
    world.grant(adopt);
    world.hold('other', { ttl: 60_000 }, { validity: 59_000 });
    world.pass(19_990, { daemon: true });
    world.pass(20);
    const sent = world.take().map(kindOf).filter((kind) => kind !== 'ping');
    assert.deepEqual(sent, [token === undefined ? 'release' : 'giveUp']);
  }
});

test('a late adoption does not end the delay during a close', () => {
  const world = new Harness({ grace: 60_000 });
  world.hold('k', { ...DELAY, ttl: 3000, margin: 300 }, { validity: 2900 });
  world.hold('other');
  world.breakStream();
  world.ready();
  const [adopt] = world.expect('adopt', 'adopt');
  world.pass(2610);
  const call = world.close();
  world.grant(adopt);
  const [release] = world.expect('release');
  assert.equal(release.release.key, 'other');
  world.answer(release);
  assert.ok(call.done);
});

test('the answers after the end of the client are ignored', () => {
  const world = new Harness();
  loseByTheClock(world, DELAY);
  world.hold('other');
  const call = world.close();
  const [release] = world.expect('release');
  world.pass(1300);
  const [ping] = world.expect('ping');
  const { session } = world;
  world.message({ results: [{ id: release.id }, { id: ping.id }], events: [{ type: 'DRAINING' }] });
  assert.ok(call.done && world.machine.closed);
  world.answer(ping, {}, session);
});

test('a close releases a lost lock without a delay, and with the others', () => {
  const world = new Harness();
  loseByTheClock(world, { ttl: 10_000 });
  world.hold('a');
  world.close();
  world.answer(world.expect('close')[0]);
  assert.ok(world.machine.closed);
});

test('the signal that a lock has ended is aborted by its release, its loss and its downgrade', () => {
  const world = new Harness();
  const [released, lost, downgraded, closed] = ['a', 'b', 'c', 'd'].map((key) => world.hold(key).lease);
  const signals = [released, lost, downgraded, closed].map(({ ended }) => ended);
  assert.ok(signals.every(({ aborted }) => !aborted));
  world.release(released);
  world.event({ type: 'LOST', lease: { key: 'b', token: lost.token, fence: 0n, validity: 0 } });
  world.downgrade(downgraded);
  world.close();
  assert.deepEqual(signals.map(({ reason }) => [reason.name, reason.message]), [
    ['LockNotHeldError', 'a: the lock was released'], ['LockLostError', 'b: the lock was lost: because'],
    ['LockNotHeldError', 'c: the lock was downgraded'], ['CancelledError', 'the client is closed; make a new one']]);
  assert.equal(released.ended.aborted, true);
  const later = new Harness();
  const { lease } = later.hold();
  later.release(lease);
  assert.ok(lease.ended.aborted, 'also if nobody asked before');
});

test('values count for the limit of a message', () => {
  const world = new Harness();
  world.hold('first');
  const value = 'x'.repeat(4096);
  for (let i = 0; i < 100; i += 1) world.acquire(`k${i}`, { value });
  const message = world.machine.take();
  assert.ok(message.operations.length < 40, String(message.operations.length));
});
