'use strict';

const { failure } = require('./errors.js');
const { Session } = require('./session.js');

const LONGEST_CONNECT = 2000;
const SHORTEST_CONNECT = 50;
const LONGEST_SILENCE = 2000;
const PAUSE = 50;
const LONGEST_PAUSE = 1000;
// A Session that was ready for less than this counts as a failure: once all endpoints have been tried, the client makes
// the shortest pause. This keeps it from polling a daemon that always drains.
const STEADY = 1000;
// If a deadline runs at least this late, the process was held up, and answers may be waiting to be read.
const HELD_UP = 100;

class Ping {
  sends = 0;
  #answered;

  constructor(answered) { this.#answered = answered; }

  body() { return { ping: {} }; }

  answered() { this.#answered(); }

  abandoned() {}
}

// Opens one Session after the other, keeps the current one alive by pings, and abandons it if it falls silent.
class Connection {
  // undefined: none is open.
  session;
  // Why the last Session was abandoned, as a LockError.
  lastError;
  #failures = 0; // in a row
  #endpoint = 0;
  #pause;
  #nextId = 1;
  #options;

  // `endpoints`: their number. `host.open(session)` starts the stream; `host.drop(session, reusable)` cancels it, and
  // closes its connection unless that is reusable. `onReady(session)` and `onAbandoned(session, error)` report changes.
  constructor(options) { this.#options = options; }

  get ready() { return this.session?.state === 'ready'; }

  queue(operation) {
    const id = this.#nextId;
    this.#nextId += 1;
    return this.session.queue(id, operation);
  }

  // Opens a Session. Does nothing if one is open, or during a pause between attempts.
  open() {
    if (this.session !== undefined || this.#pause !== undefined) return;
    const { endpoints, grace, host } = this.#options;
    const session = new Session(this.#endpoint, grace);
    this.session = session;
    const time = Math.max(SHORTEST_CONNECT, Math.min(LONGEST_CONNECT, grace / 2 / endpoints));
    this.#limit('connect', time, `the daemon did not answer within ${Math.round(time)} ms`);
    this.queue(new Ping(() => this.#becomeReady()));
    host.open(session);
  }

  // Abandons the Session: everything that still arrives on it is ignored.
  abandon(session, error) {
    if (session !== this.session) return;
    const { clock, deadlines, endpoints, host, onAbandoned, random } = this.#options;
    const now = clock.earliest();
    this.#failures += 1;
    if (session.readyAt !== undefined) {
      const steady = now - session.readyAt >= STEADY;
      this.#failures = steady ? 0 : Math.min(this.#failures, endpoints);
    }
    this.#endpoint = (this.#endpoint + 1) % endpoints;
    this.lastError = error;
    if (this.#failures >= endpoints) {
      const pause = Math.min(PAUSE * 2 ** (this.#failures - endpoints), LONGEST_PAUSE);
      this.#pause = deadlines.add(now + pause * (0.5 + random() / 2), () => { this.#pause = undefined; });
    }
    this.#leave(session);
    host.drop(session, false);
    onAbandoned(session, error);
  }

  // Ends a Session that holds no locks and has no pending operations.
  close() {
    this.#options.deadlines.remove(this.#pause);
    this.#pause = undefined;
    const { session } = this;
    if (session === undefined) return;
    this.#leave(session);
    this.#options.host.drop(session, true);
  }

  #leave(session) {
    session.state = 'abandoned';
    for (const timer of Object.values(session.timers)) this.#options.deadlines.remove(timer);
    this.session = undefined;
  }

  #becomeReady() {
    const { clock, deadlines, onReady } = this.#options;
    const { session } = this;
    deadlines.remove(session.timers.connect);
    session.state = 'ready';
    session.readyAt = clock.earliest();
    this.#pingWhenDue();
    onReady(session);
  }

  // Every answer proves as much as the answer to a ping. So a ping is due a quarter of the grace after the sending of
  // the last message that was answered, which is not later than the last message sent.
  #pingWhenDue() {
    const { clock, deadlines, grace } = this.#options;
    const { session } = this;
    const due = session.answeredAt + grace / 4;
    if (clock.earliest() < due) {
      session.timers.ping = deadlines.add(due, () => this.#pingWhenDue());
      return;
    }
    this.#limit('silence', Math.min(LONGEST_SILENCE, grace / 3), 'the daemon fell silent');
    this.queue(new Ping(() => {
      deadlines.remove(session.timers.silence);
      this.#pingWhenDue();
    }));
  }

  // Abandons the Session after `time`. If the process was held up, waits for `time` once more.
  #limit(timer, time, message) {
    const { clock, deadlines } = this.#options;
    const { session } = this;
    const abandon = () => this.abandon(session, failure('UNREACHABLE', message));
    session.timers[timer] = deadlines.add(clock.earliest() + time, (lateness) => {
      if (lateness < HELD_UP) abandon();
      else session.timers[timer] = deadlines.add(clock.earliest() + time, abandon);
    });
  }
}

module.exports = { Connection };
