// The whole client over gRPC, with a daemon in this process. CLIENT: a directory with a client and its
// dependencies.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const CLIENT = path.resolve(process.env.CLIENT ?? fileURLToPath(new URL('../../../client/node', import.meta.url)));
const PROTO = fileURLToPath(new URL('../../../proto', import.meta.url));
const require = createRequire(`${CLIENT}/index.js`);
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { Client, LockError } = await import(pathToFileURL(`${CLIENT}/index.js`));
const { LockService } = grpc.loadPackageDefinition(protoLoader.loadSync('redlock/v1/lock_service.proto', {
  includeDirs: [PROTO], longs: String, enums: String, defaults: false,
})).redlock.v1;

const duration = (ms) => ({ seconds: Math.trunc(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });

class Daemon {
  received = []; // messages
  calls = [];
  fence = 2n ** 60n;

  async start() {
    this.server = new grpc.Server();
    this.server.addService(LockService.service, { Session: (call) => this.session(call) });
    const port = await new Promise((resolve, reject) => {
      this.server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
        (error ? reject(error) : resolve(bound)));
    });
    this.endpoint = `127.0.0.1:${port}`;
    return this;
  }

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
        key: holder.key, token: holder.token, fencingToken: String(this.fence += 1n), validity: duration(29_000),
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

test('a move adopts with a sequence above the fencing token', () => daemons(2, async (first, second) => {
  const client = new Client([first.endpoint, second.endpoint]);
  const lock = await client.acquire('k');
  first.stop();
  while (second.operations.length < 2) await sleep(5);
  const { adopt } = second.operations[1];
  assert.equal(adopt.sequence, String(2n ** 60n + 2n));
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

test('the bearer token is sent; a token function that throws fails the acquire', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint, { token: () => 'secret' });
  await client.acquire('k');
  assert.deepEqual(daemon.calls[0].metadata.get('authorization'), ['Bearer secret']);
  await client.close();
  const broken = new Client(daemon.endpoint, { token: () => { throw new Error('no token'); } });
  await assert.rejects(broken.acquire('k'), { reason: 'UNAUTHENTICATED', message: /no token/ });
  await broken.close();
}));

test('an invalid call fails alone, before anything is sent', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  const lock = await client.acquire('k');
  const sent = daemon.operations.length;
  for (const [key, options, field] of [
    ['', {}, 'key'], ['a\ud800', {}, 'key'], ['k', { ttl: 1 }, 'ttl'], ['k', { wait: -1 }, 'wait'],
    ['k', { owner: 5 }, 'owner'], ['k', { margin: -1 }, 'margin'], [['k'], 5000, 'key'],
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

test('callbacks that throw do not break the client', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  const call = client.acquire('k', { onQueued: () => { throw new Error('user code'); } });
  const answer = daemon.answer.bind(daemon);
  daemon.answer = (operation) => {
    if (operation.acquire) daemon.calls[0].write({ positions: [{ id: operation.id, position: 1 }] });
    return answer(operation);
  };
  assert.ok((await call).held);
  await assert.rejects(
    client.using('other', {}, () => { throw new Error('work failed'); }), { message: 'work failed' });
  assert.ok(daemon.operations.some(({ release }) => release?.key === 'other'), 'released all the same');
  await client.close();
}));

test('tokens are not shown by inspect or JSON', () => daemons(1, async (daemon) => {
  const client = new Client(daemon.endpoint);
  const lock = await client.acquire('k');
  const { inspect } = await import('node:util');
  assert.ok(!inspect(lock, { depth: 9, showHidden: true }).includes(lock.token));
  assert.ok(!JSON.stringify(lock).includes(lock.token));
  await client.close();
}));

const run = async (script) => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => { output += data; });
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const code = await new Promise((resolve) => { child.on('close', resolve); });
  clearTimeout(timer);
  return { code, output };
};

test('the process exits soon after the last release, even without close; a pending wait keeps it running', () => daemons(1, async (daemon) => {
  const start = `import { Client } from ${JSON.stringify(pathToFileURL(`${CLIENT}/index.js`))};`;
  const released = await run(`${start} const client = new Client('${daemon.endpoint}');
    await (await client.acquire('k')).release(); console.log('done');`);
  assert.equal(released.code, 0, released.output);
  assert.equal(released.output, 'done\n');
  const waited = await run(`${start} const client = new Client('127.0.0.1:1');
    await client.acquire('k', { wait: 700 }).catch((error) => console.log(error.reason));`);
  assert.equal(waited.output, 'UNREACHABLE\n');
  assert.equal(waited.code, 0);
}));
