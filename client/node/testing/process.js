'use strict';

const { spawn } = require('node:child_process');
const { rmSync } = require('node:fs');
const process = require('node:process');

const MOST_OUTPUT = 4096; // characters that an error shows

// What is left if the test ends without stop().
const running = new Set();
const directories = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

// A daemon of the test.
class Daemon {
  #child;
  #output = '';
  #exited;

  constructor(binary, values) {
    this.#child = spawn(binary, values, { stdio: ['ignore', 'ignore', 'pipe'] });
    running.add(this.#child);
    this.#child.stderr.on('data', (text) => { this.#output = (this.#output + text).slice(-MOST_OUTPUT); });
    this.#exited = new Promise((resolve) => {
      this.#child.on('error', (error) => { this.#output += error.message; });
      this.#child.on('close', () => {
        running.delete(this.#child);
        resolve();
      });
    });
  }

  // What it has written to stderr.
  get output() { return this.#output; }

  get exited() { return !running.has(this.#child); }

  get pid() { return this.#child.pid; }

  signal(name) { this.#child.kill(name); }

  async end(name) {
    this.#child.kill(name);
    await this.#exited;
  }
}

module.exports = { Daemon, directories };
