"""The exceptions, by the reasons in proto/redlock/v1/lock_service.proto."""


class LockError(Exception):
    """The base class of all errors of this library.

    reason: a reason of the gRPC API, or UNREACHABLE if no daemon answered.
    retry_after: the delay before a retry, in seconds; None if a retry does not help.
    """

    def __init__(self, reason, message, retry_after=None):
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after

    def __reduce__(self):
        return type(self), (self.reason, str(self), self.retry_after)


class InvalidArgument(LockError, ValueError):
    """An argument is invalid. The message names it. If the client found the error, nothing was sent."""


class LockAlreadyHeld(LockError):
    """Another holder has the lock (single try only)."""


class LockTimeout(LockError, TimeoutError):
    """The lock was not granted within `wait`."""


class LockLost(LockError):
    """The lock is not held, or no longer held."""


class QuorumUnavailable(LockError):
    """Too few Redis nodes answered, or the daemon and the nodes do not agree on the node set."""


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
    "NODE_SET_MISMATCH": QuorumUnavailable,
    "UNREACHABLE": Unreachable,
}


def make_error(reason, message, retry_after=None):
    return _CLASSES.get(reason, LockError)(reason, message, retry_after)
