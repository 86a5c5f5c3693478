// Runs ../conformance/scenarios.json.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Client } from './index.js';

const { ENDPOINTS, PREFIX, SCENARIOS } = process.env;
const ms = (seconds) => (seconds === undefined ? undefined : seconds * 1000);
const sleep = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

class Runner {
  locks = {};
  waiters = {};

  constructor(prefix) { this.prefix = prefix; }

  ask(step, more) {
    this.client ??= new Client(ENDPOINTS.split(','));
    const key = step.key && !step.key.includes(':') ? this.prefix + step.key : step.key;
    return this.client.acquire(key, { ttl: ms(step.ttl), wait: ms(step.wait), ...more });
  }

  async expect(step, promise) {
    let reason;
    const value = await promise.catch((error) => { reason = error.reason ?? String(error); });
    assert.equal(reason, step.fails, JSON.stringify(step));
    return value;
  }

  async acquire(step) { this.locks[step.as] = await this.expect(step, this.ask(step)); }

  begin(step) {
    const abort = new AbortController();
    let onQueued;
    const queued = new Promise((resolve) => { onQueued = resolve; });
    const lock = this.ask(step, { signal: abort.signal, onQueued });
    lock.catch(() => {});
    this.waiters[step.as] = { abort, queued, lock };
  }

  async queued(step) { await this.waiters[step.waiter].queued; }
  async await(step) { this.locks[step.waiter] = await this.waiters[step.waiter].lock; }

  async give_up(step) {
    const { abort, lock } = this.waiters[step.waiter];
    abort.abort();
    await assert.rejects(lock, { name: 'AbortError' });
  }

  async release(step) { await this.expect(step, this.locks[step.lock].release()); }
  async extend(step) { await this.locks[step.lock].extend(ms(step.ttl)); }

  held(step) {
    const lock = this.locks[step.lock];
    assert.equal(lock.held, step.is, `${JSON.stringify(step)} ${lock.lost.reason}`);
  }

  lost(step) { assert.equal(this.locks[step.lock].lost.aborted, step.is, JSON.stringify(step)); }

  async await_lost(step) {
    const { lost } = this.locks[step.lock];
    const over = performance.now() + ms(step.within);
    while (!lost.aborted && performance.now() < over) await sleep(10);
    assert.ok(lost.aborted, JSON.stringify(step));
  }

  fences_grow(step) {
    const fences = step.locks.map((name) => this.locks[name].fencingToken);
    for (let i = 1; i < fences.length; i += 1) assert.ok(fences[i] > fences[i - 1], `${fences}`);
  }

  shell(step) {
    const { status } = spawnSync('sh', ['-c', step.command],
      { env: { ...process.env, PREFIX: this.prefix }, stdio: 'inherit' });
    assert.equal(status, 0, step.command);
  }

  async sleep(step) { await sleep(ms(step.time)); }

  async close() {
    await this.client?.close();
    this.client = undefined;
  }
}

let failed = 0;
for (const [number, scenario] of JSON.parse(readFileSync(SCENARIOS)).scenarios.entries()) {
  const runner = new Runner(`${PREFIX}node/${number}/`);
  try {
    for (const step of scenario.steps) await runner[step.do](step);
    await runner.close();
    console.log(`ok      ${scenario.name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${scenario.name}: ${error.message}`);
    await runner.close();
  }
}
process.exit(failed ? 1 : 0);
