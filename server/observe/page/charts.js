// Two small line charts of what the daemon did in the last ten minutes.
import { byId, duration, element, list, setText } from './dom.js';

const SPAN_S = 600;
const WIDTH = 300;
const HEIGHT = 60;
const CHARTS = [
  { title: 'Acquired per second', valueOf: (point) => point.acquired, inWords: (value) => `${Number(value.toFixed(value < 10 ? 1 : 0))}` },
  { title: 'Mean time to acquire', valueOf: (point) => point.wait, inWords: duration },
];

function svg(name, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function makeChart() {
  const picture = svg('svg', { role: 'img', viewBox: `0 -2 ${WIDTH} ${HEIGHT + 4}`, preserveAspectRatio: 'none' });
  picture.append(svg('path', { class: 'line' }));
  const figure = element('figure', {}, element('figcaption', {}, element('h3'), element('p')), picture);
  figure.append(element('p', { class: 'axis', 'aria-hidden': 'true' },
    element('span', {}, '10 min ago'), element('span', {}, 'now')));
  return figure;
}

// A gap where nothing is known: no value, or a time in which the daemon took no sample.
function pathOf(values, now, highest) {
  let path = '';
  let connected = false;
  for (const { at, value } of values) {
    if (value !== null) {
      const x = WIDTH * (1 - (now - at) / SPAN_S);
      const y = HEIGHT * (1 - value / highest);
      path += `${connected ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
      if (!connected) path += 'h2'; // makes a single point visible
    }
    connected = value !== null;
  }
  return path;
}

function updateChart(figure, { title, values, now, inWords }) {
  const [heading, text] = figure.querySelector('figcaption').children;
  const known = values.map(({ value }) => value).filter((value) => value !== null);
  const last = values.at(-1)?.value ?? null;
  const highest = Math.max(...known, 0);
  const words = known.length === 0 ? 'no values'
    : `${last === null ? 'none now' : `${inWords(last)} now`}, at most ${inWords(highest)}`;
  setText(heading, title);
  setText(text, words);
  const picture = figure.querySelector('svg');
  picture.setAttribute('aria-label', `${title} in the last ten minutes: ${words}`);
  picture.firstElementChild.setAttribute('d', pathOf(values, now, highest || 1));
}

export function showCharts(points, now) {
  const recent = points.filter((point) => now - point.at <= SPAN_S);
  list(byId('charts'), CHARTS, makeChart, (figure, { title, valueOf, inWords }) => {
    const values = recent.map((point) => ({ at: point.at, value: valueOf(point) }));
    updateChart(figure, { title, values, now, inWords });
  });
}
