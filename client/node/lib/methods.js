'use strict';

// The unary calls of the API and Watch, for the stubs of gRPC.

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
  RELEASE: method('LockService', 'Release', v1.ReleaseRequest, v1.ReleaseResponse),
  WATCH: method('LockService', 'Watch', v1.WatchRequest, v1.WatchResponse),
};
