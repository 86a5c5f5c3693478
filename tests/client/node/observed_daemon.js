// Daemons in this process whose observers the test drives by hand.
import { duration, grpc, serve } from './lock_service.js';

export const held = (fencingToken, value = '', more = {}) => (
  { state: 'HOLDER_STATE_HELD', holders: 1, fencingToken: String(fencingToken), value, owner: 'me', ...more });
export const vacant = { state: 'HOLDER_STATE_VACANT' };
export const undecided = { state: 'HOLDER_STATE_UNDECIDED', message: 'two of three nodes are silent' };
export const unavailable = { code: grpc.status.UNAVAILABLE, details: 'go away' };

const LONGEST = 10_000;

// Fails after 10 s.
export const until = async (what, condition) => {
  const over = performance.now() + LONGEST;
  while (!condition()) {
    if (performance.now() > over) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
};

export class Daemon {
  requests = []; // of Observe
  streams = []; // of Observe
  // What a new stream does: an error that it gets, or states.
  answer = [];

  async start(handlers = {}) {
    const streams = { Session: (call) => this.#session(call), Observe: (call) => this.#observe(call) };
    return Object.assign(this, await serve({ ...streams, ...handlers }));
  }

  // Those that the client has not ended.
  get open() { return this.streams.filter(({ gone }) => !gone); }

  // The open stream, once there is one.
  async stream() {
    await until('a stream', () => this.open.length > 0);
    return this.open.at(-1);
  }

  async send(...states) {
    const stream = await this.stream();
    for (const state of states) stream.write(state);
  }

  // Ends all streams with an error, or with OK, and gives `answer` to those that follow.
  async end(error, answer = []) {
    await this.stream();
    this.answer = answer;
    for (const stream of this.open) {
      stream.gone = true;
      if (error === undefined) stream.end();
      else stream.emit('error', error);
    }
  }

  stop() { this.server.forceShutdown(); }

  #observe(call) {
    this.requests.push(call.request);
    if (!Array.isArray(this.answer)) {
      call.emit('error', this.answer);
      return;
    }
    this.streams.push(call);
    call.on('error', () => {});
    call.on('cancelled', () => { call.gone = true; });
    for (const state of this.answer) call.write(state);
  }

  // Grants all locks, with fencing tokens from 1 on.
  operations = [];
  #fence = 0;

  #session(call) {
    this.session = call;
    call.on('error', () => {});
    call.on('data', ({ operations = [] }) => {
      const results = operations.map(({ id, acquire, extend, adopt, ...more }) => {
        this.operations.push({ acquire, extend, adopt, ...more });
        const claim = acquire ?? extend ?? adopt;
        if (claim === undefined) return { id };
        if (acquire) this.#fence += 1;
        const { key, keys, token } = claim;
        return { id, lease: { key, keys, token, fencingToken: String(this.#fence), validity: duration(29_000) } };
      });
      call.write({ results, clock: duration(performance.now()) });
    });
    call.on('end', () => call.end());
  }
}

// Calls work(daemon, …) with so many daemons.
export const daemons = async (count, work, handlers) => {
  const list = await Promise.all(Array.from({ length: count }, () => new Daemon().start(handlers)));
  try {
    await work(...list);
  } finally {
    for (const daemon of list) daemon.stop();
  }
};
