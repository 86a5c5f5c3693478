'use strict';

// One internal key stands for several keys that are locked together, and for their mode, so that everything else handles
// one key: their names in byte order, each separated from the next by a lone surrogate, which no valid name contains.
// Another lone surrogate in front of them stands for the shared mode.

const SEPARATOR = '\ud800';
// With the flag u, it does not match the first half of a surrogate pair within a name.
const SEPARATED = /\ud800/u;
const SHARE = '\udc00';

// The order of the daemon and of all client libraries. JavaScript's own order differs above U+FFFF.
const byBytes = (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right));

// Returns the internal key. That of a single name that is not shared is the name.
const joined = (names, shared = false) => (shared ? SHARE : '') + [...names].sort(byBytes).join(SEPARATOR);

const isShared = (key) => key.startsWith(SHARE);

const namesOf = (key) => (isShared(key) ? key.slice(SHARE.length) : key).split(SEPARATED);

// For people.
const shown = (key) => namesOf(key).join(', ');

module.exports = { isShared, joined, namesOf, shown };
