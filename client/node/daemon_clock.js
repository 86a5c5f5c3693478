// How old the daemon's messages are; see client/cpp/src/daemon_clock.h for why it is so.
// All in milliseconds.

const WINDOW = 60_000;

export class DaemonClock {
  #smallest = Infinity;
  #before = Infinity;
  #windowBegan = -Infinity;
  #shortestTrip = Infinity;

  onMessage(daemon, now) {
    const difference = now - daemon;
    if (now - this.#windowBegan > WINDOW) {
      [this.#before, this.#smallest, this.#windowBegan] = [this.#smallest, difference, now];
    }
    this.#smallest = Math.min(this.#smallest, difference);
  }

  onRoundTrip(took) {
    this.#shortestTrip = Math.min(this.#shortestTrip, took);
  }

  // By this machine's clock, not after the moment when the daemon made the message.
  madeAt(daemon) {
    return daemon + Math.min(this.#smallest, this.#before) - this.#shortestTrip;
  }
}
