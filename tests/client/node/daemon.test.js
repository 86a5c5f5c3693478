// The client against real daemons. REDLOCKD: the daemon's binary; the tests are skipped without it. CLIENT: as
// in transport.test.js.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import test, { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const { REDLOCKD } = process.env;
const CLIENT = path.resolve(process.env.CLIENT ?? fileURLToPath(new URL('../../../client/node', import.meta.url)));
const options = { skip: REDLOCKD ? false : 'REDLOCKD is not set' };

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

let Client;
let directory;
let nodes = [];
let daemons = []; // { port, command, process }

const run = (command, args) => spawn(command, args, { stdio: 'ignore' });
const endpoints = () => daemons.map(({ port }) => `127.0.0.1:${port}`);
const begin = (daemon) => { daemon.process = run(REDLOCKD, daemon.args); };
const exited = (child) => new Promise((resolve) => {
  if (child.exitCode !== null || child.signalCode !== null) resolve();
  else child.on('exit', resolve);
});

const restart = async (daemon, signal) => {
  daemon.process.kill(signal);
  await exited(daemon.process);
  begin(daemon);
};

before(async () => {
  if (options.skip) return;
  ({ Client } = await import(pathToFileURL(`${CLIENT}/index.js`)));
  directory = mkdtempSync(path.join(os.tmpdir(), 'redlock-node-'));
  const ports = [await freePort(), await freePort(), await freePort()];
  nodes = ports.map((port) => run('redis-server', [
    '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', directory]));
  for (const port of [await freePort(), await freePort()]) {
    const args = ['--listen', `127.0.0.1:${port}`, '--log-level', 'error', '--node-timeout', '2s',
      ...ports.flatMap((node) => ['--node', `redis://127.0.0.1:${node}`])];
    daemons.push({ port, args });
    begin(daemons.at(-1));
  }
  for (const endpoint of endpoints()) {
    const client = new Client(endpoint);
    for (;;) {
      try {
        await (await client.acquire('start', { wait: 10_000 })).release();
        break;
      } catch {
        await sleep(50);
      }
    }
    await client.close();
  }
}, { timeout: 30_000 });

after(async () => {
  const children = [...daemons.map((daemon) => daemon.process), ...nodes];
  for (const child of children) child.kill('SIGCONT');
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map(exited));
  if (directory) rmSync(directory, { recursive: true });
});

// Throws if a key is still held after `within`.
const expectFree = async (keys, within) => {
  const client = new Client(endpoints());
  const until = performance.now() + within;
  for (const key of keys) {
    for (;;) {
      try {
        await (await client.acquire(key, { wait: 0 })).release();
        break;
      } catch (error) {
        if (performance.now() > until) throw new Error(`${key} is still held: ${error.message}`);
        await sleep(20);
      }
    }
  }
  await client.close();
};

test('aborting an acquire at any moment leaves no lock behind', { ...options, timeout: 60_000 }, async () => {
  const client = new Client(endpoints());
  await (await client.acquire('warm')).release();
  const keys = Array.from({ length: 20 }, (_, i) => `abort-${i}`);
  let granted = 0;
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(keys.map(async (key, i) => {
      const abort = new AbortController();
      const call = client.acquire(key, { ttl: 60_000, wait: i % 3 === 0 ? 0 : undefined, signal: abort.signal });
      call.catch(() => {});
      const delay = (round * 7 + i * 3) % 25;
      if (delay === 0) await null;
      else await sleep(delay);
      abort.abort();
      // A single attempt may come before the release of the previous round.
      const lock = await call.catch((error) => assert.ok(
        error.name === 'AbortError' || error.reason === 'LOCK_ALREADY_HELD', String(error)));
      if (lock) {
        granted += 1;
        await lock.release();
      }
    }));
  }
  assert.ok(granted > 30 && granted < 570, `${granted} of 600 were granted`);
  await expectFree(keys, 2000);
  await client.close();
});

test('aborting while daemons are killed leaves no lock behind', { ...options, timeout: 60_000 }, async () => {
  const client = new Client(endpoints(), { grace: 1000 });
  const keys = Array.from({ length: 20 }, (_, i) => `killed-${i}`);
  let over = false;
  const killer = (async () => {
    for (let i = 0; i < 6; i += 1) {
      await sleep(150);
      await restart(daemons[i % 2], i % 3 === 0 ? 'SIGTERM' : 'SIGKILL');
    }
    over = true;
  })();
  while (!over) {
    await Promise.all(keys.map(async (key) => {
      const signal = AbortSignal.timeout(Math.floor(Math.random() * 100));
      const lock = await client.acquire(key, { ttl: 60_000, signal }).catch(() => undefined);
      await lock?.release().catch(() => {});
    }));
  }
  await killer;
  await expectFree(keys, 8000);
  await client.close();
});

test('200 locks survive several drains and kills in a row', { ...options, timeout: 60_000 }, async () => {
  const client = new Client(endpoints());
  const locks = await Promise.all(Array.from({ length: 200 }, (_, i) => client.acquire(`moved-${i}`, { ttl: 20_000 })));
  for (const [i, signal] of ['SIGTERM', 'SIGTERM', 'SIGKILL', 'SIGTERM', 'SIGKILL', 'SIGKILL'].entries()) {
    await restart(daemons[i % 2], signal);
    await sleep(100 + i * 60);
  }
  await sleep(1000);
  assert.equal(locks.filter(({ held, lost }) => held && !lost.aborted).length, 200);
  const rival = new Client(endpoints());
  await assert.rejects(rival.acquire('moved-7', { wait: 0 }), { reason: 'LOCK_ALREADY_HELD' });
  await rival.close();
  await client.close();
  await expectFree(locks.map(({ key }) => key), 2000);
});

test('release, extend and close return in bounded time while no daemon answers', { ...options, timeout: 60_000 }, async () => {
  const client = new Client(endpoints());
  const [released, extended] = [await client.acquire('r'), await client.acquire('e')];
  const timed = async (promise) => {
    const began = performance.now();
    await promise.catch(() => {});
    return performance.now() - began;
  };
  for (const daemon of daemons) daemon.process.kill('SIGSTOP');
  try {
    const times = await Promise.all([timed(released.release()), timed(extended.extend(10_000)), timed(released.release())]);
    for (const time of times) assert.ok(time < 2300, `${times}`);
    assert.ok(await timed(client.close()) < 2300);
  } finally {
    for (const daemon of daemons) daemon.process.kill('SIGCONT');
  }
  await expectFree(['r', 'e'], 8000);
});

test('a client whose event loop was blocked keeps its lock', { ...options, timeout: 60_000 }, async () => {
  const client = new Client(endpoints());
  const lock = await client.acquire('busy', { ttl: 1000 });
  for (let i = 0; i < 3; i += 1) {
    const until = performance.now() + 1500;
    while (performance.now() < until);
    await sleep(100);
    assert.ok(lock.held && !lock.lost.aborted, String(lock.lost.reason));
  }
  await lock.release();
  await client.close();
});

test('the locks of a client that was killed are free after the grace', { ...options, timeout: 60_000 }, async () => {
  const script = `import { Client } from ${JSON.stringify(pathToFileURL(`${CLIENT}/index.js`))};
    const client = new Client(${JSON.stringify(endpoints())}, { grace: 600 });
    await client.acquire('crash', { ttl: 60_000 });
    console.log('held');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => { child.stdout.once('data', resolve); });
  await sleep(1500);
  const client = new Client(endpoints());
  await assert.rejects(client.acquire('crash', { wait: 0 }), { reason: 'LOCK_ALREADY_HELD' });
  child.kill('SIGKILL');
  await (await client.acquire('crash', { wait: 2000 })).release();
  await client.close();
});
