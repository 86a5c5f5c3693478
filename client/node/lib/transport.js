'use strict';

const grpc = require('@grpc/grpc-js');
const { checkBearer } = require('./check.js');
const { failure } = require('../core/errors.js');
const { tap } = require('./references.js');
const { decodeSession, encodeSession } = require('./wire.js');

const SESSION = '/redlock.v1.LockService/Session';
const CHANNEL_OPTIONS = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
  // The next Session must not reuse an abandoned connection.
  'grpc.use_local_subchannel_pool': 1,
  // A proxy in the environment (http_proxy) is for websites. It may not reach the daemon, or may end streams that stay
  // open.
  'grpc.enable_http_proxy': 0,
  // A unary call or a Watch waits for as long as its daemon answers the pings.
  'grpc.keepalive_time_ms': 5000,
  'grpc.keepalive_timeout_ms': 2000,
  // Calls are sent again by this client, which knows how.
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
};
// A retry cannot help.
const FATAL = new Map([
  [grpc.status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
  [grpc.status.PERMISSION_DENIED, 'PERMISSION_DENIED'],
  [grpc.status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
]);

const never = () => {};

// What went wrong, without the time and the empty note that gRPC adds.
const describe = ({ details, message }) =>
  (details || message).replace(/ \(\d{4}-[-\d:.TZ]+\)/g, '').replace(/ Resolution note: *$/, '');

// One Session stream to one endpoint. Calls `onMessage(message)` for each message, and `onEnd(error, fatal)` at most
// once, never within the constructor.
class Stream {
  writing = false;
  #call;
  #waiting; // the arguments of a write() before the stream is open
  #cancelled = false;
  #onMessage;
  #end;

  // `metadata`: a promise, or undefined if there is none. `open(metadata)` returns the call. `onOpen()` is called with
  // the first message.
  constructor(endpoint, metadata, open, { onOpen, onMessage, onEnd }) {
    this.#onMessage = onMessage;
    this.#end = (reason, why, fatal) => onEnd(failure(reason, `${endpoint}: ${why}`), fatal);
    if (metadata === undefined) this.#begin(open(new grpc.Metadata()), onOpen);
    else metadata.then((value) => { if (!this.#cancelled) this.#begin(open(value), onOpen); }, (error) => this.#refused(error));
  }

  #begin(call, onOpen) {
    this.#call = call;
    call.once('data', onOpen);
    call.on('data', this.#onMessage);
    call.on('error', (error) =>
      this.#end(FATAL.get(error.code) ?? 'UNREACHABLE', describe(error), FATAL.has(error.code)));
    call.on('end', () => this.#end('UNREACHABLE', 'the daemon closed the stream', false));
    if (this.#waiting !== undefined) call.write(...this.#waiting);
  }

  #refused(error) {
    if (!this.#cancelled) this.#end('UNAUTHENTICATED', `the token cannot be used: ${error?.message ?? error}`, true);
  }

  // Calls `onWritten()` when the next message can be written.
  write(message, onWritten) {
    this.writing = true;
    const written = () => {
      this.writing = false;
      onWritten();
    };
    if (this.#call === undefined) this.#waiting = [message, written];
    else this.#call.write(message, written);
  }

  cancel() {
    this.#cancelled = true;
    this.#call?.cancel();
  }
}

// Opens streams and makes unary calls to `endpoints`. The streams have a connection per endpoint, and so have the calls.
class Transport {
  endpoints;
  #credentials;
  #token;
  #ref;
  #stubs = new Map(); // endpoint -> { stub, socket } of the Session
  #unaryStubs = new Map(); // endpoint -> stub

  // `ref`: whether an open Session keeps the process alive.
  constructor(endpoints, { credentials, token, ref }) {
    this.endpoints = endpoints;
    this.#credentials = credentials;
    this.#token = token;
    this.#ref = ref;
  }

  open(index, callbacks) {
    const endpoint = this.endpoints[index];
    const connection = this.#connection(endpoint);
    return new Stream(endpoint, this.metadata(),
      (metadata) => connection.stub.makeBidiStreamRequest(SESSION, encodeSession, decodeSession, metadata),
      { ...callbacks, onOpen: this.#ref ? never : () => connection.socket?.unref() });
  }

  // The next stream to this endpoint makes a new connection.
  disconnect(index) {
    const endpoint = this.endpoints[index];
    this.#stubs.get(endpoint)?.stub.close();
    this.#stubs.delete(endpoint);
  }

  close() {
    for (const index of this.endpoints.keys()) this.disconnect(index);
  }

  // A stub for unary calls and for Watch.
  unaryStub(index) {
    const endpoint = this.endpoints[index];
    if (!this.#unaryStubs.has(endpoint)) {
      this.#unaryStubs.set(endpoint, new grpc.Client(endpoint, this.#credentialsOf(endpoint), CHANNEL_OPTIONS));
    }
    return this.#unaryStubs.get(endpoint);
  }

  closeUnary() {
    for (const stub of this.#unaryStubs.values()) stub.close();
    this.#unaryStubs.clear();
  }

  // Returns a promise of the metadata with the bearer token; undefined if there is no token.
  metadata() {
    if (this.#token === undefined) return undefined;
    return (async () => {
      const token = typeof this.#token === 'function' ? await this.#token() : this.#token;
      const metadata = new grpc.Metadata();
      if (token) {
        checkBearer(token); // the error of gRPC would contain the token
        metadata.set('authorization', `Bearer ${token}`);
      }
      return metadata;
    })();
  }

  #connection(endpoint) {
    let connection = this.#stubs.get(endpoint);
    if (connection === undefined) {
      connection = { socket: undefined };
      const credentials = tap(this.#credentialsOf(endpoint), (socket) => { connection.socket = socket; });
      connection.stub = new grpc.Client(endpoint, credentials, CHANNEL_OPTIONS);
      this.#stubs.set(endpoint, connection);
    }
    return connection;
  }

  #credentialsOf(endpoint) {
    return (endpoint.startsWith('unix:') ? undefined : this.#credentials) ?? grpc.credentials.createInsecure();
  }
}

module.exports = { FATAL, Transport, describe };
