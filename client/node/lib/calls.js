'use strict';

const grpc = require('@grpc/grpc-js');
const { errorOf, lockFailure } = require('../core/errors.js');
const { onAbort } = require('./signals.js');
const { describe } = require('./transport.js');
const { statusOf } = require('./wire.js');

const LONGEST_CONNECT = 2000;
const LEAST_CONNECT = 50;
const LONGEST_ANSWER = 2000; // of a call that does not wait for the lock
const LONGEST_TIMER = 2 ** 31 - 1; // of setTimeout()
const PAUSE = 50;
const LONGEST_PAUSE = 1000;

// Waits for `time`, or until one of the signals is aborted.
const sleep = (time, signals) => new Promise((resolve) => {
  let forget = () => {};
  const done = () => {
    clearTimeout(timer);
    forget();
    resolve();
  };
  const timer = setTimeout(done, time);
  forget = onAbort(signals, done);
});

const LATE = Symbol('late');

// Returns what the promise returns, or LATE after `time` or as soon as one of the signals is aborted.
const inTime = async (promise, time, signals) => {
  if (promise === undefined) return undefined;
  const over = new AbortController();
  try {
    return await Promise.race([promise, sleep(Math.min(time, LONGEST_TIMER), [...signals, over.signal]).then(() => LATE)]);
  } finally {
    over.abort();
  }
};

// The pause after each round of endpoints that failed: 50 ms, doubled up to 1 s, with jitter.
class Pauses {
  #next = PAUSE;

  next() {
    const pause = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(this.#next * 2, LONGEST_PAUSE);
    return pause;
  }

  reset() { this.#next = PAUSE; }
}

// Makes unary calls, and moves through the endpoints. Every failure of one call is a LockError with
//   answered   a daemon has decided the call
//   sent       the request may have reached a daemon
//   status     what the daemon said
class Calls {
  #transport;
  #endpoint = 0; // the one that answered last

  constructor(transport) { this.#transport = transport; }

  get endpoints() { return this.#transport.endpoints.length; }

  moveOn() { this.#endpoint = (this.#endpoint + 1) % this.endpoints; }

  // Makes `call`, of methods.js, once at the current endpoint. `until`: on the clock of performance.now(). `wait`: the
  // daemon may take as long as that; otherwise it must answer within 2 s. `signals`: any of them cancels the call.
  async once(call, request, { key, until, wait = false, signals }) {
    const endpoint = this.#transport.endpoints[this.#endpoint];
    const fail = (reason, why, more) => Object.assign(
      lockFailure(reason, key, `${endpoint}: ${why}`), { answered: false, sent: false, ...more });
    let metadata;
    try {
      metadata = await inTime(this.#transport.metadata(), until - performance.now(), signals);
    } catch (error) {
      throw fail('UNAUTHENTICATED', `the token cannot be used: ${error?.message ?? error}`, { answered: true });
    }
    if (metadata === LATE) throw fail('UNREACHABLE', 'the token function did not answer in time');
    const left = Math.max(1, until - performance.now());
    const stub = this.#transport.unaryStub(this.#endpoint);
    // A silent daemon must leave time for the next one.
    const deadline = Date.now() + (wait ? left : Math.max(LEAST_CONNECT, Math.min(LONGEST_ANSWER, left / 2)));
    return new Promise((resolve, reject) => {
      let problem;
      const operation = stub.makeUnaryRequest(
        call.path, call.encode, call.decode, request, metadata ?? new grpc.Metadata(), { deadline }, (error, response) => {
          clearInterval(connecting);
          forget();
          const status = error && statusOf(error);
          if (!error) {
            resolve(response);
          } else if (status === undefined) {
            const sent = started();
            const reason = wait && sent && error.code === grpc.status.DEADLINE_EXCEEDED ? 'DEADLINE_EXCEEDED' : 'UNREACHABLE';
            reject(fail(reason, problem ?? describe(error), { sent }));
          } else {
            const answered = status.reason !== 'DRAINING';
            reject(Object.assign(errorOf(status, key), { answered, sent: answered, status }));
          }
        });
      // Whether the call was given to a connection.
      const started = () => operation.getPeer() !== stub.getChannel().getTarget();
      // Limits how long the call may be without a connection, also after it has lost one: gRPC may then connect again.
      const time = Math.max(LEAST_CONNECT, Math.min(LONGEST_CONNECT, left / this.endpoints));
      const connecting = setInterval(() => {
        if (stub.getChannel().getConnectivityState(false) === grpc.connectivityState.READY) return;
        problem = `no connection within ${Math.round(time)} ms`;
        operation.cancel();
      }, time);
      const forget = onAbort(signals, () => operation.cancel());
    });
  }
}

module.exports = { Calls, LATE, Pauses, inTime, sleep };
