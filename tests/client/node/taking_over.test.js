// Acquisitions with the caller's token, and taking over a lock that the token holds.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Harness } from './harness.js';

const TOKEN = 'mine';

const start = (options) => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN, ...options });
  world.ready();
  return { world, call };
};

test('an acquire carries the token of the caller, and its answer needs no adoption', () => {
  const { world, call } = start({});
  const [operation] = world.expect('acquire');
  assert.equal(operation.acquire.token, TOKEN);
  assert.equal(operation.acquire.extendIfHeld, undefined);
  world.grant(operation);
  assert.equal(call.lease.token, TOKEN);
  world.expect();
});

test('if the Session ends before the answer, the acquire is sent with extend_if_held, and then adopted', () => {
  const { world, call } = start({});
  world.expect('acquire');
  world.breakStream();
  world.ready();
  const [again] = world.expect('acquire');
  assert.equal(again.acquire.token, TOKEN);
  assert.equal(again.acquire.extendIfHeld, true);
  world.grant(again, { fence: 40n });
  assert.ok(!call.done, 'the Session does not keep it yet');
  const [adopt] = world.expect('adopt');
  assert.deepEqual(adopt.adopt, { key: 'k', token: TOKEN, slot: undefined, ttl: 30_000, sequence: 43n });
  world.grant(adopt, { fence: 41n });
  assert.equal(call.lease.fence, 41n);
  world.breakStream();
  world.pass(100);
  world.ready();
  assert.equal(world.expect('adopt')[0].adopt.sequence, 45n);
});

test('an acquire that may be held is given up if it fails or is given up', () => {
  for (const [end, expected] of [
    [(world, operation) => world.fail(operation, 'LOCK_ALREADY_HELD'), [{ key: 'k', token: TOKEN }]],
    [(world, operation, call) => { world.giveUp(call); world.fail(operation, 'CANCELLED'); }, [{ key: 'k', token: TOKEN }]],
    [(world, operation, call) => {
      world.breakStream();
      world.giveUp(call);
      world.acquire('other');
      world.pass(100);
      world.ready();
    }, []],
  ]) {
    const { world, call } = start({});
    world.expect('acquire');
    world.breakStream();
    world.ready();
    const [again] = world.expect('acquire');
    end(world, again, call);
    assert.deepEqual(world.take().flatMap(({ giveUp, release }) => giveUp ?? release ?? []), expected);
    assert.ok(call.error);
    world.pass(500, { daemon: true });
  }
});

test('acquireOrExtend adopts a lock that the token holds', () => {
  const { world, call } = start({ extendIfHeld: true });
  const [operation] = world.expect('extend');
  assert.deepEqual(operation.extend, { key: 'k', token: TOKEN, slot: undefined, ttl: 30_000, retry: { maxRetries: 0 } });
  world.grant(operation);
  const [adopt] = world.expect('adopt');
  world.fail(adopt, 'QUORUM_UNAVAILABLE');
  world.pass(99);
  world.expect();
  world.pass(2);
  const [next] = world.expect('adopt');
  assert.equal(next.adopt.sequence, adopt.adopt.sequence + 1n);
  world.fail(next, 'LOCK_NOT_HELD');
  world.pass(101);
  const [again] = world.expect('extend');
  world.grant(again, { fence: 50n });
  world.grant(world.expect('adopt')[0], { fence: 50n });
  assert.equal(call.lease.fence, 50n);
});

const startNew = (options) => {
  const started = start({ extendIfHeld: true, ...options });
  started.world.fail(started.world.expect('extend')[0], 'LOCK_NOT_HELD');
  return started;
};

test('acquireOrExtend acquires if the token holds nothing', () => {
  const { world, call } = startNew();
  const [acquire] = world.expect('acquire');
  assert.equal(acquire.acquire.extendIfHeld, undefined);
  world.grant(acquire);
  assert.equal(call.lease.token, TOKEN);
});

test('an acquireOrExtend that fails before it adopts releases nothing', () => {
  const { world, call } = start({ extendIfHeld: true, wait: 500 });
  const [extend] = world.expect('extend');
  world.pass(800);
  assert.equal(call.error.reason, 'DEADLINE_EXCEEDED');
  world.grant(extend);
  world.expect();
  const away = start({ extendIfHeld: true, wait: 500 });
  away.world.expect('extend');
  away.world.breakStream();
  away.world.pass(600);
  away.world.ready();
  assert.equal(away.call.error.reason, 'UNREACHABLE');
  away.world.expect();
});

const startSpared = () => {
  const { world, call } = start({ extendIfHeld: true });
  world.grant(world.expect('extend')[0], { validity: 10_000 });
  const [adopt] = world.expect('adopt');
  world.giveUp(call);
  world.grant(adopt);
  return world;
};

test('an acquireOrExtend that is given up while it adopts spares the lock for as long as it would have lasted', () => {
  const world = startSpared();
  world.pass(9900, { daemon: true });
  world.expect();
  world.pass(200);
  assert.deepEqual(world.take().flatMap(({ giveUp }) => giveUp ?? []), [{ key: 'k', token: TOKEN }]);
});

test('a later acquireOrExtend keeps a lock that an earlier one has spared', () => {
  const world = startSpared();
  const again = world.acquire('k', { token: TOKEN, extendIfHeld: true });
  world.grant(world.expect('extend')[0]);
  world.grant(world.expect('adopt')[0]);
  assert.equal(again.lease.token, TOKEN);
  world.pass(15_000, { daemon: true });
  assert.equal(again.lease.state, 'held');
});

test('an acquireOrExtend that is given up gives up what it has acquired', () => {
  const { world, call } = startNew();
  const [acquire] = world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  world.grant(acquire);
  assert.equal(world.expect('giveUp')[0].giveUp.token, TOKEN);
});

test('an acquire with a token with which this client holds the lock fails at once, and sends nothing', () => {
  for (const wait of [undefined, 0, 5000]) {
    const { world, call } = start({});
    world.grant(world.expect('acquire')[0]);
    const again = world.acquire('k', { token: TOKEN, wait });
    assert.equal(again.error.reason, 'LOCK_ALREADY_HELD');
    world.expect();
    assert.equal(call.lease.state, 'held');
  }
});

test('the sequence of an adopt exceeds those of a client that has adopted the lock before', () => {
  const { world } = start({ adopt: true });
  world.wallMicros = 500n;
  world.grant(world.expect('extend')[0], { fence: 7n });
  assert.equal(world.expect('adopt')[0].adopt.sequence, 501n);
});

test('adopt asks for the fencing token first, and fails if the token does not hold the lock', () => {
  const { world, call } = start({ adopt: true });
  const [extend] = world.expect('extend');
  assert.deepEqual(extend.extend, { key: 'k', token: TOKEN, slot: undefined, ttl: 30_000, retry: { maxRetries: 0 } });
  world.grant(extend, { fence: 7n });
  assert.ok(!call.done);
  const [adopt] = world.expect('adopt');
  assert.equal(adopt.adopt.sequence, 9n);
  world.grant(adopt, { fence: 7n });
  assert.equal(call.lease.fence, 7n);
  const other = world.acquire('other', { token: TOKEN, adopt: true });
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  assert.equal(other.error.reason, 'LOCK_NOT_HELD');
  world.expect();
});

test('adopt rides out an outage within its wait, and its end names the outage', () => {
  const { world, call } = start({ adopt: true, wait: 1000 });
  world.fail(world.expect('extend')[0], 'QUORUM_UNAVAILABLE');
  world.pass(60);
  world.fail(world.expect('extend')[0], 'QUORUM_UNAVAILABLE', { retryDelay: 3000 });
  world.pass(1000);
  assert.equal(call.error.reason, 'QUORUM_UNAVAILABLE');
  assert.match(call.error.message, /^k: not adopted within 1000 ms/);
});

test('an adopt that is given up before it was sent leaves the lock to its owner; afterwards, it is given up', () => {
  const early = start({ adopt: true });
  const [extend] = early.world.expect('extend');
  early.world.giveUp(early.call);
  early.world.grant(extend);
  early.world.expect();
  const late = start({ adopt: true });
  late.world.grant(late.world.expect('extend')[0]);
  const [adopt] = late.world.expect('adopt');
  late.world.giveUp(late.call);
  late.world.expect();
  late.world.grant(adopt);
  assert.equal(late.world.expect('giveUp')[0].giveUp.token, TOKEN);
});

test('a token that this client holds already gives the same lease', () => {
  const { world, call } = start({});
  world.grant(world.expect('acquire')[0], { fence: 5n });
  const again = world.acquire('k', { token: TOKEN, extendIfHeld: true, ttl: 60_000 });
  world.grant(world.expect('extend')[0], { fence: 5n });
  world.grant(world.expect('adopt')[0], { fence: 5n, validity: 59_000 });
  assert.equal(again.lease, call.lease);
  assert.equal(call.lease.ttl, 60_000);
  world.event({ type: 'LOST', lease: { key: 'k', token: TOKEN, fence: 0n, validity: 0 } });
  assert.equal(call.losses, 1);
});

test('one token for several keys', () => {
  const { world, call } = start({});
  world.grant(world.expect('acquire')[0]);
  const other = world.acquire('other', { token: TOKEN });
  world.grant(world.expect('acquire')[0]);
  world.event({ type: 'LOST', lease: { key: 'other', token: TOKEN, fence: 0n, validity: 0 } });
  assert.equal(other.losses, 1);
  assert.equal(call.losses, 0);
  assert.equal(call.lease.state, 'held');
});

test('a release of the caller\'s token that was sent over two Sessions reports that it is undecided', () => {
  const { world, call } = start({});
  world.grant(world.expect('acquire')[0]);
  const release = world.release(call.lease);
  world.expect('release');
  world.breakStream();
  world.ready();
  world.fail(world.expect('release')[0], 'LOCK_NOT_HELD');
  assert.equal(release.error.reason, 'UNREACHABLE');
  assert.match(release.error.message, /do not use the token again/);
});

test('a lease that is adopted after its loss was reported is released', () => {
  const world = new Harness();
  const { lease } = world.hold();
  world.breakStream();
  world.ready();
  const [adopt] = world.expect('adopt');
  world.event({ type: 'LOST', lease: { key: 'k', token: lease.token, fence: 0n, validity: 0 } });
  world.grant(adopt);
  assert.equal(world.expect('release')[0].release.token, lease.token);
});
