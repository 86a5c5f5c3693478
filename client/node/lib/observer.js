'use strict';

const { failure, lockFailure } = require('../core/errors.js');
const { OBSERVE } = require('./methods.js');
const { aborted, onAbort } = require('./signals.js');
const { readStreams } = require('./streams.js');
const { stateFrom } = require('./wire.js');

Symbol.asyncDispose ??= Symbol('Symbol.asyncDispose');

// How long the last state stands at least after its stream has broken.
const STANDS = 1000;
const LONGEST_TIMER = 2 ** 31 - 1;
// Neither another daemon nor a later try can help.
const FINAL = new Set(['UNAUTHENTICATED', 'PERMISSION_DENIED', 'INVALID_ARGUMENT', 'UNIMPLEMENTED']);

const troubles = new WeakMap(); // an Observer -> why it could not learn the state last, as a LockError

const sameHolder = (left, right) => (
  left.fencingToken === right.fencingToken && left.slot === right.slot && left.value === right.value && left.owner === right.owner);

const sameHolders = (left, right) => (
  left.length === right.length && left.every((holder, i) => sameHolder(holder, right[i])));

// Whether there is nothing to report. That a holder has extended its lock is nothing.
const same = (left, right) => (
  left.state === right?.state && left.holders === right.holders && sameHolder(left, right) && sameHolders(left.heldBy, right.heldBy)
  && (left.keptFor === undefined) === (right.keptFor === undefined));

const undecided = (message) => ({
  state: 'undecided', holders: 0, owner: '', value: '', fencingToken: undefined, heldFor: undefined, remaining: undefined,
  heldBy: [], shared: false, maxHolders: undefined, keptFor: undefined, message,
});

// Reports the states of a key, by the RPC Observe, as an async iterator. It begins with the first next(), and moves to the next
// endpoint when its stream breaks. If the reader is slow, it gets the latest state. Client.observe() makes it.
class Observer {
  #transport;
  #clock;
  #key;
  #signals; // with these, reading fails
  #closing = new AbortController();
  #done; // a promise, once the observer has begun
  #readers = []; // { resolve, reject } of the calls of next() that wait
  #latest; // the state that was not read yet
  #read; // the state that was read last
  #fence = 0n; // the highest so far
  #exclusive = 0n; // likewise, of exclusive holders
  #standsUntil = -Infinity; // without a stream
  #doubt; // the timer after which the state is undecided
  #ended = false;
  #error; // for the next reader, once the observer has ended

  // `request`: of checkObserve(). `client`: the signal of the client.
  constructor({ transport, clock, client }, { key, signal }) {
    this.#transport = transport;
    this.#clock = clock;
    this.#key = key;
    this.#signals = [signal, client];
  }

  [Symbol.asyncIterator]() { return this; }

  next() {
    this.#done ??= this.#run();
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#serve();
    });
  }

  // Ends the observer, also while a next() waits.
  async return() {
    this.#closing.abort();
    await this.#done;
    return { value: undefined, done: true };
  }

  async [Symbol.asyncDispose]() { await this.return(); }

  // ----

  async #run() {
    const signals = [...this.#signals, this.#closing.signal];
    const forget = onAbort(signals, () => this.#end(aborted(this.#signals)?.reason));
    this.#lose(failure('UNREACHABLE', 'no daemon has answered yet'));
    await readStreams(this.#transport, this.#clock, OBSERVE, {
      signals,
      request: () => ({ key: this.#key }),
      onMessage: (message) => this.#hear(stateFrom(message)),
      onEnd: (why) => {
        if (FINAL.has(why?.reason)) this.#end(why);
        else this.#lose(why ?? failure('UNREACHABLE', 'the daemon closed the stream'));
        return !this.#ended;
      },
    });
    forget();
  }

  #hear(state) {
    if (state.state === 'undecided') {
      troubles.set(this, failure('QUORUM_UNAVAILABLE', state.message ?? 'the daemon does not know the state'));
    } else if (state.state === 'held') {
      // Of several holders, the one with the highest fencing token may be gone: they follow only the exclusive ones.
      const several = state.shared || state.maxHolders !== undefined;
      if (state.fencingToken < (several ? this.#exclusive : this.#fence)) return;
      if (!several) this.#exclusive = state.fencingToken;
      if (state.fencingToken < this.#fence) state.fencingToken = this.#fence;
      this.#fence = state.fencingToken;
    }
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
    this.#standsUntil = this.#clock.latest() + (state.remaining ?? 0);
    this.#report(state);
  }

  // No stream is open. The last state stands for as long as the holder would have held the lock.
  #lose(why) {
    if (this.#ended) return;
    troubles.set(this, why);
    const stands = Math.max(STANDS, this.#standsUntil - this.#clock.latest());
    this.#doubt ??= setTimeout(() => {
      this.#doubt = undefined;
      this.#report(undecided(`no daemon reports the state: ${troubles.get(this).message}`));
    }, Math.min(stands, LONGEST_TIMER));
  }

  #report(state) {
    this.#latest = same(state, this.#read) ? undefined : state;
    this.#serve();
  }

  #end(error) {
    if (this.#ended) return;
    clearTimeout(this.#doubt);
    this.#ended = true;
    this.#error = error;
    this.#latest = undefined;
    this.#serve();
  }

  #serve() {
    while (this.#readers.length > 0 && (this.#latest !== undefined || this.#ended)) {
      const { resolve, reject } = this.#readers.shift();
      if (this.#latest !== undefined) {
        this.#read = this.#latest;
        this.#latest = undefined;
        resolve({ value: this.#read, done: false });
      } else if (this.#error !== undefined) {
        reject(this.#error);
        this.#error = undefined;
      } else {
        resolve({ value: undefined, done: true });
      }
    }
  }
}

// Returns the first state of the key that is held or vacant. Throws the reason if there is none within `timeout`.
const firstDecided = async (key, observer, timeout) => {
  const late = setTimeout(() => observer.return(), timeout);
  try {
    for await (const state of observer) if (state.state !== 'undecided') return state;
  } finally {
    clearTimeout(late);
  }
  const { reason, message } = troubles.get(observer);
  throw lockFailure(reason, key, `the holder is not known after ${timeout} ms: ${message}`);
};

module.exports = { Observer, firstDecided };
