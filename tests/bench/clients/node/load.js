// Acquires and releases locks with one library:  node --expose-gc load.js SUBJECT DAEMON NODE...
// Carries out the orders on standard input and answers each with one line of JSON.
//   run OUTSTANDING SECONDS   that many loops acquire and release, each a new key every time
//   hold COUNT                acquires that many locks and keeps them
//   work WORKLOAD OUTSTANDING SECONDS   as "run", but what the workload wants
//   check WORKLOAD OUTSTANDING SECONDS  the same, and ends the program if two hold a key at the same time
//   contend WORKERS HOLD PAUSE SECONDS  that many loops want one key, hold it for HOLD s, and pause for PAUSE s
//   wait COUNT                holds a key for which that many loops begin to wait
//   pass                      releases that key, and answers when each of them has had it
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { subjects } from './subjects.js';

const [subject, daemon, ...nodes] = process.argv.slice(2);
const acquire = await subjects[subject](daemon, nodes); // (key or keys) => a function that releases them
const held = []; // a reference to each lock, as its holder has one
const holders = new Set(); // the keys that are held, for witnessed()
let runs = 0;
let pass; // carries out the order "pass"

const workloads = {
  'transfers-1000': (prefix) => pairs(prefix, 1000),
  'transfers-10': (prefix) => pairs(prefix, 10),
};

const orders = {
  run(outstanding, seconds) {
    return run((prefix) => (worker, cycle) => acquire(`${prefix}-${worker}-${cycle}`), outstanding, seconds);
  },

  work(workload, outstanding, seconds) {
    return run(wantedBy(workload, acquire), outstanding, seconds);
  },

  check(workload, outstanding, seconds) {
    return run(wantedBy(workload, witnessed), outstanding, seconds);
  },

  async hold(count) {
    const atOnce = 100;
    const heapBefore = heap();
    for (let first = 0; first < count; first += atOnce) {
      const keys = Array.from({ length: atOnce }, (_, i) => `held-${process.pid}-${held.length}-${i}`);
      held.push(...(await Promise.all(keys.map(acquire))));
    }
    return { heap_before: heapBefore, heap: heap() };
  },

  // Answers with the turns: worker, and when it requested, acquired and released, in seconds.
  async contend(workers, hold, pause, seconds) {
    runs += 1;
    const key = `contended-${process.pid}-${runs}`;
    const began = performance.now();
    const now = () => (performance.now() - began) / 1000;
    const turns = [];
    const work = async (worker) => {
      while (now() < seconds) {
        const requested = now();
        const release = await acquire(key);
        const acquired = now();
        await setTimeout(hold * 1000);
        turns.push([worker, requested, acquired, now()]);
        await release();
        if (pause > 0) await setTimeout(pause * 1000);
      }
    };
    await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
    return { turns };
  },

  async wait(count) {
    runs += 1;
    const key = `awaited-${process.pid}-${runs}`;
    const release = await acquire(key);
    const waiters = Array.from({ length: count }, async () => (await acquire(key))());
    pass = () => Promise.all([release(), ...waiters]);
    return {};
  },

  async pass() {
    await pass();
    return {};
  },
};

// begin(prefix) makes the function that acquires what a worker wants in a cycle.
async function run(begin, outstanding, seconds) {
  runs += 1;
  const acquireFor = begin(`node-${process.pid}-${runs}`);
  const took = [];
  let inTime = 0;
  const began = performance.now();
  const passed = () => performance.now() - began;
  const work = async (worker) => {
    for (let cycle = 0; cycle === 0 || passed() < seconds * 1000; cycle++) {
      const start = passed();
      const release = await acquireFor(worker, cycle);
      await release();
      const end = passed();
      took.push(end - start);
      if (end <= seconds * 1000) inTime += 1;
    }
  };
  await Promise.all(Array.from({ length: outstanding }, (_, worker) => work(worker)));
  const all = Float64Array.from(took).sort();
  return {
    cycles: (all.length * 1000) / passed(),
    p50_ms: all[Math.floor(all.length / 2)],
    p99_ms: all[Math.floor(all.length * 0.99)],
    count: all.length,
    in_time: inTime,
  };
}

function wantedBy(workload, acquiring) {
  return (prefix) => {
    const wanted = workloads[workload](prefix);
    return () => acquiring(wanted());
  };
}

// Two different keys out of so many.
function pairs(prefix, keys) {
  return () => {
    const one = Math.floor(Math.random() * keys);
    const other = (one + 1 + Math.floor(Math.random() * (keys - 1))) % keys;
    return [`${prefix}-${one}`, `${prefix}-${other}`];
  };
}

// Throws if two hold a key at the same time. Each holds for a while, because holders that release at once overlap too
// rarely to be noticed.
async function witnessed(keys) {
  const release = await acquire(keys);
  for (const key of keys) {
    if (holders.has(key)) throw new Error(`two holders at the same time: ${key}`);
    holders.add(key);
  }
  return async () => {
    await setTimeout(1);
    for (const key of keys) holders.delete(key);
    return release();
  };
}

function heap() {
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [order, ...values] = line.split(' ');
  console.log(JSON.stringify(await orders[order](...values.map((value) => (Number.isNaN(+value) ? value : +value)))));
}
process.exit(); // what is held or connected would keep the process alive
