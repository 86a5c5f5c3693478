import assert from 'node:assert/strict';
import test from 'node:test';
import { ALLOWANCE, GRACE, Harness } from './harness.js';

test('trust counts from the send time of the last answered message', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const sent = world.now;
  assert.equal(lease.trustedUntil, sent + GRACE - ALLOWANCE);
  world.pass(1251);
  const [ping] = world.expect('ping');
  const pinged = world.now - 1;
  world.now += 300;
  assert.equal(lease.trustedUntil, sent + GRACE - ALLOWANCE);
  world.answer(ping);
  assert.ok(Math.abs(lease.trustedUntil - (pinged + GRACE - ALLOWANCE)) < 2, 'not from the arrival of the answer');
});

test('every result counts as an answer, but a result for an older message never shortens trust', () => {
  const world = new Harness();
  const { lease } = world.hold();
  const older = world.acquire('older');
  const [operation] = world.expect('acquire');
  const sent = world.now;
  world.now += 500;
  world.extend(lease);
  const [extend] = world.expect('extend');
  world.now += 100;
  world.grant(extend);
  assert.equal(lease.trustedUntil, sent + 500 + GRACE - ALLOWANCE);
  world.fail(operation, 'MAX_RETRIES_EXCEEDED');
  assert.equal(older.error.reason, 'MAX_RETRIES_EXCEEDED');
  assert.equal(lease.trustedUntil, sent + 500 + GRACE - ALLOWANCE);
});

test('a validity counts from the send time of the request, not from the arrival of the answer', () => {
  const world = new Harness();
  const call = world.acquire('k', { ttl: 3000 });
  world.ready();
  const [operation] = world.expect('acquire');
  const sent = world.now;
  world.now += 400;
  world.grant(operation, { validity: 2900 });
  // The preceding ping was answered without delay, so the clock dates the answer better than its own request.
  assert.ok(call.lease.trustedUntil >= sent + 2900);
  assert.ok(call.lease.trustedUntil <= sent + 400 + 2900);
  const late = new Harness();
  const slow = late.acquire('k', { ttl: 3000 });
  const [ping] = late.expect('ping');
  const pinged = late.now;
  late.now += 700;
  late.answer(ping);
  late.grant(late.expect('acquire')[0], { validity: 2900 });
  assert.equal(slow.lease.trustedUntil, pinged + 700 + 2900, 'sent and answered in the same ms');
});

test('an unsolicited extension counts from its clock, minus the drift', () => {
  const world = new Harness({ grace: 60_000 });
  const { lease } = world.hold('k', { ttl: 10_000, margin: 0 }, { validity: 9900 });
  const sent = world.now;
  world.now += 5000;
  const made = world.daemonClock;
  world.now += 2000; // in transit
  world.message(
    { events: [{ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence: 1n, validity: 9900 } }] },
    world.session, made);
  assert.equal(lease.trustedUntil, sent + 5000 * 0.99 + 9900);
  world.message(
    { events: [{ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence: 1n, validity: 10 } }] });
  assert.equal(lease.trustedUntil, sent + 5000 * 0.99 + 9900, 'it never decreases');
});

test('the loss is signalled once, when only the margin is left', () => {
  const world = new Harness({ grace: 60_000 });
  const call = world.hold('k', { ttl: 3000, margin: 300 }, { validity: 2900 });
  world.pass(2590, { daemon: true });
  assert.equal(call.losses, 0);
  world.pass(15, { daemon: false });
  assert.equal(call.losses, 1);
  assert.equal(call.lost.reason, 'LOCK_NOT_HELD');
  assert.equal(call.lease.trustedUntil, -Infinity);
});

test('a lock that the client declares lost is released once its trust has ended, not within the margin', () => {
  const world = new Harness({ grace: 60_000 });
  const call = world.hold('k', { ttl: 3000, margin: 300 }, { validity: 2900 });
  world.pass(2899);
  assert.equal(call.losses, 1);
  world.expect();
  world.pass(2);
  const [operation] = world.expect('release');
  assert.equal(operation.release.token, call.lease.token);
  world.fail(operation, 'LOCK_NOT_HELD');
});

test('close also releases a lock that was lost within its margin', () => {
  const world = new Harness({ grace: 60_000 });
  world.hold('k', { ttl: 3000, margin: 300 }, { validity: 2900 });
  world.pass(2700);
  const call = world.close();
  world.answer(world.expect('close')[0]);
  assert.ok(call.done);
  assert.equal(world.machine.deadlines.size, 0);
});

test('without any answer, the loss is signalled at the end of the grace, before the validity ends', () => {
  const world = new Harness();
  const call = world.hold('k', { ttl: 60_000 }, { validity: 59_000 });
  world.pass(GRACE - ALLOWANCE - 500 - 5);
  assert.equal(call.losses, 0);
  world.pass(10);
  assert.equal(call.losses, 1);
});

test('LOST is signalled as soon as the daemon reports it', () => {
  const world = new Harness();
  const call = world.hold();
  const lost = { type: 'LOST', lease: { key: call.lease.key, token: call.lease.token, fence: 0n, validity: 0 } };
  world.event(lost);
  assert.equal(call.losses, 1);
  assert.match(call.lost.message, /k: the lock was lost: because/);
  world.event(lost);
  assert.equal(call.losses, 1);
  world.expect();
});

test('LOST affects only the lock with its token, not the next lock of the same key', () => {
  const world = new Harness();
  const first = world.hold();
  const second = world.acquire('k');
  const [operation] = world.expect('acquire');
  const lease = { key: 'k', token: operation.acquire.token, fence: 2n, validity: 29_000 };
  const lost = { type: 'LOST', lease: { key: first.lease.key, token: first.lease.token, fence: 0n, validity: 0 }, message: 'x' };
  world.message({ results: [{ id: operation.id, lease }], events: [lost] });
  assert.equal(first.losses, 1);
  assert.equal(second.losses, 0);
  assert.equal(second.lease.state, 'held');
});

test('LOST in the message that grants the lock counts', () => {
  const world = new Harness();
  world.hold('other');
  const call = world.acquire('k');
  const [operation] = world.expect('acquire');
  const lease = { key: 'k', token: operation.acquire.token, fence: 2n, validity: 29_000 };
  world.message({ results: [{ id: operation.id, lease }], events: [{ type: 'LOST', lease, message: 'x' }] });
  assert.equal(call.losses, 1);
});

test('the fencing token may grow and never decreases', () => {
  const world = new Harness();
  const { lease } = world.hold('k', {}, { fence: 5n });
  for (const [fence, expected] of [[2n ** 60n + 1n, 2n ** 60n + 1n], [7n, 2n ** 60n + 1n]]) {
    world.event({ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence, validity: 20_000 } });
    assert.equal(lease.fence, expected);
  }
});

test('after a suspend, a lock whose trust has ended is lost even if its extension is waiting to be read', () => {
  const world = new Harness({ grace: 60_000 });
  const call = world.hold('k', { ttl: 3000 }, { validity: 2900 });
  const made = world.daemonClock + 2000;
  world.suspend(4000);
  world.message({
    events: [{ type: 'EXTENDED', lease: { key: call.lease.key, token: call.lease.token, fence: 1n, validity: 60_000 } }],
  }, world.session, made);
  assert.equal(call.losses, 1);
});

test('an extension that was waiting while the process was held up saves the lock', () => {
  const world = new Harness({ grace: 60_000 });
  const call = world.hold('k', { ttl: 3000 }, { validity: 2900 });
  const made = world.daemonClock + 1500;
  world.now += 3500; // without a suspend
  assert.ok(call.lease.trustedUntil < world.now);
  world.message({
    events: [{ type: 'EXTENDED', lease: { key: call.lease.key, token: call.lease.token, fence: 1n, validity: 2900 } }],
  }, world.session, made);
  world.tick();
  assert.equal(call.losses, 0);
  assert.ok(call.lease.trustedUntil > world.now);
});

test('trust is frozen from the abandonment of a Session until the lock is adopted', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { ttl: 60_000 }, { validity: 59_000 });
  const frozen = lease.trustedUntil;
  world.pass(1000);
  const first = world.session;
  world.breakStream();
  assert.equal(lease.trustedUntil, frozen);
  world.event({ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence: 1n, validity: 59_000 } }, first);
  assert.equal(lease.trustedUntil, frozen, 'what arrives on an abandoned Session is ignored');
  world.pass(500);
  world.ready();
  assert.equal(lease.trustedUntil, frozen, 'an answered ping does not raise it');
  const [adopt] = world.expect('adopt');
  world.event({ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence: 1n, validity: 59_000 } });
  assert.equal(lease.trustedUntil, frozen);
  const sent = world.now;
  world.grant(adopt, { validity: 59_000, fence: 9n });
  assert.equal(lease.trustedUntil, sent + GRACE - ALLOWANCE);
  assert.equal(lease.fence, 9n);
});

test('LOST on an abandoned Session is ignored, because another daemon may hold the lock', () => {
  const world = new Harness();
  const call = world.hold();
  const first = world.session;
  world.breakStream();
  world.event({ type: 'LOST', lease: { key: call.lease.key, token: call.lease.token, fence: 0n, validity: 0 } }, first);
  assert.equal(call.losses, 0);
});

test('a lock that is not adopted in time is lost and is not adopted later', () => {
  const world = new Harness();
  const call = world.hold('k', { ttl: 60_000 }, { validity: 59_000 });
  world.breakStream();
  for (let i = 0; i < 6; i += 1) world.pass(1000);
  assert.equal(call.losses, 1);
  world.breakStream();
  world.pass(2000);
  world.answer(world.take().at(-1));
  assert.ok(world.take().every(({ adopt }) => adopt === undefined));
});

test('adopt carries the TTL and a sequence above the fencing token that grows with each adopt', () => {
  const world = new Harness();
  const { lease } = world.hold('k', { ttl: 30_000 }, { fence: 100n });
  const adopts = [];
  for (const fence of [100n, 100n, 500n, 500n]) {
    world.breakStream();
    world.pass(1000);
    world.ready();
    const [operation] = world.expect('adopt');
    adopts.push(operation.adopt);
    world.grant(operation, { fence });
  }
  assert.deepEqual(adopts[0], { key: 'k', token: lease.token, slot: undefined, ttl: 30_000, sequence: 102n }, 'the acquire was sent once');
  assert.deepEqual(adopts.map(({ sequence }) => sequence), [102n, 103n, 104n, 501n]);
});

test('LOCK_NOT_HELD as the answer to adopt means that the lock is lost', () => {
  const world = new Harness();
  const call = world.hold();
  world.breakStream();
  world.ready();
  world.fail(world.expect('adopt')[0], 'LOCK_NOT_HELD');
  assert.equal(call.losses, 1);
  world.expect();
});

test('an adopt that fails otherwise is retried after 100 ms while the lock is trusted', () => {
  const world = new Harness();
  const call = world.hold('k', { ttl: 60_000 }, { validity: 59_000 });
  world.breakStream();
  world.ready();
  let tries = 0;
  let last = 0n;
  while (call.losses === 0) {
    const operations = world.take();
    for (const operation of operations) {
      if (operation.ping) world.answer(operation);
      if (!operation.adopt) continue;
      tries += 1;
      assert.ok(operation.adopt.sequence > last);
      last = operation.adopt.sequence;
      world.fail(operation, 'QUORUM_UNAVAILABLE');
    }
    world.pass(20);
    assert.ok(tries < 60);
  }
  assert.ok(tries > 30, `${tries}`);
  world.pass(500);
  assert.ok(world.take().every(({ adopt }) => adopt === undefined));
});

test('the answer to adopt after the lock was released or lost changes nothing', () => {
  for (const end of ['release', 'lose']) {
    const world = new Harness();
    const call = world.hold();
    world.breakStream();
    world.ready();
    const [adopt] = world.expect('adopt');
    if (end === 'release') world.release(call.lease);
    else world.pass(6000);
    world.take();
    world.grant(adopt);
    assert.equal(call.lease.trustedUntil, -Infinity);
    assert.equal(world.machine.leases.size, 0);
  }
});
