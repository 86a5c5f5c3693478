'use strict';

const { lockFailure } = require('../core/errors.js');
const { checkCampaign, checkLeader } = require('./check.js');
const { firstDecided } = require('./observer.js');

// An election: the holder of the lock on its name leads, and publishes a value with the lock. Client.election() makes it.
class Election {
  #client;
  #name;
  #leadership; // the Lock of the last campaign that has won

  constructor(client, name) {
    this.#client = client;
    this.#name = name;
  }

  get name() { return this.#name; }

  // Waits until this candidate is elected. Returns the Lock: the leadership ends with it.
  async campaign(value, options = {}) {
    this.#leadership = await this.#client.acquire(this.#name, checkCampaign(value, options));
    return this.#leadership;
  }

  // Publishes another value.
  async proclaim(value) { await this.#present().proclaim(value); }

  // Ends the leadership, as the release of its Lock does.
  async resign() { await this.#present().release(); }

  // Returns the state of the election: the first that is held or vacant.
  async leader(options = {}) {
    const { timeout, signal } = checkLeader(options);
    return firstDecided(this.#name, this.observe({ signal }), timeout);
  }

  // Returns an Observer.
  observe(options = {}) { return this.#client.observe(this.#name, options); }

  // ----

  #present() {
    const lock = this.#leadership;
    if (lock?.loss !== undefined) throw lock.loss;
    if (!lock?.held) throw lockFailure('LOCK_NOT_HELD', this.#name, 'there is no leadership; call campaign() first');
    return lock;
  }
}

module.exports = { Election };
