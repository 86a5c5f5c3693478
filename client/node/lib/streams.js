'use strict';

// Reads the server streams of the API.

const grpc = require('@grpc/grpc-js');
const { failure } = require('../core/errors.js');
const { LATE, Pauses, inTime, sleep } = require('./calls.js');
const { aborted, onAbort } = require('./signals.js');
const { FATAL, describe } = require('./transport.js');
const { statusOf } = require('./wire.js');

const LONGEST_CONNECT = 2000;
const LOOK_AGAIN = 20;
const REASONS = new Map([...FATAL, [grpc.status.UNIMPLEMENTED, 'UNIMPLEMENTED']]);

// Reads one stream of `call`, of methods.js, at one endpoint, to its end. Returns why it ended, as a LockError; undefined if
// the daemon ended it with OK, or if a signal was aborted. `onMessage` may return a LockError, which ends the stream.
const readOnce = async (transport, index, call, request, { signals, onMessage, patience }) => {
  const endpoint = transport.endpoints[index];
  let metadata;
  try {
    metadata = await inTime(transport.metadata(), LONGEST_CONNECT, signals);
  } catch (error) {
    return failure('UNAUTHENTICATED', `the token cannot be used: ${error?.message ?? error}`);
  }
  if (aborted(signals)) return undefined;
  if (metadata === LATE) return failure('UNREACHABLE', `${endpoint}: the token function did not answer in time`);
  const stub = transport.unaryStub(index);
  const stream = stub.makeServerStreamRequest(call.path, call.encode, call.decode, request, metadata ?? new grpc.Metadata());
  return new Promise((resolve) => {
    let error;
    const connecting = setTimeout(() => {
      if (stream.getPeer() !== stub.getChannel().getTarget()) return; // connected
      error = failure('UNREACHABLE', `${endpoint}: no connection within ${LONGEST_CONNECT} ms`);
      stream.cancel();
    }, LONGEST_CONNECT);
    const forget = onAbort(signals, () => stream.cancel());
    let silence;
    const listen = (time) => {
      clearTimeout(silence);
      const fail = () => {
        error ??= failure('UNREACHABLE', `${endpoint}: the daemon fell silent`);
        stream.cancel();
      };
      // An event loop that was blocked reads what has arrived meanwhile.
      if (time !== undefined) silence = setTimeout(() => { silence = setTimeout(fail, LOOK_AGAIN); }, time);
    };
    listen(patience?.(false));
    const finish = (why) => {
      clearTimeout(connecting);
      clearTimeout(silence);
      forget();
      resolve(why);
    };
    stream.on('data', (message) => {
      if (aborted(signals) || error !== undefined) return;
      error = onMessage(message, endpoint);
      if (error !== undefined) stream.cancel();
      listen(patience?.(true));
    });
    stream.on('end', () => finish(error));
    stream.on('error', (broken) => {
      const reason = statusOf(broken)?.reason ?? REASONS.get(broken.code) ?? 'UNREACHABLE';
      finish(error ?? failure(reason, `${endpoint}: ${describe(broken)}`));
    });
  });
};

// Reads one stream after the other, each at the next endpoint, until one of the signals is aborted or `onEnd(error)`
// returns false. It pauses whenever all endpoints have failed in a row.
//   request()                     returns the request of the next stream
//   onMessage(message, endpoint)  may return a LockError, which ends the stream
//   patience(heard)               how long to wait for a message, in ms, before the first one and after one; if missing, there is no limit
//   onEnd(error)                  hears of the end of each stream, except when a signal was aborted; undefined: it ended with OK
const readStreams = async (transport, clock, call, { signals, request, onMessage, patience, onEnd }) => {
  const pauses = new Pauses();
  const { length } = transport.endpoints;
  for (let failures = 0, index = 0; !aborted(signals); index = (index + 1) % length) {
    const began = clock.earliest();
    const error = await readOnce(transport, index, call, request(), { signals, onMessage, patience });
    if (aborted(signals) || !onEnd(error)) return;
    failures = clock.earliest() - began < LONGEST_CONNECT ? failures + 1 : 0;
    if (failures === 0) pauses.reset();
    else if (failures % length === 0) await sleep(pauses.next(), signals);
  }
};

module.exports = { readStreams };
