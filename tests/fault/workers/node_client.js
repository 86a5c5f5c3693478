// The Node client as a worker. ../README.md describes its output. REDLOCKD_NODE: the client's directory.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const { Client, LockError } = await import(pathToFileURL(`${process.env.REDLOCKD_NODE}/index.mjs`));

const name = process.env.WORKER_NAME;
const grace = Number(process.env.WORKER_GRACE) * 1000;
const sharedKeys = Number(process.env.WORKER_SHARED_KEYS);
const history = openSync(process.env.WORKER_HISTORY, 'a');

// CLOCK_BOOTTIME, which Node does not provide: hrtime is CLOCK_MONOTONIC.
const now = () => Number(process.hrtime.bigint()) / 1e9 + Number(process.env.WORKER_BOOTTIME_OFFSET);

let seed = Number(process.env.WORKER_SEED);
const random = () => { // mulberry32
  seed = (seed + 0x6D2B79F5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const between = (least, most) => least + random() * (most - least);
const choice = (values) => values[Math.floor(random() * values.length)];

const record = (what, fields) => writeSync(history, `${JSON.stringify({ worker: name, what, ...fields })}\n`);

const newClient = () => {
  const endpoints = process.env.WORKER_ENDPOINTS.split(',');
  const first = Math.floor(random() * endpoints.length);
  return new Client([...endpoints.slice(first), ...endpoints.slice(0, first)], { grace });
};
let client = newClient();

// Records how long the client trusts the lock, until the lock is lost or some time has passed.
const use = async (lock) => {
  const end = now() + between(0, 2.5);
  const fields = { key: lock.key, token: lock.token };
  let by = null;
  let unsignalled = now();
  while (now() < end) {
    const before = now();
    const { validity } = lock;
    const begin = now();
    if (validity > 0) {
      by = before + validity / 1000;
      record('trusts', { ...fields, begin, end: by, fence: Number(lock.fencingToken) });
    }
    await sleep(between(0, 50));
    if (lock.lost.aborted) {
      record('lost', { ...fields, received: now(), by, unsignalled, reason: lock.lost.reason.reason });
      return;
    }
    unsignalled = now();
    if (random() < 0.02) await lock.extend(between(300, 1000)).catch(() => {});
  }
};

const cycle = async (key) => {
  const sent = now();
  let lock;
  try {
    lock = await client.acquire(key, { ttl: between(300, 1000), wait: choice([0, 500, 2000]), owner: name });
  } catch (error) {
    if (!(error instanceof LockError)) throw error;
    record('not acquired', { key, sent, received: now(), reason: error.reason });
    await sleep(10);
    return;
  }
  const fields = { key, token: lock.token };
  record('acquired', { ...fields, sent, received: now(), fence: Number(lock.fencingToken) });
  await use(lock);
  record('releases', { ...fields, sent: now() });
  if (random() < 0.1) {
    await client.close();
    client = newClient();
    return;
  }
  const reason = await lock.release().then(() => 'OK', (error) => error.reason);
  record('released', { ...fields, received: now(), reason });
};

while (true) {
  await cycle(random() < 0.7 ? `shared-${Math.floor(random() * sharedKeys)}` : `own-${name}`);
}
