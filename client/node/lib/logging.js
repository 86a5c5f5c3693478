'use strict';

// Returns log(level, message), which passes the message to the user's logger; without one, nothing is logged. A logger
// that throws affects nothing else.
const logTo = (logger) => (level, message) => {
  try {
    logger?.[level](`redlockd: ${message}`);
  } catch {
    // There is nowhere to report it.
  }
};

// Calls user code. If it throws, or if the promise that it returns is rejected, only the log says so.
const contain = (callback, log) => {
  const failed = (error) => log('error', `a callback failed: ${error?.stack ?? error}`);
  try {
    const value = callback();
    if (typeof value?.then === 'function') value.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
};

module.exports = { contain, logTo };
