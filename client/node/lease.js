// A lock that the client holds, and how long it is trusted.
export class Lease {
  // held | lost | released
  state = 'held';
  // Once it is not held any more, returns why, as a LockError.
  endedBy;
  // The Session that keeps it alive; undefined from the abandonment of that Session to the next adoption.
  session;
  #validUntil = -Infinity;
  #frozen = -Infinity;
  #sequence = 0n;

  // `onLost(error)` is called once if the lock is lost.
  constructor({ key, ttl, margin, token, onLost }) {
    this.key = key;
    this.ttl = ttl;
    this.margin = margin;
    this.token = token;
    this.fence = 0n;
    this.onLost = onLost;
  }

  // The daemon of `session` granted, adopted or extended the lock, in a message made at `madeAt` or later.
  confirmed(session, { fence, validity }, madeAt) {
    this.session = session;
    this.extended({ fence, validity }, madeAt);
  }

  // The validity of an extension. It counts only through the Session that keeps the lock alive.
  extended({ fence, validity }, madeAt) {
    this.#validUntil = Math.max(this.#validUntil, madeAt + validity);
    if (fence > this.fence) this.fence = fence;
  }

  // The Session was abandoned: the trust stays as it is until the lock is adopted.
  freeze() {
    this.#frozen = this.trustedUntil;
    this.session = undefined;
  }

  get trustedUntil() {
    if (this.state !== 'held') return -Infinity;
    if (this.session === undefined) return this.#frozen;
    return Math.min(this.#validUntil, this.session.trustedUntil);
  }

  get lossAt() { return this.trustedUntil - this.margin; }

  // For the next adopt. Never repeated, and above the fencing token.
  nextSequence() {
    if (this.#sequence < this.fence) this.#sequence = this.fence;
    this.#sequence += 1n;
    return this.#sequence;
  }
}
