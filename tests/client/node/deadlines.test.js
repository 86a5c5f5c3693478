import assert from 'node:assert/strict';
import test from 'node:test';
import { Deadlines } from '../../../client/node/core/deadlines.js';
import { randomFrom } from './world.js';

test('actions run in the order of their times, and removed actions do not run', () => {
  const random = randomFrom(7);
  for (let run = 0; run < 100; run += 1) {
    const deadlines = new Deadlines();
    const expected = new Map();
    const ran = [];
    for (let i = 0; i < 60; i += 1) {
      const at = Math.floor(random() * 100);
      expected.set(deadlines.add(at, () => ran.push(at)), at);
      if (random() < 0.4) {
        const entries = [...expected.keys()];
        const entry = entries[Math.floor(random() * entries.length)];
        expected.delete(entry);
        deadlines.remove(entry);
        deadlines.remove(entry);
      }
    }
    const left = [...expected.values()].sort((a, b) => a - b);
    assert.equal(deadlines.next, left[0]);
    deadlines.run(49);
    assert.deepEqual(ran, left.filter((at) => at <= 49));
    deadlines.run(100);
    assert.deepEqual(ran, left);
    assert.equal(deadlines.size, 0);
    assert.equal(deadlines.next, Infinity);
  }
});

test('an action learns how late it runs and may add another', () => {
  const deadlines = new Deadlines();
  const late = [];
  deadlines.add(10, (first) => { late.push(first); deadlines.add(12, (second) => late.push(second)); });
  deadlines.run(15);
  assert.deepEqual(late, [5, 3]);
});
