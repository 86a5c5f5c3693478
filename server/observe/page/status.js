// Polls status.json and shows it: whether the daemon can grant locks, the nodes, what it did, and
// what was lost. The locks and the charts have modules of their own.
import { showCharts } from './charts.js';
import { byId, duration, element, fillRow, list, makeRow, setText } from './dom.js';
import { listenToFilter, showLocks } from './locks.js';

const PERIOD_MS = 2000;
let last = null; // the previous answer, from which rates are computed
let failing = false; // the daemon did not answer the last time

// The element is a live region, so its text must change only if the state does.
function verdict(status) {
  const { voting, needed, reachable } = status.quorum;
  if (status.draining) return ['Shutting down: grants no new locks', 'bad'];
  const faults = status.nodes.filter((node) => node.state !== 'up').map((node) => `${node.name} is ${node.state}`);
  if (status.node_set.trouble) faults.push(status.node_set.trouble);
  if (!reachable) {
    const why = `${voting} of ${status.nodes.length} nodes can grant, ${needed} are needed`;
    return [`Cannot grant locks: ${[why, ...faults].join('; ')}`, 'bad'];
  }
  return faults.length > 0 ? [`Grants locks, but ${faults.join('; ')}`, 'wait'] : ['Grants locks', 'good'];
}

function setInWords(set) {
  if (!set.found) return 'no node set found';
  const change = set.wanted ? `; a change is under way, ${set.wanted} steps left` : '';
  return `epoch ${set.epoch}, ${set.members} members, quorum ${set.quorum}${change}`;
}

const makeNode = () =>
  element('li', {}, element('h3'), element('span'), element('span'), element('span'), element('span'));

// Always says something, so that nothing moves when the first answers come.
function latencyInWords({ answers, p50, p99 }) {
  if (answers === 0) return 'No answers in the last minute';
  return `Median latency ${duration(p50)}, p99 ${duration(p99)}`;
}

function updateNode(card, node) {
  const looks = { up: 'good', quarantined: 'wait', down: 'bad', 'not a member': 'wait' };
  const [name, state, version, latency, why] = card.children;
  const left = node.quarantine_left ? ` for at least ${duration(node.quarantine_left)}` : '';
  setText(name, node.name);
  setText(state, node.state + left, looks[node.state]);
  const offset = (node.clock_offset * 1000).toFixed(1);
  setText(version, node.version ? `Redis ${node.version}, clock offset ${offset} ms` : '');
  setText(latency, latencyInWords(node.latency));
  setText(why, node.why);
}

function rate(status, name) {
  if (!last || failing) return '…';
  const passed = status.time - last.time;
  // The totals of a daemon that was restarted begin at 0.
  const done = status.totals[name] - last.totals[name];
  return passed > 0 && done >= 0 ? `${Math.round(done / passed)} / s` : '…';
}

function showCounts(status) {
  const shown = [
    ['acquired', rate(status, 'acquired')],
    ['not acquired', rate(status, 'refused')],
    ['extended', rate(status, 'extended')],
    ['released', rate(status, 'released')],
    ['lost in total', status.totals.lost],
    ['streams', status.streams],
  ];
  const make = () => element('div', {}, element('dt'), element('dd'));
  list(byId('counts'), shown, make, (pair, [name, value]) => {
    setText(pair.firstElementChild, name);
    setText(pair.lastElementChild, value);
  });
}

function showLosses(status) {
  const table = byId('losses');
  list(table.tBodies[0], status.losses, makeRow, (row, loss) => fillRow(row, [
    { label: 'Key', text: loss.key },
    { label: 'Time', text: new Date(loss.at * 1000).toLocaleString() },
    { label: 'Reason', text: loss.message },
  ]));
  table.hidden = status.losses.length === 0;
  byId('losses-none').hidden = status.losses.length > 0;
  setText(byId('losses-none'), status.keys_shown ? 'None.' : 'Their keys are hidden, too.');
}

function show(status) {
  setText(byId('version'), `${status.version} at ${location.host}`);
  setText(byId('state'), ...verdict(status));
  setText(byId('set'), setInWords(status.node_set));
  list(byId('nodes'), status.nodes, makeNode, updateNode);
  showLocks(status);
  showCounts(status);
  showCharts(status.trend, status.time);
  showLosses(status);
  last = status;
  failing = false;
}

function showFailure(error) {
  // Errors vary while the daemon is away. Only the first is shown, because the text is spoken.
  if (failing) return;
  const old = last ? `; what is shown below is from ${new Date(last.time * 1000).toLocaleTimeString()}` : '';
  setText(byId('state'), `The daemon does not respond (${error.message})${old}`, 'bad');
  failing = true;
}

async function look() {
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    showFailure(error);
  }
  setTimeout(look, PERIOD_MS);
}

listenToFilter();
look();
