"""The exceptions, by the reasons in proto/redlock/v1/lock_service.proto."""

from typing import Any, Dict, Optional, Tuple, Type

__all__ = ["Cancelled", "Draining", "InvalidArgument", "KindMismatch", "LockAlreadyHeld", "LockError", "LockLost",
           "LockTimeout", "MaxRetriesExceeded", "NodeSetMismatch", "Overloaded", "PermissionDenied",
           "QuorumUnavailable", "Unauthenticated", "Unreachable", "ValidityExpired"]


class LockError(Exception):
    """The base class of all errors of this library. Can be pickled.

    reason: a reason of the gRPC API, or UNREACHABLE if no daemon answered.
    retry_after: the delay before a retry, in seconds; None if a retry does not help.
    holder: the owner label of the holder that has the key, if the daemon named it; otherwise None.
    held_for: for how many seconds that holder has held the key; None if that is unknown.
    """

    reason: str
    retry_after: Optional[float]
    holder: Optional[str]
    held_for: Optional[float]

    def __init__(self, reason: str, message: str, retry_after: Optional[float] = None,
                 holder: Optional[str] = None, held_for: Optional[float] = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.holder = holder
        self.held_for = held_for

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.reason, str(self), self.retry_after, self.holder, self.held_for)


class InvalidArgument(LockError, ValueError):
    """An argument is invalid. The message names it. If the client found the error, nothing was sent."""


class LockAlreadyHeld(LockError):
    """Another holder has the lock. Only a call that does not wait without limit fails with it."""


class MaxRetriesExceeded(LockAlreadyHeld):
    """Another holder has the lock, and the retries of the call's RetryPolicy are used up."""


class LockTimeout(LockError, TimeoutError):
    """The lock was not acquired within `wait`."""


class LockLost(LockError):
    """The token does not hold the lock, or no longer."""


class KindMismatch(LockError):
    """The key is in use in another way: as a lock, as a semaphore, or with another max_holders. No call waits until
    that changes.

    in_use_as: how the key is in use: "a lock" or, for example, "a semaphore of 5". None if the daemon did not name it.
    """

    in_use_as: Optional[str]

    def __init__(self, reason: str, message: str, retry_after: Optional[float] = None, holder: Optional[str] = None,
                 in_use_as: Optional[str] = None, held_for: Optional[float] = None) -> None:
        super().__init__(reason, message, retry_after, holder, held_for)
        self.in_use_as = in_use_as

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.reason, str(self), self.retry_after, self.holder, self.in_use_as, self.held_for)


class ValidityExpired(LockError):
    """The lock was acquired too late to be trusted, and was released."""


class QuorumUnavailable(LockError):
    """Too few Redis nodes answered."""


class NodeSetMismatch(QuorumUnavailable):
    """The daemon and the nodes do not agree on the node set."""


class Unreachable(LockError, ConnectionError):
    """No daemon answered."""


class Overloaded(LockError):
    """The daemon has reached one of its limits."""


class Draining(LockError):
    """The daemon is shutting down."""


class Unauthenticated(LockError):
    """The credentials are missing, invalid or revoked, or the client's token function failed."""


class PermissionDenied(LockError):
    """The daemon's access list does not allow this."""


class Cancelled(LockError):
    """The client was closed."""


_CLASSES: Dict[str, Type[LockError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "LOCK_ALREADY_HELD": LockAlreadyHeld,
    "MAX_RETRIES_EXCEEDED": MaxRetriesExceeded,
    "DEADLINE_EXCEEDED": LockTimeout,
    "LOCK_NOT_HELD": LockLost,
    "KIND_MISMATCH": KindMismatch,
    "VALIDITY_EXPIRED": ValidityExpired,
    "QUORUM_UNAVAILABLE": QuorumUnavailable,
    "NODE_SET_MISMATCH": NodeSetMismatch,
    "UNREACHABLE": Unreachable,
    "OVERLOADED": Overloaded,
    "DRAINING": Draining,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "CANCELLED": Cancelled,
}


def make_error(reason: str, message: str, retry_after: Optional[float] = None,
               holder: Optional[str] = None, held_for: Optional[float] = None) -> LockError:
    return _CLASSES.get(reason, LockError)(reason, message, retry_after, holder, held_for=held_for)
