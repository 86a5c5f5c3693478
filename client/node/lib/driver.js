'use strict';

// Drives a Machine with streams and timers.

const { Machine } = require('../core/machine.js');
const { CALLER_WAITS } = require('../core/operations.js');
const { contain } = require('./logging.js');
const { newToken } = require('./tokens.js');

// If a timer fires more than this late, other work has held up the process.
const LATE = 20;
// How often the event loop then reads: TLS, or a proxy in this process, passes a message on in the next turn.
const TURNS = 3;
const LONGEST_TIMER = 1000;

class Driver {
  #machine;
  #transport;
  #detached;
  #clock;
  #log;
  #stream;
  #flushing = false;
  #timer;
  #timerAt = Infinity;

  // `detached`: makes the unary calls. `log(level, message)` reports events.
  constructor({ transport, detached, endpoints, grace, clock, log = () => {} }) {
    this.#transport = transport;
    this.#detached = detached;
    this.#clock = clock;
    this.#log = log;
    this.#machine = new Machine({ endpoints, grace, clock, host: this, newToken, log });
  }

  get clock() { return this.#clock; }

  get log() { return this.#log; }

  acquire(request, caller) { return this.#run(() => this.#machine.acquire(request, caller)); }

  giveUp(acquire, error) { this.#run(() => this.#machine.giveUp(acquire, error)); }

  downgrade(lease, caller) { return this.#run(() => this.#machine.downgrade(lease, caller)); }

  release(lease, keepFor) { return this.#ask((caller) => this.#machine.releaseLease(lease, caller, keepFor)); }

  // `options`: ttl and retry.
  extend(lease, options) { return this.#ask((caller) => this.#machine.extend(lease, options, caller)); }

  // Publishes another value, for as long as the lock is held.
  async proclaim(lease, value) {
    const { key, token, ended } = lease;
    await this.#detached.proclaim({ key, token, timeout: CALLER_WAITS, signal: ended }, value);
  }

  close() { return this.#ask((caller) => this.#machine.close(caller)); }

  // ---- the Machine's host

  open(session) {
    this.#stream = this.#transport.open(session.endpoint, {
      onMessage: (message) => this.#run(() => this.#machine.message(session, message)),
      onEnd: (error, fatal) => this.#run(() => this.#machine.ended(session, error, fatal)),
    });
  }

  drop(session, reusable) {
    this.#stream.cancel();
    this.#stream = undefined;
    if (!reusable) this.#transport.disconnect(session.endpoint);
  }

  // ----

  #ask(start) {
    return new Promise((resolve, reject) => {
      this.#run(() => start((error) => (error ? reject(error) : resolve())));
    });
  }

  #run(step) {
    const value = step();
    // User code may call this object again.
    for (const notice of this.#machine.takeNotices()) contain(notice, this.#log);
    this.#flushSoon();
    this.#arm();
    if (this.#machine.closed) this.#transport.close();
    return value;
  }

  // Sends at the end of this turn of the event loop, so that all operations of the turn share one message, and only
  // after the previous message was written.
  #flushSoon() {
    if (this.#flushing || !this.#machine.session?.hasOutbox || this.#stream.writing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      const stream = this.#stream;
      if (stream === undefined || stream.writing) return;
      const message = this.#machine.take();
      if (message !== undefined) stream.write(message, () => this.#flushSoon());
    });
  }

  // Sets the only timer. It keeps the process alive only while a caller waits.
  #arm() {
    const { awaited, closed, wakeAt } = this.#machine;
    if (closed || wakeAt === Infinity) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#timerAt = Infinity;
      return;
    }
    if (wakeAt < this.#timerAt) {
      clearTimeout(this.#timer);
      const delay = Math.min(Math.max(Math.ceil(wakeAt - this.#clock.earliest()), 1), LONGEST_TIMER);
      this.#timerAt = wakeAt;
      const due = performance.now() + delay;
      this.#timer = setTimeout(() => this.#fire(due), delay);
    }
    if (awaited > 0) this.#timer.ref();
    else this.#timer.unref();
  }

  // If the process was held up, reads what has arrived first: the extension of a lock may be waiting.
  #fire(due) {
    this.#timer = undefined;
    this.#timerAt = Infinity;
    this.#tickAfter(performance.now() - due > LATE ? TURNS : 0);
  }

  #tickAfter(turns) {
    if (turns > 0) setImmediate(() => this.#tickAfter(turns - 1));
    else this.#run(() => this.#machine.tick());
  }
}

module.exports = { Driver };
