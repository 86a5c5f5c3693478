'use strict';

const { mkdtemp, rm } = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const { redlock } = require('../generated/messages.js');
const { Client } = require('../lib/client.js');
const { findBinary } = require('./binary.js');
const { Daemon, directories } = require('./process.js');
const { Proxy } = require('./proxy.js');

const { v1 } = redlock;

const STARTS_WITHIN = 30_000;
const LOOKS_AGAIN = 20;
const COMMON = ['--log-level', 'warning', '--drain-timeout', '0ms'];

const admin = (name, request, response) => ({
  path: `/redlock.v1.AdminService/${name}`,
  encode: (message) => request.encode(message).finish(),
  decode: (bytes) => response.decode(bytes),
});
const LIST_NODES = admin('ListNodes', v1.ListNodesRequest, v1.ListNodesResponse);
const FORCE_RELEASE = admin('ForceRelease', v1.ForceReleaseRequest, v1.ForceReleaseResponse);

Symbol.asyncDispose ??= Symbol('Symbol.asyncDispose');

const ask = async (socket, method, request) => {
  const stub = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  try {
    return await new Promise((resolve, reject) => {
      stub.makeUnaryRequest(method.path, method.encode, method.decode, request, { deadline: Date.now() + 10_000 },
        (error, response) => (error ? reject(error) : resolve(response)));
    });
  } finally {
    stub.close();
  }
};

// A daemon over three Redis nodes without persistence, for tests. Clients reach it at `endpoint`, through a proxy that
// can delay, cut and reset their connections. Nothing uses a fixed port, so that tests can run at the same time.
class Server {
  // The address for clients: 127.0.0.1:PORT.
  endpoint;
  #binary;
  #directory;
  #nodes; // the daemon that owns the nodes; clients do not know it
  #daemon;
  #options;
  #proxy;

  // binary: the path of redlockd. Default: the environment variable REDLOCKD, or else redlockd in PATH.
  // options: more options for the daemon, for example ['--max-ttl', '1m'].
  static async start({ binary, options = [] } = {}) {
    const server = new Server();
    server.#binary = findBinary(binary);
    server.#directory = await mkdtemp(path.join(os.tmpdir(), 'redlockd-testing-'));
    directories.add(server.#directory);
    try {
      server.#nodes = new Daemon(server.#binary, ['--dev', ...COMMON, '--listen', `unix:${server.#socket('nodes')}`]);
      const { nodes } = await server.#answer(server.#nodes,
        () => ask(server.#socket('nodes'), LIST_NODES, {}), (list) => list.nodes.length === 3);
      server.#options = [...COMMON, '--node-timeout', '1s', '--listen', `unix:${server.#socket('daemon')}`,
        ...nodes.flatMap(({ name }) => ['--node', name.replace(/^unix:(?!\/\/)/, 'unix://')]), ...options];
      await server.#begin();
      server.#proxy = new Proxy(server.#socket('daemon'));
      server.endpoint = await server.#proxy.start();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  // Holds back the bytes of all connections, in both directions, for `time` ms.
  delay(time) {
    this.#proxy.latency = time;
    this.#proxy.update();
  }

  // Lets nothing pass any more. Connections stay open, and new ones are accepted.
  cut() { this.#proxy.isCut = true; }

  // Undoes delay() and cut(). What was held back passes.
  mend() {
    this.#proxy.isCut = false;
    this.delay(0);
  }

  // Closes all connections with RST. Clients can connect again.
  reset() { this.#proxy.reset(); }

  // Takes the lock away from its holder, which hears of it within milliseconds. Throws if no client holds it.
  async lose(key, why = 'a test takes the lock away') {
    const { released } = await ask(this.#socket('daemon'), FORCE_RELEASE, { key, why });
    if (!released) throw new Error(`${key}: no client holds this lock`);
  }

  // Ends the daemon, by SIGTERM or (`kill`) by SIGKILL, and starts it again. The locks survive on the nodes.
  async restart({ kill = false } = {}) {
    await this.#daemon.end(kill ? 'SIGKILL' : 'SIGTERM');
    await this.#begin();
  }

  // Stops the daemon in its tracks (SIGSTOP) until resume().
  pause() { this.#daemon.signal('SIGSTOP'); }

  resume() { this.#daemon.signal('SIGCONT'); }

  // Ends everything and removes its files. A second call does nothing.
  async stop() {
    await this.#proxy?.stop();
    this.#proxy = undefined;
    await this.#daemon?.end('SIGKILL');
    await this.#nodes?.end('SIGTERM');
    await rm(this.#directory, { recursive: true, force: true });
    directories.delete(this.#directory);
  }

  async [Symbol.asyncDispose]() { await this.stop(); }

  // ----

  #socket(name) { return path.join(this.#directory, `${name}.sock`); }

  // Starts the daemon, and waits until it grants locks.
  async #begin() {
    this.#daemon = new Daemon(this.#binary, this.#options);
    await this.#answer(this.#daemon, async () => {
      const client = new Client(`unix:${this.#socket('daemon')}`);
      try {
        const { key, token } = await client.acquireDetached('redlockd-testing', { ttl: 1000, wait: 1000 });
        await client.release(key, token);
      } finally {
        await client.close();
      }
    });
  }

  // Calls `attempt` until it succeeds and its result is `good`.
  async #answer(daemon, attempt, good = () => true) {
    const until = performance.now() + STARTS_WITHIN;
    for (;;) {
      let problem = 'it does not have three nodes';
      try {
        const value = await attempt();
        if (good(value)) return value;
      } catch (error) {
        problem = error.message;
      }
      if (daemon.exited) throw new Error(`redlockd (${this.#binary}) has ended: ${daemon.output.trim()}`);
      if (performance.now() > until) {
        throw new Error(`redlockd (${this.#binary}) did not start within ${STARTS_WITHIN} ms: ${problem} ${daemon.output.trim()}`);
      }
      await sleep(LOOKS_AGAIN);
    }
  }
}

module.exports = { Server };
