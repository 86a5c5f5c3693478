'use strict';

const { Anchor, allowance } = require('./trust.js');

// Of all keys and values in a message, in UTF-16 units, each of which has at most 3 bytes. The default of the daemon's
// --max-message-bytes is 1 MiB, and a message has at most 1,000 operations with less than 400 other bytes.
const ENOUGH_OF_TEXT = 2 ** 17;

// One Session: what was sent and not yet answered, and until when the answers allow trust.
//
// An operation has `body()`, which returns the message for the transport, `sends`, the number of times it was sent,
// `answered(result, session, madeAt, now)` and `abandoned(sent)`.
class Session {
  // connecting | ready | abandoned
  state = 'connecting';
  readyAt;
  anchor = new Anchor();
  // The sending time of the last message that was answered.
  answeredAt = -Infinity;
  // The deadlines of this Session, by name.
  timers = {};
  #grace;
  #greeted = false;
  #outbox = [];
  #sent = new Map(); // id -> { id, operation, sentAt }

  constructor(endpoint, grace) {
    this.endpoint = endpoint;
    this.#grace = grace;
  }

  get trustedUntil() { return this.answeredAt + this.#grace - allowance(this.#grace); }

  get hasOutbox() { return this.#outbox.length > 0; }

  get unanswered() { return this.#sent.size + this.#outbox.length; }

  queue(id, operation) {
    const entry = { id, operation, sentAt: undefined };
    this.#outbox.push(entry);
    return entry;
  }

  // Cancels an operation: removes it if it was not sent, otherwise sends `cancel`. Returns whether it was sent.
  cancel(entry) {
    if (entry.sentAt === undefined) {
      this.#outbox.splice(this.#outbox.indexOf(entry), 1);
      return false;
    }
    this.#outbox.push({ id: entry.id, operation: undefined });
    return true;
  }

  // Returns the next message, which counts as sent from now on.
  take(limit, now) {
    const operations = [];
    let taken = 0;
    let size = 0;
    for (const entry of this.#outbox) {
      if (taken === limit || size >= ENOUGH_OF_TEXT) break;
      taken += 1;
      const { id, operation } = entry;
      if (operation === undefined) {
        operations.push({ id, cancel: {} });
        continue;
      }
      entry.sentAt = now;
      operation.sends += 1;
      this.#sent.set(id, entry);
      const body = operation.body();
      for (const { key = '', value = '' } of Object.values(body)) size += key.length + value.length;
      body.id = id;
      operations.push(body);
    }
    this.#outbox.splice(0, taken);
    const message = { operations };
    if (!this.#greeted) message.disconnectGrace = this.#grace;
    this.#greeted = true;
    return message;
  }

  // Returns the operation that was answered; undefined if the id is unknown.
  answered(id, clock) {
    const entry = this.#sent.get(id);
    if (entry === undefined) return undefined;
    this.#sent.delete(id);
    this.answeredAt = Math.max(this.answeredAt, entry.sentAt);
    this.anchor.observe(entry.sentAt, clock);
    return entry.operation;
  }

  // Returns the operation that was sent with this id if it is not answered yet.
  find(id) { return this.#sent.get(id)?.operation; }

  // Removes and returns all operations without an answer, and whether each was sent.
  takeUnanswered() {
    const entries = [...this.#sent.values(), ...this.#outbox];
    this.#sent.clear();
    this.#outbox = [];
    return entries.filter(({ operation }) => operation !== undefined)
      .map(({ operation, sentAt }) => ({ operation, sent: sentAt !== undefined }));
  }
}

module.exports = { Session };
