'use strict';

const { accessSync, constants } = require('node:fs');
const path = require('node:path');
const process = require('node:process');

const executable = (file) => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const inPath = (name) => (process.env.PATH ?? '').split(path.delimiter)
  .map((directory) => path.join(directory, name)).find(executable);

// Returns the path of redlockd. Throws an error that says where it looked.
const findBinary = (given) => {
  const named = given ?? process.env.REDLOCKD;
  const found = named === undefined ? inPath('redlockd') : [named].find(executable);
  if (found === undefined) {
    const where = given !== undefined ? `the option binary names ${given}, which is not an executable file`
      : named !== undefined ? `the environment variable REDLOCKD names ${named}, which is not an executable file`
        : 'there is none in PATH';
    throw new Error(`redlockd was not found: ${where}; pass { binary }, set REDLOCKD, or install redlockd`);
  }
  if (inPath('redis-server') === undefined) {
    throw new Error('redis-server was not found in PATH; redlockd --dev needs it');
  }
  return found;
};

module.exports = { findBinary };
