"""The client's state machine (client/PROTOCOL.md), without gRPC, threads or a clock of its own.

Every input carries the current time, and may call the transport. After open(session), the transport
writes what session.next_message() returns and passes in what arrives. After cancel(session), the
machine ignores that Session.
"""

import itertools
import logging
import random
import time

from ._acquires import Acquire, Acquires
from ._attempts import Way
from ._giving_up import GivingUp
from ._keys import Share
from ._leases import Leases
from ._operations import REFUSALS, Operation
from ._releases import Releases
from ._requests import Request
from ._session import Phase, Session
from ._timers import Timers
from ._wire import pb
from .errors import make_error

log = logging.getLogger("redlockd")

_PAUSE = 0.05  # doubled
_LONGEST_PAUSE = 1.0
_STEADY = 1.0  # a Session that was ready for this long does not count as a failure
_CLOSE_PATIENCE = 2.0
_CLOSE_SENT_BY = 1.0  # even if releases before it are not answered


class Close(Operation):
    def __init__(self, on_answered):
        self._on_answered = on_answered

    def fill(self, message):
        message.close.SetInParent()

    def on_result(self, result, session, valid_until, now):
        if result.status.reason != "DRAINING":  # otherwise it is sent again on the next Session
            self._on_answered()


class Machine:
    def __init__(self, endpoints, grace, transport, uniform=random.uniform, wall_us=lambda: time.time_ns() // 1000):
        self.grace = grace
        self.timers = Timers()
        self.releases = Releases(self)
        self.giving_up = GivingUp(self)
        self.acquires = Acquires(self)
        self.leases = Leases(self)
        self.failures = 0  # all abandoned Sessions
        self.last_failure = None  # since the last Session became ready
        # After a longer sleep, a timely look at the locks would count as late.
        self.longest_sleep = min(grace / 12, 0.5)
        self.closing = False
        self.leaves_session = False  # instead of closing it, which would end the delay of a lost lock
        self.closed = False  # nothing is sent or polled any more
        self._endpoints = endpoints
        self._transport = transport
        self._uniform = uniform
        # Microseconds since 1970. Fencing tokens, at which the sequences of adoptions start, follow this clock.
        self.wall_us = wall_us
        self._ids = itertools.count(1)
        self._session = None
        self._started = False
        self._next_endpoint = 0
        self._failed_in_turn = 0
        self._on_closed = None
        self._left_to_close = []
        self._close_sent_at = None  # the Session on which the close was sent

    # Calls of the user.

    def acquire(self, request, on_done, now):
        """Starts what the Request asks for. on_done(lease, error) is called once, later, unless give_up()
        comes first."""
        return self._begin(Acquire(request, on_done), request.wait, now)

    def downgrade(self, lease, on_done, now):
        """Downgrades an exclusive lock to a share. Its trust has ended when this returns. If the lock cannot be
        downgraded, calls on_done() at once and returns None. Otherwise like acquire()."""
        wait = lease.validity(now)
        error = self.leases.downgrade(lease)
        if error is not None:
            on_done(None, error)
            return None
        request = Request(Way.ADOPT, Share(lease.key), None, lease.ttl, wait, "", lease.margin, lease.token, None, None,
                          "", lease.lock_delay)
        return self._begin(Acquire(request, on_done, lease), wait, now)

    def _begin(self, acquire, wait, now):
        self.acquires.begin(acquire, wait, now)
        if not self._started:
            self._started = True
            self._open(now)
        return acquire

    def give_up(self, acquire, now):
        self.acquires.give_up(acquire, now)

    def extend(self, lease, ttl, retry, on_done):
        self.leases.extend(lease, ttl, retry, on_done)

    def release(self, lease, on_done, now, keep_for=None):
        self.leases.release(lease, now, on_done, keep_for)

    def release_unseen(self, lease, now):
        """Ends a lock whose caller has gone before it got the lock."""
        self.leases.release_unseen(lease, now)

    def close(self, on_closed, linger, now):
        """Releases all locks. on_closed() is called within 2 s; what is not answered by then continues for
        up to `linger` seconds."""
        self.closing = True
        self._on_closed = on_closed
        self.leaves_session = self.leases.has_delays
        self._left_to_close = self.leases.close(None if self.leaves_session else self.ready, now)
        self.acquires.fail_all(make_error("CANCELLED", "the client was closed"), now)
        self.timers.add(now + _CLOSE_SENT_BY, lambda now: self._send_close())
        self.timers.add(now + _CLOSE_PATIENCE, lambda now: self._report_closed())
        self.timers.add(now + _CLOSE_PATIENCE + linger, lambda now: self._end())
        self._close_if_released()

    # Calls of the transport.

    @property
    def session(self):
        return self._session

    @property
    def ready(self):
        """The current Session if it is ready, otherwise None."""
        session = self._session
        return session if session is not None and session.phase is Phase.READY else None

    def on_message(self, session, message, now):
        if session is not self._session:
            return
        self.leases.on_message()
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
            self._abandon(make_error("DRAINING", f"{session.endpoint}: the daemon is shutting down"), now)

    def on_broken(self, session, error, now):
        """The stream has ended, or the daemon refused it."""
        if session is not self._session:
            return
        self._abandon(error, now)
        if error.reason in REFUSALS:
            self.acquires.fail_all(error, now)

    def poll(self, now, late=0.0):
        """Does what is due. late: how much later than `due` this is called."""
        self.leases.look(now, late)
        self.timers.run(now)
        session = self._session
        if session is not None and session.tick(now, late):
            self._abandon(make_error("UNREACHABLE", f"{session.endpoint}: the daemon does not answer"), now)

    @property
    def due(self):
        """When poll() must be called next."""
        due = min(self.timers.due, self.leases.due)
        return due if self._session is None else min(due, self._session.due)

    # For the parts of the machine.

    def send(self, operation):
        """Sends an operation. Returns False if no Session is ready: then the on_ready() of its kind
        must send it."""
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
        log.info("connected: %s", session.endpoint)
        self.last_failure = None
        self.releases.on_ready(session, now)
        self.leases.on_ready(session)
        self.acquires.on_ready()
        self._close_if_released()

    def _abandon(self, error, now):
        session, self._session = self._session, None
        was_steady = now - session.ready_at >= _STEADY
        session.phase = Phase.ABANDONED
        log.warning("disconnected, trying the next endpoint: %s", error)
        self._transport.cancel(session)
        self.leases.on_abandoned(session)
        self.acquires.on_abandoned()
        self.giving_up.on_abandoned()
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
        """Sends the close after all other releases, because it ends the stream."""
        if not self.closing or len(self.releases) > 0 or self.giving_up.delays_close:
            return
        if self.ready is None or self.leaves_session:
            self._end()
        else:
            self._send_close()

    def _send_close(self):
        if self.ready is not None and not self.leaves_session and self._close_sent_at is not self.ready:
            self._close_sent_at = self.ready
            self.ready.send(Close(self._end))

    def _report_closed(self):
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed()

    def _end(self):
        if self.closed:
            return
        self.closed = True
        session, self._session = self._session, None
        if session is not None:
            session.phase = Phase.ABANDONED
            self._transport.cancel(session)
        self.releases.stop()
        self._report_closed()
