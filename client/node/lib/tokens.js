'use strict';

const { randomFillSync } = require('node:crypto');

// Random bytes are drawn for many tokens at once; none is used twice.
const TOKEN_BYTES = 16;
const pool = Buffer.alloc(256 * TOKEN_BYTES);
let used = pool.length;

// Returns a new owner token: rl- and 32 hexadecimal digits.
const newToken = () => {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += TOKEN_BYTES;
  return `rl-${pool.toString('hex', used - TOKEN_BYTES, used)}`;
};

module.exports = { newToken };
