'use strict';

// The Node client of redlockd, the lock service.
//
//   const client = new Client(['10.0.0.1:50051', '10.0.0.2:50051']);
//   await using lock = await client.acquire('reports', { ttl: 30_000, wait: 10_000 });
//   await store.write(report, lock.fencingToken, { signal: lock.lost });
//
// All locks of a client share one stream (Session) to one daemon, which keeps them alive. If the stream breaks, or the
// daemon shuts down or falls silent, the client moves its locks to the next endpoint (client/PROTOCOL.md). All times
// are in milliseconds. Fencing tokens are BigInts.

const { classes } = require('./core/errors.js');
const { Client } = require('./lib/client.js');
const { Election } = require('./lib/election.js');
const { Lease } = require('./lib/detached.js');
const { Lock } = require('./lib/lock.js');
const { Observer } = require('./lib/observer.js');
const { Watch } = require('./lib/watch.js');

module.exports = { Client, Election, Lease, Lock, Observer, Watch, ...classes };
