// Values, kept keys and elections over gRPC, with daemons in this process.
import assert from 'node:assert/strict';
import test from 'node:test';
import { client as redlockd, require } from './installed.js';
import { duration, grpc, refusal } from './lock_service.js';
import { daemons, held, unavailable, undecided, until, vacant } from './observed_daemon.js';

const { Client, InvalidArgumentError, LockLostError, LockNotHeldError } = redlockd;
const { ErrorInfo, RetryInfo, Status } = require('./generated/messages.js').google.rpc;
const BOUND = { timeout: 30_000 };
const LONG = 'x'.repeat(4097);
const NOT_TEXT = [5, null, LONG, 'ö'.repeat(2049), 'a\ud800'];
const NO_QUORUM = refusal(grpc.status.UNAVAILABLE, 'QUORUM_UNAVAILABLE', 'too few nodes');
const NOT_HELD = refusal(grpc.status.FAILED_PRECONDITION, 'LOCK_NOT_HELD', 'not held');

// Calls work(client, requests, daemon, …). `requests`: of the unary calls, with their names. `answers`: errors, for one call each;
// undefined, and what follows: success.
const withClient = (count, work, answers = []) => {
  const requests = [];
  const unary = (name, response) => (call, reply) => {
    requests.push({ name, ...call.request });
    const error = answers.shift();
    if (error) reply(error);
    else reply(null, response(call.request));
  };
  const leaseOf = ({ key, keys, token }) => ({ lease: { key, keys, token, fencingToken: '7', validity: duration(10_000) } });
  const handlers = { Acquire: unary('Acquire', leaseOf), Release: unary('Release', () => ({})), Proclaim: unary('Proclaim', () => ({})) };
  return daemons(count, async (...list) => {
    const client = new Client(list.map(({ endpoint }) => endpoint));
    try {
      await work(client, requests, ...list);
    } finally {
      await client.close();
    }
  }, handlers);
};

const refused = (call, field) => assert.rejects(call, (error) => (
  error instanceof InvalidArgumentError && error.message.startsWith(`${field}: `)), field);

const sent = ({ operations }, kind) => operations.map((operation) => operation[kind]).filter(Boolean);

const lose = ({ session }, { key, token }) => session.write({
  events: [{ type: 'EVENT_TYPE_LOST', key, lease: { key, token }, message: 'taken' }], clock: duration(performance.now()) });

// ---- arguments

test('values, delays and times to keep are checked first', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const lock = await client.acquire('k');
  const { length } = daemon.operations;
  const ways = [
    (options) => client.acquire('a', options), (options) => client.tryAcquire('a', options),
    (options) => client.acquireOrExtend('a', 't', options), (options) => client.acquireDetached('a', options),
    (options) => client.using('a', options, () => {}),
  ];
  for (const way of ways) {
    for (const value of NOT_TEXT) await refused(way({ value }), 'value');
    for (const lockDelay of [-1, NaN, '5', null, 5n]) await refused(way({ lockDelay }), 'lockDelay');
  }
  const keeping = [
    (keepFor) => client.acquire('a', { keepFor }), (keepFor) => client.tryAcquire('a', { keepFor }),
    (keepFor) => client.acquireOrExtend('a', 't', { keepFor }), (keepFor) => client.adopt('a', 't', { keepFor }),
    (keepFor) => client.using('a', { keepFor }, () => {}), (keepFor) => client.release('k', lock.token, { keepFor }),
    (keepFor) => lock.release({ keepFor }),
  ];
  for (const way of keeping) for (const keepFor of [0, 0.5, -1, NaN, '5', null]) await refused(way(keepFor), 'keepFor');
  for (const value of [...NOT_TEXT, undefined]) {
    await refused(lock.proclaim(value), 'value');
    await refused(client.proclaim('k', 't', value), 'value');
    await refused(client.election('a').campaign(value), 'value');
  }
  await refused(client.adopt('a', 't', { value: 'v' }), 'options');
  await refused(client.adopt('a', 't', { lockDelay: 5 }), 'options');
  await refused(client.acquireDetached('a', { keepFor: 5 }), 'options');
  await refused(lock.release(5000), 'options');
  await refused(lock.release({ timeout: 5 }), 'options');
  await refused(client.proclaim('k', '', 'v'), 'token');
  await refused(client.proclaim('k', 't', 'v', { keepFor: 5 }), 'options');
  for (const name of ['', ['a', 'b'], 'redlockd:e', undefined]) assert.throws(() => client.election(name), InvalidArgumentError);
  for (const option of ['value', 'shared', 'maxHolders']) await refused(client.election('e').campaign('v', { [option]: 'v' }), 'options');
  for (const timeout of [0, NaN, 2 ** 31]) await refused(client.election('e').leader({ timeout }), 'timeout');
  assert.deepEqual([daemon.operations.length, requests.length], [length, 0]);
  assert.ok(lock.held);
  await lock.release();
}));

// ---- what is sent

test('every acquisition carries a value and a delay', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const options = { value: 'ö'.repeat(2048), lockDelay: 1500 };
  await client.acquire('a', options);
  await client.tryAcquire('b', options);
  await client.using('c', options, () => {});
  await client.acquireDetached('d', options);
  await client.acquire('e', { value: '', lockDelay: 0 });
  const all = [...sent(daemon, 'acquire'), requests[0]];
  assert.deepEqual(all.map(({ key }) => key), ['a', 'b', 'c', 'e', 'd']);
  for (const { value, lockDelay } of all.filter(({ key }) => key !== 'e')) {
    assert.deepEqual([value, lockDelay], [options.value, { seconds: '1', nanos: 500_000_000 }]);
  }
  const [, , , { value, lockDelay }] = all;
  assert.deepEqual([value ?? '', lockDelay?.seconds ?? '0'], ['', '0']);
}));

test('a detached lock that is given up is released until its delay has passed too', BOUND, () => {
  const errors = Array(1000).fill(unavailable);
  return withClient(1, async (client, requests) => {
    const releases = () => requests.filter(({ name }) => name === 'Release').length;
    const abort = new AbortController();
    const call = client.acquireDetached('k', { ttl: 10, lockDelay: 20_000, signal: abort.signal });
    await until('the acquire', () => requests.length > 0);
    abort.abort();
    await assert.rejects(call, { name: 'AbortError' });
    await until('three releases', () => releases() > 2);
    errors.length = 0;
    const failed = releases();
    await until('the last one', () => releases() > failed);
  }, errors);
});

test('keepFor is sent by every kind of release', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const kept = () => sent(daemon, 'release').at(-1).keepFor;
  await (await client.acquire('a')).release({ keepFor: 1500 });
  assert.deepEqual(kept(), { seconds: '1', nanos: 500_000_000 });
  await client.release('k', 't', { keepFor: 2000 });
  assert.deepEqual([requests[0].key, requests[0].keepFor.seconds], ['k', '2']);
  await client.using('b', { keepFor: 3000 }, () => {});
  assert.equal(kept().seconds, '3');
  await assert.rejects(client.using('b', { keepFor: 4000 }, () => { throw new Error('of the work'); }), /of the work/);
  assert.equal(kept().seconds, '4');
  await (await client.acquire('c', { keepFor: 5000 }))[Symbol.asyncDispose]();
  assert.equal(kept().seconds, '5');
  await (await client.acquire('d', { keepFor: 5000 })).release();
  assert.equal(kept().seconds, '5');
  await (await client.acquire('e')).release();
  assert.equal(kept() ?? null, null);
  const { length } = sent(daemon, 'release');
  await assert.rejects(client.using('f', { keepFor: 3000 }, async (lock) => {
    lose(daemon, lock);
    await until('the loss', () => lock.lost.aborted);
  }), LockLostError);
  assert.equal(sent(daemon, 'release').length, length, 'a lost lock is not released');
}));

// ---- proclaim

test('proclaim sends the keys, the token and the value', BOUND, () => withClient(1, async (client, requests) => {
  const lock = await client.acquire(['b', 'a']);
  await lock.proclaim('10.0.0.1:80');
  await lock.proclaim('');
  await client.proclaim('k', 't', 'v');
  await client.proclaim(['d', 'c'], 't', 'v', { timeout: 1000 });
  const share = await client.acquire('s', { shared: true });
  await share.proclaim('v');
  assert.deepEqual(requests.map(({ key, keys, token, value = '' }) => [keys ?? key, token, value]), [
    [['a', 'b'], lock.token, '10.0.0.1:80'], [['a', 'b'], lock.token, ''], ['k', 't', 'v'], [['c', 'd'], 't', 'v'],
    ['s', share.token, 'v']]);
}));

test('LOCK_NOT_HELD fails a proclaim, and does not end the trust', BOUND, () => withClient(1, async (client) => {
  const lock = await client.acquire('k');
  await assert.rejects(lock.proclaim('v'), (error) => error instanceof LockNotHeldError && error.key === 'k');
  assert.deepEqual([lock.held, lock.lost.aborted, lock.loss], [true, false, undefined]);
  await lock.proclaim('v');
  await assert.rejects(client.proclaim('k', 't', 'v'), LockNotHeldError);
}, [NOT_HELD, undefined, NOT_HELD]));

test('a lock that was released, lost or downgraded proclaims nothing', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const released = await client.acquire('a');
  await released.release();
  await assert.rejects(released.proclaim('v'), { name: 'LockNotHeldError', message: 'a: the lock was released' });
  const lost = await client.acquire('b');
  lose(daemon, lost);
  await until('the loss', () => lost.loss);
  await assert.rejects(lost.proclaim('v'), lost.loss);
  const writer = await client.acquire('c');
  await writer.downgrade();
  await assert.rejects(writer.proclaim('v'), { name: 'LockNotHeldError', message: 'c: the lock was downgraded' });
  const closed = await client.acquire('d');
  await client.close();
  await assert.rejects(closed.proclaim('v'), { name: 'CancelledError' });
  assert.equal(requests.length, 0);
}));

test('a proclaim is repeated after failures that pass', BOUND, () => withClient(2, async (client, requests) => {
  const lock = await client.acquire('k');
  await lock.proclaim('v');
  await client.proclaim('k', 't', 'v');
  assert.equal(requests.length, 8);
  assert.ok(requests.every(({ value }) => value === 'v'));
}, [
  NO_QUORUM, refusal(14, 'NODE_SET_MISMATCH', 'another set'), refusal(14, 'DRAINING', 'shutting down'), unavailable,
  refusal(8, 'OVERLOADED', 'busy'), undefined, NO_QUORUM, undefined]));

const overloaded = (delay) => {
  const details = [
    ['ErrorInfo', ErrorInfo.encode({ reason: 'OVERLOADED' }).finish()],
    ['RetryInfo', RetryInfo.encode({ retryDelay: duration(delay) }).finish()]];
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({
    code: 8, details: details.map(([name, value]) => ({ type_url: `type.googleapis.com/google.rpc.${name}`, value })) }).finish()));
  return { code: 8, details: 'busy', metadata };
};

test('a call by token, or of a detached lock, that overloaded daemons refuse ends in time and says so', BOUND, async () => {
  for (const delay of [100, 270, 60_000]) {
    await withClient(1, async (client, requests) => {
      const calls = [
        () => client.release('k', 't', { timeout: 300 }), () => client.proclaim('k', 't', 'v', { timeout: 300 }),
        () => client.acquireDetached('k', { ttl: 500, wait: 300 })];
      for (const call of calls) {
        requests.length = 0;
        const began = performance.now();
        await assert.rejects(call(), { name: 'OverloadedError' });
        assert.ok(performance.now() - began < 1500);
        assert.ok(requests.length <= 4, `${requests.length} requests, with pauses of ${delay} ms`);
      }
    }, Array(1000).fill(overloaded(delay)));
  }
});

test('close ends detached acquires and calls by token that wait, and releases what they may have got', BOUND, () => {
  const silent = [];
  const released = [];
  return daemons(1, async ({ endpoint }) => {
    const client = new Client(endpoint);
    const calls = [
      client.acquireDetached('k'), client.acquireDetached('l', { token: 'mine' }), client.extend('a', 't', 1000),
      client.release('b', 't'), client.proclaim('c', 't', 'v')];
    const settled = Promise.allSettled(calls);
    await until('all calls', () => silent.length === calls.length);
    await client.close();
    for (const { reason } of await settled) assert.equal(reason?.name, 'CancelledError', String(reason));
    assert.deepEqual(released.map(({ key }) => key).sort(), ['k', 'l']);
  }, {
    Acquire: (call) => silent.push(call), Extend: (call) => silent.push(call), Proclaim: (call) => silent.push(call),
    Release: (call, reply) => {
      (call.request.key === 'b' ? silent : released).push(call.request);
      if (call.request.key !== 'b') reply(null, {});
    },
  });
});

test('a lock that is granted some time after the cancellation of its call is released', BOUND, () => {
  let granted = false;
  let released = false;
  let acquiring = false;
  return daemons(1, async ({ endpoint }) => {
    const client = new Client(endpoint);
    const abort = new AbortController();
    const call = client.acquireDetached('k', { signal: abort.signal });
    await until('the acquire', () => acquiring);
    abort.abort();
    await assert.rejects(call, { name: 'AbortError' });
    await until('the release', () => released);
    await client.close();
  }, {
    Acquire: (call) => {
      acquiring = true;
      call.on('cancelled', () => { setTimeout(() => { granted = true; }, 500); });
    },
    Release: (call, reply) => {
      released = granted;
      reply(granted ? null : NOT_HELD, {});
    },
  });
});

test('a proclaim moves on from a daemon that is gone', BOUND, () => withClient(2, async (client, requests, first) => {
  const lock = await client.acquire('k');
  await lock.proclaim('one');
  first.stop();
  await lock.proclaim('two');
  assert.deepEqual(requests.map(({ value }) => value), ['one', 'two']);
}));

test('a proclaim ends in bounded time, with the reason', BOUND, () => withClient(1, async (client) => {
  const lock = await client.acquire('k');
  await assert.rejects(lock.proclaim('v'), { name: 'QuorumUnavailableError', message: /^k: .*too few nodes/ });
  await assert.rejects(client.proclaim('k', 't', 'v', { timeout: 100 }), { name: 'QuorumUnavailableError' });
  await assert.rejects(client.proclaim('k', 't', 'v', { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' });
  assert.ok(lock.held);
}, Array(1000).fill(NO_QUORUM)));

test('a proclaim ends with the trust, while it is being repeated', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const released = await client.acquire('a');
  const calls = [released.proclaim('v')];
  const lost = await client.acquire('b');
  calls.push(lost.proclaim('v'));
  for (const call of calls) call.catch(() => {});
  await until('attempts', () => requests.length > 2);
  await released.release();
  await assert.rejects(calls[0], { name: 'LockNotHeldError', message: 'a: the lock was released' });
  lose(daemon, lost);
  await assert.rejects(calls[1], LockLostError);
}, Array(1000).fill(NO_QUORUM)));

// ---- elections

test('campaign acquires the lock of the name, with its options', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const election = client.election('e');
  assert.equal(election.name, 'e');
  const lock = await election.campaign('10.0.0.1:80', { ttl: 10_000, owner: 'me', lockDelay: 1000, token: 't' });
  const [{ key, value, owner, token, ttl, lockDelay }] = sent(daemon, 'acquire');
  assert.deepEqual([key, value, owner, token, ttl.seconds, lockDelay.seconds], ['e', '10.0.0.1:80', 'me', 't', '10', '1']);
  assert.deepEqual([lock.key, lock.fencingToken, lock.lost.aborted], ['e', 1n, false]);
  await assert.rejects(election.campaign('v', { signal: AbortSignal.abort(new Error('enough')) }), { message: 'enough' });
  await election.proclaim('two');
  assert.equal(requests[0].value, 'two', 'a campaign that has failed leaves the leadership as it is');
}));

test('proclaim and resign act on the present leadership', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const election = client.election('e');
  const none = { name: 'LockNotHeldError', key: 'e', message: /^e: there is no leadership; call campaign\(\) first/ };
  const over = async () => {
    await assert.rejects(election.proclaim('v'), none);
    await assert.rejects(election.resign(), none);
  };
  await over();
  const first = await election.campaign('one');
  await election.proclaim('two');
  assert.deepEqual([requests[0].key, requests[0].token, requests[0].value], ['e', first.token, 'two']);
  await election.resign();
  assert.deepEqual([first.held, sent(daemon, 'release')[0].token], [false, first.token]);
  await over();
  const second = await election.campaign('one');
  assert.ok(second.fencingToken > first.fencingToken);
  await second.release();
  await over();
  const third = await election.campaign('one');
  lose(daemon, third);
  await until('the loss', () => third.loss);
  await assert.rejects(election.proclaim('v'), LockLostError);
  await assert.rejects(election.resign(), LockLostError);
  assert.equal(requests.length, 1);
  await (await election.campaign('again', { keepFor: 1000 })).proclaim('v');
  await election.resign();
  assert.equal(sent(daemon, 'release').at(-1).keepFor.seconds, '1');
}));

test('leader returns the first decided state', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const election = client.election('e');
  daemon.answer = [held(7, '10.0.0.1:80')];
  const { state, value, fencingToken } = await election.leader();
  assert.deepEqual([state, value, fencingToken], ['held', '10.0.0.1:80', 7n]);
  daemon.answer = [undecided, vacant];
  assert.equal((await election.leader()).state, 'vacant');
  assert.deepEqual(daemon.requests, [{ key: 'e' }, { key: 'e' }]);
  await until('the end of the streams', () => daemon.open.length === 0);
}));

test('leader fails with the reason if nothing is decided in time', BOUND, () => withClient(1, async (client, requests, daemon) => {
  const election = client.election('e');
  daemon.answer = [undecided];
  await assert.rejects(election.leader({ timeout: 200 }), {
    name: 'QuorumUnavailableError', key: 'e', message: 'e: the holder is not known after 200 ms: two of three nodes are silent' });
  daemon.answer = unavailable;
  await assert.rejects(election.leader({ timeout: 200 }), { name: 'UnreachableError', message: /after 200 ms: 127.*go away/ });
  daemon.answer = [];
  await assert.rejects(election.leader({ timeout: 200 }), { name: 'UnreachableError', message: /no daemon has answered yet/ });
  await assert.rejects(election.leader({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
  daemon.answer = refusal(7, 'PERMISSION_DENIED', 'no');
  await assert.rejects(election.leader(), { name: 'PermissionDeniedError' });
  daemon.answer = [];
  const waiting = election.leader();
  waiting.catch(() => {});
  await client.close();
  await assert.rejects(waiting, { name: 'CancelledError' });
  assert.equal(daemon.open.length, 0);
}));

test('observe observes the election', BOUND, () => withClient(1, async (client, requests, daemon) => {
  daemon.answer = [held(7, 'one')];
  const abort = new AbortController();
  const values = [];
  await assert.rejects(async () => {
    for await (const { value } of client.election('e').observe({ signal: abort.signal })) {
      values.push(value);
      abort.abort(new Error('enough'));
    }
  }, { message: 'enough' });
  assert.deepEqual([values, daemon.requests], [['one'], [{ key: 'e' }]]);
  assert.throws(() => client.election('e').observe({ timeout: 5 }), InvalidArgumentError);
}));
