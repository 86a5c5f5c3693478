// Helpers to build the page. All values are set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

// Leaves an element alone if nothing changes: the page neither loses a selection nor speaks again.
export function setText(of, text, className = '') {
  if (of.textContent !== String(text)) of.textContent = text;
  if (of.className !== className) of.className = className;
}

// Gives `parent` one child for each item, after a head of `fixed` children. Reuses the children that
// it has, so that nothing jumps when the page is updated.
export function list(parent, items, make, update, fixed = 0) {
  const wanted = items.length + fixed;
  while (parent.children.length > wanted) parent.lastElementChild.remove();
  while (parent.children.length < wanted) parent.append(make());
  items.forEach((item, i) => update(parent.children[i + fixed], item));
}

// Fills the cells of a row. The roles keep a table a table where the style sheet stacks its cells.
export function fillRow(row, cells) {
  list(row, cells, () => element('td', { role: 'cell' }), (cell, { label, text, look }) => {
    setText(cell, text, look);
    cell.dataset.label = label;
  });
}

export const makeRow = () => element('tr', { role: 'row' });

export function duration(seconds) {
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
