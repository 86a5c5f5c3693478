import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { LockError } from './errors.js';
import { messageFrom, messageTo } from './wire.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const packaged = `${here}proto`;
const definition = protoLoader.loadSync('redlock/v1/lock_service.proto', {
  includeDirs: [existsSync(packaged) ? packaged : `${here}../../proto`],
  longs: String,
  enums: String,
  defaults: true,
});
const { LockService } = grpc.loadPackageDefinition(definition).redlock.v1;

const CHANNEL_OPTIONS = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
  // The next Session must not reuse an abandoned connection.
  'grpc.use_local_subchannel_pool': 1,
};
const FATAL = new Map([
  [grpc.status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
  [grpc.status.PERMISSION_DENIED, 'PERMISSION_DENIED'],
  [grpc.status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
]);

// One Session stream to one endpoint. Calls `onMessage(message)` for each message, and `onEnd(error, fatal)` at most
// once, never within the constructor.
class Stream {
  writing = false;
  #call;

  constructor(open, endpoint, { onMessage, onEnd }) {
    const end = (reason, why, fatal) => onEnd(new LockError(reason, `${endpoint}: ${why}`), fatal);
    try {
      this.#call = open();
    } catch (error) {
      process.nextTick(() => end('UNAUTHENTICATED', `the token function failed: ${error?.message ?? error}`, true));
      return;
    }
    this.#call.on('data', (message) => onMessage(messageFrom(message)));
    this.#call.on('error', ({ code, details, message }) =>
      end(FATAL.get(code) ?? 'UNREACHABLE', details || message, FATAL.has(code)));
    this.#call.on('end', () => end('UNREACHABLE', 'the daemon closed the stream', false));
  }

  // Calls `onWritten()` when the next message can be written.
  write(message, onWritten) {
    if (this.#call === undefined) return;
    this.writing = true;
    this.#call.write(messageTo(message), () => {
      this.writing = false;
      onWritten();
    });
  }

  cancel() { this.#call?.cancel(); }
}

// Opens streams to `endpoints`, with one connection per endpoint.
export class Transport {
  #endpoints;
  #credentials;
  #token;
  #stubs = new Map();

  constructor(endpoints, { credentials, token }) {
    this.#endpoints = endpoints;
    this.#credentials = credentials;
    this.#token = token;
  }

  open(index, callbacks) {
    const endpoint = this.#endpoints[index];
    return new Stream(() => this.#stub(endpoint).Session(this.#metadata()), endpoint, callbacks);
  }

  // The next stream to this endpoint makes a new connection.
  disconnect(index) {
    const endpoint = this.#endpoints[index];
    this.#stubs.get(endpoint)?.close();
    this.#stubs.delete(endpoint);
  }

  close() {
    for (const index of this.#endpoints.keys()) this.disconnect(index);
  }

  #metadata() {
    const metadata = new grpc.Metadata();
    const token = typeof this.#token === 'function' ? this.#token() : this.#token;
    if (token) metadata.set('authorization', `Bearer ${token}`);
    return metadata;
  }

  #stub(endpoint) {
    if (!this.#stubs.has(endpoint)) {
      const credentials = endpoint.startsWith('unix:') ? undefined : this.#credentials;
      this.#stubs.set(endpoint, new LockService(
        endpoint, credentials ?? grpc.credentials.createInsecure(), CHANNEL_OPTIONS));
    }
    return this.#stubs.get(endpoint);
  }
}
