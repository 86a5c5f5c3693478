"""A Watch: keeps leases alive by their tokens, and reports what happens to them."""

import asyncio
import logging

import grpc
import grpc.aio

from ._callbacks import call_user
from ._clock import now
from ._keys import is_shared, key_of, max_holders_of, names_of, set_claim, slot_of
from ._proto import pb
from ._values import WatchEvent
from ._wire import seconds, set_duration
from .errors import LockError, make_error

log = logging.getLogger("redlockd")

_STEADY = 1.0  # a stream that lasted this long does not count as a failure
_CANCEL_AGAIN = 0.1
_FIRST_SILENCE = 2.5  # a daemon reports on a new watch at once
_SILENCE = 0.5  # a daemon that reports nothing for 1.5 intervals and this time counts as silent
_LOOK_AGAIN = 0.02  # a loop that was blocked reads what has arrived meanwhile
_KINDS = {pb.EVENT_TYPE_EXTENDED: "EXTENDED", pb.EVENT_TYPE_EXTEND_FAILED: "EXTEND_FAILED",
          pb.EVENT_TYPE_LOST: "LOST"}


class Watching:
    """Runs until it is cancelled, or until no lease is left to watch. on_event(event) is called on the loop."""

    def __init__(self, calls, items, on_event, keep_watching_after_loss):
        self._calls = calls
        self._items = {item.key: item for item in items}
        self._on_event = on_event
        self._keep_watching = keep_watching_after_loss
        self._endpoint = ""
        self._task = asyncio.ensure_future(self._watch())
        self._task.add_done_callback(self._end)

    def _end(self, task):
        why = "the watch was closed"
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                log.error("unexpected error in a watch", exc_info=error)
            why = "the watch has ended: " + (f"{type(error).__name__}: {error}" if error else "no lease is left")
        self._tell(WatchEvent("CANCELLED", error=make_error("CANCELLED", why)))

    async def _watch(self):
        round = self._calls.round()
        while self._items:
            self._endpoint = round.endpoint()
            began = now()
            try:
                await self._read_all()
                if not self._keep_watching:
                    return
                pause = 0.0
            except LockError as error:
                self._tell(WatchEvent("FAILED", error=error))
                log.warning("Watch broken, moving to the next daemon: %s", error)
                pause = error.retry_after or 0.0
            if now() - began >= _STEADY:
                round.steady()
            round.failed()
            await round.pause(float("inf"), pause)

    async def _read_all(self):
        """Returns when the daemon has nothing left to watch. Otherwise raises a LockError."""
        call = await self._calls.open_stream(self._endpoint, "Watch", self._request(), "watch")
        patience = _FIRST_SILENCE
        try:
            while True:
                message = await self._read(call, patience)
                if message is grpc.aio.EOF:
                    return
                self._on_message(message)
                patience = self._patience()
        except grpc.RpcError as error:
            failure = self._calls.error(self._endpoint, error, "watch")
            if not self._items or (failure.reason == "LOCK_NOT_HELD" and not self._keep_watching):
                return  # the status of the last lease
            raise failure from None
        finally:
            call.cancel()

    async def _read(self, call, patience):
        read = asyncio.ensure_future(call.read())
        read.add_done_callback(_retrieve)
        for time in (patience, _LOOK_AGAIN):
            if (await asyncio.wait((read,), timeout=time))[0]:
                return read.result()
        # The keepalive would notice it too late for a lock with a short TTL.
        raise make_error("UNREACHABLE", f"watch: {self._endpoint}: the daemon fell silent")

    def _patience(self):
        intervals = [item.interval or item.ttl / 2 for item in self._items.values()]
        return 1.5 * min(intervals) + _SILENCE if intervals else _FIRST_SILENCE

    def _on_message(self, message):
        kind = _KINDS.get(message.type)
        if kind is None:
            raise make_error("DRAINING", f"watch: {self._endpoint}: the daemon is shutting down")
        key = key_of(message)
        error, validity = None, 0.0
        if kind == "EXTENDED":
            validity = seconds(message.lease.validity)
        else:
            error = make_error(message.reason, f"{key}: {message.message}")
        if kind == "LOST":
            log.warning("watched lock lost: %r: %s", str(key), message.message)
            if not self._keep_watching:
                self._items.pop(key, None)
        self._tell(WatchEvent(kind, str(key), error, validity, names_of(key), is_shared(key), max_holders_of(key),
                              slot_of(message)))

    def _request(self):
        request = pb.WatchRequest(keep_watching_after_loss=self._keep_watching)
        for item in self._items.values():
            added = request.items.add(token=item.token)
            set_claim(added, item.key, item.slot)
            set_duration(added.ttl, item.ttl)
            if item.interval is not None:
                set_duration(added.interval, item.interval)
        return request

    def _tell(self, event):
        call_user("on_event", self._on_event, event)

    @property
    def ended(self):
        return self._task.done()

    async def close(self):
        """Returns once on_event has had its last call."""
        while not self._task.done():  # what a cancelled read raises depends on the version of gRPC
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CANCEL_AGAIN)


def _retrieve(read):
    """asyncio logs the exception of a task that nobody has retrieved."""
    if not read.cancelled():
        read.exception()
