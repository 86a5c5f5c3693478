// The nodes and daemons of the simulated world: the server's side of the contract, as far as a client can
// observe it.
import keys from '../../../client/node/core/key.js';

const { isShared, joined, maxHoldersOf, namesOf } = keys;

const drift = (ttl) => ttl * 0.01 + 2;

// Where the nodes store a key: a semaphore in as many places as it has slots.
const placesOf = (key) => {
  const slots = Array.from({ length: maxHoldersOf(key) ?? 0 }, (_, i) => i + 1);
  if (slots.length > 0) return slots.map((slot) => ({ place: `${key}/${slot}`, slot }));
  return [{ place: isShared(key) ? joined(namesOf(key)) : key }];
};

// The keys that a quorum of the nodes holds, one entry per key or slot. Shares come only from downgrades, so a key has at
// most one.
export class Nodes {
  #locks = new Map();
  #fence = 0n;
  #released = new Set();

  constructor(world) { this.world = world; }

  #current(place) {
    const lock = this.#locks.get(place);
    if (lock && lock.expires > this.world.now) return lock;
    this.#locks.delete(place);
    return undefined;
  }

  get held() { return [...this.#locks.keys()].filter((place) => this.#current(place)); }

  // What the token holds of the key, in whichever mode: a token holds at most one slot.
  #find(key, token) { return placesOf(key).map(({ place }) => this.#current(place)).find((lock) => lock?.token === token); }

  acquire(key, token, ttl, stream) {
    if (this.#released.has(token) || this.#find(key, token)) return undefined;
    const free = placesOf(key).filter(({ place }) => !this.#current(place));
    if (free.length === 0) return undefined;
    const { place, slot } = free[Math.floor(this.world.random() * free.length)];
    const lock = { place, slot, token, shared: false, expires: this.world.now + ttl, fence: this.#fence += 1n, stream, sequence: 0n };
    this.#locks.set(place, lock);
    return lock;
  }

  // A late request does not change what the token has acquired since.
  downgrade(key, token, from) {
    const lock = this.#find(key, token);
    if (lock !== undefined && lock.fence <= from) lock.shared = true;
  }

  #holds(key, token, slot) {
    const lock = this.#find(key, token);
    return lock?.shared === isShared(key) && (slot === undefined || lock.slot === slot) ? lock : undefined;
  }

  // `slot`: undefined for whichever the token has.
  extend(key, token, ttl, slot) {
    const lock = this.#holds(key, token, slot);
    if (lock === undefined) return undefined;
    lock.expires = Math.max(lock.expires, this.world.now + ttl);
    return lock;
  }

  adopt({ key, token, ttl, slot, sequence }, stream) {
    const lock = this.#holds(key, token, slot);
    if (lock === undefined || lock.slot !== slot || sequence <= lock.sequence) return undefined;
    Object.assign(lock, { sequence, stream });
    if (this.world.random() < 0.2) lock.fence = this.#fence += 1n;
    return this.extend(key, token, ttl, slot);
  }

  release(key, token, stream) {
    const lock = this.#find(key, token);
    // Nodes remember the tokens that clients make, not those of callers.
    if (stream === undefined && !token.startsWith('own')) this.#released.add(token);
    if (lock === undefined || (stream !== undefined && lock.stream !== stream)) return false;
    this.#locks.delete(lock.place);
    return true;
  }
}

// The daemon's end of one Session.
export class ServerSession {
  #leases = new Map(); // token -> { key, ttl, slot, extendAt }
  #waiting = new Map(); // id -> acquire
  #draining = false;
  #begun = 0; // the last operation
  ended = false;

  constructor(daemon, link) {
    this.daemon = daemon;
    this.link = link;
    this.lastRead = daemon.world.now;
    this.#watch();
  }

  // The daemon's steps run in order, and only while it is not paused.
  #later(time, step) {
    const { daemon } = this;
    daemon.world.at(time, () => daemon.run(() => { if (!this.ended) step(); }));
  }

  read(message) {
    this.lastRead = this.daemon.world.now;
    this.grace ??= message.disconnectGrace;
    const { world } = this.daemon;
    for (const operation of message.operations) {
      this.#begun = Math.max(this.#begun + 0.001, world.now + world.random() * 6);
      this.#later(this.#begun - world.now, () => this.#carryOut(operation));
    }
  }

  #send(parts) {
    const { daemon } = this;
    this.link.toClient({ results: [], events: [], positions: [], ...parts, clock: daemon.clock });
  }

  #answer(id, result) { this.#send({ results: [{ id, ...result }] }); }

  #fail(id, reason) { this.#answer(id, { status: { reason, message: reason } }); }

  #grant(id, lock, ttl, key) {
    const { token, fence, slot } = lock;
    this.#leases.set(token, { key, ttl, slot, extendAt: this.daemon.world.now + ttl / 3 });
    this.#answer(id, { lease: { token, fence, slot, validity: ttl - drift(ttl) } });
  }

  #carryOut({ id, ...operation }) {
    const { nodes } = this.daemon.world;
    const [kind] = Object.keys(operation);
    const asked = operation[kind];
    if (kind === 'ping') this.#answer(id, {});
    else if (kind === 'cancel') this.#cancel(id);
    else if (kind === 'close') this.#close(id);
    else if (kind === 'acquire') this.#try(id, asked);
    else if (kind === 'release') {
      this.#leases.delete(asked.token);
      if (nodes.release(asked.key, asked.token)) this.#answer(id, {});
      else this.#fail(id, 'LOCK_NOT_HELD');
    } else if (kind === 'giveUp') {
      if (this.#leases.delete(asked.token) && nodes.release(asked.key, asked.token, this)) this.#answer(id, {});
      else this.#fail(id, 'LOCK_NOT_HELD');
    } else {
      if (asked.downgradeFrom !== undefined) this.#downgrade(asked);
      const lock = kind === 'adopt'
        ? nodes.adopt(asked, this) : nodes.extend(asked.key, asked.token, asked.ttl, asked.slot);
      if (kind === 'adopt' && this.daemon.world.faults && this.daemon.world.random() < 0.1) this.#fail(id, 'QUORUM_UNAVAILABLE');
      else if (lock) this.#grant(id, lock, asked.ttl, asked.key);
      else this.#fail(id, 'LOCK_NOT_HELD');
    }
  }

  #downgrade({ key, token, downgradeFrom }) {
    this.daemon.world.nodes.downgrade(key, token, downgradeFrom);
    const kept = this.#leases.get(token);
    if (kept !== undefined) kept.key = key;
  }

  #try(id, asked) {
    if (this.#draining) {
      this.#fail(id, 'DRAINING');
      return;
    }
    const { key, token, ttl, retry, extendIfHeld } = asked;
    const { nodes } = this.daemon.world;
    const lock = (extendIfHeld && nodes.extend(key, token, ttl)) || nodes.acquire(key, token, ttl, this);
    if (lock) {
      this.#waiting.delete(id);
      this.#grant(id, lock, ttl, key);
    } else if (retry) {
      this.#fail(id, 'LOCK_ALREADY_HELD');
    } else {
      this.#waiting.set(id, asked);
      this.#later(25, () => { if (this.#waiting.has(id)) this.#try(id, asked); });
    }
  }

  #cancel(id) {
    if (this.#waiting.delete(id)) this.#fail(id, 'CANCELLED');
  }

  #close(id) {
    for (const [token, { key }] of this.#leases) this.daemon.world.nodes.release(key, token, this);
    this.#answer(id, {});
    this.#end();
  }

  drain() {
    this.#draining = true;
    this.#send({ events: [{ type: 'DRAINING' }] });
  }

  // The watchdog and the silence rule.
  #watch() {
    this.#later(20, () => {
      const { world } = this.daemon;
      if (world.now - this.lastRead >= (this.grace ?? 1e9)) {
        for (const [token, { key }] of this.#leases) world.nodes.release(key, token, this);
        this.#end();
        return;
      }
      for (const [token, lease] of this.#leases) this.#extend(token, lease);
      this.#watch();
    });
  }

  #extend(token, lease) {
    const { world } = this.daemon;
    if (this.#draining || world.now < lease.extendAt) return;
    lease.extendAt = world.now + lease.ttl / 3;
    const lock = world.nodes.extend(lease.key, token, lease.ttl, lease.slot);
    if (lock) {
      const granted = { key: lease.key, token, fence: lock.fence, slot: lease.slot, validity: lease.ttl - drift(lease.ttl) };
      this.#send({ events: [{ type: 'EXTENDED', lease: granted }] });
    } else {
      this.#leases.delete(token);
      this.#send({ events: [{ type: 'LOST', lease: { key: lease.key, token, fence: 0n, validity: 0 }, message: 'not held' }] });
    }
  }

  #end() {
    this.ended = true;
    this.link.breakAt(0);
  }

  die() { this.ended = true; }
}

export class Daemon {
  alive = true;
  sessions = new Set();
  #paused = false;
  #backlog = [];

  constructor(world) {
    this.world = world;
    this.rate = 1 + (world.random() - 0.5) * 0.008;
    this.began = world.random() * 1e6;
  }

  get clock() { return (this.world.now + this.began) * this.rate; }

  run(step) {
    if (!this.alive) return;
    if (this.#paused) this.#backlog.push(step);
    else step();
  }

  pause(time) {
    this.#paused = true;
    this.world.at(time, () => {
      this.#paused = false;
      for (const step of this.#backlog.splice(0)) this.run(step);
    });
  }

  drain() { this.run(() => { for (const session of this.sessions) session.drain(); }); }

  kill(time) {
    this.alive = false;
    this.#backlog = [];
    for (const session of this.sessions) {
      session.die();
      session.link.breakAt(0);
    }
    this.sessions.clear();
    this.world.at(time, () => { this.alive = true; });
  }
}
