import { errorOf } from './errors.js';
import { Lease } from './lease.js';
import { Operation, tooLate } from './operations.js';

const LEAST_RETRY_DELAY = 50;
const CANCEL_ANSWERED_WITHIN = 1000;

// An acquisition. If the caller does not get the lock, no lock is left behind. Without a caller, it was given up.
export class Acquire extends Operation {
  // A release or a pause must end before the acquire may be sent.
  blocked = false;
  #timer;
  #failures = 0;

  // `request`: key, ttl, owner, wait (undefined: no limit; 0: a single try), margin, and onLost (for the Lease).
  constructor(machine, request, caller) {
    super(machine, caller);
    this.request = request;
    this.token = machine.newToken();
    if (request.wait > 0) {
      this.bound = machine.after(request.wait, () =>
        this.giveUp(machine.timeoutError(request.key, 'acquired', request.wait)));
    }
  }

  get #single() { return this.request.wait === 0; }

  get name() { return { key: this.request.key, token: this.token, ttl: this.request.ttl }; }

  get sent() { return this.entry?.sentAt !== undefined; }

  body() {
    const { owner } = this.request;
    return { acquire: { ...this.name, owner, retry: this.#single ? { maxRetries: 0 } : undefined } };
  }

  answered({ lease, status }, session, madeAt, now) {
    this.entry = undefined;
    if (lease !== undefined) this.#granted(lease, session, madeAt, now);
    else if (this.caller === undefined) this.#end();
    else if (status.reason === 'OVERLOADED' && !this.#single) this.#tryAgain(status.retryDelay);
    else if (status.reason !== 'DRAINING') this.#fail(errorOf(status));
  }

  abandoned(sent) {
    this.entry = undefined;
    if (!sent) return;
    // The daemon may have acquired the lock. The next attempt waits until it is released, because a single try must not
    // fail on this client's own lock.
    const given = this.caller === undefined;
    this.machine.release(this.name, { onDone: given ? undefined : () => this.#unblock() });
    if (given) {
      this.#end();
      return;
    }
    this.token = this.machine.newToken();
    this.blocked = true;
  }

  // Fails the caller with `error` now.
  giveUp(error) {
    if (this.caller === undefined) return;
    this.settle(error);
    if (this.entry === undefined || !this.machine.session.cancel(this.entry)) {
      this.#end();
      return;
    }
    this.machine.deadlines.remove(this.#timer);
    this.#timer = this.machine.after(CANCEL_ANSWERED_WITHIN, () => {
      this.machine.release(this.name);
      this.#end();
    });
  }

  // A daemon could not be reached.
  unreachable(error, endpoints) {
    this.#failures += 1;
    if (this.#single && this.#failures >= endpoints) this.giveUp(error);
  }

  #granted(granted, session, madeAt, now) {
    this.#end();
    const lease = new Lease({ ...this.request, token: this.token });
    lease.confirmed(session, granted, madeAt);
    if (this.caller === undefined) {
      this.machine.release(lease);
    } else if (lease.lossAt <= now) {
      this.machine.release(lease);
      this.settle(tooLate(lease.key));
    } else {
      this.machine.hold(lease);
      this.settle(undefined, lease);
    }
  }

  #tryAgain(delay = 0) {
    this.blocked = true;
    this.#timer = this.machine.after(Math.max(delay, LEAST_RETRY_DELAY), () => this.#unblock());
  }

  #unblock() {
    this.blocked = false;
    if (this.caller !== undefined) this.machine.submit(this);
  }

  #fail(error) {
    this.#end();
    this.settle(error);
  }

  #end() {
    this.machine.acquires.delete(this);
    this.machine.deadlines.remove(this.#timer);
  }
}
