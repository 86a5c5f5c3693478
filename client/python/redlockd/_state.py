"""What the locks of both APIs show of their lease."""

from typing import Any, Optional, Tuple

from ._clock import now
from ._keys import is_shared, kind_text, max_holders_of, names_of
from .errors import LockError


class LockState:
    """A held lock. repr() does not show the token."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Any) -> None:
        self._lease = lease

    @property
    def key(self) -> str:
        """The key, for people. Of several, their names with commas in between."""
        return str(self._lease.key)

    @property
    def keys(self) -> Tuple[str, ...]:
        """The keys that are locked together, in order; or the only one."""
        return names_of(self._lease.key)

    @property
    def shared(self) -> bool:
        """Whether other holders may share the keys."""
        return is_shared(self._lease.key)

    @property
    def max_holders(self) -> Optional[int]:
        """How many holders the semaphore has at most; None if the key is a lock."""
        return max_holders_of(self._lease.key)

    @property
    def slot(self) -> Optional[int]:
        """Which slot of the semaphore is held, from 1 to max_holders; None if the key is a lock."""
        return self._lease.slot  # type: ignore[no-any-return]

    @property
    def token(self) -> str:
        """The owner token: the secret that proves ownership."""
        return self._lease.token  # type: ignore[no-any-return]

    @property
    def fencing_token(self) -> int:
        """The fencing token, for the storage that the lock protects. May grow while the lock is held."""
        return self._lease.fencing_token  # type: ignore[no-any-return]

    @property
    def validity(self) -> float:
        """How many seconds the lock can be trusted if no further message arrives."""
        return self._lease.validity(now())  # type: ignore[no-any-return]

    @property
    def held(self) -> bool:
        """Whether the lock can be trusted now."""
        return self.validity > 0

    @property
    def loss(self) -> Optional[LockError]:
        """Why the lock was lost, as an exception; None if it was not lost."""
        return self._lease.loss  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        name = type(self)
        slot = "" if self.slot is None else f" slot={self.slot}"
        return (f"<{name.__module__}.{name.__qualname__} {self.key!r} {self._lease.state.value} "
                f"fencing_token={self.fencing_token}{kind_text(self._lease.key)}{slot}>")
