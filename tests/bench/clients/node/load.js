// Acquires and releases locks with one library:  node --expose-gc load.js SUBJECT DAEMON NODE...
// Carries out the orders on standard input and answers each with one line of JSON.
//   run OUTSTANDING SECONDS   that many loops acquire and release, each a new key every time
//   hold COUNT                acquires that many locks and keeps them
import { createInterface } from 'node:readline';
import { subjects } from './subjects.js';

const [subject, daemon, ...nodes] = process.argv.slice(2);
const acquire = await subjects[subject](daemon, nodes); // (key) => a function that releases it
const held = []; // a reference to each lock, as its holder has one
let run = 0;

const orders = {
  async run(outstanding, seconds) {
    run += 1;
    const took = [];
    const begin = performance.now();
    const work = async (worker) => {
      for (let cycle = 0; performance.now() - begin < seconds * 1000; cycle++) {
        const start = performance.now();
        const release = await acquire(`node-${process.pid}-${run}-${worker}-${cycle}`);
        await release();
        took.push(performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: outstanding }, (_, worker) => work(worker)));
    const all = Float64Array.from(took).sort();
    return {
      cycles: (all.length * 1000) / (performance.now() - begin),
      p50_ms: all[Math.floor(all.length / 2)],
      p99_ms: all[Math.floor(all.length * 0.99)],
    };
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
};

function heap() {
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [order, ...numbers] = line.split(' ');
  console.log(JSON.stringify(await orders[order](...numbers.map(Number))));
}
process.exit(); // what is held or connected would keep the process alive
