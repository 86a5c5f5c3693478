import assert from 'node:assert/strict';
import test from 'node:test';
import errors from '../../../client/node/core/errors.js';
import { Harness, kindOf } from './harness.js';

const { errorOf } = errors;

test('an acquire carries its own token; a wait of 0 is a single try', () => {
  const world = new Harness();
  world.acquire('a', { owner: 'me' });
  world.acquire('b', { wait: 0 });
  world.ready();
  const [a, b] = world.expect('acquire', 'acquire');
  assert.deepEqual(a.acquire, {
    key: 'a', token: 'token-1', ttl: 30_000, owner: 'me', retry: undefined, value: undefined, lockDelay: undefined,
    extendIfHeld: undefined });
  assert.deepEqual(b.acquire.retry, { maxRetries: 0 });
  assert.notEqual(b.acquire.token, a.acquire.token);
});

test('a refusal is reported to its caller and to no other', () => {
  const world = new Harness();
  const held = world.hold('other');
  const call = world.acquire('k', { wait: 0 });
  world.fail(world.expect('acquire')[0], 'LOCK_ALREADY_HELD', { retryDelay: 700 });
  assert.equal(call.error.reason, 'LOCK_ALREADY_HELD');
  assert.equal(call.error.retryAfter, 700);
  assert.equal(held.losses, 0);
});

test('positions are reported while the acquire waits', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [{ id }] = world.expect('acquire');
  world.message({ positions: [{ id, position: 3 }] });
  world.message({ positions: [{ id, position: 0 }, { id: 999, position: 1 }] });
  assert.deepEqual(call.positions, [3, 0]);
  world.giveUp(call);
  world.message({ positions: [{ id, position: 5 }] });
  assert.deepEqual(call.positions, [3, 0]);
});

test('OVERLOADED is retried after its delay, at least 50 ms, except for a single try', () => {
  const world = new Harness();
  const call = world.acquire('k', {});
  const single = world.acquire('s', { wait: 0 });
  world.ready();
  const [first, once] = world.expect('acquire', 'acquire');
  world.fail(once, 'OVERLOADED', { retryDelay: 10 });
  assert.equal(single.error.reason, 'OVERLOADED');
  world.fail(first, 'OVERLOADED', { retryDelay: 10 });
  world.pass(49);
  world.expect();
  world.pass(2);
  const [second] = world.expect('acquire');
  assert.notEqual(second.id, first.id);
  world.fail(second, 'OVERLOADED', { retryDelay: 300 });
  world.pass(299);
  world.expect();
  world.pass(2);
  world.grant(world.expect('acquire')[0]);
  assert.ok(call.lease);
});

test('if the Session ends before the answer, the token is released first, then the acquire is sent with a new one', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [first] = world.expect('acquire');
  world.breakStream();
  world.ready();
  const [release] = world.expect('release');
  assert.equal(release.release.token, first.acquire.token);
  world.fail(release, 'LOCK_NOT_HELD');
  const [second] = world.expect('acquire');
  assert.notEqual(second.acquire.token, first.acquire.token);
  world.grant(second);
  assert.equal(call.lease.token, second.acquire.token);
});

test('releases go out before adoptions, and adoptions before acquires', () => {
  const world = new Harness();
  world.hold('held');
  world.acquire('sent');
  world.expect('acquire');
  world.acquire('not sent');
  world.breakStream();
  world.ready();
  const operations = world.expect('release', 'adopt', 'acquire');
  assert.equal(operations[2].acquire.key, 'not sent');
});

test('an acquire that was not sent is sent with its first token, and nothing is released', () => {
  const world = new Harness();
  world.acquire();
  world.breakStream();
  world.ready();
  assert.equal(world.expect('acquire')[0].acquire.token, 'token-1');
});

test('DRAINING as an answer sends the acquire to the next daemon; nothing was acquired', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  world.fail(world.expect('acquire')[0], 'DRAINING');
  assert.equal(world.session.endpoint, 1);
  world.ready();
  world.grant(world.expect('acquire')[0]);
  assert.ok(call.lease);
});

test('giving up before the acquire was sent sends nothing', () => {
  const world = new Harness();
  const call = world.acquire();
  world.giveUp(call);
  assert.match(call.error.message, /given up/);
  world.ready();
  world.expect();
  world.hold('other');
  const next = world.acquire();
  world.giveUp(next);
  world.expect();
});

test('giving up sends cancel, and the caller does not wait for the answer', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [operation] = world.expect('acquire');
  world.giveUp(call);
  assert.ok(call.done);
  const [cancel] = world.expect('cancel');
  assert.equal(cancel.id, operation.id);
  world.fail(operation, 'CANCELLED');
  world.pass(900);
  world.expect();
});

test('giving up twice is harmless', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  world.expect('acquire');
  world.giveUp(call);
  world.giveUp(call);
  world.expect('cancel');
});

test('a lease that crosses the cancel is released', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [operation] = world.expect('acquire');
  world.giveUp(call);
  world.grant(operation);
  assert.equal(call.lease, undefined);
  const [, release] = world.expect('cancel', 'release');
  assert.equal(release.release.token, operation.acquire.token);
});

test('if the cancel is not answered within 1 s, the token is released; a late lease is released again', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [operation] = world.expect('acquire');
  world.giveUp(call);
  world.expect('cancel');
  world.pass(999);
  world.expect();
  world.pass(2);
  const [release] = world.expect('release');
  world.fail(release, 'LOCK_NOT_HELD');
  world.grant(operation);
  assert.equal(world.expect('release')[0].release.token, operation.acquire.token);
});

test('if the Session ends while a cancel is in flight, the token is released in the next one', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [operation] = world.expect('acquire');
  world.giveUp(call);
  world.breakStream();
  world.ready();
  const [release] = world.expect('release');
  assert.equal(release.release.token, operation.acquire.token);
  world.answer(release);
  world.pass(2000, { daemon: true });
  assert.equal(world.session, undefined, 'and that is all');
});

test('giving up between two Sessions leaves only the release of the token that was sent', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [operation] = world.expect('acquire');
  world.breakStream();
  world.giveUp(call);
  world.ready();
  const [release] = world.expect('release');
  assert.equal(release.release.token, operation.acquire.token);
  world.answer(release);
  world.expect();
});

test('giving up while the acquire waits for its release leaves nothing', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  world.expect('acquire');
  world.breakStream();
  world.ready();
  const [release] = world.expect('release');
  world.giveUp(call);
  world.answer(release);
  world.expect();
});

test('a late grant of an abandoned Session is ignored, because its token is released anyway', () => {
  const world = new Harness();
  const call = world.acquire();
  world.ready();
  const [first] = world.expect('acquire');
  const session = world.session;
  world.drain();
  world.grant(first, {}, session);
  assert.ok(!call.done);
  world.ready();
  world.answer(world.expect('release')[0]);
  world.grant(world.expect('acquire')[0]);
  assert.equal(call.lease.token, 'token-2');
});

// Returns a call whose time to wait is over, and which has sent its cancel.
const waited = (world) => {
  const call = world.acquire('k', { wait: 300 });
  world.ready();
  const [operation] = world.expect('acquire');
  world.pass(301);
  world.expect('cancel');
  return { call, operation };
};

test('at the end of the wait, the daemon is asked why; the error names the holder', () => {
  const world = new Harness();
  const { call, operation } = waited(world);
  assert.ok(!call.done);
  world.fail(operation, 'CANCELLED', { metadata: { owner: 'host/1/"app"', last_reason: 'LOCK_ALREADY_HELD' } });
  assert.equal(call.error.name, 'LockTimeoutError');
  assert.equal(call.error.message, 'k: held by "host/1/\\"app\\""; not acquired within 300 ms');
  assert.equal(call.error.holder, 'host/1/"app"');
  assert.equal(call.error.heldFor, undefined);
  world.pass(2000, { daemon: true });
});

test('at the end of the wait, the error says for how long the lock has been held', () => {
  for (const [owner, by] of [['other', ' by "other"'], [undefined, '']]) {
    const world = new Harness();
    const { call, operation } = waited(world);
    const metadata = { held_for: '61.5', last_reason: 'LOCK_ALREADY_HELD' };
    world.fail(operation, 'CANCELLED', { metadata: owner === undefined ? metadata : { ...metadata, owner } });
    assert.equal(call.error.message, `k: held${by} for 61.500 s; not acquired within 300 ms`);
    assert.deepEqual([call.error.holder, call.error.heldFor], [owner, 61_500]);
    world.pass(2000, { daemon: true });
  }
});

test('an outage at the end of the wait does not read as contention', () => {
  for (const reason of ['QUORUM_UNAVAILABLE', 'NODE_SET_MISMATCH']) {
    const world = new Harness();
    const { call, operation } = waited(world);
    world.fail(operation, 'CANCELLED', { metadata: { last_reason: reason } });
    assert.equal(call.error.reason, reason);
    assert.match(call.error.message, /k: not acquired within 300 ms/);
  }
});

test('without an answer to the cancel within 250 ms, the acquire fails, and giving up continues', () => {
  const world = new Harness();
  const { call, operation } = waited(world);
  world.pass(248);
  assert.ok(!call.done);
  world.pass(3);
  assert.equal(call.error.reason, 'DEADLINE_EXCEEDED');
  assert.equal(call.error.message, 'k: not acquired within 300 ms');
  world.grant(operation);
  assert.equal(world.expect('release')[0].release.token, operation.acquire.token);
});

test('a lease that arrives after the end of the wait is released', () => {
  const world = new Harness();
  const { call, operation } = waited(world);
  world.grant(operation);
  assert.equal(call.error.reason, 'DEADLINE_EXCEEDED');
  assert.equal(world.expect('release')[0].release.token, operation.acquire.token);
});

test('a Session that ends after the end of the wait leaves no lock, and the error says so', () => {
  const world = new Harness();
  const { call, operation } = waited(world);
  world.breakStream();
  assert.equal(call.error.reason, 'UNREACHABLE');
  world.ready();
  assert.equal(world.expect('release')[0].release.token, operation.acquire.token);
});

test('an overloaded daemon is named at the end of the wait', () => {
  const world = new Harness();
  const call = world.acquire('k', { wait: 300 });
  world.ready();
  world.fail(world.expect('acquire')[0], 'OVERLOADED', { retryDelay: 5000 });
  world.pass(301);
  assert.equal(call.error.reason, 'OVERLOADED');
  world.expect();
});

test('a refusal names the holder', () => {
  const world = new Harness();
  const call = world.acquire('k', { wait: 0 });
  world.ready();
  world.fail(world.expect('acquire')[0], 'LOCK_ALREADY_HELD', { metadata: { owner: 'other' } });
  assert.equal(call.error.name, 'LockAlreadyHeldError');
  assert.equal(call.error.holder, 'other');
  assert.equal(call.error.message, 'k: held by "other"');
});

test('a refusal says for how long the lock has been held', () => {
  for (const [reason, text] of [['LOCK_ALREADY_HELD', ''], ['MAX_RETRIES_EXCEEDED', '; the retries are used up']]) {
    const error = errorOf({ reason, message: 'no', metadata: { owner: 'other', held_for: '12.045' } }, 'k');
    assert.equal(error.message, `k: held by "other" for 12.045 s${text}`);
    assert.equal(error.heldFor, 12_045);
  }
  const unnamed = errorOf({ reason: 'LOCK_ALREADY_HELD', message: 'no', metadata: { held_for: '0.000' } }, 'k');
  assert.deepEqual([unnamed.message, unnamed.heldFor], ['k: no', 0]);
});

test('a time that cannot be read is unknown', () => {
  for (const text of ['', ' ', 'soon', '-1', 'NaN', 'Infinity', '1e3', '0x10', '1.5 s', ' 1', '1,5', '1\n', '9'.repeat(400)]) {
    const metadata = { owner: 'other', held_for: text, '': '', new: 'x' };
    const error = errorOf({ reason: 'LOCK_ALREADY_HELD', message: 'no', metadata }, 'k');
    assert.deepEqual([error.message, error.heldFor], ['k: held by "other"', undefined], text);
  }
});

test('a retry policy is sent as it is', () => {
  const world = new Harness();
  world.acquire('k', { retry: { maxRetries: 3 } });
  world.ready();
  assert.deepEqual(world.expect('acquire')[0].acquire.retry, { maxRetries: 3 });
});

test('without a daemon, the end of the wait fails the acquire with UNREACHABLE', () => {
  const world = new Harness();
  const call = world.acquire('k', { wait: 3000 });
  world.pass(2999);
  assert.ok(!call.done);
  world.pass(2);
  assert.equal(call.error.reason, 'UNREACHABLE');
});

test('a single try fails once every endpoint has been tried', () => {
  const world = new Harness({ endpoints: 3 });
  const call = world.acquire('k', { wait: 0 });
  world.breakStream();
  world.breakStream();
  assert.ok(!call.done);
  world.breakStream();
  assert.equal(call.error.reason, 'UNREACHABLE');
});

test('a single try whose Session breaks is repeated', () => {
  const world = new Harness({ endpoints: 1 });
  const call = world.acquire('k', { wait: 0 });
  world.ready();
  world.expect('acquire');
  world.breakStream();
  assert.ok(!call.done);
  world.pass(60);
  world.ready();
  world.answer(world.expect('release')[0]);
  world.grant(world.expect('acquire')[0]);
  assert.ok(call.lease);
});

test('an acquire without a limit survives an outage', () => {
  const world = new Harness();
  const call = world.acquire();
  world.pass(60_000);
  assert.ok(!call.done);
  while (world.take().length === 0) world.pass(10);
  const { session } = world;
  world.breakStream();
  while (world.session === undefined || world.session === session) world.pass(10);
  world.ready();
  world.grant(world.expect('acquire')[0]);
  assert.ok(call.lease);
});

test('a stream that is permanently refused fails waiting acquires at once', () => {
  const world = new Harness();
  const call = world.acquire();
  world.breakStream(true);
  assert.ok(call.error);
});

test('a lock that is granted too late is released and not returned', () => {
  for (const delay of [2500, 6000]) {
    const world = new Harness();
    world.acquire('other');
    world.ready();
    world.expect('acquire');
    const call = world.acquire('k', { ttl: 3000 });
    const [operation] = world.expect('acquire');
    const made = world.daemonClock;
    world.now += delay;
    const { token } = operation.acquire;
    world.message(
      { results: [{ id: operation.id, lease: { token, fence: 1n, validity: 2900 } }] }, world.session, made);
    assert.equal(call.error.reason, 'VALIDITY_EXPIRED');
    const released = world.take().filter((entry) => kindOf(entry) === 'release');
    assert.deepEqual(released.map(({ release }) => release.token), [token]);
  }
});

test('a release that expires and is answered later sends the acquire only once', () => {
  const world = new Harness({ grace: 400 });
  world.acquire('k', { ttl: 300 });
  world.ready();
  world.expect('acquire');
  world.breakStream();
  world.ready();
  const [release] = world.expect('release');
  let sent = [];
  for (let i = 0; i < 9; i += 1) {
    world.pass(50);
    for (const operation of world.take()) {
      if (operation.ping) world.answer(operation);
      else sent.push(operation);
    }
  }
  world.answer(release);
  sent = [...sent, ...world.take()];
  assert.deepEqual(sent.map(kindOf), ['acquire']);
});
