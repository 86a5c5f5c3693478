'use strict';

const { Close, Operation } = require('./operations.js');

const CALLER_WAITS = 2000;

// The close of a client: what its Session must release, and the callers that wait for it.
class Closing {
  done = false;
  #machine;
  #oneByOne;
  #covered = []; // key, token and ttl of the locks that `close` releases
  #sent = false;
  #calls = [];

  // `oneByOne`: the Session has locks that must not be released, so each of the others is released by itself.
  constructor(machine, { oneByOne }) {
    this.#machine = machine;
    this.#oneByOne = oneByOne;
  }

  get needsSession() { return this.#covered.length > 0; }

  cover(name) {
    if (this.#oneByOne) this.#machine.release(name);
    else this.#covered.push(name);
  }

  wait(caller) {
    const call = new Operation(this.#machine, caller);
    if (this.done) {
      call.settle();
      return;
    }
    call.bound = this.#machine.after(CALLER_WAITS, () => call.settle());
    this.#calls.push(call);
  }

  // The Session that was to release the covered locks was abandoned.
  abandoned() {
    this.#sent = false;
    for (const name of this.#covered.splice(0)) this.#machine.release(name);
  }

  // Does the next step. Returns whether the close is complete.
  advance() {
    if (this.#releasing && !this.#sent) return false;
    if (this.#covered.length > 0) {
      if (this.#machine.ready && !this.#sent) {
        this.#sent = true;
        this.#machine.submit(new Close((ok) => this.#answered(ok)));
      }
      return false;
    }
    this.done = true;
    for (const call of this.#calls) call.settle();
    return true;
  }

  get #releasing() {
    const { giveUps, releases } = this.#machine;
    return releases.size > 0 || [...giveUps].some(({ postponed }) => !postponed);
  }

  #answered(ok) {
    if (!ok) {
      this.abandoned();
      return;
    }
    this.#covered = [];
    for (const operation of [...this.#machine.releases, ...this.#machine.giveUps]) operation.end();
  }
}

module.exports = { Closing };
