// The table of locks: for each key its holders, then its waiters in order. The filter shows the keys
// that match, with all their holders and waiters.
import { byId, duration, element, fillRow, list, makeRow, setText } from './dom.js';

let shown = null; // the last status, for the filter

// A lease of several keys belongs to the group of each.
function groupByKey(leases) {
  const groups = new Map();
  for (const lease of leases) {
    for (const key of lease.keys) {
      if (!groups.has(key)) groups.set(key, { key, leases: [] });
      groups.get(key).leases.push(lease);
    }
  }
  const isWaiter = (lease) => lease.kind === 'waiting';
  for (const group of groups.values()) {
    group.leases.sort((a, b) => isWaiter(a) - isWaiter(b) || a.slot - b.slot || a.position - b.position);
  }
  return [...groups.values()];
}

function matches(group, wanted) {
  const texts = group.leases.flatMap((lease) => [lease.owner, lease.identity, lease.peer]);
  return [group.key, ...texts].some((text) => text.toLowerCase().includes(wanted));
}

function stateOf(lease) {
  if (lease.kind === 'waiting') return [`waits, ${lease.position} ahead`, 'wait'];
  return lease.kind === 'lost' ? ['lost', 'bad'] : ['holds', 'good'];
}

function modeOf(lease) {
  if (lease.shared) return 'shared';
  if (lease.slot > 0) return `slot ${lease.slot} of ${lease.max_holders}`;
  return lease.max_holders > 0 ? `one of ${lease.max_holders} slots` : 'exclusive';
}

function since(seconds) {
  if (seconds === null) return 'unknown';
  const begin = new Date((shown.time - seconds) * 1000);
  const time = seconds < 86400 ? begin.toLocaleTimeString() : begin.toLocaleString();
  return `${time} (${duration(seconds)})`;
}

function timeLeft(lease) {
  if (lease.kind !== 'watched') return [''];
  const left = duration(lease.validity);
  return lease.failures > 0 ? [`${left}, ${lease.failures} failed extensions`, 'bad'] : [left];
}

function cellsOf(lease, key) {
  const waits = lease.kind === 'waiting';
  const others = lease.keys.filter((other) => other !== key);
  const together = others.length > 0 ? `, together with ${others.join(', ')}` : '';
  return [
    ['State', ...stateOf(lease)],
    ['Owner', lease.owner],
    ['Identity', lease.identity],
    ['Address', lease.peer],
    ['Mode', modeOf(lease) + together],
    ['Since', since(waits ? lease.waited : lease.held_for)],
    ['Time left', ...timeLeft(lease)],
    ['Fencing token', waits ? '' : lease.fencing_token],
  ].map(([label, text, look]) => ({ label, text, look }));
}

function makeGroup() {
  const head = makeRow();
  head.append(element('th', { role: 'rowheader', scope: 'rowgroup', colspan: 8 }, element('span'), ' ', element('small')));
  return element('tbody', { role: 'rowgroup' }, head);
}

const count = (number, one) => `${number} ${one}${number === 1 ? '' : 's'}`;

// The daemon limits how many it sends.
const isCut = () => shown.watched + shown.waiters > shown.leases.length;

function summary(leases) {
  const waiters = leases.filter((lease) => lease.kind === 'waiting').length;
  const holders = leases.length - waiters;
  const ofWaiters = `${count(waiters, 'waiter')}${isCut() ? ' shown' : ''}`;
  // It may be held through another daemon, or without a watchdog.
  if (holders === 0) return `${ofWaiters}; no holder is watched here, redlockctl who finds it`;
  return count(holders, 'holder') + (waiters > 0 ? `, ${ofWaiters}` : '');
}

function updateGroup(body, group) {
  const [name, note] = body.rows[0].cells[0].children;
  setText(name, group.key);
  setText(note, summary(group.leases));
  list(body, group.leases, makeRow, (row, lease) => fillRow(row, cellsOf(lease, group.key)), 1);
}

const total = () => `${count(shown.watched, 'watched lease')}, ${count(shown.waiters, 'waiter')}`;

// Returns how many keys match the filter, in words.
function render() {
  const table = byId('locks');
  const groups = groupByKey(shown.leases);
  const wanted = byId('filter').value.trim().toLowerCase();
  const found = groups.filter((group) => matches(group, wanted));
  list(table, found, makeGroup, updateGroup, 2); // after the columns and their heads
  table.hidden = found.length === 0;
  byId('locks-none').hidden = found.length > 0;
  setText(byId('locks-none'), groups.length > 0 ? 'No key, owner, identity or address matches.' : 'None.');
  const cut = isCut() ? `; ${shown.leases.length} of them are shown, redlockctl leases lists all` : '';
  const result = `${found.length} of ${count(groups.length, 'key')} match`;
  setText(byId('locks-note'), total() + cut + (wanted ? `; ${result}` : ''));
  return wanted ? result : '';
}

// Without keys, only the numbers are shown.
function renderHidden() {
  byId('locks').hidden = true;
  setText(byId('locks-none'), 'Keys are hidden because this daemon requires credentials. Use redlockctl leases to see them.');
  setText(byId('locks-note'), total());
}

export function showLocks(status) {
  shown = status;
  byId('filter-line').hidden = !status.keys_shown;
  if (status.keys_shown) render();
  else renderHidden();
}

export function listenToFilter() {
  const filter = byId('filter');
  // Screen readers hear the result of typing, but not of every update.
  const apply = () => { if (shown) setText(byId('filter-result'), render(), 'unseen'); };
  filter.addEventListener('input', apply);
  filter.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    filter.value = '';
    apply();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target === filter || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault(); // otherwise the slash is typed into the filter
    filter.focus();
  });
}
