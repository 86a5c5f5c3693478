// A Machine whose clock and streams the test drives by hand.
import assert from 'node:assert/strict';
import { Machine } from '../../../client/node/core/machine.js';

export const GRACE = 5000;
export const ALLOWANCE = 52; // 1 % + 2 ms
const DAEMON_BEGAN = 777_000; // on the client's clock

export class Harness {
  now = 1_000_000;
  clock = { suspends: 0, earliest: () => this.now, latest: () => this.now };
  opened = []; // Sessions, in order
  dropped = [];
  tokens = 0;
  wallMicros = 0n;

  constructor({ endpoints = 2, grace = GRACE } = {}) {
    this.machine = new Machine({
      endpoints, grace, clock: this.clock, host: this, random: () => 1,
      newToken: () => { this.tokens += 1; return `token-${this.tokens}`; },
      wallMicros: () => this.wallMicros,
    });
  }

  open(session) { this.opened.push(session); }

  drop(session, reusable) { this.dropped.push({ session, reusable }); }

  get session() { return this.machine.session; }

  // ---- the user

  acquire(key = 'k', options = {}) {
    const call = { positions: [], lost: undefined, losses: 0 };
    const request = {
      key, ttl: 30_000, owner: '', wait: undefined, margin: 500,
      onQueued: (position) => call.positions.push(position),
      onLost: (error) => { call.lost = error; call.losses += 1; },
      ...options,
    };
    return this.#obtain(call, (caller) => this.machine.acquire(request, caller));
  }

  // Returns a call whose lease will be the share.
  downgrade(lease) { return this.#obtain({}, (caller) => this.machine.downgrade(lease, caller)); }

  #obtain(call, start) {
    call.operation = start((error, lease) => {
      assert.ok(!call.done, 'settled twice');
      Object.assign(call, { done: true, error, lease });
    });
    this.notify();
    return call;
  }

  giveUp(call) {
    this.machine.giveUp(call.operation, new Error('given up'));
    this.notify();
  }

  #call(start) {
    const call = {};
    start((error) => {
      assert.ok(!call.done, 'settled twice');
      Object.assign(call, { done: true, error });
    });
    this.notify();
    return call;
  }

  release(lease, keepFor) { return this.#call((done) => this.machine.releaseLease(lease, done, keepFor)); }

  extend(lease, ttl = 60_000) { return this.#call((done) => this.machine.extend(lease, { ttl }, done)); }

  close() { return this.#call((done) => this.machine.close(done)); }

  // ---- the stream

  // The operations that the client sends now: [{ id, acquire | ... }].
  take() {
    const operations = [];
    for (;;) {
      const message = this.machine.take();
      if (message === undefined) return operations;
      this.lastMessage = message;
      operations.push(...message.operations);
    }
  }

  // Takes exactly these kinds of operations, in order.
  expect(...kinds) {
    const operations = this.take();
    assert.deepEqual(operations.map(kindOf), kinds);
    return operations;
  }

  get daemonClock() { return this.now - DAEMON_BEGAN; }

  message(parts, session = this.session, clock = this.daemonClock) {
    this.machine.message(session, { results: [], events: [], positions: [], ...parts, clock });
    this.notify();
  }

  answer(operation, result = {}, session = this.session) {
    this.message({ results: [{ id: operation.id, ...result }] }, session);
  }

  grant(operation, { fence = 1n, validity = 29_000 } = {}, session = this.session) {
    const { token } = operation.acquire ?? operation.adopt ?? operation.extend;
    this.answer(operation, { lease: { token, fence, validity } }, session);
  }

  fail(operation, reason, more = {}, session = this.session) {
    this.answer(operation, { status: { reason, message: `it is ${reason}`, ...more } }, session);
  }

  event(event, session = this.session) { this.message({ events: [{ message: 'because', ...event }] }, session); }

  drain() { this.event({ type: 'DRAINING' }); }

  breakStream(fatal = false) {
    this.machine.ended(this.session, Object.assign(new Error('broken'), { reason: 'UNREACHABLE' }), fatal);
    this.notify();
  }

  // Answers the first ping of the Session that is connecting.
  ready() {
    const [ping] = this.expect('ping');
    assert.equal(this.lastMessage.disconnectGrace, this.machine.grace);
    this.answer(ping);
    assert.ok(this.machine.ready);
  }

  // Returns a held lock, with `options` as for acquire().
  hold(key = 'k', options = {}, granted = {}) {
    const call = this.acquire(key, options);
    if (!this.machine.ready) this.ready();
    const [operation] = this.expect('acquire');
    this.grant(operation, granted);
    assert.equal(call.error, undefined);
    return call;
  }

  // ---- time

  notify() { for (const notice of this.machine.takeNotices()) notice(); }

  tick() {
    this.machine.tick();
    this.notify();
  }

  // Advances the clock; the client wakes when it requests. `daemon`: pings are answered at once.
  pass(time, { daemon = false } = {}) {
    const end = this.now + time;
    while (this.machine.wakeAt <= end) {
      this.now = Math.max(this.now, this.machine.wakeAt);
      this.tick();
      if (daemon) this.answerPings();
    }
    this.now = end;
    this.tick();
    if (daemon) this.answerPings();
  }

  // Suspends the process: time passes, and no timer counts it.
  suspend(time) {
    this.now += time;
    this.clock.suspends += 1;
  }

  answerPings() {
    for (const operation of this.take()) {
      assert.equal(kindOf(operation), 'ping');
      this.answer(operation);
    }
  }
}

export const kindOf = ({ id, ...operation }) => Object.keys(operation)[0];
