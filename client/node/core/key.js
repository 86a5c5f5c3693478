'use strict';

// One internal key stands for several keys that are locked together, so that everything else handles one key: their
// names in byte order, each separated from the next by a lone surrogate, which no valid name contains.

const SEPARATOR = '\ud800';
// With the flag u, it does not match the first half of a surrogate pair within a name.
const SEPARATED = /\ud800/u;

// The order of the daemon and of all client libraries. JavaScript's own order differs above U+FFFF.
const byBytes = (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right));

// Returns the internal key. That of a single name is the name.
const joined = (names) => [...names].sort(byBytes).join(SEPARATOR);

const namesOf = (key) => key.split(SEPARATED);

// For people.
const shown = (key) => namesOf(key).join(', ');

module.exports = { joined, namesOf, shown };
