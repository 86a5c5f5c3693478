// Locks that no caller gets or keeps are given back: those of the caller's token on the current Session only.
import assert from 'node:assert/strict';
import test from 'node:test';
import { joined } from '../../../client/node/core/key.js';
import { Harness } from './harness.js';

const TOKEN = 'mine';

// A call that is given up crosses its grant.
const cross = (world, options = { token: TOKEN }) => {
  const call = world.acquire('k', options);
  if (!world.machine.ready) world.ready();
  const [acquire] = world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  world.grant(acquire);
  return acquire.acquire.token;
};

// The operation with which the client gives up a lock, the only one that it sends now.
const givenUp = (world, token = TOKEN) => {
  const [operation] = world.expect('giveUp');
  assert.deepEqual(operation.giveUp, { key: 'k', token });
  return operation;
};

const next = (world) => {
  world.breakStream();
  world.pass(100);
  world.ready();
};

const lost = (lease) => ({ type: 'LOST', lease: { key: 'k', token: lease.token, fence: 0n, validity: 0 } });

test('an acquireOrExtend that fails sends nothing on the next Session', () => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN, extendIfHeld: true, wait: 300 });
  world.ready();
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  const [acquire] = world.expect('acquire');
  world.pass(301);
  world.expect('cancel');
  world.grant(acquire);
  assert.equal(call.error.reason, 'DEADLINE_EXCEEDED');
  givenUp(world);
  world.hold('other');
  next(world);
  world.expect('adopt');
  world.pass(3000, { daemon: true });
});

test('neither does an acquire whose Session ends while it is given up', () => {
  const world = new Harness();
  world.hold('other');
  const call = world.acquire('k', { token: TOKEN });
  world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  next(world);
  world.expect('adopt');
  world.pass(3000, { daemon: true });
});

test('a token that the client made is released on the next Session', () => {
  const world = new Harness();
  const token = cross(world, {});
  assert.equal(world.expect('release')[0].release.token, token);
  next(world);
  assert.equal(world.expect('release')[0].release.token, token);
});

test('a token of the caller that looks as if a client had made it is given up', () => {
  const world = new Harness();
  const token = `rl-${'0'.repeat(32)}`;
  cross(world, { token });
  givenUp(world, token);
});

test('without an answer to the cancel, it is given up after 1 s, and again when it is granted late', () => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN });
  world.ready();
  const [acquire] = world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  world.pass(1001);
  givenUp(world);
  world.grant(acquire);
  givenUp(world);
});

test('a lock that is granted too late to be trusted is given up', () => {
  const world = new Harness();
  world.acquire('other');
  world.ready();
  world.expect('acquire');
  const call = world.acquire('k', { token: TOKEN, ttl: 3000 });
  const [{ id }] = world.expect('acquire');
  const made = world.daemonClock;
  world.now += 2500;
  world.message({ results: [{ id, lease: { token: TOKEN, fence: 1n, validity: 2900 } }] }, world.session, made);
  assert.equal(call.error.reason, 'VALIDITY_EXPIRED');
  givenUp(world);
});

test('it is sent before what later calls send, also if the caller starts them as soon as it hears of the failure', () => {
  const world = new Harness();
  const { machine } = world;
  const request = { key: 'k', token: TOKEN, ttl: 30_000, owner: '', margin: 500 };
  machine.acquire({ ...request, wait: 0 }, () => machine.acquire(request, () => {}));
  world.ready();
  world.expect('acquire');
  world.breakStream();
  world.ready();
  world.fail(world.expect('acquire')[0], 'LOCK_ALREADY_HELD');
  world.expect('giveUp', 'acquire');
  machine.giveUp([...machine.acquires][0], new Error('given up'));
});

test('a later call waits until the earlier one is answered', () => {
  const ends = {
    crossed: (world, acquire) => { world.grant(acquire); return ['giveUp']; },
    refused: (world, acquire) => { world.fail(acquire, 'CANCELLED'); return []; },
    silent: (world) => { world.pass(1001); return ['giveUp']; },
    'cut off': (world) => { next(world); return []; },
  };
  for (const [name, end] of Object.entries(ends)) {
    for (const way of [{}, { extendIfHeld: true }, { adopt: true }]) {
      const world = new Harness({ grace: 30_000 });
      const call = world.acquire('k', { token: TOKEN });
      world.ready();
      const [acquire] = world.expect('acquire');
      world.giveUp(call);
      const later = world.acquire('k', { token: TOKEN, ...way });
      world.expect('cancel');
      const given = end(world, acquire);
      const takes = Object.keys(way).length > 0;
      const operations = world.expect(...given, takes ? 'extend' : 'acquire');
      if (given.length > 0) world.answer(operations[0]);
      world.grant(operations.at(-1));
      if (takes) world.grant(world.expect('adopt')[0]);
      assert.ok(later.lease, name);
      world.pass(2000, { daemon: true });
    }
  }
});

test('a later call waits for an adoption that was given up', () => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN, adopt: true });
  world.ready();
  world.grant(world.expect('extend')[0]);
  const [adopt] = world.expect('adopt');
  world.giveUp(call);
  world.acquire('k', { token: TOKEN });
  world.expect();
  world.grant(adopt);
  world.expect('giveUp', 'acquire');
});

test('a later call may end while it waits for the earlier one', () => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN });
  world.ready();
  const [acquire] = world.expect('acquire');
  world.giveUp(call);
  const later = world.acquire('k', { token: TOKEN, wait: 300 });
  world.expect('cancel');
  world.pass(301);
  assert.equal(later.error.reason, 'DEADLINE_EXCEEDED');
  world.grant(acquire);
  givenUp(world);
});

test('a lock that an acquireOrExtend has acquired after another one has ended is given up at once', () => {
  const world = new Harness();
  const call = world.acquire('k', { token: TOKEN, extendIfHeld: true });
  world.ready();
  world.grant(world.expect('extend')[0]);
  world.fail(world.expect('adopt')[0], 'LOCK_NOT_HELD');
  world.pass(101);
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  const [acquire] = world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  world.grant(acquire);
  givenUp(world);
});

test('it is postponed while a call waits with the same key and token', () => {
  const world = new Harness();
  world.acquire('other', { token: TOKEN });
  world.acquire('k', { token: 'other' });
  world.acquire('k', { token: TOKEN });
  world.ready();
  const [, , waiting] = world.expect('acquire', 'acquire', 'acquire');
  cross(world);
  world.pass(5000, { daemon: true });
  world.fail(waiting, 'MAX_RETRIES_EXCEEDED');
  world.pass(1000);
  assert.deepEqual(world.take().flatMap(({ giveUp }) => giveUp ?? []), [{ key: 'k', token: TOKEN }]);
});

test('calls with other keys or tokens do not postpone it', () => {
  const world = new Harness();
  world.acquire('other', { token: TOKEN });
  world.acquire('k', { token: 'other' });
  world.ready();
  world.expect('acquire', 'acquire');
  cross(world);
  givenUp(world);
});

test('OVERLOADED repeats it, but not while the token is used', () => {
  for (const used of [false, true]) {
    const world = new Harness({ grace: 60_000 });
    cross(world);
    world.fail(givenUp(world), 'OVERLOADED', { retryDelay: 300 });
    const lease = used ? world.hold('k', { token: TOKEN }).lease : undefined;
    world.pass(299);
    world.expect();
    world.pass(2);
    if (used) {
      world.expect();
      world.pass(5000);
      world.expect();
      world.event(lost(lease));
      world.pass(1000);
    }
    world.fail(givenUp(world), 'LOCK_NOT_HELD');
    assert.equal(world.machine.giveUps.size, 0);
  }
});

test('every other answer ends it', () => {
  for (const reason of ['LOCK_NOT_HELD', 'QUORUM_UNAVAILABLE', 'PERMISSION_DENIED', undefined]) {
    const world = new Harness();
    world.hold('other');
    cross(world);
    const operation = givenUp(world);
    if (reason) world.fail(operation, reason);
    else world.answer(operation);
    world.pass(3000, { daemon: true });
    assert.equal(world.machine.giveUps.size, 0);
  }
});

test('it waits as long as its Session, which keeps the lock alive', () => {
  const world = new Harness({ grace: 60_000 });
  cross(world, { token: TOKEN, ttl: 3000 });
  world.fail(givenUp(world), 'OVERLOADED');
  const { lease } = world.hold('k', { token: TOKEN, ttl: 600_000 }, { validity: 500_000 });
  world.pass(300_000, { daemon: true });
  assert.equal(world.machine.giveUps.size, 1);
  assert.equal(lease.state, 'held');
});

test('one that is postponed is not sent on another Session', () => {
  const world = new Harness();
  world.hold('other');
  const waiting = world.acquire('k', { token: TOKEN });
  const [acquire] = world.expect('acquire');
  cross(world);
  world.fail(acquire, 'LOCK_ALREADY_HELD');
  assert.ok(waiting.error);
  world.pass(500);
  next(world);
  world.expect('adopt');
  world.pass(3000, { daemon: true });
});

test('close waits for one that was sent, but not for one that is postponed', () => {
  const world = new Harness();
  cross(world);
  const operation = givenUp(world);
  const call = world.close();
  assert.ok(!call.done);
  world.answer(operation);
  assert.ok(call.done && world.machine.closed);
  const other = new Harness();
  other.acquire('k', { token: TOKEN });
  other.ready();
  other.expect('acquire');
  cross(other);
  other.close();
  const [, close] = other.expect('cancel', 'close');
  other.answer(close);
  assert.ok(other.machine.closed);
  assert.equal(other.machine.giveUps.size, 0);
});

test('its keys count towards the size of a message', () => {
  const world = new Harness();
  const key = joined(Array.from({ length: 64 }, (_, i) => String(i).padStart(127, '0')));
  const calls = Array.from({ length: 40 }, (_, i) => world.acquire(key, { token: `mine ${i}` }));
  world.ready();
  const acquires = world.take();
  for (const call of calls) world.giveUp(call);
  world.take();
  for (const acquire of acquires) world.grant(acquire);
  const { operations } = world.machine.take();
  assert.ok(operations.length < calls.length);
  assert.ok(operations.every(({ giveUp }) => giveUp));
});

// A lease of the caller's token, which is lost by the clock. Its trust lasts for 300 ms more.
const lose = () => {
  const world = new Harness({ grace: 60_000 });
  const call = world.hold('k', { token: TOKEN, ttl: 3000, margin: 300 }, { validity: 2900 });
  world.pass(2610);
  assert.equal(call.losses, 1);
  world.expect();
  return { world, call };
};

test('a lost lock is given up once its trust has ended, and not on the next Session', () => {
  const { world } = lose();
  world.pass(280);
  world.expect();
  world.pass(20);
  givenUp(world);
  world.hold('other');
  next(world);
  world.expect('adopt');
});

test('a lost lock whose trust ends without a Session is not given up', () => {
  const { world } = lose();
  world.hold('other');
  const later = world.acquire('k', { token: TOKEN });
  world.breakStream();
  world.pass(500);
  world.ready();
  const [, acquire] = world.expect('adopt', 'acquire');
  world.fail(acquire, 'LOCK_ALREADY_HELD');
  assert.ok(later.error);
  world.pass(3000);
  world.expect();
});

test('a lost lock is not given up while a later call with the token waits or holds', () => {
  const { world } = lose();
  const later = world.acquire('k', { token: TOKEN });
  const [acquire] = world.expect('acquire');
  world.pass(5000);
  world.expect();
  world.grant(acquire);
  world.pass(5000);
  world.expect();
  world.event(lost(later.lease));
  world.pass(1000);
  givenUp(world);
});

test('a lock that is adopted after its loss was reported or its release is given up', () => {
  for (const end of [
    (world, { lease }) => world.event(lost(lease)),
    (world, { lease }) => { world.release(lease); world.answer(world.expect('release')[0]); },
  ]) {
    const world = new Harness();
    const call = world.hold('k', { token: TOKEN });
    world.breakStream();
    world.ready();
    const [adopt] = world.expect('adopt');
    end(world, call);
    world.grant(adopt);
    givenUp(world);
  }
});
