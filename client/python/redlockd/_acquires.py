"""Pending acquisitions. No lock is left behind if a caller gives up or a Session ends."""

import logging
import os

from ._lease import Lease
from ._operations import Operation
from ._wire import duration, error_of
from .errors import make_error

log = logging.getLogger("redlockd")

_CANCEL_PATIENCE = 1.0
_SHORTEST_RETRY = 0.05


class Acquire:
    """A caller's request. on_done(lease, error) is called once, unless the caller gives up first."""

    def __init__(self, key, ttl, owner, margin, single, on_done, on_queued):
        self.key = key
        self.ttl = ttl
        self.owner = owner
        self.margin = margin
        self.single = single
        self.on_done = on_done
        self.on_queued = on_queued
        self.attempt = None  # the one that was sent, or is about to be
        self.blocked = False  # until a release or a pause is over
        self.timer = None  # ends the caller's time to wait
        self.last_error = None
        self.failures_before = 0


class Attempt(Operation):
    """One acquire operation on one Session, with its own token."""

    def __init__(self, acquires, acquire):
        self._acquires = acquires
        self.acquire = acquire  # None: given up
        self.key = acquire.key
        self.token = "rl-" + os.urandom(16).hex()
        self.ttl = acquire.ttl
        self.patience = None

    def wanted(self, session):
        return self.acquire is not None

    def fill(self, message):
        request = message.acquire
        request.key = self.key
        request.token = self.token
        request.ttl.CopyFrom(duration(self.ttl))
        request.owner = self.acquire.owner
        if self.acquire.single:
            request.retry.max_retries = 0

    def on_result(self, result, session, valid_until, now):
        if self.patience is not None:
            self.patience.cancel()
        if valid_until is not None:
            self._acquires.granted(self, result.lease, session, valid_until, now)
        elif self.acquire is not None:
            self._acquires.refused(self.acquire, error_of(result.status), now)

    def on_cut_off(self, now):
        if self.patience is not None:
            self.patience.cancel()
        self._acquires.cut_off(self, now)


class Cancel(Operation):
    has_result = False

    def __init__(self, attempt):
        self._attempt = attempt

    def wanted(self, session):
        return session.awaits(self._attempt.id)

    def fill(self, message):
        message.id = self._attempt.id
        message.cancel.SetInParent()


class Acquires:
    def __init__(self, machine):
        self._machine = machine
        self._unfinished = {}

    def begin(self, acquire, wait, now):
        self._unfinished[acquire] = None
        acquire.failures_before = self._machine.failures
        if wait:
            acquire.timer = self._machine.timers.add(now + wait, lambda now: self._time_over(acquire, now))
        self._try(acquire)

    def _try(self, acquire):
        if acquire in self._unfinished and acquire.attempt is None and not acquire.blocked:
            attempt = Attempt(self, acquire)
            if self._machine.send(attempt):
                acquire.attempt = attempt

    def on_ready(self):
        for acquire in list(self._unfinished):
            self._try(acquire)

    def on_queued(self, attempt, position):
        acquire = attempt.acquire
        if acquire is not None and acquire.on_queued is not None:
            try:
                acquire.on_queued(position)
            except Exception:
                log.exception("on_queued raised an exception")

    def granted(self, attempt, granted, session, valid_until, now):
        acquire = attempt.acquire
        if acquire is None:
            self._release(attempt, now)
            return
        lease = Lease(acquire, attempt.token, granted.fencing_token, session, valid_until)
        if lease.validity(now) <= lease.margin:
            self._release(attempt, now)
            self._finish(acquire, None, make_error(
                "VALIDITY_EXPIRED",
                f"{acquire.key}: the lock was granted, but its validity had ended when the answer was read"))
            return
        self._machine.leases.add(lease)
        self._finish(acquire, lease, None)

    def refused(self, acquire, error, now):
        acquire.attempt = None
        acquire.last_error = error
        if error.reason == "DRAINING":
            return  # the client retries on the next daemon
        if error.reason == "OVERLOADED" and not acquire.single:
            self._machine.timers.add(now + max(error.retry_after or 0, _SHORTEST_RETRY), self._unblock(acquire))
            return
        self._finish(acquire, None, error)

    def _unblock(self, acquire):
        acquire.blocked = True

        def unblock(now=None):
            acquire.blocked = False
            self._try(acquire)

        return unblock

    def cut_off(self, attempt, now):
        """The daemon may have acquired the lock. It is released before the next attempt, which it
        would otherwise block."""
        release = self._release(attempt, now)
        acquire = attempt.acquire
        if acquire is not None:
            acquire.attempt = None
            release.then = self._unblock(acquire)

    def on_abandoned(self):
        """Attempts that were not sent are made again on the next Session."""
        for acquire in self._unfinished:
            acquire.attempt = None

    def on_failure(self, error, endpoints, now):
        """A daemon could not be reached. A single try fails once every endpoint has failed."""
        for acquire in list(self._unfinished):
            acquire.last_error = error
            if acquire.single and self._machine.failures - acquire.failures_before >= endpoints:
                self._fail(acquire, error, now)

    def fail_all(self, error, now):
        for acquire in list(self._unfinished):
            self._fail(acquire, error, now)

    def _fail(self, acquire, error, now):
        self.give_up(acquire, now)
        acquire.on_done(None, error)

    def give_up(self, acquire, now):
        """Ends an acquisition whose caller no longer waits, or which cannot succeed."""
        if acquire not in self._unfinished:
            return
        self._forget(acquire)
        attempt = acquire.attempt
        if attempt is None:
            return
        attempt.acquire = None
        session = self._machine.ready
        if session is None or not session.awaits(attempt.id):
            return
        session.send(Cancel(attempt))
        attempt.patience = self._machine.timers.add(
            now + _CANCEL_PATIENCE, lambda now: self._release(attempt, now))

    def _time_over(self, acquire, now):
        attempt = acquire.attempt
        if attempt is None:
            error = acquire.last_error or self._machine.last_failure or make_error(
                "UNREACHABLE", f"{acquire.key}: no daemon answered in time")
        else:
            error = make_error(
                "DEADLINE_EXCEEDED", f"{acquire.key}: the lock was not granted within the time to wait")
        self._fail(acquire, error, now)

    def _release(self, attempt, now):
        return self._machine.releases.begin(
            attempt.key, attempt.token, now + attempt.ttl + self._machine.grace, now)

    def _finish(self, acquire, lease, error):
        self._forget(acquire)
        acquire.on_done(lease, error)

    def _forget(self, acquire):
        del self._unfinished[acquire]
        if acquire.timer is not None:
            acquire.timer.cancel()
