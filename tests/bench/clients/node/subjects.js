import { randomUUID } from 'node:crypto';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { Client } from 'redlockd';

const ttl = 30_000; // ms

export const subjects = {
  redlockd,
  stubs,
  'node-redlock': nodeRedlock,
  'node-redlock-pipelined': nodeRedlockPipelined,
};

async function redlockd(daemon) {
  const client = new Client(daemon);
  return async (keys) => {
    const lock = await client.acquire(keys, { ttl });
    return () => lock.release();
  };
}

// The two unary calls over one connection, as a program without a client library makes them. The caller sets the token,
// as anybody must who repeats calls.
async function stubs(daemon) {
  const definition = loadSync('redlock/v1/lock_service.proto', { includeDirs: [process.env.PROTO] });
  const { LockService } = grpc.loadPackageDefinition(definition).redlock.v1;
  const service = new LockService(daemon, grpc.credentials.createInsecure());
  const call = (method, request) =>
    new Promise((resolve, reject) => {
      service[method](request, (error, response) => (error ? reject(error) : resolve(response)));
    });
  return async (key) => {
    const token = randomUUID();
    await call('acquire', { key, token, ttl: { seconds: ttl / 1000 } });
    return () => call('release', { key, token });
  };
}

// Both keep the defaults (drift 1 %, as the daemon's; 100 to 300 ms between two tries), except the limit of 10 retries,
// with which cycles would fail if many want the same keys. ioredis has one connection to each node and pipelines on it
// by itself; autopipelining also joins the commands of one turn of the event loop in one write.
async function nodeRedlock(_, nodes) {
  return overRedis(nodes, {});
}

async function nodeRedlockPipelined(_, nodes) {
  return overRedis(nodes, { enableAutoPipelining: true });
}

function overRedis(nodes, options) {
  const redlock = new Redlock(nodes.map((node) => new Redis(`redis://${node}`, options)), { retryCount: -1 });
  return async (keys) => {
    const lock = await redlock.acquire([keys].flat(), ttl);
    return () => lock.release();
  };
}
