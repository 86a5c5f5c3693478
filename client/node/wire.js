// Converts between the messages of the gRPC API and those of the Machine. Durations become ms, ids become numbers, and
// fencing tokens become BigInts.

const millis = (duration) => Number(duration.seconds) * 1000 + duration.nanos / 1e6;

const duration = (ms) => {
  const seconds = Math.trunc(ms / 1000);
  return { seconds, nanos: Math.min(Math.round((ms - seconds * 1000) * 1e6), 999_999_999) };
};

const leaseFrom = (lease) => lease && {
  token: lease.token,
  fence: BigInt(lease.fencingToken),
  validity: lease.validity ? millis(lease.validity) : 0,
};

const statusFrom = (status) => status && {
  reason: status.reason,
  message: status.message,
  retryDelay: status.retryDelay ? millis(status.retryDelay) : undefined,
};

const eventFrom = ({ type, lease, message, reason }) => ({
  type: type.slice('EVENT_TYPE_'.length), lease: leaseFrom(lease), message: message || reason,
});

export const messageFrom = ({ results, events, positions, clock }) => ({
  results: results.map(({ id, lease, status }) => (
    { id: Number(id), lease: leaseFrom(lease) ?? undefined, status: statusFrom(status) ?? undefined })),
  events: events.map(eventFrom),
  positions: positions.map(({ id, position }) => ({ id: Number(id), position })),
  clock: clock ? millis(clock) : 0,
});

const withTtl = (request) => ({ ...request, ttl: duration(request.ttl) });

const operationTo = ({ id, acquire, extend, adopt, ...rest }) => {
  if (acquire) return { id, acquire: withTtl(acquire) };
  if (extend) return { id, extend: withTtl(extend) };
  if (adopt) return { id, adopt: { ...withTtl(adopt), sequence: String(adopt.sequence) } };
  return { id, ...rest };
};

export const messageTo = ({ operations, disconnectGrace }) => ({
  operations: operations.map(operationTo),
  disconnectGrace: disconnectGrace && duration(disconnectGrace),
});
