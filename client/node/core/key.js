'use strict';

// One internal key stands for several keys that are locked together, and for how they are held, so that everything else
// handles one key: their names in byte order, each separated from the next by a lone surrogate, which no valid name
// contains. Another lone surrogate in front of them stands for the shared mode, and a third one, followed by the limit and
// a separator, for a semaphore.

const SEPARATOR = '\ud800';
// With the flag u, it does not match the first half of a surrogate pair within a name.
const SEPARATED = /\ud800/u;
const SHARE = '\udc00';
const SEMAPHORE = '\udc01';

// The order of the daemon and of all client libraries. JavaScript's own order differs above U+FFFF.
const byBytes = (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right));

const mark = (shared, maxHolders) => {
  if (shared) return SHARE;
  return maxHolders === undefined ? '' : `${SEMAPHORE}${maxHolders}${SEPARATOR}`;
};

// Returns the internal key. That of a single name that is neither shared nor a semaphore is the name. `maxHolders`: the
// limit of the semaphore; undefined if the key is none.
const joined = (names, shared = false, maxHolders = undefined) => (
  mark(shared, maxHolders) + [...names].sort(byBytes).join(SEPARATOR));

const isShared = (key) => key.startsWith(SHARE);

// The limit of the semaphore; undefined if the key is none.
const maxHoldersOf = (key) => (
  key.startsWith(SEMAPHORE) ? Number(key.slice(SEMAPHORE.length).split(SEPARATED, 1)[0]) : undefined);

const namesOf = (key) => {
  if (isShared(key)) return key.slice(SHARE.length).split(SEPARATED);
  const names = key.split(SEPARATED);
  return key.startsWith(SEMAPHORE) ? names.slice(1) : names;
};

// For people.
const shown = (key) => namesOf(key).join(', ');

module.exports = { isShared, joined, maxHoldersOf, namesOf, shown };
