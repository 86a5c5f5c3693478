"""What client.lock() returns: a lock for a `with` block, which can also be used as redis-py's Lock."""

import threading
from typing import TYPE_CHECKING, Any, Dict, Generic, Optional, Tuple, TypeVar

from ._arguments import Seconds, check_keep_for, check_key, check_seconds, check_ttl, refuse
from ._keys import Key, Keys, is_shared, kind_text, max_holders_of, names_of
from .errors import LockAlreadyHeld, LockError, LockLost, LockTimeout, make_error

if TYPE_CHECKING:
    from ._threads import Client, Lock

_TTL = 30.0  # seconds
_L = TypeVar("_L")


class NamedLockState(Generic[_L]):
    """What the named locks of both APIs share.

    An object stands for one acquisition at a time: acquire() while it is acquired raises RuntimeError. Threads and
    tasks that compete for a lock need an object each.
    """

    def __init__(self, name: Keys, ttl: Optional[Seconds], wait: Optional[Seconds], timeout: Optional[Seconds],
                 blocking: bool, blocking_timeout: Optional[Seconds], shared: bool, max_holders: Optional[int],
                 keep_for: Optional[Seconds], options: Dict[str, Any]) -> None:
        if ttl is not None and timeout is not None:
            refuse("timeout", "is another name of ttl; pass one of them")
        if wait is not None and (blocking_timeout is not None or not blocking):
            refuse("wait", "has the meaning of blocking_timeout and blocking; pass either it or them")
        self._key = check_key(name, shared, max_holders)
        self.name = str(self._key)
        self._ttl = check_ttl(next((value for value in (ttl, timeout) if value is not None), _TTL))
        self._wait = wait if wait is not None else _wait_of(blocking, blocking_timeout)
        self._limit = blocking_timeout if wait is None else wait or None  # of acquire(blocking=True)
        self._keep_for = check_keep_for(keep_for)
        self._options = options
        self._lock: Optional[_L] = None
        self._free = threading.Lock()  # taken while the lock is acquired or is being acquired

    @property
    def acquired(self) -> _L:
        """The Lock behind this object, with the token, the validity and so on. Raises LockLost if there is none."""
        if self._lock is None:
            raise make_error("LOCK_NOT_HELD", f"{self.name}: the lock was not acquired, or was released")
        return self._lock

    @property
    def key(self) -> str:
        """The key, for people. Of several, their names with commas in between."""
        return self.name

    @property
    def keys(self) -> Tuple[str, ...]:
        """The keys that are locked together, in order; or the only one."""
        return names_of(self._key)

    @property
    def shared(self) -> bool:
        """Whether other holders may share the keys."""
        return is_shared(self._held_key)

    @property
    def max_holders(self) -> Optional[int]:
        """How many holders the semaphore has at most; None if the key is a lock."""
        return max_holders_of(self._key)

    @property
    def slot(self) -> Optional[int]:
        """Which slot of the semaphore is held, from 1 to max_holders; None if the key is a lock."""
        return self._state.slot  # type: ignore[no-any-return]

    @property
    def token(self) -> str:
        """The owner token: the secret that proves ownership."""
        return self._state.token  # type: ignore[no-any-return]

    @property
    def fencing_token(self) -> int:
        """The fencing token, for the storage that the lock protects. May grow while the lock is held."""
        return self._state.fencing_token  # type: ignore[no-any-return]

    @property
    def validity(self) -> float:
        """How many seconds the lock can be trusted if no further message arrives."""
        return self._state.validity if self._lock is not None else 0.0

    @property
    def held(self) -> bool:
        """Whether the lock can be trusted now."""
        return self.validity > 0

    @property
    def loss(self) -> Optional[LockError]:
        """Why the lock was lost, as an exception; None if it was not lost."""
        return self._state.loss if self._lock is not None else None

    @property
    def _state(self) -> Any:
        return self.acquired

    @property
    def _held_key(self) -> Key:
        """The key as it is held: after a downgrade, a share, although the next acquire() is exclusive again."""
        return self._key if self._lock is None else self._state._lease.key

    def _wait_for(self, blocking: Optional[bool], blocking_timeout: Optional[Seconds]) -> Optional[Seconds]:
        """How long acquire() waits. What it is not given is that of this object."""
        if blocking is None and blocking_timeout is None:
            return self._wait
        return _wait_of(blocking is not False, self._limit if blocking_timeout is None else blocking_timeout)

    def _begin(self) -> None:
        if not self._free.acquire(blocking=False):
            raise RuntimeError(f"redlockd: {self.name!r}: this object is acquired already; use one object for each "
                               "acquisition")

    def _end(self) -> None:
        self._lock = None
        self._free.release()

    def _replace(self, before: _L, share: _L) -> None:
        """The lock has become a share. Raises LockLost if it was released in the meantime."""
        if self._lock is not before:
            raise make_error("LOCK_NOT_HELD", f"{self.name}: the lock was released during its downgrade")
        self._lock = share

    def _arguments(self, wait: Optional[Seconds], token: Optional[str]) -> Dict[str, Any]:
        arguments = {**self._options, "ttl": self._ttl, "wait": wait, "shared": self.shared,
                     "max_holders": self.max_holders}
        if token is not None:
            arguments["token"] = token
        return arguments

    def _extended(self, additional_time: Seconds, replace_ttl: bool) -> float:
        seconds = check_seconds("additional_time", additional_time, 0)
        return seconds if replace_ttl else self.validity + seconds

    def __repr__(self) -> str:
        name = type(self)
        state = "not acquired" if self._lock is None else "acquired" if self.loss is None else "lost"
        return f"<{name.__module__}.{name.__qualname__} {self.name!r} {state}{kind_text(self._held_key)}>"


def _wait_of(blocking: bool, blocking_timeout: Optional[Seconds]) -> Optional[Seconds]:
    return blocking_timeout if blocking else 0


class NamedLock(NamedLockState["Lock"]):
    """For `with client.lock(name, ...) as lock:`, and for code that is written for redis-py's Lock."""

    def __init__(self, client: "Client", *arguments: Any) -> None:
        super().__init__(*arguments)
        self._client = client

    @property
    def lost(self) -> threading.Event:
        """Set when the lock is lost or about to be lost: the work that it protects must stop."""
        return self.acquired.lost

    def acquire(self, blocking: Optional[bool] = None, blocking_timeout: Optional[Seconds] = None,
                token: Optional[str] = None) -> bool:
        """Acquires the lock. Returns False if another holder has kept it for as long as the call could wait.
        An outage raises, for example QuorumUnavailable or Unreachable."""
        try:
            self._acquire(self._wait_for(blocking, blocking_timeout), token)
        except (LockAlreadyHeld, LockTimeout):
            return False
        return True

    def _acquire(self, wait: Optional[Seconds], token: Optional[str] = None) -> None:
        self._begin()
        try:
            self._lock = self._client.acquire(self.keys, **self._arguments(wait, token))
        except BaseException:
            self._end()
            raise

    def release(self) -> None:
        """Releases the lock, with the keep_for of this object. Raises LockLost if it was lost before, or is not
        acquired."""
        lock = self.acquired
        self._end()
        lock.release(self._keep_for)

    def proclaim(self, value: str) -> None:
        """Replaces the value that the lock publishes; see Lock.proclaim()."""
        self.acquired.proclaim(value)

    def extend(self, additional_time: Seconds, replace_ttl: bool = False) -> bool:
        """Makes the lock last for `additional_time` longer; with replace_ttl, for that long from now."""
        self.acquired.extend(self._extended(additional_time, replace_ttl))
        return True

    def downgrade(self) -> "Lock":
        """Downgrades an exclusive lock to a share, which this object holds from then on, with a new event `lost`.
        release() or the end of the block releases the share. Returns the share; see Lock.downgrade(). The next
        acquire() is exclusive again."""
        before = self.acquired
        share = before.downgrade()
        try:
            self._replace(before, share)
        except LockLost:
            share.release()
            raise
        return share

    def reacquire(self) -> bool:
        """Makes the lock last for its whole TTL from now."""
        self.acquired.extend(self._ttl)
        return True

    def locked(self) -> bool:
        """Whether any holder has the lock, or one of its keys, shared or not, or a slot. Asks a daemon."""
        return bool(self._client._call(lambda: self._client._driver.inspect(self._key)))

    def owned(self) -> bool:
        """Whether this object has the lock and can trust it now. Asks nobody."""
        return self.held

    def __enter__(self) -> "NamedLock":
        self._acquire(self._wait)
        return self

    def __exit__(self, *exception: Any) -> None:
        lock = self._lock
        if lock is not None:  # otherwise the block has released it
            self._end()
            lock._leave(exception[0], self._keep_for)
