import assert from 'node:assert/strict';
import test from 'node:test';
import { SuspendClock, platformClock } from '../../../client/node/lib/clock.js';
import { randomFrom } from './world.js';

const makeWorld = ({ resolution = 10, boot = 12_345.678, suspended = 0 } = {}) => {
  const world = {
    monotonic: 500, boot, suspended,
    pass(time) { world.monotonic += time; },
    suspend(time) { world.suspended += time; },
    get truth() { return world.boot + world.monotonic + world.suspended; },
  };
  const uptime = () => Math.floor(world.truth / resolution) * resolution;
  world.clock = new SuspendClock(() => world.monotonic, uptime);
  return world;
};

const check = (world, resolution = 10) => {
  const latest = world.clock.latest();
  const earliest = world.clock.earliest();
  assert.ok(earliest <= world.truth + 1e-6, `earliest ${earliest} is after ${world.truth}`);
  assert.ok(latest >= world.truth - 1e-6, `latest ${latest} is before ${world.truth}`);
  assert.ok(latest - world.truth <= resolution + 1e-6);
};

test('the two bounds enclose the true time, also across suspends', () => {
  const random = randomFrom(1);
  for (let run = 0; run < 200; run += 1) {
    const world = makeWorld({ boot: random() * 1e6 });
    for (let i = 0; i < 100; i += 1) {
      world.pass(random() * 50);
      if (random() < 0.1) world.suspend(random() * 10 ** (random() * 7));
      check(world);
    }
  }
});

test('a send time before a suspend and an expiry after it are at least the suspend apart', () => {
  const world = makeWorld();
  for (let i = 0; i < 100; i += 1) { world.pass(3.7); world.clock.latest(); }
  const sent = world.clock.earliest();
  world.suspend(4000);
  assert.ok(world.clock.earliest() - sent < 1, 'nothing has noticed the suspend yet');
  assert.ok(world.clock.latest() - sent >= 4000);
  assert.ok(world.clock.earliest() - sent >= 3990, 'latest() has noticed it');
});

test('the bounds are close together while nothing is suspended', () => {
  const world = makeWorld();
  for (let i = 0; i < 1000; i += 1) { world.pass(3.7); world.clock.latest(); }
  assert.ok(world.truth - world.clock.earliest() < 0.1);
});

test('a suspend is counted once, and the calibration is not counted as one', () => {
  const world = makeWorld();
  for (let i = 0; i < 1000; i += 1) { world.pass(3.7); world.clock.latest(); }
  assert.equal(world.clock.suspends, 0);
  world.suspend(1000);
  world.clock.latest();
  world.pass(5);
  world.clock.latest();
  assert.equal(world.clock.suspends, 1);
});

test('an uptime in whole seconds is detected, and the time never falls behind the monotonic clock', () => {
  const world = makeWorld({ resolution: 1000, boot: 999.5 });
  const began = world.clock.earliest();
  let passed = 0;
  for (let i = 0; i < 500; i += 1) {
    world.pass(17);
    passed += 17;
    const latest = world.clock.latest();
    assert.ok(latest - began >= passed);
    assert.ok(world.clock.earliest() <= latest);
    assert.ok(latest >= world.clock.earliest());
  }
  world.suspend(5000);
  check(world, 1000);
});

test('a process that stalls between two readings does not distort the clock', () => {
  let monotonic = 500;
  let held = 0;
  const uptime = () => {
    const now = Math.floor((monotonic + 12_345.678) / 10) * 10;
    monotonic += held;
    return now;
  };
  const clock = new SuspendClock(() => monotonic, uptime);
  for (let i = 0; i < 100; i += 1) { monotonic += 3.7; clock.latest(); }
  held = 8000;
  clock.latest();
  held = 0;
  monotonic += 3.7;
  assert.ok(clock.latest() - (monotonic + 12_345.678) <= 10);
  assert.equal(clock.suspends, 0);
});

test("the platform's clock advances with performance.now()", () => {
  for (const platform of ['linux', 'darwin']) {
    const clock = platformClock(platform);
    for (let i = 0; i < 20; i += 1) clock.latest();
    const before = performance.now();
    const sent = clock.earliest();
    const began = performance.now();
    while (performance.now() - began < 30);
    const passed = clock.latest() - sent;
    const truth = performance.now() - before;
    assert.ok(passed >= 30 && passed <= truth + 200, `${platform}: ${passed} after ${truth}`);
  }
});
