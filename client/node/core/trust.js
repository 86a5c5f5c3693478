'use strict';

// Computes how long a client may trust a daemon ("Trust" in client/PROTOCOL.md). Times are in ms on the client's clock,
// except where named otherwise.

// The clock rates of two machines differ by at most this.
const RATE_DIFFERENCE = 0.01;

// The part of disconnect_grace that is not trusted: for the drift of the two clocks, and for rounding.
const allowance = (grace) => grace * RATE_DIFFERENCE + 2;

// Computes the earliest time at which the daemon can have made a message.
class Anchor {
  // At the client's time #sent, the daemon's clock had not yet reached #clock.
  #sent = -Infinity;
  #clock = 0;

  // A message with this `clock` answered an operation that was sent at `sent`. Keeps the later bound.
  observe(sent, clock) {
    if (sent < this.madeAt(clock)) return;
    this.#sent = sent;
    this.#clock = clock;
  }

  // A lower bound of the time at which the daemon made the message with this `clock`; -Infinity if unknown.
  madeAt(clock) {
    const passed = clock - this.#clock;
    return this.#sent + passed - RATE_DIFFERENCE * Math.abs(passed);
  }
}

module.exports = { RATE_DIFFERENCE, allowance, Anchor };
