'use strict';

const { failure, lockFailure, lostError } = require('../core/errors.js');
const { isShared, maxHoldersOf, namesOf, shown } = require('../core/key.js');
const { contain } = require('./logging.js');
const { WATCH } = require('./methods.js');
const { aborted } = require('./signals.js');
const { readStreams } = require('./streams.js');
const { claimTo, eventFrom } = require('./wire.js');

const FIRST_SILENCE = 2500; // a daemon reports on a new watch at once
const SILENCE = 500; // a daemon that reports nothing for 1.5 intervals and this time counts as silent

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
    let ended; // why the watch ends by itself
    await readStreams(this.#transport, this.#clock, WATCH, {
      signals,
      request: () => ({
        items: [...this.#items.values()].map((item) => claimTo({ ...item })), keepWatchingAfterLoss: this.#keep }),
      onMessage: (message, endpoint) => this.#event(eventFrom(message), endpoint),
      patience: (heard) => this.#patience(heard),
      onEnd: (error) => {
        if (this.#items.size === 0 || (error === undefined && !this.#keep)) {
          ended = failure('CANCELLED', 'no lock is left to watch');
        } else if (error !== undefined) {
          this.#tell({ type: 'failed', error });
        }
        return ended === undefined;
      },
    });
    this.#tell({ type: 'closed', error: ended ?? reasonOf(aborted(signals)) });
  }

  // How long the daemon may report nothing. The keepalive would notice a silent daemon too late for a lock with a short TTL.
  #patience(heard) {
    if (!heard || this.#items.size === 0) return FIRST_SILENCE;
    return 1.5 * Math.min(...[...this.#items.values()].map(({ ttl, interval = ttl / 2 }) => interval)) + SILENCE;
  }

  // Returns an error if the stream must move to another daemon.
  #event({ type, key, slot, lease, reason, message }, endpoint) {
    if (type === 'DRAINING') return failure('DRAINING', `${endpoint}: the daemon is shutting down`);
    const lock = { key: shown(key), keys: namesOf(key), shared: isShared(key), maxHolders: maxHoldersOf(key), slot };
    if (type === 'EXTENDED') {
      this.#tell({ type: 'extended', ...lock, fencingToken: lease.fence, validity: lease.validity });
    } else if (type === 'EXTEND_FAILED') {
      this.#tell({ type: 'extendFailed', ...lock, error: lockFailure(reason, key, `the lock was not extended: ${message}`) });
    } else if (type === 'LOST') {
      if (!this.#keep) this.#items.delete(key);
      this.#tell({ type: 'lost', ...lock, error: lostError(key, message) });
    }
    return undefined;
  }
}

// An AbortSignal may have any reason.
const reasonOf = ({ reason }) => (reason instanceof Error ? reason : failure('CANCELLED', `the watch was aborted: ${String(reason)}`));

module.exports = { Watch };
