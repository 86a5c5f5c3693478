// Clients, daemons and nodes in one simulated world with one true time. See random.test.js.
import { Deadlines } from '../../../client/node/core/deadlines.js';
import { Machine } from '../../../client/node/core/machine.js';
import { Daemon, Nodes, ServerSession } from './simulated_daemon.js';

export const randomFrom = (seed) => () => {
  seed = (seed * 1664525 + 1013904223) % 4294967296;
  return seed / 4294967296;
};

// A stream over a network that delays messages and may break in one or both directions.
class Link {
  #up = { last: 0, cut: Infinity };
  #down = { last: 0, cut: Infinity };

  constructor(world, client, session) {
    Object.assign(this, { world, client, session });
    const daemon = world.daemons[session.endpoint];
    this.#pass(this.#up, () => daemon.run(() => {
      this.server = new ServerSession(daemon, this);
      daemon.sessions.add(this.server);
    }));
    if (!daemon.alive) this.breakAt(1);
  }

  // Delivers in order. Messages in transit are lost when their direction is cut.
  #pass(way, arrive) {
    const { world } = this;
    const delay = world.faults && world.random() < 0.05 ? world.random() * 800 : world.random() * 10;
    way.last = Math.max(way.last, world.now + delay);
    const at = way.last;
    world.at(at - world.now, () => { if (at < way.cut) arrive(); });
  }

  toServer(message) {
    const daemon = this.world.daemons[this.session.endpoint];
    this.#pass(this.#up, () => daemon.run(() => { if (this.server && !this.server.ended) this.server.read(message); }));
  }

  toClient(message) { this.#pass(this.#down, () => this.client.run((machine) => machine.message(this.session, message))); }

  // The client notices the break after `notice`, or never.
  breakAt(notice) {
    this.cut(true, true);
    if (notice === undefined) return;
    this.world.at(notice, () => this.client.run((machine) =>
      machine.ended(this.session, Object.assign(new Error('broken'), { reason: 'UNREACHABLE' }))));
  }

  cut(up, down) {
    if (up) this.#up.cut = Math.min(this.#up.cut, this.world.now);
    if (down) this.#down.cut = Math.min(this.#down.cut, this.world.now);
  }
}

// A client process. Its user may work until `until` of each hold.
export class Client {
  holds = new Set(); // { key, lease, until }
  losses = 0;
  #links = new Map();
  #heldUp = false;
  #backlog = [];

  constructor(world, name, grace) {
    this.world = world;
    this.rate = 1 + (world.random() - 0.5) * 0.008;
    let tokens = 0;
    this.machine = new Machine({
      endpoints: world.daemons.length, grace, random: world.random, host: this,
      clock: { earliest: () => this.now, latest: () => this.now, get suspends() { return 0; } },
      newToken: () => { tokens += 1; return `${name}-${tokens}`; },
      wallMicros: () => 0n,
    });
    this.#wake();
  }

  get now() { return this.world.now * this.rate; }

  open(session) { this.#links.set(session, new Link(this.world, this, session)); }

  drop(session) {
    const link = this.#links.get(session);
    if (this.world.random() < 0.8) link.cut(true, true);
    this.#links.delete(session);
  }

  get link() { return this.#links.get(this.machine.session); }

  // Messages that arrive during a suspend wait.
  run(step) {
    if (this.#heldUp) {
      this.#backlog.push(step);
      return;
    }
    step(this.machine);
    this.#note();
    for (const notice of this.machine.takeNotices()) notice();
    this.world.at(0, () => this.#flush());
  }

  #flush() {
    if (this.#heldUp) return;
    for (;;) {
      const message = this.machine.take();
      if (message === undefined) return;
      this.link.toServer(message);
    }
  }

  // The user works for as long as the lock was trusted at the last check.
  #note() {
    for (const hold of this.holds) {
      if (hold.lease.state === 'held') hold.until = hold.lease.trustedUntil;
      else if (hold.lease.state !== 'lost' || hold.until <= this.now) this.holds.delete(hold);
    }
  }

  #wake() {
    this.world.at(5, () => {
      if (!this.#heldUp && this.machine.wakeAt <= this.now) this.run((machine) => machine.tick());
      this.#wake();
    });
  }

  holdUp(time) {
    this.#heldUp = true;
    this.world.at(time, () => {
      this.#heldUp = false;
      for (const step of this.#backlog.splice(0)) this.run(step);
    });
  }

  // Calls `started(acquire)` when the process is not suspended, and `settled(lease)` when the caller has its
  // result.
  acquire(key, options, started, settled) {
    this.run((machine) => {
      started(machine.acquire({
        key, owner: '', onLost: () => { this.losses += 1; }, ...options,
      }, (error, lease) => {
        if (lease) this.holds.add({ key, lease, until: lease.trustedUntil });
        settled(lease);
      }));
    });
  }

  // Even if the key is shared, it has no other holder: see Nodes.
  downgrade(key, lease, started, settled) {
    this.run((machine) => {
      started(machine.downgrade(lease, (error, share) => {
        if (share) this.holds.add({ key, lease: share, until: share.trustedUntil });
        settled(error, share);
      }));
    });
  }

  trusts(key, slot) {
    return [...this.holds].some((hold) => (
      hold.key === key && hold.lease.slot === slot && hold.until > this.now && ['held', 'lost'].includes(hold.lease.state)));
  }
}

export class World {
  now = 0;
  #events = new Deadlines();

  constructor(seed, { faults, daemons = 2 }) {
    this.random = randomFrom(seed);
    this.faults = faults;
    this.nodes = new Nodes(this);
    this.daemons = Array.from({ length: daemons }, () => new Daemon(this));
  }

  at(time, step) { this.#events.add(this.now + time, step); }

  // Calls `check()` after every event.
  runUntil(end, check) {
    while (this.#events.next <= end) {
      this.now = Math.max(this.now, this.#events.next);
      this.#events.run(this.#events.next);
      check();
    }
    this.now = end;
  }
}
