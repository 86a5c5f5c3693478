"""Client of redlockd, the lock service.

    with redlockd.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        with client.lock("reports", ttl=30, wait=10) as lock:
            store.write(report, lock.fencing_token)   # stop if lock.lost.is_set()

All locks of a client share one stream to one daemon, which keeps them alive. redlockd.aio is the
same API for asyncio, and redlockd.testing starts real daemons for tests. All clients for threads
share one thread. All times are in seconds, or timedeltas.
"""

from . import _environment  # noqa: F401  (before gRPC)
from . import aio
from ._threads import Client, Lock, Watch
from ._elections import Election, Observer
from ._key_state import Holder, KeyState
from ._named_lock import NamedLock
from ._values import Lease, RetryPolicy, WatchEvent, WatchItem
from ._version import __version__
from .errors import (Cancelled, Draining, InvalidArgument, KindMismatch, LockAlreadyHeld, LockError, LockLost,
                     LockTimeout, MaxRetriesExceeded, NodeSetMismatch, Overloaded, PermissionDenied,
                     QuorumUnavailable, Unauthenticated, Unreachable, ValidityExpired)

__all__ = ["Cancelled", "Client", "Draining", "Election", "Holder", "InvalidArgument", "KeyState", "KindMismatch",
           "Lease", "Lock", "LockAlreadyHeld", "LockError", "LockLost", "LockTimeout", "MaxRetriesExceeded",
           "NamedLock", "NodeSetMismatch", "Observer", "Overloaded", "PermissionDenied", "QuorumUnavailable",
           "RetryPolicy", "Unauthenticated", "Unreachable", "ValidityExpired", "Watch", "WatchEvent", "WatchItem",
           "__version__", "aio"]

for _name in __all__:  # which module defines a class is nobody's business, and may change
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
del _name
