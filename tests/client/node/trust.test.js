import assert from 'node:assert/strict';
import test from 'node:test';
import { Anchor, allowance } from '../../../client/node/core/trust.js';
import { randomFrom } from './world.js';

test('the allowance is 1 % of the grace plus 2 ms', () => {
  assert.equal(allowance(5000), 52);
  assert.equal(allowance(100), 3);
});

test('without an answer no validity can be used', () => {
  assert.equal(new Anchor().madeAt(12_345) + 1e12, -Infinity);
});

test('a message is dated by the send time of an answered operation, minus the drift', () => {
  const anchor = new Anchor();
  anchor.observe(1000, 50_000);
  assert.equal(anchor.madeAt(50_000), 1000);
  assert.equal(anchor.madeAt(51_000), 1990);
  assert.equal(anchor.madeAt(49_000), -10);
});

test('a slow answer does not replace a better bound, a fast one does', () => {
  const anchor = new Anchor();
  anchor.observe(1000, 50_000);
  anchor.observe(1100, 50_900); // sent 800 before the answer
  assert.equal(anchor.madeAt(51_000), 1990);
  anchor.observe(1891, 50_900);
  assert.equal(anchor.madeAt(50_900), 1891);
});

test('the bound is never later than the truth for any delays and for rates within 1 %', () => {
  for (let seed = 1; seed <= 2000; seed += 1) {
    const random = randomFrom(seed);
    // The rates of both clocks differ by at most 1 % of the faster one.
    const client = 1 + random() * 0.004;
    const daemon = client * (1 + (random() * 2 - 1) * 0.0099);
    const began = random() * 1e6;
    const clientTime = (time) => time * client;
    const daemonTime = (time) => (time + began) * daemon;
    const anchor = new Anchor();
    let time = 0;
    for (let i = 0; i < 40; i += 1) {
      time += random() * 10 ** (random() * 5);
      if (random() < 0.5) {
        const answered = time + random() * 10 ** (random() * 4);
        anchor.observe(clientTime(time), daemonTime(answered));
        time = answered;
      }
      const made = time - (random() < 0.2 ? random() * 1000 : 0);
      assert.ok(anchor.madeAt(daemonTime(made)) <= clientTime(made) + 1e-6, `seed ${seed}`);
    }
  }
});

test('the bound stays close to the truth while answers arrive quickly', () => {
  const anchor = new Anchor();
  for (let time = 0; time < 3_600_000; time += 1250) {
    anchor.observe(time, time + 1);
    const made = time + 1250;
    assert.ok(made - anchor.madeAt(made) < 15);
  }
});
