// Runs a script in a process of its own, with `Client` and `endpoint` defined.
import { spawn } from 'node:child_process';
import process from 'node:process';
import { url } from './installed.js';

const LONGEST = 30_000;

export const start = (endpoint, script, environment = {}) => {
  const head = `import { Client } from ${JSON.stringify(url('index.mjs'))}; const endpoint = ${JSON.stringify(endpoint)};`;
  return spawn(process.execPath, ['--input-type=module', '-e', head + script],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
};

// Returns its status, what it wrote, and how long it ran. A status of null: it did not end.
export const run = async (endpoint, script, environment) => {
  const began = performance.now();
  const child = start(endpoint, script, environment);
  let output = '';
  let errors = '';
  child.stdout.on('data', (data) => { output += data; });
  child.stderr.on('data', (data) => { errors += data; });
  const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST);
  const code = await new Promise((resolve) => { child.on('close', resolve); });
  clearTimeout(timer);
  return { code, output, errors, time: performance.now() - began };
};
