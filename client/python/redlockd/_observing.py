"""An Observe stream that moves to other daemons, and reports the states of a key."""

import asyncio
import dataclasses
import logging
import math
import threading

import grpc
import grpc.aio

from ._clock import now
from ._key_state import KeyState, key_state
from ._proto import pb
from .errors import LockError, make_error

log = logging.getLogger("redlockd")

_PATIENCE = 1.0  # how long a state stands without a stream; a HELD one stands at least until its lock expires
_STEADY = 1.0  # a stream that lasted this long does not count as a failure
_CANCEL_AGAIN = 0.1
# Neither another daemon nor a later attempt can help.
_FINAL = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED")


class Latest:
    """The latest state that the reader has not taken yet. May be read from any thread."""

    def __init__(self):
        self._guard = threading.Lock()
        self._pending = None
        self._taken = None
        self._highest = 0  # fencing token so far
        self._exclusive = 0  # the highest of the exclusive holders so far

    def offer(self, state):
        """Returns False, and keeps what there is, if the state is older than an earlier one."""
        with self._guard:
            if state.state == "HELD":
                # An exclusive holder follows all before. Those who share the key follow only the exclusive ones: the
                # one with the highest fencing token may have left.
                together = state.shared or state.max_holders is not None
                least = min((by.fencing_token for by in state.held_by), default=state.fencing_token)
                if least < (self._exclusive if together else self._highest):
                    return False
                self._highest = max(self._highest, state.fencing_token)
                if not together:
                    self._exclusive = state.fencing_token
                state = dataclasses.replace(state, fencing_token=self._highest)
            # A state that the reader knows is no news, even if there were others in between.
            self._pending = None if state._same_as(self._taken) else state
            return True

    def take(self):
        """Returns None if there is nothing new."""
        with self._guard:
            state, self._pending = self._pending, None
            if state is not None:
                self._taken = state
            return state

    def clear(self):
        with self._guard:
            self._pending = None


class Observing:
    """Runs until it is closed, or until a daemon refuses it.

    on_change: called on the loop whenever take() or `ended` may have something new; None if next() is used.
    """

    def __init__(self, calls, key, on_change=None):
        self.ended = False
        self.error = None  # why it has ended; None if it was closed
        self._calls = calls
        self._key = key
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._latest = Latest()
        self._failure = None  # why no state has arrived since the last one
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._last = None  # the state that stands
        self._expires = 0.0  # when the lock of that state does
        self._timer = None  # of UNDECIDED
        self._undecided_at = math.inf
        self._expect_state()
        self._task = asyncio.ensure_future(self._observe())
        self._task.add_done_callback(self._end)

    def take(self):
        """Returns the latest state; None if it is known already, or if this object was closed."""
        return self._latest.take()

    async def next(self):
        """Waits for what take() returns. Returns None, or raises why, once this object has ended."""
        while True:
            self._changed.clear()
            state = self.take()
            if state is not None:
                return state
            if self.error is not None:
                raise self.error
            if self.ended:
                return None
            await self._changed.wait()

    async def first_decided(self, timeout):
        """Returns the first state that is HELD or VACANT, and closes this object."""
        reader = asyncio.ensure_future(self._decided())
        try:
            await asyncio.wait([reader], timeout=timeout)
            if not reader.done():
                raise self._why_undecided(timeout)
            state = reader.result()
            if state is None:
                raise make_error("CANCELLED", "the client was closed")
            return state
        finally:
            reader.cancel()
            await self.close()

    async def _decided(self):
        while True:
            state = await self.next()
            if state is None or state.state != "UNDECIDED":
                return state

    def _why_undecided(self, timeout):
        reason, why = "UNREACHABLE", self._failure or "no daemon has answered"
        if self._failure is not None:
            reason = "UNREACHABLE" if self._failure.reason == "DRAINING" else self._failure.reason
        elif self._last is not None:
            reason, why = "QUORUM_UNAVAILABLE", self._last.message
        return make_error(reason, f"{self._key}: it is not known within {timeout:g} s who holds it: {why}")

    async def close(self):
        """Ends the call. Nothing is reported after this."""
        self._cancel()
        while not self._task.done():  # what a cancelled read raises depends on the version of gRPC
            await asyncio.wait([self._task], timeout=_CANCEL_AGAIN)
            self._task.cancel()

    def abandon(self):
        """Ends the call, because the reader has gone. May be called from any thread."""
        if not self.ended:
            try:
                self._loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                pass  # the loop is closed

    def _cancel(self):
        self._closed = True
        self._latest.clear()
        self._task.cancel()

    def _end(self, task):
        self._stop_timer()
        if not task.cancelled() and not self._closed:
            self.error = task.exception()
            if not isinstance(self.error, LockError):
                log.error("unexpected error in an observer", exc_info=self.error)
        self.ended = True
        self._notify()

    async def _observe(self):
        round = self._calls.round()
        while True:
            endpoint = round.endpoint()
            began = now()
            try:
                await self._read_all(endpoint)
            except LockError as error:
                if self._closed:
                    return
                if error.reason in _FINAL:
                    raise
                log.warning("Observe broken, moving to the next daemon: %s", error)
                self._failure = error
                self._expect_state()
                if now() - began >= _STEADY:
                    round.steady()
                round.failed()
                await round.pause(math.inf, error.retry_after or 0.0)

    async def _read_all(self, endpoint):
        call = await self._calls.open_stream(endpoint, "Observe", pb.ObserveRequest(key=self._key), self._key)
        try:
            while True:
                message = await call.read()
                if message is grpc.aio.EOF:
                    raise make_error("UNREACHABLE", f"{self._key}: {endpoint}: the daemon closed the stream")
                self._failure = None
                self._report(key_state(message))
        except grpc.RpcError as error:
            raise self._calls.error(endpoint, error, self._key) from None
        finally:
            call.cancel()

    def _report(self, state):
        if self._closed or not self._latest.offer(state):
            return
        self._stop_timer()
        self._last = state
        self._expires = now() + (state.remaining or 0.0)
        self._notify()

    def _notify(self):
        self._changed.set()
        if self._on_change is not None:
            self._on_change()

    # A state that nobody confirms any more becomes UNDECIDED.

    def _expect_state(self):
        """Starts the time within which a stream must bring a state, or continues it."""
        if self._undecided_at == math.inf:
            self._undecided_at = max(now() + _PATIENCE, self._expires)
        if self._timer is not None:
            self._timer.cancel()
        # The loop's clock stops during a suspend, so each failure sets the timer again.
        self._timer = self._loop.call_later(max(0.0, self._undecided_at - now()), self._undecided)

    def _undecided(self):
        if self._failure is None:
            self._failure = make_error("UNREACHABLE", f"{self._key}: no daemon has reported its present state")
        self._report(KeyState("UNDECIDED", message=str(self._failure)))

    def _stop_timer(self):
        self._undecided_at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
