'use strict';

// The time since boot in ms, including suspends, as two bounds, because Node cannot read CLOCK_BOOTTIME.
//
// performance.now() counts suspend time on macOS (mach_continuous_time) and on Windows (the performance
// counter), but not on Linux (CLOCK_MONOTONIC). On Linux os.uptime() does: it reads /proc/uptime, which is
// CLOCK_BOOTTIME cut to 10 ms (to whole seconds if /proc is missing). So uptime - monotonic is constant, except
// that it grows by the length of each suspend, and every reading of both gives a lower bound of it.
//
//   earliest()  never after the true time: the monotonic clock plus the highest lower bound seen so far. Cheap.
//               A suspend that it has not noticed makes it earlier still.
//   latest()    never before the true time: reads the uptime and adds its resolution. Takes about 10 us.
//
// The client takes the sending times of messages from earliest(), and decides with latest() whether the trust has
// ended. So both errors end the trust early, by up to 10 ms, and never late. The wall clock is not used, because it
// may be set.

const os = require('node:os');
const process = require('node:process');

const RESOLUTION = 10;
const WHOLE_SECONDS = 1000;

class SuspendClock {
  #monotonic;
  #uptime;
  #ahead = -Infinity; // a lower bound of (uptime - monotonic)
  #resolution = RESOLUTION;
  // The number of suspends noticed so far.
  suspends = 0;

  // Both functions return ms.
  constructor(monotonic, uptime) {
    this.#monotonic = monotonic;
    this.#uptime = uptime;
    this.#ahead = uptime() - monotonic();
  }

  earliest() { return this.#monotonic() + this.#ahead; }

  latest() {
    const before = this.#monotonic();
    const uptime = this.#uptime();
    const ahead = uptime - this.#monotonic();
    if (ahead > this.#ahead) {
      if (ahead > this.#ahead + this.#resolution) this.suspends += 1;
      this.#ahead = ahead;
    }
    // How far the uptime is behind a lower bound of the true time.
    const behind = before + this.#ahead - uptime;
    if (behind > this.#resolution) this.#resolution = Math.max(behind, WHOLE_SECONDS);
    return uptime + this.#resolution;
  }
}

// Wraps a clock that already counts suspend time.
class PlainClock {
  suspends = 0;
  #monotonic;

  constructor(monotonic) { this.#monotonic = monotonic; }

  earliest() { return this.#monotonic(); }

  latest() { return this.#monotonic(); }
}

const platformClock = (platform = process.platform) => {
  const monotonic = () => performance.now();
  return platform === 'linux'
    ? new SuspendClock(monotonic, () => os.uptime() * 1000) : new PlainClock(monotonic);
};

module.exports = { SuspendClock, PlainClock, platformClock };
