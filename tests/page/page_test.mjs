// Tests the status page in Chromium, by default with the viewport of a phone.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { REDLOCKD, REDLOCKCTL } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 800 };
const directory = mkdtempSync(join(tmpdir(), 'page-'));
const children = [];
let nodes;
let nodeOptions;
let daemon;
let server;
let browser;
let page;

function start(program, ...args) {
  const child = spawn(program, args, { stdio: 'ignore' });
  children.push(child);
  return child;
}

const ctl = (...args) => start(REDLOCKCTL, '--server', server, ...args);

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

const shows = (selector, text, where = page) =>
  eventually(async () => (await where.textContent(selector)).includes(text), `${selector} shows ${text}`);

// The rows of a key's group: for each row the texts of its cells by their labels.
const groupOf = (key) => page.evaluate((wanted) => {
  const group = [...document.querySelectorAll('#locks tbody')]
    .find((body) => body.querySelector('th span').textContent === wanted);
  return [...(group?.rows ?? [])].slice(1).map((row) =>
    Object.fromEntries([...row.cells].map((cell) => [cell.dataset.label, cell.textContent])));
}, key);

async function groupGets(key, condition, what) {
  await eventually(async () => condition(await groupOf(key)), `${key}: ${what}`);
  return groupOf(key);
}

const shownKeys = () => page.locator('#locks tbody th span').allTextContents();

async function nextUpdate() {
  await page.waitForResponse((response) => response.url().endsWith('/status.json'));
  await page.waitForResponse((response) => response.url().endsWith('/status.json'));
}

async function startDaemon(...options) {
  const address = `127.0.0.1:${await freePort()}`;
  const http = `127.0.0.1:${await freePort()}`;
  const child = start(REDLOCKD, '--listen', address, '--metrics-listen', http, '--node-timeout', '2s',
    ...nodeOptions, ...options);
  return { child, address, url: `http://${http}/` };
}

async function open(url, viewport) {
  const opened = await browser.newPage({ viewport });
  opened.problems = [];
  opened.on('console', (message) => message.type() === 'error' && opened.problems.push(message.text()));
  opened.on('pageerror', (error) => opened.problems.push(String(error)));
  opened.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) {
      opened.problems.push(`requests another host: ${request.url()}`);
    }
  });
  await eventually(() => opened.goto(url).then(() => true, () => false), 'the page is served');
  opened.problems.length = 0; // connections refused while the daemon was starting
  return opened;
}

before(async () => {
  const nodePorts = [await freePort(), await freePort(), await freePort()];
  nodes = nodePorts.map((port) =>
    start('redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', ''));
  nodeOptions = nodePorts.flatMap((port) => ['--node', `redis://127.0.0.1:${port}`]);
  daemon = await startDaemon();
  server = daemon.address;
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  page = await open(daemon.url, PHONE);
  await shows('#state', 'Grants locks');
});

after(async () => {
  await browser?.close();
  for (const child of children) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

test('shows whether the daemon can grant, the nodes and the node set', async () => {
  await eventually(async () => (await page.textContent('#state')) === 'Grants locks', 'all nodes are up');
  assert.equal(await page.locator('#nodes li').count(), 3);
  await shows('#nodes', 'clock offset');
  await shows('#nodes', 'No answers in the last minute');
  await shows('#set', 'epoch 1, 3 members, quorum 2');
});

test('groups holders and waiters by key, the waiters in order', async () => {
  const holder = ctl('hold', 'orders', '--owner', 'first');
  const [held] = await groupGets('orders', (rows) => rows.length === 1, 'is held');
  assert.equal(held.State, 'holds');
  assert.equal(held.Owner, 'first');
  assert.match(held.Address, /^ipv4:127\.0\.0\.1:\d+$/);
  assert.equal(held.Mode, 'exclusive');
  assert.match(held.Since, /\d.*\(.*s\)$/);
  assert.match(held['Time left'], /^\d+ s$/);
  assert.match(held['Fencing token'], /^\d+$/);
  for (const [i, owner] of ['second', 'third'].entries()) {
    ctl('hold', 'orders', '--owner', owner);
    await groupGets('orders', (rows) => rows.length === i + 2, `${owner} waits`);
  }
  const rows = await groupOf('orders');
  assert.deepEqual(rows.map((row) => [row.State, row.Owner]),
    [['holds', 'first'], ['waits, 0 ahead', 'second'], ['waits, 1 ahead', 'third']]);
  assert.match(rows[1].Since, /\(.*s\)$/);
  assert.equal(rows[1]['Fencing token'], '');
  await shows('#locks', '1 holder, 2 waiters');
  holder.kill('SIGTERM');
  await groupGets('orders', (left) => left.length === 2 && left[0].Owner === 'second' && left[0].State === 'holds',
    'the next waiter holds it');
});

test('shows sharers, slots, and a lock of several keys under each key', async () => {
  ctl('hold', 'config', '--shared');
  ctl('hold', 'config', '--shared');
  await groupGets('config', (rows) => rows.length === 2 && rows.every((row) => row.Mode === 'shared'), 'is shared');
  ctl('hold', 'pool', '--max-holders', '2');
  ctl('hold', 'pool', '--max-holders', '2');
  await groupGets('pool', (rows) => rows.length === 2, 'both slots are held');
  assert.deepEqual((await groupOf('pool')).map((row) => row.Mode), ['slot 1 of 2', 'slot 2 of 2']);
  ctl('hold', 'alice', 'bob', '--owner', 'transfer');
  for (const [key, other] of [['alice', 'bob'], ['bob', 'alice']]) {
    const [row] = await groupGets(key, (rows) => rows.length === 1, 'is held');
    assert.deepEqual([row.Owner, row.Mode], ['transfer', `exclusive, together with ${other}`]);
  }
});

test('says where to look for a holder that this daemon does not watch', async () => {
  ctl('acquire', 'unwatched', '--ttl', '60s');
  await eventually(() => execFileSync(REDLOCKCTL, ['--server', server, 'inspect', 'unwatched'], { encoding: 'utf8' })
    .includes('unwatched is held'), 'is held');
  ctl('hold', 'unwatched');
  await groupGets('unwatched', (rows) => rows.length === 1 && rows[0].State === 'waits, 0 ahead', 'has a waiter');
  await shows('#locks', '1 waiter; no holder is watched here, redlockctl who finds it');
});

test('text from callers is not interpreted as markup', async () => {
  const hostile = '<img src=x onerror="document.title=1">&amp;"\'';
  ctl('hold', hostile, '--owner', '<b>me</b>');
  const [row] = await groupGets(hostile, (rows) => rows.length === 1, 'is held');
  assert.equal(row.Owner, '<b>me</b>');
  assert.equal(await page.locator('#locks img, #locks b').count(), 0);
  assert.equal(await page.title(), 'redlockd');
});

test('filters keys and owners, and is used by keyboard', async () => {
  await page.locator('h1').click();
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'filter');
  await page.keyboard.type('POO');
  assert.deepEqual(await shownKeys(), ['pool']);
  assert.match(await page.textContent('#filter-result'), /^1 of \d+ keys match$/);
  await nextUpdate();
  assert.deepEqual(await shownKeys(), ['pool'], 'an update keeps the filter');
  await page.keyboard.press('Escape');
  assert.equal(await page.inputValue('#filter'), '');
  assert.ok((await shownKeys()).length > 3);
  await page.keyboard.type('third');
  assert.deepEqual(await shownKeys(), ['orders'], 'the owner of a waiter');
  assert.equal((await groupOf('orders')).length, 2, 'with the one that holds it');
  await page.keyboard.press('Escape');
  const [{ Address }] = await groupOf('alice');
  await page.keyboard.type(Address);
  assert.deepEqual(await shownKeys(), ['alice', 'bob']);
  await page.keyboard.type('/');
  assert.equal(await page.inputValue('#filter'), `${Address}/`);
  assert.ok(await page.isVisible('text=No key, owner, identity or address matches.'));
  await page.keyboard.press('Escape');
});

test('an update keeps the rows, moves nothing, and says nothing to a screen reader', async () => {
  await page.evaluate(() => {
    window.row = document.querySelector('#locks tbody tr:nth-child(2)');
    window.spoken = [];
    const observer = new MutationObserver((changes) => window.spoken.push(...changes.map((change) => change.target.id)));
    for (const region of document.querySelectorAll('[role=status]')) {
      observer.observe(region, { childList: true, characterData: true, subtree: true });
    }
  });
  const places = () => page.evaluate(() => [...document.querySelectorAll('h2, #locks tbody')].map((of) => of.offsetTop));
  const placesBefore = await places();
  await nextUpdate();
  assert.ok(await page.evaluate(() => window.row.isConnected));
  assert.deepEqual(await page.evaluate(() => window.spoken), []);
  assert.deepEqual(await places(), placesBefore);
});

test('the charts show what the daemon did before the page was opened', async () => {
  await eventually(async () => (await page.locator('#charts').textContent()).includes('per second'), 'there are charts');
  await eventually(async () => {
    await page.reload();
    await shows('#state', 'Grants locks');
    const lines = await page.locator('#charts path').evaluateAll((paths) => paths.map((path) => path.getAttribute('d')));
    return lines.length === 2 && lines.every((line) => line?.startsWith('M'));
  }, 'both charts have a line');
  const label = await page.locator('#charts svg').first().getAttribute('aria-label');
  assert.match(label, /^Acquired per second in the last ten minutes: [\d.]+ now, at most [\d.]+$/);
});

test('shows the latency of each node', async () => {
  const cards = page.locator('#nodes li');
  ctl('acquire', 'measured', '--ttl', '1s');
  await eventually(async () => (await cards.allTextContents()).every((text) =>
    /Median latency (\d+\.\d|\d+) m?s, p99 (\d+\.\d|\d+) m?s/.test(text)), 'each node shows its latency');
});

test('can be read on a phone', async () => {
  const key = 'a-long-key/'.repeat(40);
  ctl('hold', key, '--owner', 'a-long-owner-'.repeat(9));
  await groupGets(key, (rows) => rows.length === 1, 'is held');
  const { width, wanted } = await page.evaluate(() => ({
    width: window.innerWidth, wanted: document.documentElement.scrollWidth }));
  assert.ok(wanted <= width, `${wanted} pixels wide on a screen of ${width}`);
});

test('is accessible, wide and narrow, light and dark', async () => {
  for (const viewport of [PHONE, DESKTOP]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.evaluate(AXE); // not a script element, which the Content-Security-Policy forbids
      const { violations, passes } = await page.evaluate(() => axe.run());
      assert.ok(passes.some((rule) => rule.id === 'color-contrast'));
      assert.deepEqual(violations.map((found) => [found.id, found.nodes.map((node) => node.html)]), []);
    }
    // The style sheet stacks the cells on a phone; the table must remain one.
    const table = page.getByRole('table', { name: 'Locks' });
    assert.equal(await table.getByRole('columnheader').count(), 8);
    assert.ok(await table.getByRole('row').filter({ hasText: 'transfer' }).getByRole('cell').count() > 0);
  }
  await page.setViewportSize(PHONE);
});

test('says how many of many leases are shown, and how many wait', async () => {
  const lease = { ...(await (await fetch(`${daemon.url}status.json`)).json()).leases[0], shared: false };
  const many = await browser.newPage();
  await many.route('**/status.json', async (route) => {
    const status = await (await route.fetch()).json();
    status.leases = Array.from({ length: 200 }, (_, i) => ({ ...lease, key: `k${i}`, keys: [`k${i}`] }));
    await route.fulfill({ json: { ...status, watched: 4000, waiters: 1 } });
  });
  await many.goto(daemon.url);
  await shows('#locks-note', '4000 watched leases, 1 waiter; 200 of them are shown', many);
  assert.equal(await many.locator('#locks tbody').count(), 200);
  await many.close();
});

test('a key with many waiters does not hide the others', async () => {
  ctl('hold', 'zebra');
  ctl('hold', 'crowd');
  await groupGets('crowd', (rows) => rows.length === 1, 'is held');
  for (let i = 0; i < 22; ++i) ctl('hold', 'crowd');
  await groupGets('crowd', (rows) => rows.length === 21, 'has a holder and the first 20 waiters');
  await shows('#locks-note', 'of them are shown');
  await shows('#locks', '1 holder, 20 waiters shown');
  assert.equal((await groupOf('zebra')).length, 1);
});

test('hides keys if the daemon requires credentials', async () => {
  const made = JSON.parse(execFileSync(REDLOCKCTL, ['--output', 'json', 'token', 'ops'], { encoding: 'utf8' }));
  writeFileSync(join(directory, 'tokens'), `${made.line}\n`);
  const guarded = await startDaemon('--token-file', join(directory, 'tokens'));
  const hidden = await open(guarded.url, PHONE);
  await shows('#locks-none', 'Keys are hidden because this daemon requires credentials', hidden);
  await shows('#losses-none', 'hidden', hidden);
  assert.ok(await hidden.isHidden('#filter'));
  assert.ok(await hidden.isHidden('#locks'));
  await shows('#state', 'Grants locks', hidden);
  assert.deepEqual(hidden.problems, []);
  await hidden.close();
  guarded.child.kill('SIGKILL');
});

test('reports a daemon that hangs, and recovers by itself', async () => {
  daemon.child.kill('SIGSTOP');
  await shows('#state', 'The daemon does not respond');
  await shows('#state', 'what is shown below is from');
  daemon.child.kill('SIGCONT');
  await shows('#state', 'Grants locks');
  ctl('hold', 'after the pause');
  await groupGets('after the pause', (rows) => rows.length === 1, 'is held');
});

test('reports nodes that are down, lost leases, and a daemon that does not respond', async () => {
  ctl('hold', 'doomed', '--ttl', '2s');
  await groupGets('doomed', (rows) => rows.length === 1, 'is held');
  nodes[0].kill('SIGKILL');
  await shows('#state', 'Grants locks, but 127.0.0.1:');
  await shows('#state', 'is down');
  for (const node of nodes) node.kill('SIGKILL');
  await shows('#nodes', 'down');
  await shows('#state', 'Cannot grant locks: 0 of 3 nodes can grant, 2 are needed; 127.0.0.1:');
  await shows('#losses', 'doomed');
  assert.deepEqual(page.problems, []);
  daemon.child.kill('SIGKILL');
  await shows('#state', 'The daemon does not respond');
  await shows('#state', 'what is shown below is from');
  await shows('#losses', 'doomed');
});
