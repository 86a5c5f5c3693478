"""Elections and observers for threads, and what the elections of both APIs share."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

from . import _background
from ._arguments import Seconds, check_timeout
from ._key_state import KeyState
from ._lease import State
from ._state import LockState
from .errors import make_error

if TYPE_CHECKING:
    from ._threads import Client, Lock

_L = TypeVar("_L", bound=LockState)


class Observer:
    """An iterator of KeyState: the present state of a key, and every change. Client.observe() makes it. May be used
    from any thread.

    It survives broken streams and daemons that shut down: it then moves to another daemon, and reports UNDECIDED if
    none has confirmed the state in time. Fencing tokens never go backwards. A slow reader gets the latest state, not
    those in between. It ends with close(), at the end of a `with` block, and with the client; a daemon that refuses
    it ends it with an error.
    """

    def __init__(self, client: "Client", key: str) -> None:
        self._client = client
        changed = self._changed = threading.Condition()

        def on_change() -> None:
            with changed:
                changed.notify_all()

        async def begin() -> Any:
            return client._driver.observe(key, on_change)

        self._observing: Any = None
        self._observing = client._call(begin)

    def __iter__(self) -> "Observer":
        return self

    def __next__(self) -> KeyState:
        self._client._check_caller()
        with self._changed:
            while True:
                ended = self._observing.ended
                state: Optional[KeyState] = self._observing.take()
                if state is not None:
                    return state
                if ended and self._observing.error is not None:
                    raise self._observing.error
                if ended:
                    raise StopIteration
                self._changed.wait()

    def close(self) -> None:
        """Ends the observer. It reports nothing more after this."""
        self._client._check_caller()
        self._client._result(asyncio.run_coroutine_threadsafe(self._observing.close(), _background.loop()))

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if self._observing is not None:
            self._observing.abandon()


class ElectionState(Generic[_L]):
    """What the elections of both APIs share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock: Optional[_L] = None  # of the last campaign that this object has won

    def _check_candidate(self) -> None:
        if self._lock is not None and self._lock.held:
            raise RuntimeError(f"redlockd: {self.name!r}: this object leads already; resign first, or use one object "
                               "for each candidate")

    def _leadership(self) -> _L:
        """The lock of the present leadership. Its calls raise why if it was lost."""
        lock = self._lock
        if lock is None or lock._lease.state not in (State.HELD, State.LOST):
            raise make_error("LOCK_NOT_HELD", f"{self.name}: this object does not lead; campaign first")
        return lock


class Election(ElectionState["Lock"]):
    """The election of one leader at a time. Client.election() makes it; each candidate needs an object of its own.

    The leader is the holder of the lock on the key `name`: leadership ends when the lock is released or lost.
    """

    def __init__(self, client: "Client", name: str) -> None:
        super().__init__(name)
        self._client = client

    def campaign(self, value: str = "", *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                 owner: Optional[str] = None, margin: Optional[Seconds] = None,
                 on_queued: Optional[Callable[[int], Any]] = None, lock_delay: Seconds = 0) -> "Lock":
        """Waits until this candidate is elected, and returns its Lock, whose `lost` is set when the leadership ends.

        value: what observers see, for example the address of the leader. The rest: as in Client.acquire(). Raises
        RuntimeError if this object leads already.
        """
        self._check_candidate()
        self._lock = self._client.acquire(self.name, ttl=ttl, wait=wait, owner=owner, margin=margin,
                                          on_queued=on_queued, value=value, lock_delay=lock_delay)
        return self._lock

    def proclaim(self, value: str) -> None:
        """Replaces the value of this leader; see Lock.proclaim(). Raises LockLost if this object does not lead."""
        self._leadership().proclaim(value)

    def resign(self) -> None:
        """Ends the leadership: releases the lock. Raises LockLost if this object does not lead."""
        self._leadership().release()

    def leader(self, timeout: Seconds = 5.0) -> KeyState:
        """Returns the present state of the election: HELD, with the value of the leader, or VACANT. If no quorum
        confirms either within `timeout`, raises why: QuorumUnavailable, Unreachable, or the refusal of a daemon."""
        checked = check_timeout(timeout)
        state: KeyState = self._client._call(lambda: self._client._driver.leader(self.name, checked))
        return state

    def observe(self) -> Observer:
        """Client.observe() of this election: reports each leader, and what it proclaims."""
        return self._client.observe(self.name)
