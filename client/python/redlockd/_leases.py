"""The held locks: keeps them alive on the current Session and detects their loss."""

import logging
import math

from ._lease import State
from ._operations import Operation
from ._wire import duration, error_of, pb
from .errors import make_error

log = logging.getLogger("redlockd")

_ADOPT_PAUSE = 0.1
# If look() is called more than _LATE after it was due, the process was held up. It then first reads
# what has arrived, and looks again after _SECOND_LOOK.
_LATE = 0.02
_SECOND_LOOK = 0.01


class Adopt(Operation):
    def __init__(self, leases, lease):
        self._leases = leases
        self._lease = lease

    def wanted(self, session):
        return self._lease.state is State.HELD

    def fill(self, message):
        message.adopt.key = self._lease.key
        message.adopt.token = self._lease.token
        message.adopt.ttl.CopyFrom(duration(self._lease.ttl))
        message.adopt.sequence = self._lease.next_sequence()

    def on_result(self, result, session, valid_until, now):
        if self._lease.state is not State.HELD:
            return
        if valid_until is not None:
            self._leases.adopted(self._lease, result.lease, session, valid_until)
        elif result.status.reason == "LOCK_NOT_HELD":
            self._leases.lose(self._lease, result.status.message)
        else:
            self._leases.adopt_later(self._lease, session, now)


class Extend(Operation):
    """An extension. on_done(error) is called once, with None if the lock was extended."""

    def __init__(self, leases, lease, ttl, on_done):
        self._leases = leases
        self._lease = lease
        self._ttl = ttl
        self.on_done = on_done

    def wanted(self, session):
        return self in self._lease.extends

    def fill(self, message):
        message.extend.key = self._lease.key
        message.extend.token = self._lease.token
        message.extend.ttl.CopyFrom(duration(self._ttl))

    def on_result(self, result, session, valid_until, now):
        if self not in self._lease.extends:
            return
        if valid_until is not None:
            self._lease.refresh(valid_until, result.lease.fencing_token)
            self._done(None)
        elif result.status.reason == "LOCK_NOT_HELD":
            self._leases.lose(self._lease, result.status.message)
        elif result.status.reason != "DRAINING":  # otherwise it is sent again after the adoption
            self._done(error_of(result.status))

    def _done(self, error):
        del self._lease.extends[self]
        self.on_done(error)


class Leases:
    def __init__(self, machine):
        self._machine = machine
        self._held = {}  # by token
        self._late_releases = {}  # of locks whose trust ended, by token: (lease, timer)
        # The trust of no lock ends before _ends_at, or falls to its margin before _look_at.
        self._ends_at = math.inf
        self._look_at = math.inf
        self._looks_again = False

    def __len__(self):
        return len(self._held)

    @property
    def due(self):
        return min(self._ends_at, self._look_at)

    def add(self, lease):
        self._held[lease.token] = lease
        lease.session.leases.add(lease)
        self._watch(lease)

    def _watch(self, lease):
        trust = lease.trusted_until
        self._ends_at = min(self._ends_at, trust)
        self._look_at = min(self._look_at, trust - lease.margin)

    def on_ready(self, session):
        for lease in self._held.values():
            session.send(Adopt(self, lease))

    def on_abandoned(self, session):
        for lease in list(session.leases):
            lease.freeze()

    def adopted(self, lease, granted, session, valid_until):
        lease.adopted(session, valid_until, granted.fencing_token)
        session.leases.add(lease)
        for extend in lease.extends:
            session.send(extend)

    def adopt_later(self, lease, session, now):
        def again(now):
            if self._machine.ready is session and lease.state is State.HELD:
                session.send(Adopt(self, lease))

        self._machine.timers.add(now + _ADOPT_PAUSE, again)

    def extend(self, lease, ttl, on_done):
        if lease.state is State.LOST:
            on_done(lease.loss)
        elif lease.state is State.RELEASED:
            on_done(make_error("LOCK_NOT_HELD", f"{lease.key}: the lock was released"))
        else:
            extend = Extend(self, lease, ttl, on_done)
            lease.extends[extend] = None
            if lease.session is not None:
                lease.session.send(extend)

    def release(self, lease, now, on_done):
        """Releases a lock. on_done(error): see Release. The error of a lost lock is its loss."""
        if lease.state is State.RELEASED:
            on_done(None)
            return
        if lease.state is State.LOST:
            self._release_lost(lease.token, now)
            on_done(lease.loss)
            return
        give_up_at = self._give_up_at(lease, now)
        self._end(lease, State.RELEASED)
        self._machine.releases.begin(lease.key, lease.token, give_up_at, now, on_done)

    def _give_up_at(self, lease, now):
        """Returns when the lock has expired, whatever an unreachable daemon does."""
        return max(lease.expires_by, now + lease.ttl) + self._machine.grace

    def on_event(self, event, session, valid_until):
        lease = self._held.get(event.lease.token)
        if lease is None or lease.session is not session:
            return
        if event.type == pb.EVENT_TYPE_EXTENDED:
            lease.refresh(valid_until, event.lease.fencing_token)
        elif event.type == pb.EVENT_TYPE_LOST:
            self.lose(lease, event.message or event.reason)

    def end_what_is_over(self, now):
        """Loses the locks whose trust has ended. Called before arrived messages are read: they come too
        late for these locks."""
        if now >= self._ends_at:
            self._judge(now, 0)

    def look(self, now, late):
        """Loses the locks whose trust is down to the margin. `late`: how much later than due this is
        called."""
        if now < self._look_at:
            return
        self._looks_again = late > _LATE and not self._looks_again
        self._judge(now, 0 if self._looks_again else 1)
        if self._looks_again:
            self._look_at = now + _SECOND_LOOK

    def _judge(self, now, margins):
        for lease in list(self._held.values()):
            if now >= lease.trusted_until - margins * lease.margin:
                self._expire(lease, now)
        self._ends_at = self._look_at = math.inf
        for lease in self._held.values():
            self._watch(lease)

    def _expire(self, lease, now):
        """Loses a lock by the clock. No daemon reported the loss, so a daemon may keep the lock
        alive, or adopt it late. It is therefore released when its trust has ended."""
        trust = lease.trusted_until
        self.lose(lease, "no daemon extended it in time")
        timer = self._machine.timers.add(max(now, trust), lambda now: self._release_lost(lease.token, now))
        self._late_releases[lease.token] = lease, timer

    def _release_lost(self, token, now):
        lease, timer = self._late_releases.pop(token, (None, None))
        if lease is not None:
            timer.cancel()
            self._machine.releases.begin(lease.key, token, self._give_up_at(lease, now), now)

    def lose(self, lease, why):
        log.warning("lock lost: %r: %s", lease.key, why)
        self._end(lease, State.LOST, make_error("LOCK_NOT_HELD", f"{lease.key}: the lock was lost: {why}"))

    def _end(self, lease, state, loss=None):
        del self._held[lease.token]
        extends, lease.extends = lease.extends, {}
        lease.end(state, loss)
        for extend in extends:
            extend.on_done(loss or make_error("LOCK_NOT_HELD", f"{lease.key}: the lock was released"))

    def close(self, session, now):
        """Ends all locks. The close of `session` releases those that it keeps alive; they are
        returned as arguments for Releases.begin(). The others are released one by one."""
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
        for token in list(self._late_releases):
            self._release_lost(token, now)
        return kept
