import assert from 'node:assert/strict';
import test from 'node:test';
import { Harness } from './harness.js';

test('the first message contains only the grace and a ping; the rest follows when it is answered', () => {
  const world = new Harness();
  assert.equal(world.session, undefined, 'no connection without need');
  world.acquire('a');
  world.acquire('b');
  const [ping] = world.expect('ping');
  assert.equal(world.lastMessage.disconnectGrace, 5000);
  world.expect();
  world.answer(ping);
  world.expect('acquire', 'acquire');
  assert.equal(world.lastMessage.disconnectGrace, undefined);
});

test('operations that are issued together share a message of at most 1,000', () => {
  const world = new Harness();
  world.hold('first');
  for (let i = 0; i < 1500; i += 1) world.acquire(`key-${i}`);
  assert.equal(world.machine.take().operations.length, 1000);
  assert.equal(world.machine.take().operations.length, 500);
  assert.equal(world.machine.take(), undefined);
});

test('a message stays below the daemon\'s limit of bytes', () => {
  const world = new Harness();
  world.hold('first');
  for (let i = 0; i < 300; i += 1) world.acquire(`${i}`.padEnd(8192, 'k')); // as long as several keys may be
  let taken = 0;
  for (let message = world.machine.take(); message !== undefined; message = world.machine.take()) {
    assert(message.operations.length < 30);
    taken += message.operations.length;
  }
  assert.equal(taken, 300);
});

test('ids are never reused, not even in another Session', () => {
  const world = new Harness();
  const ids = [];
  world.hold('first');
  for (let i = 0; i < 5; i += 1) {
    world.acquire(`key-${i}`);
    ids.push(...world.take().map(({ id }) => id));
    world.breakStream();
    world.pass(1001);
    const pings = world.take();
    ids.push(...pings.map(({ id }) => id));
    world.answer(pings[0]);
  }
  assert.equal(new Set(ids).size, ids.length);
});

test('an answer with an unknown id is ignored and proves nothing', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const trusted = lease.trustedUntil;
  world.now += 100;
  world.answer({ id: 4711 }, { lease: { token: 'token-1', fence: 9n, validity: 90_000 } });
  assert.equal(lease.trustedUntil, trusted);
});

test('an endpoint that does not answer is abandoned in time to try all others within half the grace', () => {
  for (const [endpoints, grace, time] of [[1, 5000, 2000], [2, 5000, 1250], [5, 5000, 500], [2, 100, 50]]) {
    const world = new Harness({ endpoints, grace });
    world.acquire();
    world.pass(time - 1);
    assert.equal(world.opened.length, 1);
    world.pass(2);
    assert.equal(world.dropped.length, 1, `${endpoints} ${grace}`);
    assert.equal(world.dropped[0].reusable, false);
  }
});

test('endpoints are tried in turn, first without a pause, then with pauses from 50 ms to 1 s', () => {
  const world = new Harness({ endpoints: 3 });
  world.acquire();
  const times = [];
  const began = world.now;
  for (let i = 0; i < 10; i += 1) {
    while (world.session === undefined) world.pass(1);
    times.push(world.now - began);
    world.breakStream();
  }
  assert.deepEqual(world.opened.map(({ endpoint }) => endpoint), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
  const pauses = times.slice(1).map((time, i) => time - times[i]);
  assert.deepEqual(pauses, [0, 0, 50, 100, 200, 400, 800, 1000, 1000]);
});

test('after a Session that lasted, the next endpoint is tried at once', () => {
  const world = new Harness({ endpoints: 1 });
  world.hold();
  world.pass(5000, { daemon: true });
  world.breakStream();
  assert.equal(world.opened.length, 2);
});

test('a daemon that always drains is not retried without a pause', () => {
  const world = new Harness({ endpoints: 1 });
  world.hold();
  for (let i = 0; i < 5; i += 1) {
    world.drain();
    world.pass(30);
    assert.equal(world.session, undefined);
    world.pass(30);
    world.ready();
    world.take();
  }
});

test('a ping is sent when a quarter of the grace has passed since the last answered message was sent', () => {
  const world = new Harness();
  world.hold();
  world.pass(1249);
  world.expect();
  world.pass(2);
  world.answer(...world.expect('ping'));
  world.pass(1000);
  world.release(world.hold('b').lease);
  world.answer(...world.expect('release'));
  world.pass(1240);
  world.expect();
  world.pass(20);
  world.expect('ping');
});

test('a ping is sent even if the client keeps sending and nothing is answered', () => {
  const world = new Harness();
  world.hold();
  for (let i = 0; i < 13; i += 1) {
    world.acquire(`key-${i}`);
    world.pass(99);
  }
  assert.ok(world.take().some(({ ping }) => ping));
});

test('a daemon is silent if a ping is not answered within a third of the grace and at most 2 s', () => {
  for (const [grace, limit] of [[3000, 1000], [5000, 5000 / 3], [60_000, 2000]]) {
    const world = new Harness({ grace });
    world.hold();
    const first = world.session;
    world.pass(grace / 4 + 1);
    const [ping] = world.expect('ping');
    world.pass(limit - 10);
    assert.equal(world.session, first);
    world.pass(20);
    assert.notEqual(world.session, first);
    assert.deepEqual(world.dropped.map(({ session }) => session), [first]);
    world.answer(ping, {}, first);
    assert.notEqual(world.session.state, 'ready', 'the late answer is ignored');
  }
});

test('a stalled client waits once more for the answer to a ping, but only once', () => {
  const world = new Harness({ grace: 60_000 });
  world.hold();
  world.pass(15_001);
  const [ping] = world.expect('ping');
  const first = world.session;
  world.now += 6000; // no timer ran
  world.tick();
  assert.equal(world.session, first);
  world.now += 1990;
  world.tick();
  assert.equal(world.session, first);
  world.now += 500;
  world.tick();
  assert.notEqual(world.session, first);
  world.answer(ping, {}, first);
});

test('an unread answer keeps the Session of a stalled client', () => {
  const world = new Harness({ grace: 60_000 });
  world.hold();
  world.pass(15_001);
  const [ping] = world.expect('ping');
  const first = world.session;
  world.now += 6000;
  world.answer(ping);
  world.tick();
  world.pass(5000);
  assert.equal(world.session, first);
});

test('DRAINING moves the client at once, both as an event and as the reason of a result', () => {
  for (const how of ['event', 'result']) {
    const world = new Harness();
    const { lease } = world.hold();
    const first = world.session;
    const extension = world.extend(lease);
    const [operation] = world.expect('extend');
    if (how === 'event') world.drain();
    else world.fail(operation, 'DRAINING');
    assert.equal(first.state, 'abandoned');
    assert.equal(world.session.endpoint, 1);
    assert.ok(!extension.done);
    world.ready();
    world.grant(world.expect('adopt')[0]);
    world.grant(world.expect('extend')[0]);
    assert.equal(extension.error, undefined);
    assert.ok(extension.done);
  }
});

test('answers in the message with DRAINING count, later ones do not', () => {
  const world = new Harness();
  world.hold();
  const second = world.acquire('b');
  const third = world.acquire('c');
  const [b, c] = world.expect('acquire', 'acquire');
  const first = world.session;
  const lease = { token: b.acquire.token, fence: 7n, validity: 29_000 };
  world.message({ results: [{ id: b.id, lease }], events: [{ type: 'DRAINING' }] });
  assert.equal(second.lease.fence, 7n);
  world.grant(c, {}, first);
  assert.ok(!third.done);
});

test('several drains in a row lose no lock', () => {
  const world = new Harness({ endpoints: 3 });
  const calls = [world.hold('a'), world.hold('b'), world.hold('c')];
  const sequences = [];
  for (let i = 0; i < 12; i += 1) {
    const before = world.session;
    world.drain();
    world.pass(60);
    if (i % 3 === 1) {
      world.drain(); // before the Session was ready
      world.pass(110);
    }
    world.ready();
    const adopts = world.expect('adopt', 'adopt', 'adopt');
    sequences.push(...adopts.map(({ adopt }) => adopt.sequence));
    if (i % 4 !== 3) for (const adopt of adopts) world.grant(adopt);
    for (const adopt of adopts) world.fail(adopt, 'LOCK_NOT_HELD', {}, before); // late, and for another Session
  }
  for (const call of calls) {
    assert.equal(call.losses, 0);
    assert.equal(call.lease.state, 'held');
  }
  assert.equal(new Set(sequences).size, 12, 'each lock has its own, from 2 to 13');
});

test('an unused Session is ended after a while, and its connection is kept', () => {
  const world = new Harness();
  const { lease } = world.hold();
  world.release(lease);
  world.answer(...world.expect('release'));
  world.pass(900);
  assert.ok(world.session);
  world.hold('b');
  world.pass(3000, { daemon: true });
  assert.ok(world.session, 'a lock is held');
  world.release(world.machine.leases.values().next().value);
  world.answer(...world.expect('release'));
  world.pass(1100, { daemon: true });
  assert.equal(world.session, undefined);
  assert.equal(world.dropped[0].reusable, true);
  assert.equal(world.machine.wakeAt, Infinity, 'no timer is left');
});

test('while locks are held, the client wakes at least every second', () => {
  const world = new Harness({ grace: 60_000 });
  world.hold('k', { ttl: 120_000 }, { validity: 120_000 });
  assert.ok(world.machine.wakeAt <= world.now + 1000);
});
