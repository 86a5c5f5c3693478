'use strict';

// A binary heap of actions that are due at given times. Each action can be removed.
class Deadlines {
  #heap = [];

  // Returns an entry for remove(). `action(lateness)` runs once.
  add(at, action) {
    const entry = { at, action, index: this.#heap.length };
    this.#heap.push(entry);
    this.#up(entry);
    return entry;
  }

  // Does nothing if the entry has run, was removed, or is undefined.
  remove(entry) {
    if (entry === undefined || entry.index < 0) return;
    const last = this.#heap.pop();
    if (last !== entry) {
      this.#put(last, entry.index);
      this.#up(last);
      this.#down(last);
    }
    entry.index = -1;
  }

  get size() { return this.#heap.length; }

  // When the first action is due; Infinity if there is none.
  get next() { return this.#heap.length > 0 ? this.#heap[0].at : Infinity; }

  run(now) {
    while (this.next <= now) {
      const first = this.#heap[0];
      this.remove(first);
      first.action(now - first.at);
    }
  }

  #put(entry, index) {
    this.#heap[index] = entry;
    entry.index = index;
  }

  #up(entry) {
    let { index } = entry;
    while (index > 0) {
      const parent = this.#heap[(index - 1) >> 1];
      if (parent.at <= entry.at) break;
      this.#put(parent, index);
      index = (index - 1) >> 1;
    }
    this.#put(entry, index);
  }

  #down(entry) {
    let { index } = entry;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.#heap.length) break;
      if (child + 1 < this.#heap.length && this.#heap[child + 1].at < this.#heap[child].at) child += 1;
      if (this.#heap[child].at >= entry.at) break;
      this.#put(this.#heap[child], index);
      index = child;
    }
    this.#put(entry, index);
  }
}

module.exports = { Deadlines };
