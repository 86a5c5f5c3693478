"""Detached locks: acquired, extended and released by unary calls, and never part of the Session."""

import asyncio
import functools
import math

from ._attempts import make_token
from ._clock import DRIFT, now
from ._keys import is_shared, key_of, key_of_names, max_holders_of, names_of, set_claim, set_key, slot_of
from ._leases import why_not_held
from ._values import Lease
from ._wire import not_in_time, pb, seconds, set_duration, set_keep_for, set_published, set_retry
from .errors import LockError, make_error

_RELEASE_TIMEOUT = 5.0  # of one attempt in the background
_ATTEMPT_TIMEOUT = 2.0  # at least, of one attempt of a bounded call
_INSPECT_TIMEOUT = 5.0
# A release can overtake the cancellation of the acquire at the daemon, which then still grants the lock.
_RELEASE_AGAIN = 1.0
_SHORTEST_RETRY = 0.05
_CLOSE_PATIENCE = 0.5
_TOO_SHORT = 0.1  # what is left of a call's time when an attempt begins that a daemon need not answer in time
# The daemon has decided that this call acquired nothing.
_NOTHING_ACQUIRED = ("LOCK_ALREADY_HELD", "MAX_RETRIES_EXCEEDED", "KIND_MISMATCH", "INVALID_ARGUMENT",
                     "UNAUTHENTICATED", "PERMISSION_DENIED", "OVERLOADED", "DRAINING")
_NOT_SERVED = ("UNREACHABLE", "DRAINING", "OVERLOADED")
# For a call that the daemon does not retry by a RetryPolicy.
_UNAVAILABLE = (*_NOT_SERVED, "QUORUM_UNAVAILABLE", "NODE_SET_MISMATCH")


class Caller:
    """A caller that waits in its task."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()
        self._closed = False  # the close of the client has cancelled the task
        self._task = asyncio.current_task()
        self._before = self._cancelling()

    def _cancelling(self):
        return self._task.cancelling() if hasattr(self._task, "cancelling") else 0  # from Python 3.11

    def close(self):
        self._closed = True
        self._task.cancel()

    def over(self):
        """Whether the close alone has cancelled the task, which then goes on."""
        if self._closed and hasattr(self._task, "uncancel"):
            self._task.uncancel()
        return self._closed and self._cancelling() <= self._before


def _for_caller(function):
    """Makes a method whose caller waits. It fails with CANCELLED when the client closes."""

    @functools.wraps(function)
    async def call(self, *arguments):
        caller = Caller()
        self._callers.add(caller)
        try:
            return await function(self, *arguments)
        except asyncio.CancelledError:
            if caller.over():
                raise make_error("CANCELLED", "the client was closed") from None
            raise
        finally:
            self._callers.discard(caller)
            caller.ended.set_result(None)

    return call


class Detached:
    def __init__(self, calls):
        self._calls = calls
        self._callers = set()

    async def close(self):
        """Ends all calls. Returns once they have begun their releases in the background."""
        ended = [caller.ended for caller in self._callers]
        for caller in self._callers:
            caller.close()
        if ended:
            await asyncio.wait(ended, timeout=_CLOSE_PATIENCE)

    @_for_caller
    async def acquire(self, request):
        """Returns a Lease. If the caller gives up or the call fails, the token is released in the background."""
        token = request.token or make_token()
        undecided = False
        deadline = math.inf if not request.wait else now() + request.wait
        error = refusal = None
        round = self._calls.round()

        def on_sent():
            nonlocal undecided
            undecided = True

        message = _acquire_request(request, token)
        try:
            while now() < deadline:
                sent_before = message.extend_if_held = undecided
                endpoint = round.endpoint()
                sent = now()
                try:
                    response = await self._calls.unary(
                        endpoint, "Acquire", message, request.key, deadline - sent, on_sent,
                        late="DEADLINE_EXCEEDED")
                except LockError as failure:
                    if failure.reason in _NOTHING_ACQUIRED and not sent_before:
                        undecided = False
                    error = _last_error(failure, refusal, deadline - sent)
                    if error.reason == "OVERLOADED" and request.wait != 0:
                        refusal = error
                        await round.pause(deadline, max(error.retry_after or 0, _SHORTEST_RETRY))
                    elif error.reason in ("UNREACHABLE", "DRAINING"):
                        refusal = None
                        round.failed()
                        if request.wait == 0 and round.all_failed:
                            raise
                        await round.pause(deadline)
                    else:
                        raise error from None
                else:
                    lease = _lease(response.lease, sent + seconds(response.waited) * (1 - DRIFT))
                    if lease.validity > 0:
                        return lease
                    raise make_error("VALIDITY_EXPIRED", f"{request.key}: the lock was granted, but its validity had "
                                                         "ended when the answer was read")
            raise _time_over(request.key, error)
        except BaseException:
            if undecided:
                until = now() + request.ttl + request.lock_delay
                self._calls.start(self._release_until(request.key, token, until))
            raise

    def release_unseen(self, lease):
        """Releases a lock whose caller has gone, in the background."""
        self._calls.start(self._release_until(key_of_names(lease.keys), lease.token, lease.valid_until))

    async def _release_until(self, key, token, until):
        """Releases the token, until daemons have answered or the lock has expired anyway."""
        message = _release_request(key, token)
        round = self._calls.round()
        again = True
        while now() < until:
            try:
                await self._calls.unary(round.endpoint(), "Release", message, key, min(_RELEASE_TIMEOUT, until - now()))
                return
            except LockError as error:
                if error.reason == "LOCK_NOT_HELD" and again:
                    again = False
                    await asyncio.sleep(min(_RELEASE_AGAIN, max(0.0, until - now())))
                    continue
                if error.reason in ("LOCK_NOT_HELD", "INVALID_ARGUMENT"):
                    return
                round.failed()
                await round.pause(until, error.retry_after or 0.0)

    @_for_caller
    async def extend(self, key, slot, token, ttl, retry, timeout):
        message = pb.ExtendRequest(token=token)
        set_claim(message, key, slot)
        set_duration(message.ttl, ttl)
        set_retry(message, retry)
        sent = 0.0

        def on_sent():
            nonlocal sent
            sent = now()

        response = await self._bounded("Extend", message, key, timeout, on_sent)
        return _lease(response.lease, sent)

    @_for_caller
    async def release(self, key, token, keep_for, timeout):
        times_sent = 0

        def on_sent():
            nonlocal times_sent
            times_sent += 1

        try:
            await self._bounded("Release", _release_request(key, token, keep_for), key, timeout, on_sent)
        except LockError as error:
            if error.reason != "LOCK_NOT_HELD" or times_sent < 2:
                raise  # otherwise an earlier copy has released it

    @_for_caller
    async def proclaim(self, key, token, value, timeout):
        deadline = now() + timeout
        await self._until("Proclaim", _proclaim_request(key, token, value), key, lambda: deadline, _UNAVAILABLE)

    @_for_caller
    async def proclaim_held(self, lease, value):
        """Proclaims the value of a lock of the client, for as long as the lock is trusted."""

        def trusted_until():
            error = why_not_held(lease)
            if error is not None:
                raise error
            return lease.trusted_until

        message = _proclaim_request(lease.key, lease.token, value)
        await self._until("Proclaim", message, lease.key, trusted_until, _UNAVAILABLE)

    @_for_caller
    async def inspect(self, key):
        """Whether a quorum of nodes holds the key, or one of several."""
        deadline = now() + _INSPECT_TIMEOUT
        for name in names_of(key):
            response = await self._bounded("Inspect", pb.InspectRequest(key=name), name, deadline - now())
            if response.undecided:
                raise make_error("QUORUM_UNAVAILABLE", f"{name}: too few nodes answered to know whether it is held")
            if response.held:
                return True
        return False

    async def _bounded(self, name, message, key, timeout, on_sent=None):
        deadline = now() + timeout
        return await self._until(name, message, key, lambda: deadline, _NOT_SERVED, on_sent)

    async def _until(self, name, message, key, deadline, retried, on_sent=None):
        """Repeats the call after the reasons `retried`, until deadline(), which may change and may raise."""
        round = self._calls.round()
        refusal = None
        while True:
            remaining = max(0.0, deadline() - now())
            try:
                return await self._calls.unary(
                    round.endpoint(), name, message, key, self._share(remaining), on_sent)
            except LockError as error:
                if error.reason not in retried:
                    raise
                last = _last_error(error, refusal, remaining)
                refusal = None if last.reason in ("UNREACHABLE", "DRAINING") else last
                round.failed()
                await round.pause(deadline(), _retry_delay(error))
                if now() >= deadline():
                    raise last from None

    def _share(self, remaining):
        """How long one endpoint may take, so that a silent one leaves time for the others."""
        return min(remaining, max(_ATTEMPT_TIMEOUT, remaining / self._calls.endpoints))


def _acquire_request(request, token):
    message = pb.AcquireRequest(token=token, owner=request.owner)
    set_claim(message, request.key)
    set_duration(message.ttl, request.ttl)
    set_published(message, request)
    set_retry(message, request.retry)
    if request.wait == 0:
        message.retry.max_retries = 0
    return message


def _release_request(key, token, keep_for=None):
    message = pb.ReleaseRequest(token=token)
    set_key(message, key)
    set_keep_for(message, keep_for)
    return message


def _proclaim_request(key, token, value):
    message = pb.ProclaimRequest(token=token, value=value)
    set_key(message, key)
    return message


def _lease(lease, made):
    """made: a time, on this machine's clock, before the daemon has computed the validity."""
    key = key_of(lease)
    return Lease(str(key), lease.token, lease.fencing_token, made + seconds(lease.validity), names_of(key),
                 is_shared(key), max_holders_of(key), slot_of(lease))


def _retry_delay(error):
    return max(error.retry_after or 0.0, _SHORTEST_RETRY if error.reason == "OVERLOADED" else 0.0)


def _last_error(error, refusal, remaining):
    """The error of an attempt for which so much time remained. If that was too little, why a daemon has refused the
    attempt before says more."""
    short = refusal is not None and remaining < _TOO_SHORT and error.reason in ("UNREACHABLE", "DEADLINE_EXCEEDED")
    return refusal if short else error


def _time_over(key, error):
    if error is None:
        return not_in_time(key, {})
    reason = "UNREACHABLE" if error.reason == "DRAINING" else error.reason
    return make_error(reason, f"{key}: the lock was not acquired within the wait: {error}")
