// The service of a daemon in this process.
import { fileURLToPath } from 'node:url';
import { require } from './installed.js';

const PROTO = fileURLToPath(new URL('../../../proto', import.meta.url));
export const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { LockService } = grpc.loadPackageDefinition(protoLoader.loadSync('redlock/v1/lock_service.proto', {
  includeDirs: [PROTO], longs: String, enums: String, defaults: false,
})).redlock.v1;

const { ErrorInfo, Status } = require('./generated/messages.js').google.rpc;

export const duration = (ms) => ({ seconds: Math.trunc(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });

// The error of a daemon's answer.
export const refusal = (code, reason, message, about = {}) => {
  const value = ErrorInfo.encode({ reason, metadata: about }).finish();
  const details = [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value }];
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({ code, details }).finish()));
  return { code, details: message, metadata };
};

// Serves the calls for which there is a function in `handlers`.
export const serve = async (handlers, credentials = grpc.ServerCredentials.createInsecure()) => {
  const server = new grpc.Server();
  server.addService(LockService.service, handlers);
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { server, endpoint: `127.0.0.1:${port}` };
};
