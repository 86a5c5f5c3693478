"""The client's state machine: client/PROTOCOL.md, without gRPC, threads or a clock of its own.

Every input comes with the time, and may end in calls of the transport: open(session), after which
it writes what session.next_message() gives and hands in what arrives, and cancel(session), after
which nothing of that Session is of interest.
"""

import itertools
import logging
import random

from ._acquires import Acquire, Acquires
from ._leases import Leases
from ._operations import Operation
from ._releases import Releases
from ._session import Phase, Session
from ._timers import Timers
from ._wire import pb
from .errors import make_error

log = logging.getLogger("redlockd")

_PAUSE = 0.05  # doubled
_LONGEST_PAUSE = 1.0
_STEADY = 1.0  # a Session that was ready for so long was not a failure
_CLOSE_PATIENCE = 2.0
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT")


class Close(Operation):
    def __init__(self, on_answered):
        self._on_answered = on_answered

    def fill(self, message):
        message.close.SetInParent()

    def on_result(self, result, session, valid_until, now):
        if result.status.reason != "DRAINING":  # else once more, at the next Session
            self._on_answered()


class Machine:
    def __init__(self, endpoints, grace, transport, uniform=random.uniform):
        self.grace = grace
        self.timers = Timers()
        self.releases = Releases(self)
        self.acquires = Acquires(self)
        self.leases = Leases(self)
        self.failures = 0  # Sessions that were abandoned, of any kind
        self.last_failure = None  # since a Session was ready
        # Sleeping longer would make a late look at the locks out of one that was in time.
        self.longest_sleep = min(grace / 12, 0.5)
        self.closed = False  # nothing is sent or polled any more
        self._endpoints = endpoints
        self._transport = transport
        self._uniform = uniform
        self._ids = itertools.count(1)
        self._session = None
        self._started = False
        self._next_endpoint = 0
        self._failed_in_turn = 0
        self._on_closed = None  # set from close() on
        self._left_to_close = []
        self._close_sent_at = None  # a Session

    # What users do.

    def acquire(self, key, ttl, owner, margin, wait, on_done, on_queued, now):
        """on_done(lease, error) is called once, later. give_up() prevents it."""
        acquire = Acquire(key, ttl, owner, margin, wait == 0, on_done, on_queued)
        self.acquires.begin(acquire, wait, now)
        if not self._started:
            self._started = True
            self._open(now)
        return acquire

    def give_up(self, acquire, now):
        self.acquires.give_up(acquire, now)

    def extend(self, lease, ttl, on_done, now):
        self.leases.end_what_is_over(now)
        self.leases.extend(lease, ttl, on_done)

    def release(self, lease, on_done, now):
        self.leases.end_what_is_over(now)
        self.leases.release(lease, now, on_done)

    def close(self, on_closed, now):
        """Releases everything. on_closed() is called after at most 2 s."""
        self._on_closed = on_closed
        self._left_to_close = self.leases.close(self.ready, now)
        self.acquires.fail_all(make_error("CANCELLED", "the client was closed"), now)
        self.timers.add(now + _CLOSE_PATIENCE, lambda now: self._end())
        self._close_if_released()

    # What the transport does.

    @property
    def session(self):
        return self._session

    @property
    def ready(self):
        """The Session, if operations can be sent."""
        session = self._session
        return session if session is not None and session.phase is Phase.READY else None

    def on_message(self, session, message, now):
        self.leases.end_what_is_over(now)
        if session is not self._session:
            return
        positions = [(session.operation(position.id), position.position) for position in message.positions]
        was_ready = session.phase is Phase.READY
        answered = session.on_message(message, now)
        if not was_ready and session.phase is Phase.READY:
            self._on_ready(session, now)
        draining = False
        for operation, result in answered:
            has_lease = not result.HasField("status") and result.HasField("lease")
            valid_until = session.valid_until(message, result.lease) if has_lease else None
            operation.on_result(result, session, valid_until, now)
            draining = draining or result.status.reason == "DRAINING"
        for event in message.events:
            self.leases.on_event(event, session, session.valid_until(message, event.lease))
            draining = draining or event.type == pb.EVENT_TYPE_DRAINING
        for attempt, position in positions:
            if attempt is not None:
                self.acquires.on_queued(attempt, position)
        if draining and session is self._session:
            self._abandon(make_error("DRAINING", f"{session.endpoint}: is shutting down"), now)

    def on_broken(self, session, error, now):
        """The stream has ended, or was refused."""
        self.leases.end_what_is_over(now)
        if session is not self._session:
            return
        self._abandon(error, now)
        if error.reason in _REFUSALS:
            self.acquires.fail_all(error, now)

    def poll(self, now, late=0.0):
        """What has become due. late: how much later than at `due` this is called."""
        self.leases.end_what_is_over(now)
        self.leases.look(now, late)
        self.timers.run(now)
        session = self._session
        if session is not None and session.tick(now, late):
            self._abandon(make_error("UNREACHABLE", f"{session.endpoint}: does not answer"), now)

    @property
    def due(self):
        """When poll() has to be called next."""
        due = min(self.timers.due, self.leases.due)
        return due if self._session is None else min(due, self._session.due)

    # For the parts of the machine.

    def send(self, operation):
        """False if no Session is ready: then on_ready() of its kind has to send it."""
        session = self.ready
        if session is not None:
            session.send(operation)
        return session is not None

    def on_release_finished(self):
        self._close_if_released()

    # Sessions.

    def _open(self, now):
        endpoint = self._endpoints[self._next_endpoint]
        self._next_endpoint = (self._next_endpoint + 1) % len(self._endpoints)
        self._session = Session(endpoint, len(self._endpoints), self.grace, self._ids, now)
        self._transport.open(self._session)

    def _on_ready(self, session, now):
        log.info("%s: connected", session.endpoint)
        self.last_failure = None
        self.releases.on_ready(session, now)
        self.leases.on_ready(session)
        self.acquires.on_ready()
        self._close_if_released()

    def _abandon(self, error, now):
        session, self._session = self._session, None
        was_steady = now - session.ready_at >= _STEADY
        session.phase = Phase.ABANDONED
        log.warning("moving to the next daemon: %s", error)
        self._transport.cancel(session)
        self.leases.on_abandoned(session)
        self.acquires.on_abandoned()
        for operation in session.unanswered:
            operation.on_cut_off(now)
        for release in self._left_to_close:
            self.releases.begin(*release, now)
        self._left_to_close = []
        self.failures += 1
        self.last_failure = error
        self._failed_in_turn = 0 if was_steady else self._failed_in_turn + 1
        self.acquires.on_failure(error, len(self._endpoints), now)
        self._close_if_released()
        if not self.closed:
            self._open_again(now)

    def _open_again(self, now):
        beyond = self._failed_in_turn - len(self._endpoints)
        if beyond < 0:
            self._open(now)
            return
        pause = min(_PAUSE * 2 ** min(beyond, 10), _LONGEST_PAUSE) * self._uniform(0.5, 1)
        self.timers.add(now + pause, lambda now: None if self.closed else self._open(now))

    # The end.

    def _close_if_released(self):
        """The close comes after all other releases, because it ends the stream."""
        if self._on_closed is None or len(self.releases) > 0:
            return
        if self.ready is None:
            self._end()
        elif self._close_sent_at is not self.ready:
            self._close_sent_at = self.ready
            self.ready.send(Close(self._end))

    def _end(self):
        if self.closed:
            return
        self.closed = True
        session, self._session = self._session, None
        if session is not None:
            session.phase = Phase.ABANDONED
            self._transport.cancel(session)
        self._on_closed()
