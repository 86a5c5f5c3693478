// The client against a real daemon. REDLOCKD: the daemon's binary; without it, the tests are skipped. STRESS: how many
// times as long the stress tests run.
import assert from 'node:assert/strict';
import process from 'node:process';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { start } from './child.js';
import { client as redlockd } from './installed.js';
import { client, options as daemonOptions, server } from './real_daemon.js';

const { Client, KindMismatchError } = redlockd;
const STRESS = Number(process.env.STRESS ?? 1);
const options = { ...daemonOptions, timeout: 120_000 };

// Throws if a key is still held, as a lock or as a semaphore, after `within`.
const expectFree = async (keys, within) => {
  const rival = new Client(server.endpoint);
  const until = performance.now() + within;
  const isFree = async (key) => {
    try {
      const lock = await rival.tryAcquire(key);
      await lock?.release();
      return lock !== null;
    } catch (error) {
      if (error instanceof KindMismatchError) return false;
      throw error;
    }
  };
  for (const key of keys) {
    while (!await isFree(key)) {
      if (performance.now() > until) throw new Error(`${key} is still held`);
      await sleep(20);
    }
  }
  await rival.close();
};

// Aborts each kind of acquisition after 0 to `longest` ms. `acquire(key, signal)` returns a Lock or a Lease. Returns how many
// were granted.
const abortAtAnyMoment = async (name, acquire, longest = 25) => {
  const keys = Array.from({ length: 20 }, (_, i) => `${name}-${i}`);
  let granted = 0;
  for (let round = 0; round < 12 * STRESS; round += 1) {
    await Promise.all(keys.map(async (key, i) => {
      const abort = new AbortController();
      const call = acquire(key, abort.signal, i);
      call.catch(() => {});
      const delay = ((round * 7 + i * 3) % 25) * (longest / 25);
      if (delay === 0) await null;
      else await sleep(delay);
      abort.abort();
      // A single attempt may come before the release of the previous round.
      const lock = await call.catch((error) => assert.ok(
        error.name === 'AbortError' || error.reason === 'LOCK_ALREADY_HELD', String(error)));
      if (!lock) return;
      granted += 1;
      if (lock.release) await lock.release();
      else await client.release(lock.keys, lock.token);
    }));
  }
  await expectFree(keys, 3000);
  return granted;
};

test('aborting an acquire at any moment leaves no lock behind', options, async () => {
  await (await client.acquire('warm')).release();
  // How long an acquisition takes depends on the machine, so later moments are tried until some are granted.
  for (const longest of [25, 100, 400, 1600]) {
    if (await abortAtAnyMoment('abort', (key, signal, i) =>
      client.acquire(key, { ttl: 60_000, wait: i % 3 === 0 ? 0 : undefined, signal }), longest) > 0) return;
  }
  assert.fail('no acquisition was granted');
});

test('aborting an acquisition with a token of the caller, or a detached one, leaves no lock behind', options, async () => {
  let tokens = 0;
  await abortAtAnyMoment('own', (key, signal) => client.acquireOrExtend(key, `own-${tokens += 1}`, { ttl: 60_000, signal }));
  await abortAtAnyMoment('detached', (key, signal) => client.acquireDetached(key, { ttl: 60_000, signal }));
});

test('a token of the caller can be used again as soon as its call was aborted', options, async () => {
  await Promise.all(Array.from({ length: 50 }, async (_, i) => {
    const [key, token] = [`again-${i}`, `mine-${i}`];
    for (let round = 0; round < 4 * STRESS; round += 1) {
      const signal = AbortSignal.timeout(Math.floor(Math.random() * 30));
      await client.acquire(key, { token, ttl: 60_000, signal }).then((lock) => lock.release(), () => {});
      const lock = await client.acquireOrExtend(key, token, { ttl: 60_000 });
      await sleep(50);
      assert.ok(lock.held);
      await lock.release();
    }
  }));
});

test('aborting while the daemon is killed leaves no lock behind', options, async () => {
  const own = new Client(server.endpoint, { grace: 1000 });
  const keys = Array.from({ length: 20 }, (_, i) => `killed-${i}`);
  let over = false;
  const killer = (async () => {
    for (let i = 0; i < 4 * STRESS; i += 1) {
      await sleep(150);
      await server.restart({ kill: i % 2 === 0 });
    }
    over = true;
  })();
  while (!over) {
    await Promise.all(keys.map(async (key, i) => {
      const signal = AbortSignal.timeout(Math.floor(Math.random() * 100));
      if (i % 2 === 0) {
        const lock = await own.acquire(key, { ttl: 60_000, signal }).catch(() => undefined);
        await lock?.release().catch(() => {});
      } else {
        const lease = await own.acquireDetached(key, { ttl: 60_000, signal }).catch(() => undefined);
        if (lease) await own.release(key, lease.token);
      }
    }));
  }
  await killer;
  await expectFree(keys, 8000);
  await own.close();
});

test('200 locks survive several drains and kills in a row', options, async () => {
  const own = new Client(server.endpoint);
  const locks = await Promise.all(Array.from({ length: 200 }, (_, i) => own.acquire(`moved-${i}`, { ttl: 20_000 })));
  for (const kill of [false, false, true, true]) {
    await server.restart({ kill });
    await sleep(300);
  }
  assert.equal(locks.filter(({ held, loss }) => held && !loss).length, 200);
  assert.equal(await client.tryAcquire('moved-7'), null);
  await own.close();
  await expectFree(locks.map(({ key }) => key), 3000);
});

test('the wait rides out restarts and an absent daemon', options, async () => {
  const own = new Client(server.endpoint);
  const lock = await client.acquire('ridden');
  const waiting = own.acquire('ridden', { wait: 60_000 });
  await server.restart({ kill: true });
  await server.restart();
  await lock.release();
  await (await waiting).release();
  await own.close();
});

test('release, extend and close return in bounded time while no daemon answers', options, async () => {
  const own = new Client(server.endpoint);
  const [released, extended] = [await own.acquire('r'), await own.acquire('e')];
  const timed = async (promise) => {
    const began = performance.now();
    await promise.catch(() => {});
    return performance.now() - began;
  };
  server.pause();
  try {
    const times = await Promise.all([timed(released.release()), timed(extended.extend(10_000)), timed(released.release())]);
    for (const time of times) assert.ok(time < 4000, `${times}`);
    assert.ok(await timed(own.close()) < 4000);
  } finally {
    server.resume();
  }
  await expectFree(['r', 'e'], 8000);
});

test('a client whose event loop was blocked keeps its lock', options, async () => {
  const lock = await client.acquire('busy', { ttl: 2000 });
  const until = performance.now() + 3000;
  while (performance.now() < until);
  await sleep(300);
  assert.equal(lock.loss, undefined);
  await lock.release();
});

test('the locks of a client that was killed are free after the grace', options, async () => {
  const child = start(server.endpoint, `const client = new Client(endpoint, { grace: 600, ref: true });
    await client.acquire('crash', { ttl: 60_000 });
    console.log('held');`);
  await new Promise((resolve) => { child.stdout.once('data', resolve); });
  await sleep(1500);
  assert.equal(await client.tryAcquire('crash'), null);
  child.kill('SIGKILL');
  await (await client.acquire('crash', { wait: 10_000 })).release();
});

test('the error tells held by whom, no quorum and no daemon apart', options, async () => {
  const own = new Client(server.endpoint, { owner: 'the holder' });
  const lock = await own.acquire('whose');
  const held = (error) => error.holder === 'the holder' && /held by "the holder"/.test(error.message);
  await assert.rejects(client.acquire('whose', { wait: 0 }), (error) => error.name === 'LockAlreadyHeldError' && held(error));
  await assert.rejects(client.acquire('whose', { wait: 200 }), (error) => error.name === 'LockTimeoutError' && held(error));
  await assert.rejects(client.acquireDetached('whose', { wait: 200 }), (error) => error.name === 'LockTimeoutError' && held(error));
  await assert.rejects(client.acquire('whose', { retry: { maxRetries: 1, maxJitter: 10 } }),
    (error) => error.name === 'MaxRetriesExceededError' && held(error));
  await lock.release();
  await own.close();
  const nowhere = new Client(['127.0.0.1:1', 'unix:/nowhere']);
  for (const call of [
    () => nowhere.acquire('k', { wait: 300 }), () => nowhere.acquire('k', { wait: 0 }), () => nowhere.tryAcquire('k'),
    () => nowhere.acquireDetached('k', { wait: 300 }), () => nowhere.acquireDetached('k', { wait: 0 }),
    () => nowhere.adopt('k', 't', { wait: 300 }), () => nowhere.extend('k', 't', 1000, { timeout: 300 }),
    () => nowhere.release('k', 't', { timeout: 300 }),
  ]) {
    await assert.rejects(call(), { name: 'UnreachableError', message: /ECONNREFUSED|ENOENT|Deadline exceeded/ });
  }
  await nowhere.close();
});

test('LOST aborts the signal within moments, and using() and await using reject', options, async () => {
  const lock = await client.acquire('lost');
  const lost = new Promise((resolve) => { lock.lost.addEventListener('abort', resolve); });
  await server.lose('lost', 'a test');
  await lost;
  assert.equal(lock.lost.reason.name, 'LockLostError');
  assert.equal(lock.held, false);
  await assert.rejects(lock.extend(1000), { name: 'LockLostError' });
  await assert.rejects(lock.release(), { name: 'LockLostError' });
  await lock.release();
  await assert.rejects(client.using('lost', {}, async (held) => {
    await server.lose('lost');
    while (!held.lost.aborted) await sleep(5);
    return 'done';
  }), (error) => error.name === 'LockLostError' && error.cause === undefined);
  const broken = new Error('broken');
  await assert.rejects(client.using('lost', {}, async () => {
    await server.lose('lost');
    throw broken;
  }), { name: 'LockLostError', cause: broken });
  await assert.rejects(client.using('lost', {}, () => { throw broken; }), broken);
  const block = await client.acquire('lost');
  await server.lose('lost');
  await assert.rejects(block[Symbol.asyncDispose](), { name: 'LockLostError' });
  await assert.rejects(server.lose('lost'), /no client holds/);
});

test('detached locks are extended, released and handed over by key and token', options, async () => {
  const lease = await client.acquireDetached('given', { ttl: 2000 });
  assert.match(lease.token, /^rl-[0-9a-f]{32}$/);
  assert.ok(lease.held && lease.validity > 1000 && lease.validity < 2000);
  assert.ok((await client.extend('given', lease.token, 3000)).validity > 2000);
  assert.ok((await client.tryExtend('given', lease.token, 3000)).fencingToken >= lease.fencingToken);
  const other = new Client(server.endpoint);
  const lock = await other.adopt('given', lease.token, { ttl: 3000 });
  await sleep(4000);
  assert.ok(lock.held, 'it is kept alive');
  assert.equal(await other.acquireOrExtend('given', lease.token), lock, 'the same lock');
  await other.close();
  await assert.rejects(client.adopt('given', lease.token), { name: 'LockNotHeldError' });
  await assert.rejects(client.extend('given', lease.token, 1000), { name: 'LockNotHeldError' });
  await assert.rejects(client.release('given', lease.token), { name: 'LockNotHeldError' });
  assert.equal(await client.tryAcquire('free').then((free) => free.release()), undefined);
});

test('several keys are locked all or none, and handed over by their keys and token', options, async () => {
  const own = new Client(server.endpoint);
  const lock = await own.acquire(['s2', 's1'], { ttl: 2000 });
  for (const keys of ['s1', 's2', ['s2', 's3'], ['s1', 's2']]) assert.equal(await client.tryAcquire(keys), null, String(keys));
  await (await client.acquire('s3', { wait: 0 })).release();
  await assert.rejects(client.acquireDetached(['s3', 's2'], { wait: 0 }),
    (error) => error.name === 'LockAlreadyHeldError' && error.key === 's2, s3' && error.message.startsWith('s2, s3: '));
  await server.lose('s2');
  while (!lock.lost.aborted) await sleep(5);
  await assert.rejects(lock.release(), { name: 'LockLostError', key: 's1, s2' });
  await expectFree(['s2', 's1'], 8000); // what was not taken away expires
  const lease = await own.acquireDetached(['s2', 's1'], { ttl: 3000 });
  assert.ok(lease.fencingToken > lock.fencingToken);
  assert.deepEqual([lease.key, lease.keys, JSON.parse(JSON.stringify(lease)).key], ['s1, s2', ['s1', 's2'], 's1, s2']);
  assert.ok(Object.isFrozen(lease.keys));
  assert.match(inspect(lease), /^Lease \{ key: 's1, s2', /);
  assert.deepEqual((await own.extend(['s2', 's1'], lease.token, 5000)).keys, ['s1', 's2']);
  assert.deepEqual((await own.tryExtend(lease.keys, lease.token, 5000)).keys, ['s1', 's2']);
  const taken = await client.adopt(lease.keys, lease.token);
  assert.equal(await client.acquireOrExtend(['s2', 's1'], lease.token), taken, 'the same lock');
  await client.release(['s2', 's1'], lease.token);
  await assert.rejects(client.release(['s2', 's1'], lease.token), { name: 'LockNotHeldError', message: /^s1, s2: / });
  await own.close();
  await expectFree(['s1', 's2', 's3'], 3000);
});

test('the callback of a watch hears all keys of a lock', options, async () => {
  const lease = await client.acquireDetached(['v2', 'v1'], { ttl: 5000 });
  const heard = { extended: [], lost: [] };
  const watch = client.watch([{ key: ['v2', 'v1'], token: lease.token, ttl: 5000, interval: 50 }],
    (event) => heard[event.type]?.push(event), { keepWatchingAfterLoss: false });
  while (heard.extended.length < 2) await sleep(5);
  await server.lose('v1');
  while (heard.lost.length === 0) await sleep(5);
  for (const { key, keys } of [...heard.extended, ...heard.lost]) assert.deepEqual([key, keys], ['v1, v2', ['v1', 'v2']]);
  assert.match(heard.lost[0].error.message, /^v1, v2: the lock was lost: /);
  await watch.close();
});

test('aborting an acquire of several keys at any moment leaves none of them behind', options, async () => {
  const name = 'several';
  await abortAtAnyMoment(name, (key, signal, i) => (i % 2 === 0
    ? client.acquire([key, `${name}-${(i + 1) % 20}`], { ttl: 60_000, signal })
    : client.acquireDetached([key, `${name}-${(i + 1) % 20}`], { ttl: 60_000, signal })), 100);
});

test('aborting an acquire of a semaphore at any moment leaves no slot behind', options, async () => {
  let tokens = 0;
  const claim = { maxHolders: 2, ttl: 60_000 };
  const ways = [
    (key, signal) => client.acquire(key, { ...claim, signal }),
    (key, signal) => client.acquireOrExtend(key, `slot-${tokens += 1}`, { ...claim, signal }),
    (key, signal) => client.acquireDetached(key, { ...claim, signal }),
  ];
  await abortAtAnyMoment('slots', (key, signal, i) => ways[i % ways.length](key, signal), 100);
});

test('a token of the caller acquires, and takes over a lock of another client', options, async () => {
  const other = new Client(server.endpoint);
  const first = await other.acquire('mine', { token: 'mine' });
  assert.equal(first.token, 'mine');
  const second = await client.acquireOrExtend('mine', 'mine', { wait: 0 });
  assert.ok(second.fencingToken >= first.fencingToken);
  await other.close();
  await sleep(100);
  assert.ok(second.held);
  assert.equal(await client.tryAcquire('mine'), null);
  await second.release();
});

test('a watch keeps locks alive, survives a restart, and hears of its end last', options, async () => {
  const events = [];
  const watch = client.watch(
    [{ key: 'w1', token: 'w', ttl: 3000, interval: 100 }, { key: 'w2', token: 'w', ttl: 3000 }],
    (event) => {
      events.push(event);
      throw new Error('user code');
    });
  const until = async (what) => { while (!events.some(what)) await sleep(10); };
  await until(({ type, key }) => type === 'lost' && key === 'w1'); // not acquired yet
  await client.acquireDetached('w1', { token: 'w', ttl: 3000 });
  await client.acquireDetached('w2', { token: 'w', ttl: 3000 });
  await until(({ type, key }) => type === 'extended' && key === 'w1');
  await until(({ type, key }) => type === 'extended' && key === 'w2');
  await server.restart({ kill: true });
  await until(({ type }) => type === 'failed');
  events.length = 0;
  await until(({ type, key }) => type === 'extended' && key === 'w1');
  await sleep(500);
  assert.equal(await client.tryAcquire('w1'), null);
  await watch.close();
  await watch.close();
  assert.equal(events.at(-1).type, 'closed');
  assert.equal(events.filter(({ type }) => type === 'closed').length, 1);
  assert.equal(events.at(-1).error.name, 'CancelledError');
  await client.release('w1', 'w');
  await client.release('w2', 'w');
});

test('a watch ends with the signal, with the client, and when all locks are lost', options, async () => {
  const own = new Client(server.endpoint);
  const last = (more, then) => new Promise((resolve) => {
    const heard = [];
    own.watch([{ key: 'ended', token: 't' }], ({ type, error }) => {
      heard.push(type);
      if (type === 'closed') resolve(error);
      assert.ok(!heard.includes('failed'), String(heard));
    }, more);
    then?.();
  });
  const abort = new AbortController();
  const enough = new Error('enough');
  assert.equal(await last({ signal: abort.signal }, () => abort.abort(enough)), enough);
  assert.match((await last({ keepWatchingAfterLoss: false })).message, /no lock is left/);
  assert.match((await last({}, () => own.close())).message, /the client is closed/);
});

test('close fails everything that waits', options, async () => {
  const own = new Client(server.endpoint);
  const lock = await client.acquire('shut');
  const calls = [
    own.acquire('shut'), own.acquireOrExtend('shut', 't'), own.acquireDetached('shut'), own.using('shut', {}, () => {})];
  const settled = Promise.allSettled(calls);
  await sleep(100);
  await own.close();
  for (const { reason } of await settled) assert.equal(reason?.name, 'CancelledError', String(reason));
  await assert.rejects(own.acquire('k'), { name: 'CancelledError' });
  await assert.rejects(own.acquireDetached('k'), { name: 'CancelledError' });
  await assert.rejects(own.release('k', 't'), { name: 'CancelledError' });
  await lock.release();
  await expectFree(['shut'], 3000);
});

test('using() and await using reject if the client was closed meanwhile', options, async () => {
  for (const broken of [undefined, new Error('broken')]) {
    const own = new Client(server.endpoint);
    const block = await own.acquire('block');
    const ended = await own.acquire('ended');
    await ended.release();
    const work = async () => {
      await own.close();
      if (broken) throw broken;
    };
    await assert.rejects(own.using('closed', {}, work), (error) => error.name === 'CancelledError' && error.cause === broken);
    await assert.rejects(block[Symbol.asyncDispose](), { name: 'CancelledError' });
    await ended[Symbol.asyncDispose]();
  }
  await expectFree(['block', 'closed'], 3000);
});

test('using() and await using reject if the daemon refuses keepFor, unless the work has failed', options, async () => {
  const keepFor = 10_000_000; // beyond --max-ttl
  await assert.rejects(client.using('refused', { keepFor }, () => {}), { name: 'InvalidArgumentError', message: /keep_for/ });
  const broken = new Error('broken');
  await assert.rejects(client.using('refused', { keepFor }, () => { throw broken; }), (error) => error === broken);
  const block = await client.acquire('refused', { keepFor });
  await assert.rejects(block[Symbol.asyncDispose](), { name: 'InvalidArgumentError' });
  await expectFree(['refused'], 1000);
});

test('a lost lock keeps others out for its delay, although its client finds a daemon again and closes', options, async () => {
  const own = new Client(server.endpoint, { grace: 1000 });
  const lock = await own.acquire('delayed', { ttl: 1000, lockDelay: 60_000 });
  server.cut();
  while (!lock.lost.aborted) await sleep(10);
  server.mend();
  await (await own.acquire('another', { wait: 10_000 })).release();
  await own.close();
  await sleep(1500); // the grace and the TTL are over
  await assert.rejects(client.acquire('delayed', { wait: 0 }), { name: 'LockAlreadyHeldError' });
});

test('observers see an election through restarts of the daemon', options, async () => {
  const election = client.election('elected');
  assert.equal((await election.leader()).state, 'vacant');
  const lock = await election.campaign('one', { ttl: 20_000 });
  const observer = election.observe();
  const until = async (state, value) => {
    for (;;) {
      const seen = (await observer.next()).value;
      if (seen.state === state && seen.value === value) return seen;
    }
  };
  assert.equal((await until('held', 'one')).fencingToken, lock.fencingToken);
  await server.restart({ kill: true });
  await election.proclaim('two');
  assert.deepEqual((await until('held', 'two')).heldBy.map(({ value }) => value), ['two']);
  await election.resign();
  await until('vacant', '');
  await observer.return();
});

test('the test kit delays, cuts, mends and resets connections', options, async () => {
  const own = new Client(server.endpoint, { grace: 3000 });
  const lock = await own.acquire('kit');
  server.delay(100);
  const began = performance.now();
  await lock.extend(10_000);
  assert.ok(performance.now() - began >= 190);
  server.reset();
  server.mend();
  await lock.extend(10_000);
  server.cut();
  while (!lock.lost.aborted) await sleep(10);
  assert.equal(lock.held, false);
  await assert.rejects(own.acquire('kit-2', { wait: 200 }), { name: 'UnreachableError' });
  server.mend();
  await (await own.acquire('kit-2', { wait: 10_000 })).release();
  await own.close();
});
