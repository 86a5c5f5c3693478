// Semaphores: the internal key that stands for them, the checks, the state machine, and the client against a daemon in this
// process and a real one. REDLOCKD: the real daemon's binary; without it, the tests with it are skipped.
import assert from 'node:assert/strict';
import test from 'node:test';
import errors from '../../../client/node/core/errors.js';
import keys from '../../../client/node/core/key.js';
import { Harness } from './harness.js';
import { client as redlockd, require } from './installed.js';
import { duration, refusal, serve } from './lock_service.js';
import { client, options, server } from './real_daemon.js';

const { isShared, joined, maxHoldersOf, namesOf, shown } = keys;
const { Client, InvalidArgumentError, KindMismatchError, LockError } = redlockd;
const { claimTo, decodeSession, encodeSession, eventFrom, leaseFrom, requestTo } = require('./lib/wire.js');
const { redlock } = require('./generated/messages.js');

const { SessionRequest, SessionResponse } = redlock.v1;
const TOKEN = 'mine';
const semaphore = (maxHolders = 3, name = 'k') => joined([name], false, maxHolders);

test('the limit makes another internal key of the same name', () => {
  const names = ['k', '5', '🔒', '\u{10000}'];
  const internal = names.flatMap((name) => [joined([name]), joined([name], true), ...[2, 3, 20, 64].map((most) => semaphore(most, name))]);
  assert.equal(new Set(internal).size, internal.length);
  for (const name of names) {
    for (const most of [2, 9, 10, 64]) {
      const key = semaphore(most, name);
      assert.equal(maxHoldersOf(key), most);
      assert.equal(isShared(key), false);
      assert.deepEqual(namesOf(key), [name]);
      assert.equal(shown(key), name);
    }
    for (const key of [joined([name]), joined([name], true), joined([name, 'other'])]) assert.equal(maxHoldersOf(key), undefined);
  }
});

test('errors show the key without the limit', () => {
  assert.equal(errors.lockFailure('OVERLOADED', semaphore(), 'busy').message, 'k: busy');
  assert.equal(errors.lostError(semaphore(), 'taken').key, 'k');
});

// ---- messages

test('claims carry max_holders and the slot, a give_up only max_holders, and a release neither', () => {
  const key = semaphore(5);
  const operations = [
    { id: 1, acquire: { key, token: TOKEN } },
    { id: 2, extend: { key, token: TOKEN, slot: 2 } },
    { id: 3, adopt: { key, token: TOKEN, slot: 2, sequence: 1n } },
    { id: 4, giveUp: { key, token: TOKEN } },
    { id: 5, release: { key, token: TOKEN } },
    { id: 6, acquire: { key: 'k', token: TOKEN } },
  ];
  const sent = SessionRequest.decode(encodeSession({ operations })).operations
    .map(({ acquire, extend, adopt, giveUp, release }) => acquire ?? extend ?? adopt ?? giveUp ?? release);
  assert.deepEqual(sent.map((one) => one.key), Array(6).fill('k'));
  assert.deepEqual(sent.map(({ maxHolders }) => maxHolders), [5, 5, 5, 5, undefined, 0]);
  assert.deepEqual(sent.map(({ slot }) => slot), [undefined, 2, 2, undefined, undefined, undefined]);
  assert.deepEqual(claimTo({ key, slot: 1 }), { key: 'k', slot: 1, maxHolders: 5 });
  assert.deepEqual(requestTo({ key }), { key: 'k' });
});

test('the limit and the slot of a lease and of an event are read', () => {
  const granted = { key: 'k', keys: [], token: TOKEN, fencingToken: 1 };
  const lease = leaseFrom({ ...granted, maxHolders: 5, slot: 4 });
  assert.deepEqual([lease.key, lease.slot], [semaphore(5), 4]);
  const none = leaseFrom({ ...granted, maxHolders: 0, slot: 0 });
  assert.deepEqual([none.key, none.slot], ['k', undefined]);
  const event = eventFrom({ key: 'k', keys: [], maxHolders: 5, slot: 4 });
  assert.deepEqual([event.key, event.slot], [semaphore(5), 4]);
  const bytes = SessionResponse.encode({
    results: [{ id: 1, lease: { key: 'k', maxHolders: 5, slot: 4, token: TOKEN } }],
    events: [{ type: 5, key: 'k', maxHolders: 5, slot: 4, lease: { key: 'k', maxHolders: 5, token: TOKEN } }],
  }).finish();
  const { results, events } = decodeSession(bytes);
  assert.deepEqual([results[0].lease.key, results[0].lease.slot, events[0].lease.key], [semaphore(5), 4, semaphore(5)]);
});

test('KIND_MISMATCH has a class of its own, which tells how the key is in use', () => {
  const status = { reason: 'KIND_MISMATCH', message: 'the key is in use as a semaphore of 5', metadata: { in_use_as: 'a semaphore of 5' } };
  for (const error of [errors.errorOf(status, semaphore()), errors.timedOut(status.reason, 'not acquired', status, semaphore())]) {
    assert.ok(error instanceof errors.KindMismatchError && error instanceof errors.LockError);
    assert.equal(error.inUseAs, 'a semaphore of 5');
    assert.match(error.message, /^k: .*the key is in use as a semaphore of 5$/);
    assert.equal(error.key, 'k');
  }
  assert.equal(errors.failure('KIND_MISMATCH', 'why').inUseAs, undefined);
  assert.equal(new KindMismatchError('KIND_MISMATCH', 'why', { inUseAs: 'a lock' }).name, 'KindMismatchError');
  assert.ok(new KindMismatchError('KIND_MISMATCH', 'why') instanceof LockError);
});

// ---- the state machine

const grant = (world, operation, slot) => {
  const { token } = operation.acquire ?? operation.adopt ?? operation.extend;
  world.answer(operation, { lease: { token, fence: 1n, validity: 29_000, slot } });
};

const start = (options) => {
  const world = new Harness();
  const call = world.acquire(semaphore(), options);
  world.ready();
  return { world, call };
};

const hold = (slot, options) => {
  const started = start(options);
  grant(started.world, started.world.expect('acquire')[0], slot);
  assert.equal(started.call.lease.slot, slot);
  return started;
};

test('a lease keeps its slot: extensions and adoptions name it', () => {
  const { world, call } = hold(2);
  world.extend(call.lease);
  const [extend] = world.expect('extend');
  assert.deepEqual([extend.extend.key, extend.extend.slot], [semaphore(), 2]);
  world.breakStream();
  world.ready();
  const [adopt] = world.expect('adopt');
  assert.deepEqual([adopt.adopt.key, adopt.adopt.slot], [semaphore(), 2]);
  grant(world, adopt, 2);
  assert.equal(world.expect('extend')[0].extend.slot, 2);
  assert.equal(call.lease.state, 'held');
});

test('a release and a give_up name no slot', () => {
  const { world, call } = hold(2);
  world.release(call.lease);
  assert.deepEqual(world.expect('release')[0].release, { key: semaphore(), token: 'token-1', keepFor: undefined });
  const given = start({ token: TOKEN });
  const [acquire] = given.world.expect('acquire');
  given.world.giveUp(given.call);
  given.world.expect('cancel');
  grant(given.world, acquire, 1);
  assert.deepEqual(given.world.expect('giveUp')[0].giveUp, { key: semaphore(), token: TOKEN });
});

test('an undecided acquire with a token of the caller adopts the slot that it is granted', () => {
  const { world, call } = start({ token: TOKEN });
  world.expect('acquire');
  world.breakStream();
  world.ready();
  const [again] = world.expect('acquire');
  assert.equal(again.acquire.extendIfHeld, true);
  grant(world, again, 3);
  const [adopt] = world.expect('adopt');
  assert.equal(adopt.adopt.slot, 3);
  grant(world, adopt, 3);
  assert.equal(call.lease.slot, 3);
});

test('LOST of a slot ends it, and not the lock or the semaphore of another limit with the same key and token', () => {
  const { world, call } = hold(2, { token: TOKEN });
  const others = ['k', joined(['k'], true), semaphore(4)].map((key) => world.hold(key, { token: TOKEN }));
  world.event({ type: 'LOST', lease: { key: semaphore(), token: TOKEN, fence: 0n, validity: 0 } });
  assert.equal(call.lost.message, 'k: the lock was lost: because');
  assert.deepEqual(others.map(({ losses }) => losses), [0, 0, 0]);
});

test('KIND_MISMATCH ends a call at once, however long it may wait, and is not repeated', () => {
  for (const options of [{}, { wait: 60_000 }, { wait: 0 }, { token: TOKEN }, { token: TOKEN, extendIfHeld: true }]) {
    const { world, call } = start(options);
    if (options.extendIfHeld) world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
    const metadata = { in_use_as: 'a lock' };
    world.fail(world.expect('acquire')[0], 'KIND_MISMATCH', { metadata });
    assert.equal(call.error.name, 'KindMismatchError');
    assert.equal(call.error.inUseAs, 'a lock');
    world.pass(900);
    assert.deepEqual(world.take(), []);
  }
});

const takeOver = (options) => {
  const started = start({ token: TOKEN, ...options });
  const [extend] = started.world.expect('extend');
  assert.deepEqual([extend.extend.key, extend.extend.slot], [semaphore(), options.slot]);
  return { ...started, extend };
};

test('adopt names the slot of the caller, also when it begins anew', () => {
  const { world, call, extend } = takeOver({ adopt: true, slot: 2 });
  grant(world, extend, 2);
  const [adopt] = world.expect('adopt');
  assert.equal(adopt.adopt.slot, 2);
  world.fail(adopt, 'LOCK_NOT_HELD');
  world.pass(101);
  const [again] = world.expect('extend');
  assert.equal(again.extend.slot, 2);
  grant(world, again, 2);
  grant(world, world.expect('adopt')[0], 2);
  assert.equal(call.lease.slot, 2);
});

test('acquireOrExtend, and adopt without a slot, find the slot that the token has', () => {
  for (const way of [{ extendIfHeld: true }, { adopt: true }]) {
    const { world, call, extend } = takeOver(way);
    grant(world, extend, 3);
    const [adopt] = world.expect('adopt');
    assert.equal(adopt.adopt.slot, 3);
    world.fail(adopt, 'LOCK_NOT_HELD');
    world.pass(101);
    const [again] = world.expect('extend');
    assert.equal(again.extend.slot, undefined, 'the token may have another slot now');
    grant(world, again, 1);
    const [next] = world.expect('adopt');
    assert.equal(next.adopt.slot, 1);
    grant(world, next, 1);
    assert.equal(call.lease.slot, 1);
  }
});

test('acquireOrExtend acquires a slot if the token has none', () => {
  const { world, call, extend } = takeOver({ extendIfHeld: true });
  world.fail(extend, 'LOCK_NOT_HELD');
  grant(world, world.expect('acquire')[0], 2);
  assert.equal(call.lease.slot, 2);
  world.expect();
});

test('a token that this client holds already gives the same lease', () => {
  const { world, call } = hold(2, { token: TOKEN });
  assert.equal(world.acquire(semaphore(), { token: TOKEN }).error.reason, 'LOCK_ALREADY_HELD');
  const again = world.acquire(semaphore(), { token: TOKEN, extendIfHeld: true });
  grant(world, world.expect('extend')[0], 2);
  grant(world, world.expect('adopt')[0], 2);
  assert.equal(again.lease, call.lease);
  assert.equal(call.losses, 0);
});

test('if the token has got another slot, the lease of the old one is lost', () => {
  const { world, call } = hold(2, { token: TOKEN });
  const again = world.acquire(semaphore(), { token: TOKEN, extendIfHeld: true });
  world.fail(world.expect('extend')[0], 'LOCK_NOT_HELD');
  grant(world, world.expect('acquire')[0], 1);
  assert.equal(call.lost.message, 'k: the lock was lost: its token has slot 1 instead of slot 2 now');
  assert.notEqual(again.lease, call.lease);
  assert.deepEqual([again.lease.slot, again.lease.state, again.losses], [1, 'held', 0]);
});

// ---- the whole client

// Calls work(client, requests) with a daemon in this process. `requests` of calls without the Session.
const withService = async (handlers, work) => {
  const requests = [];
  const record = (handler) => (call, reply) => {
    if (call.request) requests.push(call.request);
    handler(call, reply);
  };
  const { server, endpoint } = await serve(Object.fromEntries(Object.entries(handlers).map(([name, one]) => [name, record(one)])));
  const client = new Client(endpoint);
  try {
    await work(client, requests);
  } finally {
    await client.close();
    server.forceShutdown();
  }
};

const leaseOf = ({ key, token, maxHolders }, slot) => (
  { key, token, maxHolders, slot, fencingToken: '7', validity: duration(10_000) });
const grants = (call, reply) => reply(null, { lease: leaseOf(call.request, call.request.slot ?? 2) });

test('a Lock has the limit and the slot, and adopt sends those of the caller, or finds the slot', { timeout: 10_000 }, () => {
  const asked = [];
  const answer = ({ id, acquire, extend, adopt }) => {
    const claim = acquire ?? extend ?? adopt;
    if (claim) asked.push([claim.key, claim.maxHolders, claim.slot]);
    return { id, lease: claim && leaseOf(claim, claim.maxHolders && (claim.slot ?? 2)) };
  };
  const session = (call) => {
    call.on('data', ({ operations = [] }) => call.write({ results: operations.map(answer), clock: duration(performance.now()) }));
    call.on('end', () => call.end());
  };
  return withService({ Session: session }, async (client) => {
    const lock = await client.acquire('k', { maxHolders: 5 });
    assert.deepEqual([lock.key, lock.shared, lock.maxHolders, lock.slot], ['k', false, 5, 2]);
    const adopted = await client.adopt('other', 't', { maxHolders: 5, slot: 4 });
    assert.deepEqual([adopted.maxHolders, adopted.slot], [5, 4]);
    assert.equal((await client.adopt('found', 't', { maxHolders: 5 })).slot, 2);
    const none = await client.acquire('none');
    assert.deepEqual([none.maxHolders, none.slot], [undefined, undefined]);
    assert.deepEqual(asked, [
      ['k', 5, undefined], ['other', 5, 4], ['other', 5, 4], ['found', 5, undefined], ['found', 5, 2], ['none', undefined, undefined]]);
  });
});

test('a detached slot is extended with its limit and perhaps its slot, and released with neither', { timeout: 10_000 }, () => (
  withService({ Acquire: grants, Extend: grants, Release: (call, reply) => reply(null, {}) }, async (client, requests) => {
    const lease = await client.acquireDetached('k', { maxHolders: 5 });
    assert.deepEqual([lease.key, lease.keys, lease.shared, lease.maxHolders, lease.slot], ['k', ['k'], false, 5, 2]);
    const { keys: names, token, shared, maxHolders, slot } = lease;
    assert.equal((await client.extend(names, token, 10_000, { shared, maxHolders, slot })).slot, 2);
    assert.equal((await client.tryExtend(names, token, 10_000, { maxHolders: 5, slot: 4 })).slot, 4);
    assert.equal((await client.extend(names, token, 10_000, { maxHolders })).slot, 2);
    await client.release(names, token);
    assert.deepEqual(requests.map((request) => [request.maxHolders, request.slot]), [
      [5, undefined], [5, 2], [5, 4], [5, undefined], [undefined, undefined]]);
  })));

test('a detached lock has no slot', { timeout: 10_000 }, () => withService({
  Acquire: (call, reply) => reply(null, { lease: leaseOf(call.request, undefined) }) }, async (client) => {
  const { maxHolders, slot } = await client.acquireDetached('k');
  assert.deepEqual({ maxHolders, slot }, { maxHolders: undefined, slot: undefined });
}));

test('KIND_MISMATCH ends a detached acquire at once, however long it may wait', { timeout: 10_000 }, () => {
  const refuses = (call, reply) => reply(
    refusal(9, 'KIND_MISMATCH', 'the key is in use as a semaphore of 5', { in_use_as: 'a semaphore of 5' }));
  return withService({ Acquire: refuses }, async (client, requests) => {
    for (const wait of [undefined, 60_000, 0]) {
      await assert.rejects(client.acquireDetached('k', { maxHolders: 3, wait }), (error) => (
        error instanceof KindMismatchError && error.inUseAs === 'a semaphore of 5' && error.message.startsWith('k: ')));
    }
    assert.equal(requests.length, 3);
  });
});

test('a watch sends the limit and the slot, and its events have them', { timeout: 10_000 }, () => withService({
  Watch: (call) => {
    for (const { key, token, maxHolders, slot = maxHolders && 3 } of call.request.items) {
      call.write({ type: 'EVENT_TYPE_EXTENDED', key, maxHolders, slot, lease: leaseOf({ key, token, maxHolders }, slot) });
      call.write({ type: 'EVENT_TYPE_LOST', key, maxHolders, slot, reason: 'LOCK_NOT_HELD', lease: { key, token, maxHolders } });
    }
    call.end();
  },
}, async (client, requests) => {
  const heard = [];
  await new Promise((resolve) => {
    const items = [{ key: 's', token: 't', maxHolders: 5, slot: 4 }, { key: 'f', token: 't', maxHolders: 5 }, { key: 'k', token: 't' }];
    client.watch(items, (event) => {
      if (event.type === 'closed') resolve();
      else heard.push([event.type, event.key, event.maxHolders, event.slot]);
    }, { keepWatchingAfterLoss: false });
  });
  assert.deepEqual(requests[0].items.map(({ maxHolders, slot }) => [maxHolders, slot]), [[5, 4], [5, undefined], [undefined, undefined]]);
  const expected = [['s', 5, 4], ['f', 5, 3], ['k', undefined, undefined]].flatMap((lock) => [['extended', ...lock], ['lost', ...lock]]);
  assert.deepEqual(heard, expected);
  assert.equal(requests.length, 1, 'all items were lost');
}));

// ---- arguments

const refused = (field, text) => (error) => (
  error instanceof InvalidArgumentError && error.message.startsWith(`${field}: `) && error.message.includes(text));

test('a wrong maxHolders fails only its call, and the error names it', { timeout: 10_000 }, async (context) => {
  const own = new Client('127.0.0.1:1');
  context.after(() => own.close());
  const integer = 'must be an integer from 2 to 64, not ';
  for (const [key, options, text] of [
    ...[0, 1, 65, -1, 2.5, NaN, Infinity, '5', true, null, {}].map((maxHolders) => ['k', { maxHolders }, integer]),
    [['a', 'b'], { maxHolders: 2 }, 'a semaphore has one key, not 2'],
    ['k', { maxHolders: 2, shared: true }, 'a semaphore cannot be shared'],
  ]) {
    const slot = { ...options, slot: 1 };
    for (const [name, call] of Object.entries({
      acquire: () => own.acquire(key, options),
      tryAcquire: () => own.tryAcquire(key, options),
      acquireOrExtend: () => own.acquireOrExtend(key, 't', options),
      adopt: () => own.adopt(key, 't', slot),
      using: () => own.using(key, options, () => {}),
      acquireDetached: () => own.acquireDetached(key, options),
      extend: () => own.extend(key, 't', 1000, slot),
      tryExtend: () => own.tryExtend(key, 't', 1000, slot),
    })) {
      await assert.rejects(call(), refused('maxHolders', text), name);
    }
    assert.throws(() => own.watch([{ key, token: 't', ...slot }], () => {}), refused('items[0].maxHolders', text));
  }
  await assert.rejects(own.release('k', 't', { maxHolders: 2 }), /there is no option "maxHolders"/);
});

test('the calls that extend, adopt or watch take a slot only with maxHolders, and up to it', { timeout: 10_000 }, async (context) => {
  const own = new Client('127.0.0.1:1');
  context.after(() => own.close());
  for (const [options, text] of [
    ...[0, 4, -1, 1.5, NaN, '1', null].map((slot) => [{ maxHolders: 3, slot }, 'must be an integer from 1 to 3: ']),
    [{ slot: 1 }, 'only a semaphore has slots'],
    [{ slot: 1, shared: true }, 'only a semaphore has slots'],
  ]) {
    for (const [name, call] of Object.entries({
      adopt: () => own.adopt('k', 't', options),
      extend: () => own.extend('k', 't', 1000, options),
      tryExtend: () => own.tryExtend('k', 't', 1000, options),
    })) {
      await assert.rejects(call(), refused('slot', text), name);
    }
    assert.throws(() => own.watch([{ key: 'k', token: 't', ...options }], () => {}), refused('items[0].slot', text));
  }
  for (const call of [
    () => own.acquire('k', { maxHolders: 3, slot: 1 }), () => own.acquireOrExtend('k', 't', { maxHolders: 3, slot: 1 }),
    () => own.acquireDetached('k', { maxHolders: 3, slot: 1 }), () => own.release('k', 't', { slot: 1 }),
  ]) await assert.rejects(call(), /there is no option "slot"/);
});

test('what a lock that is no semaphore has can be passed on', { timeout: 10_000 }, async (context) => {
  const own = new Client('127.0.0.1:1');
  context.after(() => own.close());
  const none = { shared: false, maxHolders: undefined, slot: undefined };
  await assert.rejects(own.adopt(['k'], 't', { ...none, wait: 0 }), { reason: 'UNREACHABLE' });
  await assert.rejects(own.extend(['k'], 't', 1000, { ...none, timeout: 100 }), { reason: 'UNREACHABLE' });
});

// ---- with a real daemon

test('a semaphore has so many holders, and each has a slot of its own', options, async () => {
  const locks = [
    await client.acquire('seats', { maxHolders: 3 }),
    await client.tryAcquire('seats', { maxHolders: 3 }),
    await client.acquireOrExtend('seats', TOKEN, { maxHolders: 3 }),
  ];
  assert.deepEqual(locks.map(({ slot }) => slot).sort(), [1, 2, 3]);
  assert.equal(await client.tryAcquire('seats', { maxHolders: 3 }), null);
  assert.equal(await client.acquireOrExtend('seats', TOKEN, { maxHolders: 3 }), locks[2]);
  await locks[0].extend(20_000);
  await locks[1].release();
  await client.using('seats', { maxHolders: 3, wait: 5000 }, ({ slot, fencingToken }) => {
    assert.equal(slot, locks[1].slot);
    assert.ok(fencingToken > locks[1].fencingToken);
  });
  await locks[0].release();
  await locks[2].release();
});

test('a key that is in use in another way is refused at once', options, async () => {
  const lock = await client.acquire('other', { maxHolders: 3 });
  for (const call of [
    () => client.acquire('other'), () => client.acquire('other', { maxHolders: 2 }), () => client.acquire('other', { shared: true }),
    () => client.acquireDetached('other'), () => client.tryAcquire('other', { maxHolders: 4 }), () => client.acquireOrExtend('other', 't'),
  ]) {
    await assert.rejects(call(), (error) => error instanceof KindMismatchError && error.inUseAs === 'a semaphore of 3');
  }
  await lock.release();
  const exclusive = await client.acquire('other', { wait: 5000 });
  await assert.rejects(client.acquire('other', { maxHolders: 3 }), { name: 'KindMismatchError', inUseAs: 'a lock' });
  await exclusive.release();
});

test('a slot moves to another client by its token', options, async () => {
  const lease = await client.acquireDetached('moves', { maxHolders: 3, ttl: 20_000 });
  const { keys: names, token, maxHolders, slot } = lease;
  for (const claim of [{ maxHolders, slot }, { maxHolders }]) {
    assert.equal((await client.extend(names, token, 20_000, claim)).slot, slot);
    assert.equal((await client.tryExtend(names, token, 20_000, claim)).slot, slot);
  }
  const other = new Client(server.endpoint);
  for (const wrong of [{}, { maxHolders: 4, slot }, { maxHolders, slot: slot % 3 + 1 }]) {
    await assert.rejects(client.extend(names, token, 20_000, wrong), { reason: 'LOCK_NOT_HELD' });
    await assert.rejects(other.adopt(names, token, wrong), { reason: 'LOCK_NOT_HELD' });
  }
  const lock = await other.adopt(names, token, { maxHolders });
  assert.deepEqual([lock.slot, lock.held], [slot, true]);
  const found = await client.acquireOrExtend('moves', token, { maxHolders });
  assert.deepEqual([found.slot, found.held], [slot, true]);
  await found.release();
  await other.close();
});

test('a watch extends a slot', options, async () => {
  const { token, slot } = await client.acquireDetached('watched', { maxHolders: 3, ttl: 5000 });
  const event = await new Promise((resolve) => {
    const watch = client.watch([{ key: 'watched', token, ttl: 5000, interval: 50, maxHolders: 3 }], (heard) => {
      resolve(heard);
      watch.close();
    });
  });
  assert.deepEqual([event.type, event.key, event.maxHolders, event.slot], ['extended', 'watched', 3, slot]);
  await client.release('watched', token);
});
