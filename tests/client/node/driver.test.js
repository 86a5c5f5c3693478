import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { platformClock } from '../../../client/node/lib/clock.js';
import { Driver } from '../../../client/node/lib/driver.js';

// A daemon in the same process. `onOperations(stream, operations)` decides its answers.
class FakeTransport {
  streams = [];
  disconnected = [];
  closed = 0;
  validity = 29_000;
  hold = false; // do not report messages as written

  open(index, { onMessage, onEnd }) {
    const stream = {
      index, onMessage, onEnd, messages: [], cancelled: false, writing: false,
      write: (message, onWritten) => {
        stream.messages.push(message);
        stream.writing = true;
        stream.written = () => { stream.writing = false; onWritten(); };
        if (!this.hold) process.nextTick(stream.written);
        this.answer?.(stream, message.operations);
      },
      cancel: () => { stream.cancelled = true; },
    };
    this.streams.push(stream);
    return stream;
  }

  disconnect(index) { this.disconnected.push(index); }

  close() { this.closed += 1; }
}

const reply = (stream, parts) => setImmediate(() =>
  stream.onMessage({ results: [], events: [], positions: [], clock: performance.now(), ...parts }));

const grantAll = (validity) => (stream, operations) => reply(stream, {
  results: operations.filter(({ cancel }) => !cancel).map(({ id, acquire, extend, adopt }) => {
    const holder = acquire ?? extend ?? adopt;
    return { id, lease: holder && { token: holder.token, fence: 1n, validity } };
  }),
});

const start = ({ grace = 5000, validity = 29_000 } = {}) => {
  const transport = new FakeTransport();
  transport.answer = grantAll(validity);
  const driver = new Driver({ transport, endpoints: 2, grace, clock: platformClock() });
  const acquire = (key, more) => new Promise((resolve, reject) => {
    driver.acquire(
      { key, ttl: 30_000, owner: '', margin: 100, onLost: () => {}, ...more },
      (error, lease) => (lease ? resolve(lease) : reject(error)));
  });
  return { transport, driver, acquire };
};

test('all operations of one event loop turn share one message', async () => {
  const { transport, driver, acquire } = start();
  const leases = await Promise.all(Array.from({ length: 64 }, (_, i) => acquire(`key-${i}`)));
  const [stream] = transport.streams;
  assert.deepEqual(stream.messages.map(({ operations }) => operations.length), [1, 64]);
  await Promise.all(leases.map((lease) => driver.release(lease)));
  assert.equal(stream.messages.length, 3);
  await driver.close();
});

test('operations issued by continuations of one message share the next message', async () => {
  const { transport, driver, acquire } = start();
  await Promise.all(Array.from({ length: 64 }, async (_, i) => driver.release(await acquire(`key-${i}`))));
  assert.deepEqual(transport.streams[0].messages.map(({ operations }) => operations.length), [1, 64, 64]);
  await driver.close();
});

test('operations that are issued while a message is being written are sent together in the next', async () => {
  const { transport, driver, acquire } = start();
  await acquire('first');
  transport.hold = true;
  const calls = [acquire('a')];
  await turn();
  await turn();
  calls.push(acquire('b'));
  await turn();
  calls.push(acquire('c'));
  await turn();
  await turn();
  const [{ messages, written }] = transport.streams;
  assert.equal(messages.length, 3);
  transport.hold = false;
  written();
  await Promise.all(calls);
  assert.deepEqual(messages.map(({ operations }) => operations.length), [1, 1, 1, 2]);
  await driver.close();
});

test('the end of a stream opens the next one over a new connection', async () => {
  const { transport, driver, acquire } = start();
  await acquire('a');
  transport.streams[0].onEnd(new Error('broken'), false);
  assert.ok(transport.streams[0].cancelled);
  assert.deepEqual(transport.disconnected, [0]);
  assert.equal(transport.streams[1].index, 1);
  await sleep(20);
  assert.ok(transport.streams[1].messages.some(({ operations }) => operations.some(({ adopt }) => adopt)));
  await driver.close();
});

test('user code may call the client from a loss handler', async () => {
  const { transport, driver, acquire } = start();
  const other = await acquire('other');
  let released;
  const lease = await acquire('k', { onLost: () => { released = driver.release(other); } });
  transport.streams[0].onMessage({
    results: [], positions: [], clock: performance.now(),
    events: [{ type: 'LOST', lease: { key: lease.key, token: lease.token, fence: 0n, validity: 0 }, message: 'x' }],
  });
  await released;
  await driver.close();
});

test('the loss is signalled in time if nothing arrives', async () => {
  const { transport, driver, acquire } = start({ grace: 400 });
  let lostAt;
  const began = performance.now();
  await acquire('k', { margin: 40, onLost: () => { lostAt = performance.now(); } });
  transport.answer = undefined;
  await sleep(450);
  assert.ok(lostAt - began > 300, `${lostAt - began}`); // a busy machine may be late; the simulation checks the latest moment
  await driver.close();
});

test('a stalled process reads received messages before it declares a lock lost', async () => {
  const { transport, driver, acquire } = start({ validity: 300 });
  let lost = false;
  const lease = await acquire('k', { margin: 30, onLost: () => { lost = true; } });
  const [stream] = transport.streams;
  // A socket that becomes readable while the loop is busy: its callback runs after the timers.
  setImmediate(() => {
    setImmediate(() => stream.onMessage({
      results: [], positions: [], clock: performance.now(),
      events: [{ type: 'EXTENDED', lease: { key: lease.key, token: lease.token, fence: 1n, validity: 5000 } }],
    }));
    const until = performance.now() + 500;
    while (performance.now() < until);
  });
  await sleep(600);
  assert.equal(lost, false);
  assert.ok(lease.trustedUntil > driver.clock.latest());
  await driver.close();
});

test('tokens are random and never repeat', async () => {
  const { driver, acquire } = start();
  const leases = await Promise.all(Array.from({ length: 1000 }, (_, i) => acquire(`key-${i}`)));
  for (const { token } of leases) assert.match(token, /^rl-[0-9a-f]{32}$/);
  assert.equal(new Set(leases.map(({ token }) => token)).size, 1000);
  await driver.close();
});

test('close closes the transport and leaves no timer', async () => {
  const { transport, driver, acquire } = start();
  await acquire('a');
  await driver.close();
  assert.ok(transport.closed > 0);
  assert.ok(!process.getActiveResourcesInfo().includes('Timeout'));
});
