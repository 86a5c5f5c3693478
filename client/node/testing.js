'use strict';

// A real daemon for the tests of your own code.
//
//   const server = await Server.start();
//   const client = new Client(server.endpoint);
//   const lock = await client.acquire('reports');
//   await server.lose('reports');              // lock.lost is aborted

const { Server } = require('./testing/server.js');

module.exports = { Server };
