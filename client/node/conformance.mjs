// Runs ../conformance/scenarios.json.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Client, LockError } from 'redlockd';

const { ENDPOINTS, PREFIX, SCENARIOS } = process.env;
const PATIENCE = 20; // seconds that a step waits for something to happen
const ms = (seconds) => (seconds === undefined ? undefined : seconds * 1000);
const textOf = (value) => (value === 'VALUE_OF_4097_BYTES' ? 'x'.repeat(4097) : value);
const defined = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

const until = async (what, condition, step) => {
  const over = performance.now() + ms(step.within ?? PATIENCE);
  while (!condition()) {
    assert.ok(performance.now() < over, what);
    await sleep(10);
  }
};

// What makes one state differ from another.
const essence = ({ state, holders, fencingToken, owner, value, keptFor, heldBy }) => inspect([
  state, holders, fencingToken, owner, value, keptFor === undefined, heldBy.map((holder) => [holder.fencingToken, holder.value])]);

// The same numbers in every run.
const chance = (seed) => {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state / 2 ** 31;
  };
};

class Runner {
  #prefix;
  #options;
  #client;
  #locks = {};
  #waiters = {};
  #watches = {};
  #observers = {};
  #storms = 0;

  constructor(prefix, { grace, owner }) {
    this.#prefix = prefix;
    this.#options = defined({ grace: ms(grace), owner });
  }

  async run(scenario) {
    try {
      for (const step of scenario.steps) await this.#step(step);
    } finally {
      await this.close();
      await this.shell({ command: 'control restore' });
    }
  }

  async #step(step) {
    const began = performance.now();
    let reason;
    let message = '';
    let heldFor;
    try {
      const result = await this[step.do](step);
      if (step.as !== undefined && result) this.#locks[step.as] = result;
    } catch (error) {
      if (!(error instanceof LockError)) throw step.do === 'together' ? error : Object.assign(error, { message: `${JSON.stringify(step)}: ${error.message}` });
      ({ reason, message, heldFor } = error);
    }
    const took = (performance.now() - began) / 1000;
    if (step.may_fail !== '*' && (reason === undefined || step.may_fail !== reason)) {
      assert.equal(reason, step.fails, `${JSON.stringify(step)}: ${reason}: ${message}`);
      assert.ok(message.includes(step.message ?? ''), `${JSON.stringify(step)}: ${message}`);
      if (step.held_for !== undefined) {
        const seconds = heldFor / 1000;
        assert.ok(seconds >= step.held_for && seconds < step.held_for + 60, `${JSON.stringify(step)}: ${heldFor} ms: ${message}`);
        assert.ok(message.includes(` for ${seconds.toFixed(3)} s`), `${JSON.stringify(step)}: ${heldFor} ms: ${message}`);
      }
    }
    assert.ok(took >= (step.after ?? 0) - 0.02 && took <= (step.within ?? Infinity), `${JSON.stringify(step)}: took ${took} s`);
  }

  get #open() { return this.#client ??= new Client(ENDPOINTS.split(','), this.#options); }

  #key({ key, keys, whole_key: whole }) { return keys?.map((name) => this.#prefix + name) ?? whole ?? this.#prefix + key; }

  #token(step) { return step.of === undefined ? step.token : this.#locks[step.of].token; }

  // How the key is held.
  #claim({ shared, max_holders: maxHolders }) { return { shared, maxHolders }; }

  // Names the slot that the call expects. The other calls by token find the slot themselves.
  #slot({ max_holders: maxHolders, of }) { return { slot: maxHolders === undefined ? undefined : this.#locks[of]?.slot }; }

  #acquisition({
    ttl, wait, owner, token, margin, retry, shared, max_holders: maxHolders, value, lock_delay: lockDelay, raises,
  }) {
    return defined({
      ttl: ms(ttl), wait: ms(wait), owner, token, margin: ms(margin), shared, maxHolders, value: textOf(value), lockDelay: ms(lockDelay),
      retry: retry && defined({ maxRetries: retry.max_retries, minDelay: ms(retry.min_delay), maxJitter: ms(retry.max_jitter) }),
      onQueued: raises ? () => { throw new Error('a callback that throws'); } : undefined,
    });
  }

  async acquire(step) { return this.#open.acquire(this.#key(step), this.#acquisition(step)); }

  begin(step) {
    const abort = new AbortController();
    const waiter = { abort, queued: false };
    waiter.lock = this.#open.acquire(this.#key(step), {
      ...this.#acquisition(step),
      signal: abort.signal,
      onQueued: () => {
        waiter.queued = true;
        if (step.raises) throw new Error('a callback that throws');
      },
    });
    waiter.lock.catch(() => {});
    this.#waiters[step.as] = waiter;
  }

  async try(step) {
    const lock = await this.#open.tryAcquire(this.#key(step), this.#acquisition(step));
    assert.equal(lock !== null, step.gets);
    return lock;
  }

  async acquire_or_extend(step) {
    const { token, ...options } = this.#acquisition(step);
    return this.#open.acquireOrExtend(this.#key(step), token, options);
  }

  async acquire_detached(step) { return this.#open.acquireDetached(this.#key(step), this.#acquisition(step)); }

  async adopt(step) {
    return this.#open.adopt(this.#key(step), this.#token(step), defined({
      ttl: ms(step.ttl), wait: ms(step.wait), ...this.#claim(step) }));
  }

  async downgrade(step) { return this.#locks[step.lock].downgrade(); }

  async extend_by_token(step) {
    return this.#open.extend(
      this.#key(step), this.#token(step), ms(step.ttl), defined({ ...this.#claim(step), ...this.#slot(step) }));
  }

  async try_extend_by_token(step) {
    return this.#open.tryExtend(
      this.#key(step), this.#token(step), ms(step.ttl), defined({ ...this.#claim(step), ...this.#slot(step) }));
  }

  async release_by_token(step) {
    await this.#open.release(this.#key(step), this.#token(step), defined({ keepFor: ms(step.keep_for) }));
  }

  async queued(step) { await until('not queued', () => this.#waiters[step.waiter].queued, step); }

  async await(step) { this.#locks[step.waiter] = await this.#ended(step); }

  async ended(step) { await this.#ended(step); }

  async #ended(step) {
    const late = new AbortController();
    const lock = await Promise.race([
      this.#waiters[step.waiter].lock,
      sleep(ms(step.within ?? PATIENCE), undefined, { signal: late.signal }).catch(() => {}),
    ]).finally(() => late.abort());
    assert.ok(lock, 'has not ended');
    return lock;
  }

  async give_up(step) {
    const { abort, lock } = this.#waiters[step.waiter];
    abort.abort();
    await assert.rejects(lock, { name: 'AbortError' });
  }

  async release(step) { await this.#locks[step.lock].release(defined({ keepFor: ms(step.keep_for) })); }

  async proclaim(step) { await this.#locks[step.lock].proclaim(textOf(step.value)); }

  async extend(step) { await this.#locks[step.lock].extend(ms(step.ttl)); }

  async try_extend(step) { await this.#locks[step.lock].tryExtend(ms(step.ttl)); }

  held(step) {
    const lock = this.#locks[step.lock];
    assert.equal(lock.held, step.is, `validity ${lock.validity}, loss: ${lock.loss}`);
  }

  lost(step) { assert.equal(this.#locks[step.lock].lost.aborted, step.is, `${this.#locks[step.lock].loss}`); }

  async await_lost(step) { await until('the loss was not signalled', () => this.#locks[step.lock].lost.aborted, step); }

  validity(step) {
    const validity = this.#locks[step.lock].validity / 1000;
    assert.ok(validity >= step.at_least && validity <= step.at_most, `${validity}`);
  }

  fences_grow(step) {
    const fences = step.locks.map((name) => this.#locks[name].fencingToken);
    for (let i = 1; i < fences.length; i += 1) assert.ok(fences[i] > fences[i - 1], `${fences}`);
  }

  slots(step) {
    const slots = step.locks.map((name) => this.#locks[name].slot);
    assert.ok(slots.every(Number.isInteger), `${slots}`);
    assert.equal(new Set(slots).size, step.differ ? slots.length : 1, `${slots}`);
  }

  hides_token(step) {
    const lock = this.#locks[step.lock];
    const texts = [inspect(lock, { showHidden: true, depth: 9 }), String(lock), JSON.stringify(lock)];
    assert.ok(!texts.some((text) => text.includes(lock.token)), 'shows the token');
  }

  watch(step) {
    const heard = [];
    const items = step.items.map((item) => defined({
      key: this.#key(item), token: this.#token(item), ttl: ms(item.ttl), interval: ms(item.interval),
      ...this.#claim(item) }));
    const watch = this.#open.watch(items, (event) => {
      heard.push(event);
      if (step.raises) throw new Error('a callback that throws');
    }, { keepWatchingAfterLoss: step.keep_watching ?? false });
    this.#watches[step.as] = { watch, heard, found: new Set() };
  }

  async watch_hears(step) {
    const { heard, found } = this.#watches[step.watch];
    const types = { EXTENDED: 'extended', LOST: 'lost', EXTEND_FAILED: 'extendFailed' };
    const keys = (step.key ?? step.keys) === undefined ? undefined : String([this.#key(step)].flat().sort());
    await until('not heard', () => {
      const event = heard.find((one) => !found.has(one) && (keys === undefined || String(one.keys) === keys) &&
        (one.type === types[step.what] || one.error?.reason === step.what));
      if (event) found.add(event);
      return event;
    }, step);
  }

  async watch_close(step) {
    const { watch, heard } = this.#watches[step.watch];
    await watch.close();
    const cancelled = () => heard.filter(({ type }) => type === 'closed');
    await until('no cancellation', () => cancelled().length > 0, step);
    await sleep(200);
    assert.deepEqual(cancelled(), heard.slice(-1));
  }

  observe(step) {
    const observer = this.#open.observe(this.#key(step));
    const seen = { observer, states: [], from: 0 };
    seen.done = (async () => {
      let highest = 0n;
      for await (const state of observer) {
        const before = seen.states.at(-1);
        if (before !== undefined && essence(before) === essence(state)) seen.wrong ??= `reported twice: ${inspect(state)}`;
        if (state.fencingToken < highest) seen.wrong ??= `a fencing token below ${highest}: ${inspect(state)}`;
        highest = state.fencingToken ?? highest;
        seen.states.push(state);
      }
    })().catch((error) => { seen.wrong = `the observer has failed: ${error}`; });
    this.#observers[step.as] = seen;
  }

  async sees(step) {
    const seen = this.#observers[step.observer];
    const fits = ({ state, value, owner }) => (
      state === step.state.toLowerCase() && value === (step.value ?? value) && owner === (step.owner ?? owner));
    await until('not seen', () => {
      assert.equal(seen.wrong, undefined);
      const index = seen.states.findIndex((state, i) => i >= seen.from && fits(state));
      if (index >= 0) seen.from = index + 1;
      return index >= 0;
    }, step);
  }

  async unobserve(step) {
    const { observer, done } = this.#observers[step.observer];
    await observer.return();
    await done;
    assert.equal(this.#observers[step.observer].wrong, undefined);
  }

  async campaign(step) {
    const { value, ...options } = this.#acquisition(step);
    return this.#open.election(this.#key(step)).campaign(value, options);
  }

  async leads(step) {
    const { state, value } = await this.#open.election(this.#key(step)).leader();
    assert.deepEqual([state, value], step.value === undefined ? ['vacant', ''] : ['held', step.value]);
  }

  async storm(step) {
    const client = this.#open;
    const random = chance(1);
    this.#storms += 1;
    const keys = Array.from({ length: step.count }, (_, i) => `${this.#prefix}storm ${this.#storms}/${i}`);
    const ask = (key, options) => (step.detached ? client.acquireDetached(key, options) : client.acquire(key, options));
    const release = (key, lock) => (step.detached ? client.release(key, lock.token) : lock.release());
    await Promise.all(keys.map(async (key) => {
      const abort = new AbortController();
      const lock = ask(key, { ttl: ms(step.ttl), signal: abort.signal });
      lock.catch(() => {});
      await sleep(random() * ms(step.most));
      abort.abort();
      const granted = await lock.catch((error) => assert.equal(error.name, 'AbortError', error.message));
      if (granted) await release(key, granted);
    }));
    await Promise.all(keys.map(async (key) => release(key, await ask(key, { ttl: ms(step.ttl), wait: 5000 }))));
  }

  async together(step) {
    const results = await Promise.allSettled(step.steps.map((one) => this.#step(one)));
    const failed = results.find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
  }

  block(step) {
    const over = performance.now() + ms(step.time);
    while (performance.now() < over) { /* block the event loop */ }
  }

  async sleep(step) { await sleep(ms(step.time)); }

  async shell(step) {
    const [status] = await once(spawn('sh', ['-c', step.command],
      { env: { ...process.env, PREFIX: this.#prefix }, stdio: 'inherit' }), 'close');
    assert.equal(status, 0, 'the command failed');
  }

  async close() {
    const client = this.#client;
    this.#client = undefined;
    await client?.close();
  }
}

let failed = 0;
for (const [number, scenario] of JSON.parse(readFileSync(SCENARIOS)).scenarios.entries()) {
  try {
    await new Runner(`${PREFIX}node/${number}/`, scenario).run(scenario);
    console.log(`ok      ${scenario.name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${scenario.name}: ${error.message.replaceAll('\n', ' ')}`);
  }
}
process.exit(failed ? 1 : 0);
