// What a client can prove about a daemon's promises. Times are in ms, by the client's clock unless named otherwise.

// Two clocks may run at rates that differ by this much.
export const RATE_DIFFERENCE = 0.01;

// The part of disconnect_grace that is never used: for the two clocks, and for rounding.
export const allowance = (grace) => grace * RATE_DIFFERENCE + 2;

// When the daemon made a message, at the earliest.
export class Anchor {
  // At the client's time #sent, the daemon's clock had not yet reached #clock.
  #sent = -Infinity;
  #clock = 0;

  // An operation that was sent at `sent` was answered in a message with this `clock`. Keeps the better bound.
  observe(sent, clock) {
    if (sent < this.madeAt(clock)) return;
    this.#sent = sent;
    this.#clock = clock;
  }

  // Not after the time at which the message with this `clock` was made; -Infinity if nothing is known.
  madeAt(clock) {
    const passed = clock - this.#clock;
    return this.#sent + passed - RATE_DIFFERENCE * Math.abs(passed);
  }
}
