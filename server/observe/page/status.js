// Polls status.json and renders it. All values are set as text, never as markup.
'use strict';

const PERIOD_MS = 2000;
const byId = (id) => document.getElementById(id);
let last = null; // the previous answer, from which rates are computed

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function seconds(value) {
  if (value >= 120) return `${Math.round(value / 60)} min`;
  return value >= 10 ? `${Math.round(value)} s` : `${value.toFixed(1)} s`;
}

function showNodeSet(set) {
  const change = set.wanted ? `; a change is under way, ${set.wanted} steps left` : '';
  byId('set').textContent = set.found
    ? `epoch ${set.epoch}, ${set.members} members, quorum ${set.quorum}${change}` : 'no node set found';
  byId('trouble').textContent = set.trouble;
  byId('trouble').hidden = !set.trouble;
}

function showNodes(nodes) {
  const looks = { up: 'good', quarantined: 'wait', down: 'bad', 'not a member': 'wait' };
  byId('nodes').replaceChildren(...nodes.map((node) => {
    const card = element('li', node.name);
    const left = node.quarantine_left ? ` for at least ${seconds(node.quarantine_left)}` : '';
    card.append(element('span', node.state + left, looks[node.state]));
    if (node.why) card.append(element('span', node.why));
    if (node.version) {
      const offset = (node.clock_offset * 1000).toFixed(1);
      card.append(element('span', `Redis ${node.version}, clock offset ${offset} ms`));
    }
    return card;
  }));
}

function rate(status, name) {
  if (!last) return '…';
  const passed = status.time - last.time;
  // The totals of a daemon that was restarted begin at 0.
  const done = status.totals[name] - last.totals[name];
  return passed > 0 && done >= 0 ? `${Math.round(done / passed)} / s` : '…';
}

function showCounts(status) {
  const shown = [
    ['watched leases', status.watched],
    ['waiters', status.waiters],
    ['streams', status.streams],
    ['acquired', rate(status, 'acquired')],
    ['not acquired', rate(status, 'refused')],
    ['extended', rate(status, 'extended')],
    ['released', rate(status, 'released')],
    ['lost in total', status.totals.lost],
  ];
  byId('counts').replaceChildren(...shown.map(([name, value]) => {
    const pair = document.createElement('div');
    pair.append(element('dt', name), element('dd', String(value)));
    return pair;
  }));
}

// The key, and how it is held if others may hold it, too.
function leaseKey(lease) {
  if (lease.shared) return `${lease.key} (shared)`;
  if (lease.slot > 0) return `${lease.key} (slot ${lease.slot} of ${lease.max_holders})`;
  if (lease.max_holders > 0) return `${lease.key} (semaphore of ${lease.max_holders})`;
  return lease.key;
}

function leaseState(lease) {
  if (lease.kind === 'waiting') return [`waiting, ${lease.position} ahead`, 'wait'];
  if (lease.kind === 'lost') return ['lost', 'bad'];
  if (lease.failures > 0) return [`${lease.failures} failed extensions, ${seconds(lease.validity)} left`, 'bad'];
  return [`watched, ${seconds(lease.validity)} left`, 'good'];
}

function fill(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement('tr');
    for (const [text, className] of cells) row.append(element('td', text, className));
    return row;
  }));
  byId(id).hidden = rows.length === 0;
  byId(`${id}-none`).hidden = rows.length > 0;
}

function show(status) {
  byId('version').textContent = status.version;
  const enough = status.quorum.reachable;
  const state = byId('state');
  state.className = status.draining || !enough ? 'bad' : 'good';
  state.textContent = status.draining ? 'shutting down'
    : enough ? 'serving locks' : 'cannot serve locks: no quorum of nodes';
  showNodeSet(status.node_set);
  showNodes(status.nodes);
  showCounts(status);
  if (status.keys_shown) {
    fill('leases', status.leases.map((lease) => [[leaseKey(lease)], leaseState(lease), [lease.owner]]));
    fill('losses', status.losses.map((loss) =>
      [[loss.key], [new Date(loss.at * 1000).toLocaleString()], [loss.message]]));
    const all = status.watched + status.waiters;
    byId('leases-note').textContent = all > status.leases.length ? `${status.leases.length} of ${all}` : '';
  } else {
    fill('leases', []);
    fill('losses', []);
    for (const id of ['leases-none', 'losses-none']) {
      byId(id).textContent = 'Keys are hidden because this daemon requires credentials. Use redlockctl leases to see them.';
    }
  }
  last = status;
}

async function look() {
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    last = null;
    byId('state').className = 'bad';
    byId('state').textContent = `not responding (${error.message})`;
  }
  setTimeout(look, PERIOD_MS);
}

look();
