'use strict';

const { Acquire } = require('./acquire.js');
const { Closing } = require('./closing.js');
const { Connection } = require('./connection.js');
const { Deadlines } = require('./deadlines.js');
const { closedError, failure, lockFailure, lostError } = require('./errors.js');
const { isShared, joined, maxHoldersOf, namesOf, shown } = require('./key.js');
const { Adopt, Extend, GiveUp, Release } = require('./operations.js');

const OPERATIONS_IN_A_MESSAGE = 1000;
// The client ends a Session without locks and operations after this time, so that the process can exit.
const IDLE = 1000;
// While locks are held, tick() must be called at least this often, because timers do not count suspend time.
const LONGEST_SLEEP = 1000;

// A caller may use one token for several keys.
const nameOf = (key, token) => `${token.length}:${token}${key}`;

// The client's side of the protocol (client/PROTOCOL.md), without gRPC, timers or a real clock. Its owner calls
// acquire(), giveUp(), downgrade(), releaseLease(), extend() and close() for the user, message() and ended() for the stream, and
// tick() when wakeAt has come. After each of these calls, the owner calls what takeNotices() returns, and sends what
// take() returns as soon as the stream can be written to.
class Machine {
  deadlines = new Deadlines();
  // The number of callers that wait for an operation.
  awaited = 0;
  leases = new Map(); // nameOf(key, token) -> the Lease, while it is held
  acquires = new Set();
  releases = new Set();
  giveUps = new Set(); // of the current Session
  extensions = new Set();
  #ending = new Map(); // a lost Lease whose trust has not ended -> the deadline at which it is given back
  #connection;
  #lossCheckAt = Infinity; // no lock is lost by the clock before this
  #notices = [];
  #log;
  #suspends;
  #idle;
  #closing; // set by close()

  // `endpoints`: their number. `host`: see Connection. `newToken()` returns an owner token. `log(level, message)`:
  // optional; level is debug, info, warn or error. `wallMicros()`: µs since 1970. Fencing tokens, at which the sequences of
  // adoptions start, follow that clock.
  constructor({
    endpoints, grace, clock, host, newToken, log = () => {}, random = Math.random,
    wallMicros = () => BigInt(Date.now()) * 1000n,
  }) {
    this.endpoints = endpoints;
    this.grace = grace;
    this.clock = clock;
    this.newToken = newToken;
    this.wallMicros = wallMicros;
    this.#log = (level, message) => this.#notices.push(() => log(level, message));
    this.#suspends = clock.suspends;
    this.#connection = new Connection({
      endpoints, grace, clock, host, random,
      deadlines: this.deadlines,
      onReady: (session) => this.#becameReady(session),
      onAbandoned: (session, error) => this.#abandoned(session, error),
    });
  }

  get session() { return this.#connection.session; }

  get ready() { return this.#connection.ready; }

  // The close is complete, and nothing more is sent or reported.
  get closed() { return this.#closing?.done ?? false; }

  // ---- for the user

  acquire(request, caller) {
    const acquire = new Acquire(this, request, caller);
    if (this.#closing) {
      acquire.settle(closedError());
      return acquire;
    }
    const { key, token, extendIfHeld, adopt } = request;
    if (this.#downgrades(key, token)) {
      const why = `token: this client is downgrading ${shown(key)} with this token; `
        + 'wait until the downgrade has ended, or use another token';
      acquire.settle(failure('INVALID_ARGUMENT', why, { key: shown(key) }));
      return acquire;
    }
    if (token !== undefined && !extendIfHeld && !adopt && this.held(key, token) !== undefined) {
      acquire.settle(lockFailure('LOCK_ALREADY_HELD', key, 'this client holds the lock with the same token'));
      return acquire;
    }
    const release = token === undefined ? undefined : this.#released(key, token);
    if (release !== undefined) acquire.waitFor(release);
    const earlier = token === undefined ? undefined : this.#leaving(key, token);
    if (earlier !== undefined) acquire.follow(earlier);
    this.#start(acquire);
    return acquire;
  }

  // Downgrades an exclusive lock to a share, whose Lease the caller gets. The trust in the exclusive lock has ended when
  // this returns.
  downgrade(lease, caller) {
    const { key, ttl, margin, token, lockDelay, keepFor } = lease;
    const wait = Math.max(0, Math.floor(lease.trustedUntil - this.clock.latest()));
    const request = {
      key: joined(namesOf(key), true), ttl, margin, token, wait, lockDelay, keepFor, adopt: true, exclusive: lease };
    const acquire = new Acquire(this, request, caller);
    const downgraded = () => lockFailure('LOCK_NOT_HELD', key, 'the lock was downgraded');
    if (isShared(key) || maxHoldersOf(key) !== undefined) {
      acquire.settle(lockFailure('INVALID_ARGUMENT', key, 'only an exclusive lock can be downgraded'));
    } else if (lease.state === 'held' && this.#requests(key, token)) {
      const message = `token: this client is requesting ${shown(key)} with it`;
      acquire.settle(failure('INVALID_ARGUMENT', message, { key: shown(key) }));
    } else if (this.#stopTrusting(lease, 'downgraded', downgraded)) {
      this.#start(acquire);
    } else {
      acquire.settle(lease.endedBy());
    }
    return acquire;
  }

  giveUp(acquire, error) {
    acquire.giveUp(error);
    this.#settle();
  }

  // Ends the trust now, whatever the daemon answers. `keepFor`: how long after the acquisition the key stays taken.
  releaseLease(lease, caller, keepFor = lease.keepFor) {
    const released = () => lockFailure('LOCK_NOT_HELD', lease.key, 'the lock was released');
    if (!this.#stopTrusting(lease, 'released', released)) {
      caller();
      return;
    }
    this.release(lease, { caller, keepFor });
    this.#settle();
  }

  // `options`: ttl and retry.
  extend(lease, options, caller) {
    if (lease.state !== 'held') {
      caller(lease.endedBy());
      return;
    }
    lease.askedFor(options.ttl);
    const extension = new Extend(this, lease, options, caller);
    this.extensions.add(extension);
    if (lease.session !== undefined) this.submit(extension);
    this.#settle();
  }

  // Releases all locks and ends all operations. The caller waits for the answer for at most 2 s.
  close(caller) {
    if (this.#closing === undefined) {
      // Whatever releases a lost lock ends its delay, which still keeps others out. The end of the Session does not.
      const delayed = [...this.#ending.keys()].some(({ lockDelay }) => lockDelay > 0);
      this.#closing = new Closing(this, { oneByOne: delayed });
      for (const acquire of [...this.acquires]) {
        if (acquire.sent && acquire.leaves) this.#closing.cover(acquire.name);
        acquire.giveUp(closedError());
      }
      for (const lease of [...this.leases.values()]) {
        this.#stopTrusting(lease, 'released', closedError);
        this.#notices.push(() => lease.onLost(closedError()));
        this.#releaseAtClose(lease);
      }
      for (const [lease, deadline] of this.#ending) {
        this.deadlines.remove(deadline);
        if (lease.lockDelay === 0) this.#releaseAtClose(lease);
      }
    }
    this.#closing.wait(caller);
    this.#settle();
  }

  // ---- for the stream

  // The next message of the current Session; undefined if there is nothing to send.
  take() {
    return this.session?.hasOutbox
      ? this.session.take(OPERATIONS_IN_A_MESSAGE, this.clock.earliest()) : undefined;
  }

  // `message`: results [{ id, lease, status }], events [{ type, lease, message }], positions [{ id, position }],
  // clock.
  message(session, message) {
    if (session !== this.session) return;
    const now = this.clock.latest();
    this.#afterSuspend(now);
    const draining = this.#read(session, message, now);
    if (draining) this.#connection.abandon(session, failure('DRAINING', 'the daemon is shutting down'));
    this.#settle();
  }

  // The stream has ended. `fatal`: a retry cannot help.
  ended(session, error, fatal = false) {
    if (session !== this.session) return;
    this.#connection.abandon(session, error);
    if (fatal && session.readyAt === undefined) for (const acquire of [...this.acquires]) acquire.giveUp(error);
    this.#settle();
  }

  // ---- time

  get wakeAt() {
    const longest = this.leases.size > 0 ? this.clock.earliest() + LONGEST_SLEEP : Infinity;
    return Math.min(this.deadlines.next, this.#lossCheckAt, longest);
  }

  tick() {
    const now = this.clock.latest();
    this.#afterSuspend(now);
    if (now >= this.#lossCheckAt) this.#checkTrust(now);
    this.deadlines.run(this.clock.earliest());
    this.#settle();
  }

  // Returns callbacks to user code, to be called outside of this object because they may call it again.
  takeNotices() {
    if (this.#notices.length === 0) return [];
    const notices = this.#notices;
    this.#notices = [];
    return notices;
  }

  // ---- for the operations

  after(time, action) { return this.deadlines.add(this.clock.earliest() + time, action); }

  // Sends an operation if a Session is ready. Otherwise it is sent when the next Session is ready.
  submit(operation) {
    if (this.ready) operation.entry = this.#connection.queue(operation);
  }

  release(name, options) {
    const release = new Release(this, name, options);
    this.releases.add(release);
    this.submit(release);
  }

  // Ends a lock that no caller gets or keeps. `trustedUntil`: the caller may trust it until then.
  giveBack(name, trustedUntil = -Infinity) {
    if (!name.ownToken) this.release(name);
    else if (this.ready) this.giveUps.add(new GiveUp(this, name, trustedUntil));
  }

  // Whether a call has the lock with the token, or may get it.
  uses(key, token) {
    const asks = (acquire) => acquire.request.key === key && acquire.token === token && !acquire.deferred;
    return this.held(key, token) !== undefined || [...this.acquires].some(asks);
  }

  held(key, token) { return this.leases.get(nameOf(key, token)); }

  hold(lease) {
    this.leases.set(nameOf(lease.key, lease.token), lease);
    this.#lossCheckAt = Math.min(this.#lossCheckAt, lease.lossAt);
  }

  adopt(lease, session) {
    if (session !== this.session || lease.state !== 'held') return;
    this.#connection.queue(new Adopt(this, lease));
  }

  adopted(lease, session, granted, madeAt) {
    lease.confirmed(session, granted, madeAt);
    this.#lossCheckAt = Math.min(this.#lossCheckAt, lease.lossAt);
    for (const extension of this.extensions) {
      if (extension.lease === lease && extension.entry === undefined) this.submit(extension);
    }
  }

  // The lease is no longer held, but the daemon has adopted it. While its holder may still be stopping its work, or its delay
  // keeps others out, it is not given back yet.
  adoptedTooLate(lease) {
    if (this.#ending.has(lease)) return;
    if (lease.state === 'lost' && lease.lockDelay > 0) this.#giveBackAt(lease, this.clock.earliest() + lease.lockDelay);
    else this.giveBack(lease);
  }

  lose(lease, why) {
    const error = lostError(lease.key, why);
    if (!this.#stopTrusting(lease, 'lost', () => error)) return;
    this.#log('warn', error.message);
    this.#notices.push(() => lease.onLost(error));
  }

  timeoutError(key, done, time) {
    if (this.ready) return lockFailure('DEADLINE_EXCEEDED', key, `not ${done} within ${time} ms`);
    const why = this.#connection.lastError?.message ?? 'no connection was made yet';
    return lockFailure('UNREACHABLE', key, `not ${done} within ${time} ms: no daemon could be reached: ${why}`);
  }

  // ---- inside

  #start(acquire) {
    this.acquires.add(acquire);
    if (!acquire.blocked) this.submit(acquire);
    this.#settle();
  }

  // Whether a call requests the key with the token, in either mode. A daemon could grant it the lock, and carry out a downgrade
  // afterwards.
  #requests(key, token) {
    return [...this.acquires].some(({ request, caller }) => (
      caller !== undefined && request.token === token && joined(namesOf(request.key)) === joined(namesOf(key))));
  }

  // The unfinished release of the token; undefined if there is none. A release has no mode.
  #released(key, token) {
    return [...this.releases].findLast((release) => release.token === token && joined(namesOf(release.key)) === joined(namesOf(key)));
  }

  // The call with the token that was given up and has yet to be answered; undefined if there is none.
  #leaving(key, token) {
    return [...this.acquires].find((acquire) => acquire.leaving && acquire.request.key === key && acquire.token === token);
  }

  // Whether a downgrade with the token is under way. The token must not hold the key exclusively until it has ended.
  #downgrades(key, token) {
    return token !== undefined && [...this.acquires].some(({ exclusive }) => (
      exclusive?.token === token && exclusive.key === joined(namesOf(key))));
  }

  // Returns whether the daemon is draining.
  #read(session, { results, events, positions, clock }, now) {
    const answers = [];
    let draining = false;
    for (const result of results) {
      const operation = session.answered(result.id, clock);
      if (operation !== undefined) answers.push({ operation, result });
      if (result.status?.reason === 'DRAINING') draining = true;
    }
    const madeAt = session.anchor.madeAt(clock);
    for (const { operation, result } of answers) operation.answered(result, session, madeAt, now);
    for (const { type, lease, message } of events) {
      const held = lease ? this.held(lease.key, lease.token) : undefined;
      if (type === 'DRAINING') draining = true;
      else if (held === undefined) continue;
      else if (type === 'LOST') this.lose(held, message);
      else if (held.session !== session) continue; // the adoption decides
      else if (type === 'EXTENDED') held.extended(lease, madeAt);
      else if (type === 'EXTEND_FAILED') held.notExtended(message);
    }
    for (const { id, position } of positions) {
      const acquire = session.find(id);
      if (acquire?.caller !== undefined) this.#notices.push(() => acquire.request?.onQueued?.(position));
    }
    return draining;
  }

  #becameReady(session) {
    this.#log('debug', `session ready, adopting ${this.leases.size} locks: endpoint ${session.endpoint}`);
    for (const release of this.releases) this.submit(release);
    for (const lease of this.leases.values()) this.adopt(lease, session);
    for (const acquire of this.acquires) if (!acquire.blocked) this.submit(acquire);
  }

  #abandoned(session, error) {
    const { size } = this.leases;
    this.#log(size > 0 ? 'warn' : 'info', `session abandoned, ${size} locks to move: ${error.message}`);
    for (const lease of this.leases.values()) if (lease.session === session) lease.freeze();
    for (const giveUp of [...this.giveUps]) giveUp.end();
    for (const { operation, sent } of session.takeUnanswered()) operation.abandoned(sent);
    this.#closing?.abandoned();
    if (session.readyAt !== undefined) return;
    for (const acquire of [...this.acquires]) acquire.unreachable(error, this.endpoints);
  }

  #afterSuspend(now) {
    if (this.clock.suspends === this.#suspends) return;
    this.#suspends = this.clock.suspends;
    this.#checkTrust(now);
  }

  #checkTrust(now) {
    this.#lossCheckAt = Infinity;
    for (const lease of [...this.leases.values()]) {
      if (lease.lossAt > now) this.#lossCheckAt = Math.min(this.#lossCheckAt, lease.lossAt);
      else this.#end(lease);
    }
  }

  // Loses a lock by the clock. The daemon may continue to extend it, so it is given back, but only after its trust has
  // ended, because the holder needs the margin to stop its work, and after its lock delay, which keeps others out.
  #end(lease) {
    const { trustedUntil } = lease;
    this.lose(lease, `no daemon extended it in time${lease.why}`);
    this.#giveBackAt(lease, trustedUntil + lease.lockDelay);
  }

  #giveBackAt(lease, time) {
    this.#ending.set(lease, this.deadlines.add(time, () => {
      this.#ending.delete(lease);
      this.giveBack(lease);
    }));
  }

  // Returns false if the lock was no longer held. Its extensions fail with `error()`.
  #stopTrusting(lease, state, error) {
    if (lease.state !== 'held') return false;
    lease.end(state, error);
    this.leases.delete(nameOf(lease.key, lease.token));
    for (const extension of [...this.extensions]) if (extension.lease === lease) extension.end(error());
    return true;
  }

  #releaseAtClose(lease) {
    if (lease.session !== undefined && lease.session === this.session) this.#closing.cover(lease);
    else this.release(lease);
  }

  get #needed() {
    return this.leases.size > 0 || this.acquires.size > 0 || this.releases.size > 0 || this.giveUps.size > 0
      || (this.#closing?.needsSession ?? false);
  }

  #settle() {
    if (this.closed) return;
    if (this.#closing?.advance()) {
      this.deadlines.remove(this.#idle);
      this.#connection.close();
    } else if (this.#needed) {
      this.deadlines.remove(this.#idle);
      this.#idle = undefined;
      this.#connection.open();
    } else if (this.session !== undefined) {
      this.#idle ??= this.after(IDLE, () => this.#endIdle());
    }
  }

  #endIdle() {
    this.#idle = undefined;
    if (this.session?.unanswered === 0) this.#connection.close();
  }
}

module.exports = { Machine };
