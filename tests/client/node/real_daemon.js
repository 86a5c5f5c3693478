// A real daemon for the tests of one file, and a client of it. REDLOCKD: the daemon's binary; without it, the tests with
// these options are skipped.
import process from 'node:process';
import { after, before } from 'node:test';
import { client as redlockd, testing } from './installed.js';

export const options = { skip: process.env.REDLOCKD ? false : 'REDLOCKD is not set', timeout: 60_000 };
// From the first test on.
export let server;
export let client;

before(async () => {
  if (options.skip) return;
  server = await testing.Server.start();
  client = new redlockd.Client(server.endpoint);
});

after(async () => {
  await client?.close();
  await server?.stop();
});
