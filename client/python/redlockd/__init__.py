"""Client of redlockd, the lock service.

    with redlockd.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        with client.lock("reports", ttl=30, wait=10) as lock:
            store.write(report, lock.fencing_token)   # stop if lock.lost.is_set()

All locks of a client share one stream to one daemon, which keeps them alive. redlockd.aio is the
same API for asyncio. Objects may be used from any thread, but not in a process that was forked
after they were made. All times are in seconds.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import threading

from . import _background, aio
from ._arguments import check_ttl
from ._clock import now
from ._driver import Driver
from ._version import __version__
from .errors import (InvalidArgument, LockAlreadyHeld, LockError, LockLost, LockTimeout,
                     QuorumUnavailable, Unreachable)

__all__ = ["Client", "InvalidArgument", "Lock", "LockAlreadyHeld", "LockError", "LockLost",
           "LockTimeout", "QuorumUnavailable", "Unreachable", "aio"]


class Lock:
    """A held lock. Client.acquire() and Client.lock() make it."""

    def __init__(self, client, lease):
        self._client = client
        self._lease = lease
        self.key = lease.key
        self.token = lease.token
        # Set when the lock is lost or about to be lost: the work that it protects must stop.
        self.lost = threading.Event()
        if lease.loss is not None:
            self.lost.set()
        lease.on_lost.append(self.lost.set)  # on the loop's thread, like this constructor

    @property
    def fencing_token(self):
        """The fencing token, for the storage that the lock protects. May grow while the lock is held."""
        return self._lease.fencing_token

    @property
    def validity(self):
        """How many seconds the lock can be trusted if no further message arrives."""
        return self._lease.validity(now())

    @property
    def held(self):
        return self.validity > 0

    @property
    def loss(self):
        """Why the lock was lost, as an exception; None if it was not lost."""
        return self._lease.loss

    def extend(self, ttl):
        """Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock."""
        ttl = check_ttl(ttl)
        self._client._answer(lambda on_done: self._client._driver.extend(self._lease, ttl, on_done))

    def release(self):
        """Releases the lock. Raises LockLost if the lock was lost before. A second call does nothing.

        Takes at most 2 s. After that it raises Unreachable, and the release continues in the
        background.
        """
        self._client._answer(lambda on_done: self._client._driver.release(self._lease, on_done))

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        """Raises LockLost if the lock was lost, unless the block itself raised an exception."""
        try:
            self.release()
        except LockLost:
            if kind is None:
                raise
        except LockError:
            pass  # the lock expires
        if kind is None and self.lost.is_set():
            raise self.loss


class Client:
    """The client for threads. For the arguments, see aio.Client."""

    def __init__(self, endpoints=("127.0.0.1:50051",), *, credentials=None, token=None, grace=5.0):
        self._driver = Driver(endpoints, credentials, token, grace)
        self._loop = _background.loop()
        self._process = os.getpid()

    def acquire(self, key, *, ttl=30.0, wait=None, owner="", margin=None, on_queued=None):
        """Returns a Lock; see aio.Client.acquire(). The library calls on_queued on its own thread."""
        future = concurrent.futures.Future()
        try:
            self._begin(future, key, ttl, wait, owner, margin, on_queued)
            return future.result()
        except BaseException:  # KeyboardInterrupt gives up waiting
            if not future.cancel():
                future.add_done_callback(self._release_unseen)
            raise

    def acquire_future(self, key, *, ttl=30.0, wait=None, owner="", margin=None, on_queued=None):
        """Like acquire(), but returns a concurrent.futures.Future; its cancel() gives up waiting."""
        future = concurrent.futures.Future()
        self._begin(future, key, ttl, wait, owner, margin, on_queued)
        return future

    def _begin(self, future, key, ttl, wait, owner, margin, on_queued):
        arguments = self._driver.checked(key, ttl, wait, owner, margin, on_queued)
        self._check_caller()
        self._loop.call_soon_threadsafe(self._acquire, future, arguments)

    def _acquire(self, future, arguments):
        acquire = None

        def on_done(lease, error):
            nonlocal acquire
            acquire = None
            if not future.set_running_or_notify_cancel():
                if lease is not None:
                    self._driver.release(lease, lambda error: None)
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(Lock(self, lease))

        def give_up():
            if acquire is not None:
                self._driver.give_up(acquire)
                future.set_running_or_notify_cancel()

        def on_future_done(future):
            if future.cancelled():
                self._loop.call_soon_threadsafe(give_up)

        try:
            acquire = self._driver.acquire(arguments, on_done)
        except LockError as error:
            on_done(None, error)
        else:
            future.add_done_callback(on_future_done)

    def _release_unseen(self, future):
        """Releases a lock that was granted while its caller was interrupted."""
        if future.exception() is None:
            lease = future.result()._lease
            self._loop.call_soon_threadsafe(self._driver.release, lease, lambda error: None)

    @contextlib.contextmanager
    def lock(self, key, **options):
        """Holds the lock inside the block; takes the options of acquire(). Raises LockLost at the
        end of the block if the lock was lost in the meantime."""
        with self.acquire(key, **options) as lock:
            yield lock

    def close(self):
        """Releases all locks, and fails all waiting calls with CANCELLED. Takes at most 2 s."""
        self._check_caller()
        asyncio.run_coroutine_threadsafe(self._driver.close(), self._loop).result()

    def _answer(self, ask):
        """Calls ask(on_done), waits for on_done(error), and raises the error if there is one."""
        self._check_caller()
        answered = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(ask, answered.set_result)
        error = answered.result()
        if error is not None:
            raise error

    def _check_caller(self):
        if os.getpid() != self._process:
            raise RuntimeError("redlockd: this process was forked after the client was made; "
                               "make a new client in each process")
        if _background.is_current():
            raise RuntimeError("redlockd: clients must not be called from on_queued or token(), which run on "
                               "the library's thread; call them from another thread")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
