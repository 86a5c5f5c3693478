'use strict';

// Listens to AbortSignals, with one listener for each signal however many calls share it: Node warns of a leak when there
// are more than ten.

const listeners = new WeakMap(); // signal -> { actions, listener }

// Calls `action` once when the signal, which is not aborted yet, is aborted.
const listen = (signal, action) => {
  let entry = listeners.get(signal);
  if (entry === undefined) {
    const actions = new Set();
    entry = { actions, listener: () => { for (const each of [...actions]) each(); } };
    listeners.set(signal, entry);
    signal.addEventListener('abort', entry.listener, { once: true });
  }
  entry.actions.add(action);
};

const forget = (signal, action) => {
  const entry = listeners.get(signal);
  if (entry === undefined || !entry.actions.delete(action) || entry.actions.size > 0) return;
  listeners.delete(signal);
  signal.removeEventListener('abort', entry.listener);
};

// The first of these signals that was aborted; undefined if none was. Elements may be undefined.
const aborted = (signals) => signals.find((signal) => signal?.aborted);

// Calls `action` when one of the signals is aborted, at once if one was. Returns a function that stops listening.
const onAbort = (signals, action) => {
  if (aborted(signals)) action();
  else for (const signal of signals) if (signal) listen(signal, action);
  return () => { for (const signal of signals) if (signal) forget(signal, action); };
};

module.exports = { aborted, forget, listen, onAbort };
