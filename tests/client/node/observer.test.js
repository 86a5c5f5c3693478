// Observers over gRPC, with daemons in this process.
import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './child.js';
import { client as redlockd } from './installed.js';
import { duration, grpc, refusal, serve } from './lock_service.js';
import { daemons, held, unavailable, undecided, until, vacant } from './observed_daemon.js';

const { Client, InvalidArgumentError } = redlockd;
const BOUND = { timeout: 30_000 };
const DEAD = '127.0.0.1:1';

// Calls work(observer, daemon, …, client) with an observer of `k`.
const observing = (count, work, options = {}) => daemons(count, async (...list) => {
  const client = new Client(list.map(({ endpoint }) => endpoint), options);
  const observer = client.observe('k');
  try {
    await work(observer, ...list, client);
  } finally {
    await observer.return();
    await client.close();
  }
});

const next = async (observer) => {
  const { value, done } = await observer.next();
  assert.equal(done, false);
  return value;
};

// The next states: [state, fencing token, value].
const read = async (observer, count = 1) => {
  const states = [];
  for (let i = 0; i < count; i += 1) {
    const { state, fencingToken, value } = await next(observer);
    states.push([state, fencingToken, value]);
  }
  return states;
};

test('invalid arguments are refused before anything is sent', BOUND, () => observing(1, async (observer, daemon, client) => {
  for (const [key, options, field] of [
    ['', {}, 'key'], [['a', 'b'], {}, 'key'], ['redlockd:k', {}, 'key'], ['a\ud800', {}, 'key'], ['k', { signal: 5 }, 'signal'],
    ['k', { timeout: 5 }, 'options'], ['k', 5, 'options'],
  ]) {
    assert.throws(() => client.observe(key, options), (error) =>
      error instanceof InvalidArgumentError && error.message.startsWith(`${field}: `), field);
  }
  assert.equal(daemon.requests.length, 0);
}));

test('a state has all fields, and an unset one is undefined', BOUND, () => observing(1, async (observer, daemon) => {
  const first = next(observer);
  await daemon.send({
    ...held(2n ** 60n, '10.0.0.1:80', { holders: 2, heldFor: duration(1500), remaining: duration(2500) }),
    mode: 'LOCK_MODE_SHARED', maxHolders: 5,
    heldBy: [{
      owner: 'me', identity: 'alice', peer: '10.0.0.9', daemon: 'host-1:50051', heldFor: duration(1500), fencingToken: String(2n ** 60n),
      slot: 3, remaining: duration(2500), value: '10.0.0.1:80' }, {}],
  });
  assert.deepEqual(await first, {
    state: 'held', holders: 2, owner: 'me', value: '10.0.0.1:80', fencingToken: 2n ** 60n, heldFor: 1500, remaining: 2500, shared: true,
    maxHolders: 5, keptFor: undefined, message: undefined,
    heldBy: [{
      owner: 'me', identity: 'alice', peer: '10.0.0.9', daemon: 'host-1:50051', heldFor: 1500, fencingToken: 2n ** 60n, slot: 3,
      remaining: 2500, value: '10.0.0.1:80' }, {
      owner: '', identity: '', peer: '', daemon: '', heldFor: undefined, fencingToken: 0n, slot: undefined, remaining: undefined, value: '' }],
  });
  await daemon.send({ ...vacant, keptFor: duration(700) });
  const none = {
    holders: 0, owner: '', value: '', fencingToken: undefined, heldFor: undefined, remaining: undefined, heldBy: [], shared: false,
    maxHolders: undefined, keptFor: undefined, message: undefined };
  assert.deepEqual(await next(observer), { ...none, state: 'vacant', keptFor: 700 });
  await daemon.send(undecided);
  assert.deepEqual(await next(observer), { ...none, state: 'undecided', message: undecided.message });
  assert.deepEqual(daemon.requests, [{ key: 'k' }]);
}));

test('an observer begins with the first next()', BOUND, () => observing(1, async (observer, daemon, client) => {
  await assert.rejects(client.release('k', 't', { timeout: 1000 }), 'a call that the daemon has seen later');
  assert.equal(daemon.requests.length, 0);
  daemon.answer = [vacant];
  assert.equal((await next(observer)).state, 'vacant');
}));

test('after each kind of failure, the observer moves on, and repeats no equal state', BOUND, async () => {
  for (const failure of [
    unavailable, refusal(grpc.status.UNAVAILABLE, 'DRAINING', 'shutting down'), refusal(8, 'OVERLOADED', 'too many'),
    { code: grpc.status.INTERNAL, details: 'broken' }, undefined,
  ]) {
    await observing(2, async (observer, first, second) => {
      first.answer = [held(5, 'one')];
      assert.deepEqual(await read(observer), [['held', 5n, 'one']]);
      await first.end(failure);
      await second.send(held(5, 'one', { remaining: duration(9000) }), held(5, 'two'));
      assert.deepEqual(await read(observer), [['held', 5n, 'two']]);
      assert.deepEqual(second.requests, [{ key: 'k' }]);
      await second.end(failure, [held(5, 'two')]);
      await first.send(held(5, 'two', { owner: 'other' }));
      assert.equal((await next(observer)).owner, 'other');
    });
  }
});

test('each difference that counts is reported, and no other one', BOUND, () => observing(1, async (observer, daemon) => {
  daemon.answer = [held(5, 'one', { remaining: duration(9000) })];
  assert.deepEqual(await read(observer), [['held', 5n, 'one']]);
  await daemon.send(held(5, 'one', { remaining: duration(8000), heldFor: duration(500), message: 'm' }));
  const changes = [
    held(5, 'two'), held(6, 'two'), held(6, 'two', { holders: 2 }), held(6, 'two', { owner: 'other' }),
    ...[{}, { fencingToken: '4' }, {}, { value: 'v' }, {}, { owner: 'me' }, {}, { slot: 2 }].map((holder) => (
      held(6, 'two', { heldBy: [holder] }))),
    held(6, 'two', { heldBy: [{}, {}] }), vacant,
    { ...vacant, keptFor: duration(500) }, vacant, undecided];
  for (const change of changes) {
    await daemon.send(change);
    const { state, keptFor } = await next(observer);
    assert.deepEqual([change.state, change.keptFor !== undefined], [`HOLDER_STATE_${state.toUpperCase()}`, keptFor !== undefined]);
    await daemon.send(change);
  }
}));

test('fencing tokens never decrease, also from one daemon to the next', BOUND, () => observing(2, async (observer, first, second) => {
  first.answer = [held(7, 'new')];
  assert.deepEqual(await read(observer), [['held', 7n, 'new']]);
  await first.end(unavailable);
  await second.send(held(5, 'old'), held(8, 'newer'));
  assert.deepEqual(await read(observer), [['held', 8n, 'newer']]);
  await second.send(vacant);
  assert.deepEqual(await read(observer), [['vacant', undefined, '']]);
  await second.send(held(7, 'new'), held(9, 'newest'));
  assert.deepEqual(await read(observer), [['held', 9n, 'newest']]);
}));

test('a fencing token that was not read yet counts too', BOUND, () => observing(1, async (observer, daemon, client) => {
  daemon.answer = [vacant];
  assert.deepEqual(await read(observer), [['vacant', undefined, '']]);
  await daemon.send(held(7, 'new'), held(5, 'old'));
  await seen(daemon, client);
  assert.deepEqual(await read(observer), [['held', 7n, 'new']]);
}));

test('if the last of several holders leaves, the state is reported with the highest fencing token so far', BOUND, () => (
  observing(1, async (observer, daemon) => {
    for (const several of [{ maxHolders: 3 }, { mode: 'LOCK_MODE_SHARED' }]) {
      const first = next(observer);
      await daemon.send(held(7, '', { ...several, holders: 2 }));
      assert.equal((await first).holders, 2);
      await daemon.send(held(5, '', { ...several, holders: 1 }));
      const { holders, fencingToken } = await next(observer);
      assert.deepEqual([holders, fencingToken], [1, 7n]);
      await daemon.send(vacant);
      await next(observer);
    }
    await daemon.send(held(7, 'exclusive'));
    assert.deepEqual(await read(observer), [['held', 7n, 'exclusive']]);
    await daemon.send(held(6, 'outdated', { maxHolders: 3 }), held(8, 'newer', { maxHolders: 3 }));
    assert.deepEqual(await read(observer), [['held', 8n, 'newer']]);
  })));

test('a state with a lower fencing token does not end the doubt', BOUND, () => observing(2, async (observer, first, second) => {
  first.answer = [held(7)];
  await read(observer);
  await first.end(unavailable);
  await second.send(held(5));
  assert.deepEqual(await read(observer), [['undecided', undefined, '']]);
  await second.send(held(7));
  assert.deepEqual(await read(observer), [['held', 7n, '']]);
}));

test('without a daemon, the state is undecided, and says why', BOUND, async () => {
  const client = new Client([DEAD, 'unix:/nowhere']);
  const observer = client.observe('k');
  const began = performance.now();
  const { state, message } = await next(observer);
  assert.equal(state, 'undecided');
  assert.match(message, /^no daemon reports the state: .*(ECONNREFUSED|ENOENT|No connection)/);
  assert.ok(performance.now() - began >= 990);
  const second = observer.next();
  assert.equal(await Promise.race([second, sleep(1500)]), undefined, 'once');
  await client.close();
  await assert.rejects(second, { name: 'CancelledError' });
});

test('without a first state, the state is undecided', BOUND, () => observing(1, async (observer, daemon) => {
  const { state, message } = await next(observer);
  assert.deepEqual([state, message], ['undecided', 'no daemon reports the state: no daemon has answered yet']);
  await daemon.send(vacant);
  assert.deepEqual(await read(observer), [['vacant', undefined, '']]);
}));

test('after a break, the state is undecided once; then the same state is reported again', BOUND, () => (
  observing(1, async (observer, daemon) => {
    daemon.answer = [vacant];
    await read(observer);
    await daemon.end(unavailable, unavailable);
    const { state, message } = await next(observer);
    assert.equal(state, 'undecided');
    assert.match(message, /^no daemon reports the state: 127\.0\.0\.1:\d+: .*go away/);
    const attempts = daemon.requests.length;
    await until('more attempts', () => daemon.requests.length > attempts + 2);
    daemon.answer = [vacant];
    assert.deepEqual(await read(observer), [['vacant', undefined, '']]);
  })));

test('a held state stands without a stream for as long as its holder had left', BOUND, () => (
  observing(1, async (observer, daemon) => {
    daemon.answer = [held(5, 'one', { remaining: duration(60_000) })];
    await read(observer);
    await daemon.end(unavailable, unavailable);
    await sleep(1300); // longer than a vacant one stands
    daemon.answer = [held(5, 'two', { remaining: duration(1500) })];
    assert.deepEqual(await read(observer), [['held', 5n, 'two']]);
    const began = performance.now();
    await daemon.end(unavailable, unavailable);
    assert.deepEqual(await read(observer), [['undecided', undefined, '']]);
    assert.ok(performance.now() - began >= 1000);
  })));

test('an equal state after a break counts as new for the time that it stands', BOUND, () => observing(1, async (observer, daemon) => {
  daemon.answer = [vacant];
  await read(observer);
  await daemon.end(unavailable, unavailable);
  const attempts = daemon.requests.length;
  await until('an attempt', () => daemon.requests.length > attempts);
  daemon.answer = [vacant];
  await daemon.stream();
  await sleep(1300);
  await daemon.send(held(1));
  assert.deepEqual(await read(observer), [['held', 1n, '']]);
}));

test('what the daemon does not know is not reported a second time when its stream breaks', BOUND, () => (
  observing(1, async (observer, daemon) => {
    daemon.answer = [undecided];
    assert.equal((await next(observer)).message, undecided.message);
    await daemon.end(unavailable, unavailable);
    await sleep(1300);
    daemon.answer = [undecided, held(1)];
    assert.deepEqual(await read(observer), [['held', 1n, '']]);
  })));

// Waits until the client has read everything that the daemon has sent so far: on the same connection, another observer gets its
// state afterwards.
const seen = async (daemon, client) => {
  const kept = daemon.streams.length;
  daemon.answer = [held(1000)];
  const other = client.observe('other');
  await next(other);
  await other.return();
  await until('the end', () => daemon.streams[kept].gone);
};

test('a slow reader gets the latest state, and none that it has read last', BOUND, () => observing(1, async (observer, daemon, client) => {
  daemon.answer = [held(1, 'a')];
  await read(observer);
  await daemon.send(held(1, 'b'), vacant, held(2, 'c'), held(2, 'd'));
  await seen(daemon, client);
  assert.deepEqual(await read(observer), [['held', 2n, 'd']]);
  await daemon.send(held(2, 'e'), held(2, 'd'));
  await seen(daemon, client);
  const late = next(observer);
  await daemon.send(held(2, 'f'));
  assert.equal((await late).value, 'f');
}));

test('several calls of next() get one state each', BOUND, () => observing(1, async (observer, daemon) => {
  const calls = [next(observer), next(observer), next(observer)];
  await daemon.send(held(1, 'a'), held(1, 'b'), held(1, 'c'));
  assert.deepEqual((await Promise.all(calls)).map(({ value }) => value), ['a', 'b', 'c']);
}));

test('an error against which no retry helps ends the observer', BOUND, async () => {
  for (const reason of ['UNAUTHENTICATED', 'PERMISSION_DENIED', 'INVALID_ARGUMENT']) {
    for (const error of [{ code: grpc.status[reason], details: 'no' }, refusal(grpc.status[reason], reason, 'no')]) {
      await observing(2, async (observer, first, second) => {
        first.answer = [vacant];
        await read(observer);
        await first.end(error);
        await sleep(50); // nobody waits for it
        await assert.rejects(observer.next(), { reason, message: /: .*no$/ });
        assert.deepEqual(await observer.next(), { value: undefined, done: true });
        assert.equal(second.requests.length, 0);
      });
    }
  }
  const { server, endpoint } = await serve({});
  const client = new Client(endpoint);
  await assert.rejects(client.observe('k').next(), { name: 'LockError', reason: 'UNIMPLEMENTED' });
  await client.close();
  server.forceShutdown();
  const broken = new Client(endpoint, { token: () => { throw new Error('no token'); } });
  await assert.rejects(broken.observe('k').next(), { name: 'UnauthenticatedError', message: /no token/ });
  await broken.close();
});

// ---- the end, in each state

// `reached`: how to bring an observer into the state. `first`: its first next(), which `reads` says has returned by then.
const states = {
  'before the first next()': { begins: false },
  'while a token is made': { options: { token: () => new Promise(() => {}) } },
  'while it connects to a silent endpoint': { reached: ({ silent }) => until('a connection', () => silent.sockets.length > 0) },
  'before the first state': { reached: ({ daemon }) => daemon.stream() },
  'while the latest state was not read': {
    reached: async ({ daemon, client, first }) => {
      await daemon.send(vacant);
      await first;
      await daemon.send(held(1));
      await seen(daemon, client);
    },
    reads: true,
  },
  'between two attempts': {
    reached: async ({ daemon, first }) => {
      await daemon.send(held(1, '', { remaining: duration(60_000) }));
      await first;
      await daemon.end(unavailable, unavailable);
      await until('attempts', () => daemon.requests.length > 3);
    },
    reads: true,
  },
};

const ways = {
  'return()': { end: (observer) => observer.return(), expected: { value: undefined, done: true } },
  'the signal': { end: (observer, client, abort) => abort.abort(new Error('enough')), error: { message: 'enough' } },
  'the client': { end: (observer, client) => client.close(), error: { name: 'CancelledError', message: /the client is closed/ } },
};

// An endpoint that accepts connections and never answers.
const mute = async () => {
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
  });
  const sockets = [];
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { endpoint: `127.0.0.1:${server.address().port}`, sockets, close };
};

for (const [when, { options, begins = true, reads = false, reached }] of Object.entries(states)) {
  for (const [how, { end, expected, error }] of Object.entries(ways)) {
    test(`${how} ends an observer ${when}`, BOUND, () => daemons(1, async (daemon) => {
      const silent = await mute();
      const client = new Client(when.includes('silent') ? silent.endpoint : daemon.endpoint, options);
      const abort = new AbortController();
      const observer = client.observe('k', { signal: abort.signal });
      const last = async (call) => {
        const result = await call;
        return result.value?.state === 'undecided' ? last(observer.next()) : result; // the machine was slow
      };
      try {
        const first = begins ? observer.next() : undefined;
        first?.catch(() => {});
        await reached?.({ daemon, client, first, silent });
        await end(observer, client, abort);
        const call = last(reads || !begins ? observer.next() : first);
        if (error) await assert.rejects(call, error);
        else assert.deepEqual(await call, expected);
        assert.deepEqual(await observer.next(), { value: undefined, done: true });
        await until('the end of the stream', () => daemon.open.length === 0);
        const { length } = daemon.requests;
        await sleep(150);
        assert.equal(daemon.requests.length, length, 'no further attempt');
      } finally {
        await client.close();
        silent.close();
      }
    }));
  }
}

test('a signal that is aborted already sends nothing', BOUND, () => observing(1, async (observer, daemon, client) => {
  await assert.rejects(client.observe('k', { signal: AbortSignal.abort(new Error('before')) }).next(), { message: 'before' });
  assert.equal(daemon.requests.length, 0);
}));

test('an observer that has ended reports nothing, and leaves no listener', BOUND, async () => {
  const client = new Client(DEAD);
  const abort = new AbortController();
  const ended = client.observe('k', { signal: abort.signal });
  const call = ended.next();
  assert.equal(getEventListeners(abort.signal, 'abort').length, 1);
  await ended.return();
  assert.deepEqual(await call, { value: undefined, done: true });
  assert.equal(getEventListeners(abort.signal, 'abort').length, 0);
  const aborted = client.observe('k', { signal: AbortSignal.abort() });
  await assert.rejects(aborted.next(), { name: 'AbortError' });
  await sleep(1300); // a state without a stream would have become undecided
  for (const observer of [ended, aborted]) assert.deepEqual(await observer.next(), { value: undefined, done: true });
  await client.close();
});

test('a loop ends its observer, the process can exit, and 100 observers warn of nothing', BOUND, () => daemons(1, async (daemon) => {
  daemon.answer = [vacant, held(1)];
  const { code, output, errors } = await run(daemon.endpoint, `const client = new Client(endpoint);
    for await (const { state } of client.observe('k')) { console.log(state); if (state === 'held') break; }
    const abort = new AbortController();
    const observers = Array.from({ length: 100 }, () => client.observe('k', { signal: abort.signal }));
    await Promise.all(observers.map((observer) => observer.next()));
    abort.abort();
    const ends = await Promise.allSettled(observers.map((observer) => observer.next()));
    console.log(ends.filter(({ reason }) => reason?.name === 'AbortError').length);
    const last = client.observe('k');
    await last.next();
    await last[Symbol.asyncDispose]();`);
  assert.deepEqual([code, output.replace('vacant\n', ''), errors], [0, 'held\n100\n', '']);
  assert.equal(daemon.open.length, 0);
}));
