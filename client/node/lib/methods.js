'use strict';

// The unary calls and the server streams of the API, for the stubs of gRPC.

const { redlock } = require('../generated/messages.js');

const { v1 } = redlock;

const method = (service, name, request, response) => ({
  path: `/redlock.v1.${service}/${name}`,
  encode: (message) => request.encode(message).finish(),
  decode: (bytes) => response.decode(bytes),
});

module.exports = {
  ACQUIRE: method('LockService', 'Acquire', v1.AcquireRequest, v1.AcquireResponse),
  EXTEND: method('LockService', 'Extend', v1.ExtendRequest, v1.ExtendResponse),
  PROCLAIM: method('LockService', 'Proclaim', v1.ProclaimRequest, v1.ProclaimResponse),
  RELEASE: method('LockService', 'Release', v1.ReleaseRequest, v1.ReleaseResponse),
  OBSERVE: method('LockService', 'Observe', v1.ObserveRequest, v1.ObserveResponse),
  WATCH: method('LockService', 'Watch', v1.WatchRequest, v1.WatchResponse),
};
