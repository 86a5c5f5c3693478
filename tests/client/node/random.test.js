// Random schedules: clients acquire, hold, downgrade, release and give up, while streams break in one or both directions,
// daemons drain, die and pause, and clients are suspended. Two clients never trust one key, or one slot of a semaphore, at
// the same time, and nothing is left behind. SEEDS: the number of schedules; SEED: runs only this one.
import assert from 'node:assert/strict';
import process from 'node:process';
import test from 'node:test';
import keys from '../../../client/node/core/key.js';
import { Client, World } from './world.js';

const SEEDS = Number(process.env.SEEDS ?? 120);
const SEMAPHORE = keys.joined(['s'], false, 2);
const KEYS = ['a', 'b', SEMAPHORE];
const SLOTS = [1, 2];
const PLACES = [{ key: 'a' }, { key: 'b' }, ...SLOTS.map((slot) => ({ key: SEMAPHORE, slot }))];
const TIME = 40_000;

const runUser = (world, client, counts) => {
  const { random } = world;
  const tokens = new Map(); // key -> the user's own token
  const downgrade = (key, lease) => {
    const impatient = random() < 0.2;
    client.downgrade(key, lease, (acquire) => {
      if (impatient) world.at(random() * 20, () => client.run((machine) => machine.giveUp(acquire, new Error('enough'))));
    }, (error, share) => {
      if (share) {
        counts.downgraded += 1;
        work(key, share);
      } else {
        if (error.reason !== 'LOCK_NOT_HELD' && tokens.get(key) === lease.token) tokens.delete(key);
        next();
      }
    });
  };
  const work = (key, lease) => {
    counts.granted += 1;
    const own = tokens.get(key) === lease.token;
    const release = (machine) => {
      const [lost, began] = [lease.state === 'lost', world.now];
      machine.releaseLease(lease, (error) => {
        if (!own) return;
        // After a release that failed, or that continues, the token is not used again.
        if (error !== undefined || world.now - began > 1900) tokens.delete(key);
        // While a lost lock is trusted, its token is not used.
        world.at(lost ? lease.margin * 1.1 : 0, next);
      });
      if (!own) next();
    };
    world.at(random() * 2500, () => client.run((machine) => {
      if (random() < 0.2) machine.extend(lease, { ttl: 1000 }, () => {});
      if (lease.key !== SEMAPHORE && lease.key === key && lease.state === 'held' && random() < 0.3) downgrade(key, lease);
      else release(machine);
    }));
  };
  const next = () => world.at(random() * 300, () => {
    if (world.now > TIME) return;
    const ttl = 300 + random() * 4000;
    const wait = [undefined, 0, random() * 3000][Math.floor(random() * 3)];
    const impatient = random() < 0.3;
    const started = (acquire) => {
      if (!impatient) return;
      world.at(random() * 500, () => client.run((machine) => machine.giveUp(acquire, new Error('enough'))));
    };
    const key = KEYS[Math.floor(random() * KEYS.length)];
    const settled = (lease) => { if (lease) work(key, lease); else next(); };
    if (!tokens.has(key)) tokens.set(key, `own ${counts.tokens += 1}`);
    const token = random() < 0.4 ? tokens.get(key) : undefined;
    const extendIfHeld = token !== undefined && random() < 0.5 ? true : undefined;
    client.acquire(key, { ttl, wait, margin: ttl / 10, token, extendIfHeld }, started, settled);
  });
  next();
};

const makeFaults = (world, clients) => {
  const { random } = world;
  const pick = (list) => list[Math.floor(random() * list.length)];
  const fault = () => world.at(random() * 1500, () => {
    if (world.now > TIME) return;
    const daemon = pick(world.daemons);
    const client = pick(clients);
    const which = Math.floor(random() * 6);
    if (which === 0) daemon.drain();
    else if (which === 1) daemon.kill(random() * 2000);
    else if (which === 2) daemon.pause(random() * 3000);
    else if (which === 3) client.holdUp(random() * 3000);
    else if (which === 4) client.link?.breakAt(random() < 0.5 ? random() * 100 : undefined);
    else client.link?.cut(random() < 0.5, true);
    fault();
  });
  fault();
};

const schedule = (seed, { faults }) => {
  const world = new World(seed, { faults });
  const clients = ['x', 'y', 'z'].map((name) => new Client(world, name, 600 + world.random() * 1500));
  const counts = { granted: 0, downgraded: 0, losses: 0, tokens: 0, full: 0 };
  for (const client of clients) for (let i = 0; i < 2; i += 1) runUser(world, client, counts);
  if (faults) makeFaults(world, clients);
  const check = () => {
    for (const { key, slot } of PLACES) {
      const holders = clients.filter((client) => client.trusts(key, slot));
      const what = slot === undefined ? key : `slot ${slot}`;
      assert.ok(holders.length <= 1, `seed ${seed}: at ${world.now} ${holders.length} clients trust ${what}`);
    }
    if (SLOTS.every((slot) => clients.some((client) => client.trusts(SEMAPHORE, slot)))) counts.full += 1;
  };
  world.runUntil(TIME, check);
  world.runUntil(TIME + 10_000, check);
  let closed = 0;
  for (const client of clients) client.run((machine) => machine.close(() => { closed += 1; }));
  world.runUntil(TIME + 13_000, check);
  assert.equal(closed, clients.length, `seed ${seed}: not all clients closed`);
  world.runUntil(TIME + 25_000, check);
  assert.deepEqual(world.nodes.held, [], `seed ${seed}: keys are left behind`);
  for (const { machine } of clients) {
    assert.ok(machine.closed, `seed ${seed}: the machine is not closed`);
    assert.equal(machine.awaited, 0);
    assert.equal(machine.leases.size + machine.acquires.size + machine.releases.size + machine.extensions.size, 0);
  }
  for (const client of clients) counts.losses += client.losses;
  return counts;
};

const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: SEEDS }, (_, i) => i + 1);

test('random schedules with faults', () => {
  let [granted, downgraded, full] = [0, 0, 0];
  for (const seed of seeds) {
    const counts = schedule(seed, { faults: true });
    granted += counts.granted;
    downgraded += counts.downgraded;
    full += Math.sign(counts.full);
  }
  assert.ok(granted > 20 * seeds.length, `${granted} grants in ${seeds.length} schedules`);
  assert.ok(downgraded > 2 * seeds.length, `${downgraded} downgrades in ${seeds.length} schedules`);
  assert.ok(full > seeds.length / 2, `the slots were in use together in ${full} of ${seeds.length} schedules`);
});

test('without faults no lock is lost', () => {
  for (const seed of seeds.slice(0, 20)) assert.equal(schedule(seed, { faults: false }).losses, 0, `seed ${seed}`);
});
