// The whole client over gRPC, with a daemon in this process.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { run } from './child.js';
import { client as redlockd, require } from './installed.js';
import { duration, grpc, serve } from './lock_service.js';

const { Client, LockError } = redlockd;

class Daemon {
  received = []; // messages
  calls = [];
  fence = 2n ** 60n;

  async start(credentials) { return Object.assign(this, await serve({ Session: (call) => this.session(call) }, credentials)); }

  session(call) {
    this.calls.push(call);
    if (this.refuse) {
      call.emit('error', { code: this.refuse, details: 'go away' });
      return;
    }
    call.on('error', () => {});
    call.on('cancelled', () => { call.gone = true; });
    call.on('data', (message) => {
      this.received.push(message);
      const results = (message.operations ?? []).filter(({ cancel }) => !cancel).map((operation) => this.answer(operation));
      call.write({ results, clock: duration(performance.now()) });
      if (results.some(({ last }) => last)) call.end();
    });
    call.on('end', () => call.end());
  }

  answer({ id, acquire, adopt, extend, close }) {
    const holder = acquire ?? adopt ?? extend;
    if (acquire?.key === 'held') {
      return { id, status: { code: 10, reason: 'LOCK_ALREADY_HELD', message: 'held', retryDelay: duration(1500) } };
    }
    return {
      id, last: close !== undefined,
      lease: holder && {
        key: holder.key, keys: holder.keys, token: holder.token, fencingToken: String(this.fence += 1n), validity: duration(29_000),
      },
    };
  }

  get operations() { return this.received.flatMap(({ operations }) => operations ?? []); }

  stop() { this.server.forceShutdown(); }
}

const daemons = async (count, body) => {
  const list = await Promise.all(Array.from({ length: count }, () => new Daemon().start()));
  try {
    await body(...list);
  } finally {
    for (const daemon of list) daemon.stop();
  }
};

test('operations are sent and answers are decoded correctly', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint, { grace: 1500 });
  const lock = await client.acquire('reports', { ttl: 12_345.5, owner: 'me' });
  assert.deepEqual(daemon.received[0].disconnectGrace, { seconds: '1', nanos: 500_000_000 });
  assert.deepEqual(Object.keys(daemon.received[0].operations[0]).filter((key) => key !== 'operation'), ['id', 'ping']);
  const { acquire } = daemon.received[1].operations[0];
  assert.match(acquire.token, /^rl-[0-9a-f]{32}$/);
  assert.deepEqual(acquire.ttl, { seconds: '12', nanos: 345_500_000 });
  assert.equal(acquire.owner, 'me');
  assert.equal(lock.fencingToken, 2n ** 60n + 1n);
  assert.ok(lock.held && lock.validity > 1000 && lock.validity < 1485);
  await lock.extend(20_000);
  assert.equal(lock.fencingToken, 2n ** 60n + 2n);
  await assert.rejects(client.acquire('held', { wait: 0 }),
    (error) => error instanceof LockError && error.reason === 'LOCK_ALREADY_HELD' && error.retryAfter === 1500);
  await lock.release();
  await lock.release();
  assert.equal(lock.lost.aborted, false);
  assert.equal(daemon.operations.filter(({ release }) => release).length, 1);
  await client.close();
}));

test('an extension event raises the fencing token, and LOST aborts the signal', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  const lock = await client.acquire('k');
  const send = (event) => daemon.calls[0].write({ events: [{ key: 'k', ...event }], clock: duration(performance.now()) });
  const lease = { key: 'k', token: lock.token };
  send({ type: 'EVENT_TYPE_EXTENDED', lease: { ...lease, fencingToken: String(2n ** 61n), validity: duration(29_000) } });
  while (lock.fencingToken !== 2n ** 61n) await sleep(5);
  send({ type: 'EVENT_TYPE_EXTEND_FAILED', reason: 'QUORUM_UNAVAILABLE' });
  send({ type: 'EVENT_TYPE_LOST', lease, reason: 'LOCK_NOT_HELD', message: 'taken' });
  while (!lock.lost.aborted) await sleep(5);
  assert.equal(lock.lost.reason.message, 'k: the lock was lost: taken');
  await assert.rejects(lock.release(), { reason: 'LOCK_NOT_HELD' });
  await assert.rejects(lock.extend(1000), { reason: 'LOCK_NOT_HELD' });
  await client.close();
}));

test('several keys are sent and read as a list, and shown as names', () => daemons(2, async (first, second) => {
  const logged = [];
  const logger = Object.fromEntries(['debug', 'info', 'warn', 'error'].map((level) => [level, (text) => { logged.push(text); }]));
  const client = new Client([first.endpoint, second.endpoint], { logger });
  const lock = await client.acquire(['b', '\u{10000}', 'a']);
  const keys = ['a', 'b', '\u{10000}'];
  assert.deepEqual(lock.keys, keys);
  assert.equal(lock.keys, lock.keys);
  assert.ok(Object.isFrozen(lock.keys));
  assert.equal(lock.key, 'a, b, \u{10000}');
  await lock.extend(20_000);
  const single = await client.acquire(['k']);
  assert.deepEqual([single.key, single.keys], ['k', ['k']]);
  await single.release();
  first.stop();
  while (!second.operations.some(({ adopt }) => adopt)) await sleep(5);
  await lock.extend(20_000);
  const send = (event) => second.calls[0].write({ events: [{ keys, ...event }], clock: duration(performance.now()) });
  const lease = { keys: [...keys].reverse(), token: lock.token };
  send({ type: 'EVENT_TYPE_EXTENDED', lease: { ...lease, fencingToken: String(2n ** 61n), validity: duration(29_000) } });
  while (lock.fencingToken !== 2n ** 61n) await sleep(5);
  assert.equal(inspect(lock), "Lock { key: 'a, b, \u{10000}', fencingToken: 2305843009213693952n, held: true }");
  assert.equal(JSON.parse(JSON.stringify(lock)).key, lock.key);
  const released = await client.acquire(['b', 'a']);
  await released.release();
  const aborting = new AbortController();
  const answer = second.answer.bind(second);
  second.answer = (operation) => {
    if (operation.acquire) aborting.abort(); // the answer crosses the cancel
    return answer(operation);
  };
  await assert.rejects(client.acquire(['c', 'a'], { token: 'mine', signal: aborting.signal }), { name: 'AbortError' });
  while (!second.operations.some(({ giveUp }) => giveUp)) await sleep(5);
  send({ type: 'EVENT_TYPE_LOST', lease, reason: 'LOCK_NOT_HELD', message: 'taken' });
  while (!lock.lost.aborted) await sleep(5);
  assert.equal(lock.loss.message, 'a, b, \u{10000}: the lock was lost: taken');
  assert.equal(lock.loss.key, lock.key);
  assert.ok(logged.includes(`redlockd: ${lock.loss.message}`));
  for (const text of logged) assert.doesNotMatch(text, /\ud800/u);
  await client.close();
  const sent = [...first.operations, ...second.operations].map(({ id, operation, ...rest }) => rest);
  const named = sent.map((operation) => {
    const [[kind, { key, keys: names }]] = Object.entries(operation);
    return [kind, names ?? key];
  }).filter(([kind]) => !['ping', 'cancel', 'close'].includes(kind));
  assert.deepEqual(named, [
    ['acquire', keys], ['extend', keys], ['acquire', 'k'], ['release', 'k'],
    ['adopt', keys], ['extend', keys], ['acquire', ['a', 'b']], ['release', ['a', 'b']],
    ['acquire', ['a', 'c']], ['giveUp', ['a', 'c']]]);
}));

test('calls by token that reach no daemon show the names', async () => {
  const client = new Client('127.0.0.1:1');
  for (const call of [
    () => client.extend(['b', 'a'], 't', 1000, { timeout: 100 }), () => client.release(['b', 'a'], 't', { timeout: 100 }),
    () => client.acquireDetached(['b', 'a'], { wait: 0 }),
  ]) {
    await assert.rejects(call(), { name: 'UnreachableError', key: 'a, b', message: /^a, b: 127\.0\.0\.1:1: / });
  }
  await client.close();
});

test('a move adopts with a sequence above the fencing token', () => daemons(2, async (first, second) => {
  const client = new Client([first.endpoint, second.endpoint]);
  const lock = await client.acquire('k');
  first.stop();
  while (second.operations.length < 2) await sleep(5);
  const { adopt } = second.operations[1];
  assert.equal(adopt.sequence, String(2n ** 60n + 3n));
  assert.equal(adopt.token, lock.token);
  await lock.extend(20_000);
  assert.ok(lock.held);
  await client.close();
  assert.equal(lock.held, false);
  assert.equal(lock.lost.reason.reason, 'CANCELLED');
  await lock.release();
  assert.ok(second.operations.some(({ close }) => close));
}));

test('a stream that is permanently refused fails the acquire with the reason', async () => {
  await daemons(1, async (daemon) => {
    for (const reason of ['UNAUTHENTICATED', 'PERMISSION_DENIED', 'INVALID_ARGUMENT']) {
      daemon.refuse = grpc.status[reason];
      const client = new Client(daemon.endpoint);
      await assert.rejects(client.acquire('k'), { reason });
      await client.close();
    }
  });
});

test('an outage after a refusal is waited through', () => daemons(1, async (daemon) => {
  daemon.refuse = grpc.status.UNAUTHENTICATED;
  const client = new Client(['127.0.0.1:1', daemon.endpoint]);
  await assert.rejects(client.acquire('k'), { reason: 'UNAUTHENTICATED' });
  daemon.refuse = grpc.status.UNAVAILABLE;
  const call = client.acquire('k');
  const pending = Symbol('pending');
  assert.equal(await Promise.race([call, sleep(500, pending)]), pending);
  daemon.refuse = undefined;
  await (await call).release();
  await client.close();
}));

test('the bearer token is sent; a token function that throws fails the acquire', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint, { token: () => 'secret' });
  await client.acquire('k');
  assert.deepEqual(daemon.calls[0].metadata.get('authorization'), ['Bearer secret']);
  await client.close();
  const broken = new Client(daemon.endpoint, { token: () => { throw new Error('no token'); } });
  await assert.rejects(broken.acquire('k'), { reason: 'UNAUTHENTICATED', message: /no token/ });
  await broken.close();
  const unfit = new Client(daemon.endpoint, { token: () => 'sec\nret' });
  await assert.rejects(unfit.acquire('k'), ({ reason, message }) =>
    reason === 'UNAUTHENTICATED' && /printable/.test(message) && !/sec/.test(message));
  await unfit.close();
}));

test('a proxy in the environment is not used', () => daemons(1, async (daemon) => {
  process.env.http_proxy = 'http://127.0.0.1:9';
  try {
    const client = new Client(daemon.endpoint);
    await client.acquire('k', { wait: 5000 });
    await client.close();
  } finally {
    delete process.env.http_proxy;
  }
}));

test('an invalid call fails alone, before anything is sent', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  const lock = await client.acquire('k');
  const sent = daemon.operations.length;
  for (const [key, options, field] of [
    ['', {}, 'key'], ['a\ud800', {}, 'key'], ['k', { ttl: 1 }, 'ttl'], ['k', { wait: -1 }, 'wait'],
    ['k', { owner: 5 }, 'owner'], ['k', { margin: -1 }, 'margin'], [['k', 'k'], {}, 'key[1]'], ['k', 5000, 'options'],
    ['k', { timeout: 5 }, 'options'],
  ]) {
    await assert.rejects(client.acquire(key, options), (error) =>
      error.reason === 'INVALID_ARGUMENT' && error.message.startsWith(`${field}: `));
  }
  await assert.rejects(lock.extend(NaN), { reason: 'INVALID_ARGUMENT' });
  assert.throws(() => new Client(daemon.endpoint, { grace: 5 }), { reason: 'INVALID_ARGUMENT' });
  await sleep(20);
  assert.equal(daemon.operations.length, sent);
  assert.ok(lock.held);
  await client.close();
}));

test('an aborted signal rejects with its reason, before and while the acquire waits', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  await assert.rejects(client.acquire('k', { signal: AbortSignal.abort() }), { name: 'AbortError' });
  assert.equal(daemon.received.length, 0);
  daemon.answer = ({ id, ping }) => ({ id: ping ? id : '0' });
  const abort = new AbortController();
  const waiting = client.acquire('k', { signal: abort.signal });
  while (!daemon.operations.some(({ acquire }) => acquire)) await sleep(5);
  abort.abort(new Error('enough'));
  await assert.rejects(waiting, { message: 'enough' });
  while (!daemon.operations.some(({ cancel }) => cancel)) await sleep(5);
  await client.close();
}));

test('callbacks that throw or reject do not break the client, and are logged', () => daemons(1, async (daemon) => {
  const logged = [];
  const logger = Object.fromEntries(['debug', 'info', 'warn', 'error'].map((level) => [level, (text) => {
    logged.push(`${level} ${text}`);
    throw new Error('a logger that throws');
  }]));
  const client = new Client(daemon.endpoint, { logger });
  const answer = daemon.answer.bind(daemon);
  daemon.answer = (operation) => {
    if (operation.acquire) daemon.calls[0].write({ positions: [{ id: operation.id, position: 1 }] });
    return answer(operation);
  };
  const calls = [
    client.acquire('a', { onQueued: () => { throw new Error('user code'); } }),
    client.acquire('b', { onQueued: async () => { throw new Error('async user code'); } })];
  for (const call of calls) assert.ok((await call).held);
  await assert.rejects(
    client.using('other', {}, () => { throw new Error('work failed'); }), { message: 'work failed' });
  assert.ok(daemon.operations.some(({ release }) => release?.key === 'other'), 'released all the same');
  const text = logged.join('\n');
  for (const part of [/^debug redlockd: session ready/m, /Error: user code/, /Error: async user code/]) assert.match(text, part);
  for (const call of calls) assert.ok(!text.includes((await call).token));
  await client.close();
}));

test('a token function may return a promise; one that rejects, or never settles, fails only its calls', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint, { token: async () => 'secret' });
  await client.acquire('k');
  assert.deepEqual(daemon.calls[0].metadata.get('authorization'), ['Bearer secret']);
  await client.close();
  const broken = new Client(daemon.endpoint, { token: () => Promise.reject(new Error('no token')) });
  for (const call of [() => broken.acquire('k'), () => broken.acquireDetached('k'), () => broken.release('k', 't')]) {
    await assert.rejects(call(), { name: 'UnauthenticatedError', message: /no token/ });
  }
  const last = await new Promise((resolve) => {
    const watch = broken.watch([{ key: 'k', token: 't' }], ({ type, error }) => {
      if (type === 'failed') watch.close();
      if (type === 'closed') resolve(error);
      else assert.equal(error.name, 'UnauthenticatedError');
    });
  });
  assert.equal(last.name, 'CancelledError');
  await broken.close();
  const stuck = new Client(daemon.endpoint, { token: () => new Promise(() => {}) });
  await assert.rejects(stuck.acquire('k', { wait: 100 }), { name: 'UnreachableError' });
  for (const call of [() => stuck.acquireDetached('k', { wait: 100 }), () => stuck.release('k', 't', { timeout: 100 })]) {
    await assert.rejects(call(), { name: 'UnreachableError', message: /the token function did not answer in time/ });
  }
  const signal = AbortSignal.timeout(100);
  await assert.rejects(stuck.acquireDetached('k', { signal }), (error) => error === signal.reason);
  const failed = await new Promise((resolve) => {
    stuck.watch([{ key: 'k', token: 't' }], ({ type, error }) => { if (type === 'failed') resolve(error); });
  });
  assert.equal(failed.name, 'UnreachableError');
  assert.match(failed.message, /the token function did not answer in time/);
  const observer = stuck.observe('k');
  assert.match((await observer.next()).value.message, /no daemon has answered yet/);
  await stuck.close();
}));

test('tokens are not shown by inspect, JSON or String', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint, { token: 'bearer-secret' });
  const lock = await client.acquire('k');
  for (const value of [lock, client, { lock }, [client]]) {
    const text = `${inspect(value, { depth: 9, showHidden: true })} ${JSON.stringify(value)} ${String(value)}`;
    assert.ok(!text.includes(lock.token) && !text.includes('bearer-secret'), text);
  }
  assert.match(inspect(lock), /^Lock \{ key: 'k', fencingToken: \d+n, held: true \}$/);
  assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(lock))), ['key', 'fencingToken', 'validity', 'held']);
  await client.close();
}));

test('the default owner names host, process and program', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  await client.acquire('a');
  await client.acquire('b', { owner: '' });
  await client.close();
  const named = new Client(daemon.endpoint, { owner: 'me' });
  await named.acquire('c');
  await named.close();
  const [a, b, c] = ['a', 'b', 'c'].map((key) => daemon.operations.find(({ acquire }) => acquire?.key === key).acquire.owner);
  assert.equal(a, `${os.hostname()}/${process.pid}/${path.basename(process.argv[1])}`);
  assert.equal(b ?? '', '');
  assert.equal(c, 'me');
}));

test('the process exits soon after the last release, even without close; a pending wait keeps it running', () => daemons(1, async (daemon) => {
  const released = await run(daemon.endpoint, `const client = new Client(endpoint);
    await (await client.acquire('k')).release(); console.log('done');`);
  assert.equal(released.code, 0, released.errors);
  assert.equal(released.output, 'done\n');
  const waited = await run('127.0.0.1:1', `const client = new Client(endpoint);
    await client.acquire('k', { wait: 700 }).catch((error) => console.log(error.reason));`);
  assert.deepEqual({ ...waited, time: 0 }, { code: 0, output: 'UNREACHABLE\n', errors: '', time: 0 }, 'nothing on stderr');
}));

const HOLD = `await client.acquire('k'); console.log('held'); process.on('exit', () => console.log('exit'));`;

test('a held lock does not keep the process running, unless the client is asked to', () => daemons(1, async (daemon) => {
  for (const connect of ['new Client(endpoint)', 'new Client([endpoint, endpoint])']) {
    const { code, output, errors } = await run(daemon.endpoint, `const client = ${connect}; ${HOLD}`);
    assert.deepEqual([code, output, errors], [0, 'held\nexit\n', '']);
  }
  const waiting = await run(daemon.endpoint, `const client = new Client(endpoint); ${HOLD}
    await new Promise((resolve) => { setTimeout(resolve, 1500); }); console.log('worked');`);
  assert.equal(waiting.output, 'held\nworked\nexit\n', 'work keeps it running');
  const kept = await run(daemon.endpoint, `const client = new Client(endpoint, { ref: true }); ${HOLD}
    setTimeout(() => { console.log('still here'); process.exit(); }, 2500).unref();`);
  assert.equal(kept.output, 'held\nstill here\nexit\n');
}));

test('a held lock over TLS or a Unix socket does not keep the process running either', async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'redlock-node-'));
  const [key, cert] = [path.join(directory, 'key'), path.join(directory, 'cert')];
  const daemon = new Daemon();
  try {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'], { stdio: 'ignore' });
    await daemon.start(grpc.ServerCredentials.createSsl(null, [{ private_key: readFileSync(key), cert_chain: readFileSync(cert) }]));
    const socket = path.join(directory, 'socket');
    await new Promise((resolve, reject) => {
      daemon.server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
    });
    const secure = await run(daemon.endpoint.replace('127.0.0.1', 'localhost'), `
      const { createRequire } = await import('node:module');
      const grpc = createRequire(${JSON.stringify(require.resolve('@grpc/grpc-js'))})('@grpc/grpc-js');
      const { readFileSync } = await import('node:fs');
      const client = new Client(endpoint, { credentials: grpc.credentials.createSsl(readFileSync(${JSON.stringify(cert)})) }); ${HOLD}`);
    assert.deepEqual([secure.code, secure.output, secure.errors], [0, 'held\nexit\n', '']);
    const local = await run(`unix:${socket}`, `const client = new Client(endpoint); ${HOLD}`);
    assert.deepEqual([local.code, local.output, local.errors], [0, 'held\nexit\n', '']);
  } finally {
    daemon.stop();
    rmSync(directory, { recursive: true });
  }
});

test('100 calls with one signal, and 100 watches, warn of nothing', () => daemons(1, async (daemon) => {
  const { code, output, errors } = await run(daemon.endpoint, `const client = new Client(endpoint);
    const abort = new AbortController();
    const calls = Array.from({ length: 100 }, (_, i) => client.acquire(String(i), { signal: abort.signal }));
    calls.push(...Array.from({ length: 100 }, (_, i) => client.acquireDetached(String(i), { signal: abort.signal })));
    const watches = Array.from({ length: 100 }, () => client.watch([{ key: 'k', token: 't' }], () => {}));
    abort.abort();
    await Promise.allSettled(calls);
    await client.close();`);
  assert.deepEqual([code, output, errors], [0, '', '']);
}));
