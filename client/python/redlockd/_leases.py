"""The held locks: keeps them alive on the current Session and detects their loss."""

import logging
import math

from ._keys import is_shared, key_of, max_holders_of, set_claim
from ._lease import State
from ._operations import Operation
from ._wire import error_of, pb, set_duration, set_retry
from .errors import make_error

log = logging.getLogger("redlockd")

_ADOPT_PAUSE = 0.1
# If look() is called more than _LATE after it was due, the process was held up. It then first reads
# what has arrived: it looks again after _NEXT_LOOK, at most _MOST_LOOKS times, until nothing more
# has arrived.
_LATE = 0.02
_NEXT_LOOK = 0.01
_MOST_LOOKS = 10


class Adopt(Operation):
    __slots__ = ("_leases", "_lease")

    def __init__(self, leases, lease):
        self._leases = leases
        self._lease = lease

    def wanted(self, session):
        return self._lease.state is State.HELD

    def fill(self, message):
        set_claim(message.adopt, self._lease.key, self._lease.slot)
        message.adopt.token = self._lease.token
        set_duration(message.adopt.ttl, self._lease.ttl)
        message.adopt.sequence = self._lease.next_sequence()

    def on_result(self, result, session, valid_until, now):
        if self._lease.state is not State.HELD:
            if valid_until is not None:
                self._leases.adopted_late(self._lease, now)
        elif valid_until is not None:
            self._leases.adopted(self._lease, result.lease, session, valid_until)
        elif result.status.reason == "LOCK_NOT_HELD":
            self._leases.lose(self._lease, result.status.message)
        else:
            self._leases.adopt_later(self._lease, session, now)


class Extend(Operation):
    """An extension. on_done(error) is called once, with None if the lock was extended."""

    __slots__ = ("_leases", "_lease", "_ttl", "_retry", "on_done")

    def __init__(self, leases, lease, ttl, retry, on_done):
        self._leases = leases
        self._lease = lease
        self._ttl = ttl
        self._retry = retry
        self.on_done = on_done

    def wanted(self, session):
        return self._pending()

    def _pending(self):
        return self._lease.extends is not None and self in self._lease.extends

    def fill(self, message):
        set_claim(message.extend, self._lease.key, self._lease.slot)
        message.extend.token = self._lease.token
        set_duration(message.extend.ttl, self._ttl)
        set_retry(message.extend, self._retry)

    def on_result(self, result, session, valid_until, now):
        if not self._pending():
            return
        if valid_until is not None:
            self._lease.refresh(valid_until, result.lease.fencing_token)
            self._done(None)
        elif result.status.reason == "LOCK_NOT_HELD":
            self._leases.lose(self._lease, result.status.message)
        elif result.status.reason != "DRAINING":  # otherwise it is sent again after the adoption
            self._done(error_of(result.status, self._lease.key))

    def _done(self, error):
        del self._lease.extends[self]
        self.on_done(error)


def _not_held(lease):
    return make_error("LOCK_NOT_HELD", f"{lease.key}: the lock was released or downgraded")


def why_not_held(lease):
    """The error of a call that needs the lock; None if it is held."""
    return None if lease.state is State.HELD else lease.loss or _not_held(lease)


class Leases:
    def __init__(self, machine):
        self._machine = machine
        self._held = {}  # by key and token
        self._late_releases = {}  # of locks whose trust is ending, by Lease: their timers
        self._look_at = math.inf  # the trust of no lock falls to its margin before
        self._looked = 0  # times in a row that the process was late, and has read what arrived
        self._messages = 0
        self._messages_before = 0

    def __len__(self):
        return len(self._held)

    @property
    def due(self):
        return self._look_at

    def add(self, lease):
        """Keeps the lease alive. Returns the Lease that stands for it: another one if the same token has held it
        already."""
        known = self._held.get((lease.key, lease.token))
        if known is None:
            self._held[lease.key, lease.token] = lease
        else:
            known.taken_again(lease)
            lease = known
        lease.session.leases.add(lease)
        self._watch(lease)
        return lease

    def holds(self, key, token):
        return (key, token) in self._held

    def sequence(self, key, token):
        """The highest sequence of an adoption that was used for the lock; 0 if the client does not hold it."""
        known = self._held.get((key, token))
        return 0 if known is None else known.sequence

    def _watch(self, lease):
        self._look_at = min(self._look_at, lease.trusted_until - lease.margin)

    def on_ready(self, session):
        for lease in self._held.values():
            session.send(Adopt(self, lease))

    def on_abandoned(self, session):
        for lease in list(session.leases):
            lease.freeze()

    def adopted(self, lease, granted, session, valid_until):
        lease.adopted(session, valid_until, granted.fencing_token)
        session.leases.add(lease)
        for extend in lease.extends or ():
            session.send(extend)

    def adopted_late(self, lease, now):
        """A daemon has adopted a lock that is no longer held. It may no longer be wanted, or the release was
        carried out before the adoption. If the lock was downgraded, the adopted lease belongs to the share."""
        if lease.state is not State.DOWNGRADED and lease not in self._late_releases:
            self._give_back(lease, now)

    def adopt_later(self, lease, session, now):
        def again(now):
            if self._machine.ready is session and lease.state is State.HELD:
                session.send(Adopt(self, lease))

        self._machine.timers.add(now + _ADOPT_PAUSE, again)

    def extend(self, lease, ttl, retry, on_done):
        error = why_not_held(lease)
        if error is not None:
            on_done(error)
        else:
            lease.longest = max(lease.longest, ttl)
            extend = Extend(self, lease, ttl, retry, on_done)
            if lease.extends is None:
                lease.extends = {}
            lease.extends[extend] = None
            if lease.session is not None:
                lease.session.send(extend)

    def release(self, lease, now, on_done, keep_for=None):
        """Releases a lock. on_done(error), keep_for: see Release. The error of a lost lock is its loss; a second call
        does nothing."""
        again, lease.release_asked = lease.release_asked, True
        if again or lease.state in (State.RELEASED, State.DOWNGRADED):
            on_done(None)
        elif lease.state is State.LOST:
            if lease.lock_delay == 0:  # otherwise what it began may still be on its way to the storage
                self._release_lost(lease, now)
            on_done(lease.loss)
        else:
            give_up_at, trusted = self._give_up_at(lease, now), lease.validity(now) > 0
            kept_until = -math.inf if keep_for is None else lease.granted_at + keep_for
            self._end(lease, State.RELEASED)
            self._machine.releases.begin(
                lease.key, lease.token, give_up_at, now, on_done, trusted, keep_for, kept_until)

    def downgrade(self, lease):
        """Ends the trust in an exclusive lock that is downgraded. Returns the error if it cannot be downgraded."""
        if is_shared(lease.key) or max_holders_of(lease.key) is not None:
            return make_error("INVALID_ARGUMENT", f"{lease.key}: only an exclusive lock can be downgraded")
        error = why_not_held(lease)
        if error is not None:
            return error
        # A daemon could grant the lock to that call, and carry out the downgrade afterwards.
        if self._machine.acquires.requests(lease.key, lease.token):
            return make_error("INVALID_ARGUMENT", f"token: this client is requesting {lease.key} with it")
        self._end(lease, State.DOWNGRADED)
        return None

    def release_downgraded(self, lease, now):
        """Releases whatever the token of a lock whose downgrade failed may hold."""
        self._machine.releases.begin(lease.key, lease.token, self._give_up_at(lease, now), now)

    def release_unseen(self, lease, now):
        """Ends a lock whose caller has gone before it got the lock, and may use its token again. Not if another caller
        has the same lock, or had it before: nobody would tell that one."""
        lease.callers -= 1
        if lease.callers > 0:
            return
        if lease.callers_token and lease.state is State.HELD:
            self._end(lease, State.RELEASED)
            self._machine.giving_up.begin(lease.key, lease.token, lease.spared_until, now)
        else:
            self.release(lease, now, lambda error: None)

    def _give_up_at(self, lease, now):
        """Returns when the lock has expired, whatever an unreachable daemon does."""
        return now + lease.longest + lease.lock_delay + self._machine.grace

    def on_event(self, event, session, valid_until):
        lease = self._held.get((key_of(event), event.lease.token))
        if lease is None or lease.session is not session:
            return
        if event.type == pb.EVENT_TYPE_EXTENDED:
            lease.refresh(valid_until, event.lease.fencing_token)
        elif event.type == pb.EVENT_TYPE_EXTEND_FAILED:
            lease.obstacle = event.message
        elif event.type == pb.EVENT_TYPE_LOST:
            self.lose(lease, event.message or event.reason)

    def on_message(self):
        self._messages += 1

    def look(self, now, late):
        """Loses the locks whose trust is down to the margin. late: how much later than due this is called.

        A process that was held up first reads the messages that have arrived meanwhile: they may extend the locks.
        """
        if now < self._look_at:
            return
        reads_on = self._looked == 0 or self._messages > self._messages_before
        if (late > _LATE or self._looked > 0) and reads_on and self._looked < _MOST_LOOKS:
            self._looked += 1
            self._messages_before = self._messages
            self._look_at = now + _NEXT_LOOK
            return
        self._looked = 0
        self._look_at = math.inf
        for lease in list(self._held.values()):
            if now >= lease.trusted_until - lease.margin:
                self._expire(lease, now)
            else:
                self._watch(lease)

    def _expire(self, lease, now):
        """Loses a lock by the clock. No daemon reported the loss, so a daemon may keep the lock
        alive, or adopt it late. It is therefore released when its trust and its lock_delay have ended."""
        trust = lease.trusted_until
        why = f" ({lease.obstacle})" if lease.obstacle else ""
        self.lose(lease, f"no daemon extended it in time{why}")
        self._late_releases[lease] = self._machine.timers.add(
            max(now, trust) + lease.lock_delay, lambda now: self._release_lost(lease, now))

    def _release_lost(self, lease, now):
        timer = self._late_releases.pop(lease, None)
        if timer is not None:
            timer.cancel()
            self._give_back(lease, now)

    def _give_back(self, lease, now):
        if lease.callers_token:
            self._machine.giving_up.begin(lease.key, lease.token, 0.0, now)
        else:
            self._machine.releases.begin(lease.key, lease.token, self._give_up_at(lease, now), now)

    def lose(self, lease, why):
        log.warning("lock lost: %r: %s", str(lease.key), why)
        self._end(lease, State.LOST, make_error("LOCK_NOT_HELD", f"{lease.key}: the lock was lost: {why}"))

    def _end(self, lease, state, loss=None):
        del self._held[lease.key, lease.token]
        extends, lease.extends = lease.extends, None
        lease.end(state, loss)
        for extend in extends or ():
            extend.on_done(loss or _not_held(lease))

    @property
    def has_delays(self):
        """Whether others are kept out by the lock_delay of a lost lock that the Session may keep alive."""
        return any(lease.lock_delay > 0 for lease in self._late_releases)

    def close(self, session, now):
        """Ends all locks. The close of `session` releases those that it keeps alive; they are
        returned as arguments for Releases.begin(). The others are released one by one. session: None if no close is
        sent."""
        loss = make_error("LOCK_NOT_HELD", "the lock was lost: the client was closed")
        kept = []
        for lease in list(self._held.values()):
            release = lease.key, lease.token, self._give_up_at(lease, now)
            left = session is not None and lease.session is session
            self._end(lease, State.RELEASED, loss)
            if left:
                kept.append(release)
            else:
                self._machine.releases.begin(*release, now)
        for lease, timer in self._late_releases.items():
            timer.cancel()
            if lease.lock_delay == 0:
                self._machine.releases.begin(lease.key, lease.token, self._give_up_at(lease, now), now)
        self._late_releases = {lease: timer for lease, timer in self._late_releases.items() if lease.lock_delay > 0}
        return kept
