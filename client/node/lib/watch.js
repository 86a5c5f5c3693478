'use strict';

const grpc = require('@grpc/grpc-js');
const { failure, lockFailure, lostError } = require('../core/errors.js');
const { isShared, maxHoldersOf, namesOf, shown } = require('../core/key.js');
const { Pauses, sleep } = require('./calls.js');
const { contain } = require('./logging.js');
const { WATCH } = require('./methods.js');
const { aborted, onAbort } = require('./signals.js');
const { describe } = require('./transport.js');
const { claimTo, eventFrom, statusOf } = require('./wire.js');

const LONGEST_CONNECT = 2000;

// Keeps locks alive that were acquired elsewhere, by the RPC Watch, for as long as it is open. It moves to the next
// endpoint when its stream breaks. Client.watch() makes it.
class Watch {
  #transport;
  #clock;
  #log;
  #items;
  #keep;
  #onEvent;
  #closing = new AbortController();
  #done;

  // `request`: of checkWatch(). `signal`: of the client.
  constructor({ transport, clock, log, onEvent, client }, { items, keepWatchingAfterLoss, signal }) {
    this.#transport = transport;
    this.#clock = clock;
    this.#log = log;
    this.#items = new Map(items.map((item) => [item.key, item]));
    this.#keep = keepWatchingAfterLoss;
    this.#onEvent = onEvent;
    this.#done = this.#run([signal, client, this.#closing.signal]);
  }

  // Ends the watch. The locks are not released: they expire. Resolves after the last call of the callback.
  async close() {
    this.#closing.abort(failure('CANCELLED', 'the watch was closed'));
    await this.#done;
  }

  async [Symbol.asyncDispose]() { await this.close(); }

  // ----

  #tell(event) { contain(() => this.#onEvent(event), this.#log); }

  async #run(signals) {
    await null; // the caller gets the Watch before its first event
    const pauses = new Pauses();
    const { length } = this.#transport.endpoints;
    let ended; // why the watch ends by itself
    for (let failures = 0, index = 0; !aborted(signals) && ended === undefined; index = (index + 1) % length) {
      const began = this.#clock.earliest();
      const error = await this.#stream(index, signals);
      if (aborted(signals)) break;
      if (error === undefined || this.#items.size === 0) {
        ended = failure('CANCELLED', 'no lock is left to watch');
      } else if (error.reason === 'INVALID_ARGUMENT') {
        ended = error;
      } else {
        this.#tell({ type: 'failed', error });
        failures = this.#clock.earliest() - began < LONGEST_CONNECT ? failures + 1 : 0;
        if (failures === 0) pauses.reset();
        else if (failures % length === 0) await sleep(pauses.next(), signals);
      }
    }
    this.#tell({ type: 'closed', error: ended ?? reasonOf(aborted(signals)) });
  }

  // Watches at one endpoint. Returns why the stream ended; undefined if the daemon ended it because nothing is left.
  async #stream(index, signals) {
    const endpoint = this.#transport.endpoints[index];
    let metadata;
    try {
      metadata = await this.#transport.metadata();
    } catch (error) {
      return failure('UNAUTHENTICATED', `the token cannot be used: ${error?.message ?? error}`);
    }
    if (aborted(signals)) return undefined;
    const request = { items: [...this.#items.values()].map((item) => claimTo({ ...item })), keepWatchingAfterLoss: this.#keep };
    const stub = this.#transport.unaryStub(index);
    const call = stub.makeServerStreamRequest(
      WATCH.path, WATCH.encode, WATCH.decode, request, metadata ?? new grpc.Metadata());
    return new Promise((resolve) => {
      let error;
      const connecting = setTimeout(() => {
        if (call.getPeer() !== stub.getChannel().getTarget()) return; // connected
        error = failure('UNREACHABLE', `${endpoint}: no connection within ${LONGEST_CONNECT} ms`);
        call.cancel();
      }, LONGEST_CONNECT);
      const forget = onAbort(signals, () => call.cancel());
      const finish = (why) => {
        clearTimeout(connecting);
        forget();
        resolve(why);
      };
      call.on('data', (message) => {
        if (aborted(signals)) return;
        if (!this.#event(eventFrom(message))) {
          error = failure('DRAINING', `${endpoint}: the daemon is shutting down`);
          call.cancel();
        }
      });
      call.on('end', () => finish(error));
      call.on('error', (broken) => {
        const status = statusOf(broken);
        finish(error ?? failure(status?.reason ?? 'UNREACHABLE', `${endpoint}: ${describe(broken)}`));
      });
    });
  }

  // Returns false if the stream must move to another daemon.
  #event({ type, key, slot, lease, reason, message }) {
    if (type === 'DRAINING') return false;
    const lock = { key: shown(key), keys: namesOf(key), shared: isShared(key), maxHolders: maxHoldersOf(key), slot };
    if (type === 'EXTENDED') {
      this.#tell({ type: 'extended', ...lock, fencingToken: lease.fence, validity: lease.validity });
    } else if (type === 'EXTEND_FAILED') {
      this.#tell({ type: 'extendFailed', ...lock, error: lockFailure(reason, key, `the lock was not extended: ${message}`) });
    } else if (type === 'LOST') {
      if (!this.#keep) this.#items.delete(key);
      this.#tell({ type: 'lost', ...lock, error: lostError(key, message) });
    }
    return true;
  }
}

// An AbortSignal may have any reason.
const reasonOf = ({ reason }) => (reason instanceof Error ? reason : failure('CANCELLED', `the watch was aborted: ${String(reason)}`));

module.exports = { Watch };
