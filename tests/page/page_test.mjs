// Tests the status page in Chromium with the viewport of a phone.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { REDLOCKD, REDLOCKCTL } = process.env;
const children = [];
let browser;
let page;
let server;
let httpPort;

function start(program, ...args) {
  const child = spawn(program, args, { stdio: 'ignore' });
  children.push(child);
  return child;
}

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function eventually(condition, what) {
  const giveUp = Date.now() + 20000;
  while (!(await condition())) {
    assert.ok(Date.now() < giveUp, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const shows = (selector, text) =>
  eventually(async () => (await page.textContent(selector)).includes(text), `${selector} shows ${text}`);

before(async () => {
  const nodePorts = [await freePort(), await freePort(), await freePort()];
  const nodes = nodePorts.map((port) =>
    start('redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', ''));
  server = `127.0.0.1:${await freePort()}`;
  httpPort = await freePort();
  start(REDLOCKD, '--listen', server, '--metrics-listen', `127.0.0.1:${httpPort}`,
    '--node-timeout', '2s',
    ...nodePorts.flatMap((port) => ['--node', `redis://127.0.0.1:${port}`]));
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  page = await browser.newPage({ viewport: { width: 360, height: 740 } });
  page.nodes = nodes;
  page.problems = [];
  page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${httpPort}/`) && !request.url().startsWith('data:')) {
      page.problems.push(`requests another host: ${request.url()}`);
    }
  });
  await eventually(() => page.goto(`http://127.0.0.1:${httpPort}/`).then(() => true, () => false), 'the page is served');
  page.problems.length = 0; // connections refused while the daemon was starting
});

after(async () => {
  await browser?.close();
  for (const child of children) child.kill('SIGKILL');
});

test('shows nodes, leases and waiters, and updates by itself', async () => {
  await shows('#state', 'serving locks');
  assert.equal(await page.locator('#nodes li').count(), 3);
  await shows('#set', 'epoch 1, 3 members, quorum 2');
  assert.ok(await page.locator('#trouble').isHidden());
  const hostile = '<img src=x onerror="document.title=1">&amp;"\'';
  const holder = start(REDLOCKCTL, '--server', server, 'hold', hostile);
  await shows('#leases', hostile);
  await shows('#leases', 'watched,');
  start(REDLOCKCTL, '--server', server, 'acquire', hostile, '--owner', '<b>me</b>');
  await shows('#leases', 'waiting, 0 ahead');
  await shows('#leases', '<b>me</b>');
  assert.equal(await page.locator('#leases img, #leases b').count(), 0, 'text from callers is not interpreted as markup');
  assert.equal(await page.title(), 'redlockd');
  holder.kill('SIGKILL');
  await eventually(async () => !(await page.textContent('#leases')).includes('watched,'), 'a lease that has ended disappears');
});

test('can be read on a phone', async () => {
  start(REDLOCKCTL, '--server', server, 'hold', 'a-long-key/'.repeat(40));
  await shows('#leases', 'a-long-key/');
  const { width, wanted } = await page.evaluate(() => ({
    width: window.innerWidth, wanted: document.documentElement.scrollWidth }));
  assert.ok(wanted <= width, `${wanted} pixels wide on a screen of ${width}`);
});

test('reports nodes that are down, lost leases, and a daemon that does not respond', async () => {
  start(REDLOCKCTL, '--server', server, 'hold', 'doomed', '--ttl', '2s');
  await shows('#leases', 'doomed');
  for (const node of page.nodes) node.kill('SIGKILL');
  await shows('#nodes', 'down');
  await shows('#state', 'cannot serve locks');
  await shows('#losses', 'doomed');
  assert.deepEqual(page.problems, []);
  children[3].kill('SIGKILL');
  await shows('#state', 'not responding');
});
