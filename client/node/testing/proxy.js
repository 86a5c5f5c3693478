'use strict';

const net = require('node:net');

const MOST_HELD_BACK = 1 << 20; // bytes for each direction of a connection; then the sender is paused

// One direction of a connection. Passes what `from` receives to `to`, delayed, or not at all while the proxy is cut.
class Way {
  #from;
  #to;
  #proxy;
  #held = []; // { chunk, at }; an undefined chunk is the end
  #bytes = 0;
  #timer;

  constructor(from, to, proxy) {
    this.#from = from;
    this.#to = to;
    this.#proxy = proxy;
    from.on('data', (chunk) => this.#hold(chunk));
    from.on('error', () => {});
    from.on('close', () => this.#hold(undefined));
  }

  #hold(chunk) {
    this.#held.push({ chunk, at: performance.now() });
    this.#bytes += chunk?.length ?? 0;
    if (this.#bytes > MOST_HELD_BACK) this.#from.pause();
    this.pass();
  }

  // Passes what is due.
  pass() {
    clearTimeout(this.#timer);
    while (this.#held.length > 0 && !this.#proxy.isCut) {
      const [{ chunk, at }] = this.#held;
      const left = at + this.#proxy.latency - performance.now();
      if (left > 0) {
        this.#timer = setTimeout(() => this.pass(), left);
        return;
      }
      this.#held.shift();
      this.#bytes -= chunk?.length ?? 0;
      if (chunk === undefined) this.#to.destroy();
      else this.#to.write(chunk);
    }
    if (this.#bytes <= MOST_HELD_BACK) this.#from.resume();
  }

  stop() { clearTimeout(this.#timer); }
}

// Connects 127.0.0.1, on a port of the kernel's choice, with a Unix socket.
class Proxy {
  latency = 0; // ms
  isCut = false;
  #target;
  #server;
  #links = new Set(); // { near, far, ways }

  constructor(target) { this.#target = target; }

  // Returns the address.
  async start() {
    this.#server = net.createServer((near) => this.#link(near));
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    return `127.0.0.1:${this.#server.address().port}`;
  }

  // Applies a new latency, or the end of a cut, to what is held back.
  update() { for (const { ways } of this.#links) for (const way of ways) way.pass(); }

  // Closes all connections with RST.
  reset() {
    for (const { near, far } of this.#links) {
      near.resetAndDestroy();
      far.destroy();
    }
  }

  async stop() {
    for (const { near, far, ways } of this.#links) {
      for (const way of ways) way.stop();
      near.destroy();
      far.destroy();
    }
    if (this.#server !== undefined) await new Promise((resolve) => { this.#server.close(resolve); });
  }

  #link(near) {
    const far = net.connect(this.#target);
    const link = { near, far, ways: [new Way(near, far, this), new Way(far, near, this)] };
    this.#links.add(link);
    near.setNoDelay(true);
    near.on('close', () => {
      if (far.destroyed) this.#links.delete(link);
    });
    far.on('close', () => {
      if (near.destroyed) this.#links.delete(link);
    });
  }
}

module.exports = { Proxy };
