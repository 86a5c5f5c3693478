'use strict';

const os = require('node:os');
const path = require('node:path');
const process = require('node:process');

const LONGEST = 128; // bytes

// The default label of the locks of this process: HOST/PID/PROGRAM, as valid UTF-8 of at most 128 bytes.
const defaultOwner = () => {
  const program = path.basename(process.argv[1] ?? process.argv0);
  let owner = `${os.hostname()}/${process.pid}/${program}`.replace(/\p{Surrogate}/gu, '\ufffd');
  while (Buffer.byteLength(owner) > LONGEST) owner = [...owner].slice(0, -1).join('');
  return owner;
};

module.exports = { defaultOwner };
