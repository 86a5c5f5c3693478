"""What can go wrong, by the reasons of the contract (proto/redlock/v1/lock_service.proto)."""


class LockError(Exception):
    """Anything that went wrong.

    reason: one of the contract's, or UNREACHABLE if no daemon answered.
    retry_after: in seconds; None if a repetition does not help.
    """

    def __init__(self, reason, message, retry_after=None):
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after

    def __reduce__(self):
        return type(self), (self.reason, str(self), self.retry_after)


class InvalidArgument(LockError, ValueError):
    """A value that cannot be used. The message names it; nothing was sent if the client found it."""


class LockAlreadyHeld(LockError):
    """A single try found another holder."""


class LockTimeout(LockError, TimeoutError):
    """`wait` passed before the lock was free."""


class LockLost(LockError):
    """The lock is not, or no longer, held."""


class QuorumUnavailable(LockError):
    """Too few Redis nodes answered."""


class Unreachable(LockError, ConnectionError):
    """No daemon answered."""


_CLASSES = {
    "INVALID_ARGUMENT": InvalidArgument,
    "LOCK_ALREADY_HELD": LockAlreadyHeld,
    "MAX_RETRIES_EXCEEDED": LockAlreadyHeld,
    "DEADLINE_EXCEEDED": LockTimeout,
    "LOCK_NOT_HELD": LockLost,
    "VALIDITY_EXPIRED": LockLost,
    "QUORUM_UNAVAILABLE": QuorumUnavailable,
    "UNREACHABLE": Unreachable,
}


def make_error(reason, message, retry_after=None):
    return _CLASSES.get(reason, LockError)(reason, message, retry_after)
