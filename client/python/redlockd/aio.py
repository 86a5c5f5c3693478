"""Client of redlockd, the lock service, for asyncio.

    async with redlockd.aio.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        async with client.lock("reports", ttl=30, wait=10) as lock:
            await store.write(report, lock.fencing_token)   # cancelled if the lock is lost

All locks of a client share one stream to one daemon, which keeps them alive. If the stream breaks,
or the daemon falls silent or shuts down, the client moves its locks to the next endpoint. All times
are in seconds. A client belongs to one event loop.
"""

import asyncio
import contextlib

from ._arguments import check_ttl
from ._clock import now
from ._driver import Driver
from .errors import LockError, LockLost

__all__ = ["Client", "Lock"]


class Lock:
    """A held lock. Client.acquire() and Client.lock() make it."""

    def __init__(self, driver, lease):
        self._driver = driver
        self._lease = lease
        self.key = lease.key
        self.token = lease.token
        # Set when the lock is lost or about to be lost: the work that it protects must stop.
        self.lost = asyncio.Event()
        if lease.loss is not None:
            self.lost.set()
        lease.on_lost.append(self.lost.set)

    @property
    def fencing_token(self):
        """The fencing token, for the storage that the lock protects. May grow while the lock is held."""
        return self._lease.fencing_token

    @property
    def loss(self):
        """Why the lock was lost, as an exception; None if it was not lost."""
        return self._lease.loss

    @property
    def validity(self):
        """How many seconds the lock can be trusted if no further message arrives."""
        return self._lease.validity(now())

    @property
    def held(self):
        return self.validity > 0

    async def extend(self, ttl):
        """Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock."""
        ttl = check_ttl(ttl)
        await _answer(lambda on_done: self._driver.extend(self._lease, ttl, on_done))

    async def release(self):
        """Releases the lock. Raises LockLost if the lock was lost before. A second call does nothing.

        Takes at most 2 s. After that it raises Unreachable, and the release continues in the
        background.
        """
        await _answer(lambda on_done: self._driver.release(self._lease, on_done))

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, *exception):
        """Raises LockLost if the lock was lost, unless the block itself raised an exception."""
        try:
            await self.release()
        except LockLost:
            if kind is None:
                raise
        except LockError:
            pass  # the lock expires
        if kind is None and self.lost.is_set():
            raise self.loss


async def _answer(ask):
    """Calls ask(on_done), waits for on_done(error), and raises the error if there is one."""
    answered = asyncio.get_running_loop().create_future()

    def on_done(error):
        if not answered.done():
            answered.set_result(error)

    ask(on_done)
    error = await answered
    if error is not None:
        raise error


class _Interruption:
    """Cancels the current task if the lock is lost while the task is in a block."""

    def __init__(self, lock):
        self._task = asyncio.current_task()
        self._before = self._cancelling()
        self._sent = False
        self._lock = lock
        lock._lease.on_lost.append(self._send)
        if lock.lost.is_set():
            self._send()

    def _cancelling(self):
        return self._task.cancelling() if hasattr(self._task, "cancelling") else 0  # from Python 3.11

    def _send(self):
        self._sent = True
        self._task.cancel()

    def over(self):
        """To be called when the block ends. True if only this object cancelled the task."""
        self._lock._lease.on_lost.remove(self._send)
        if self._sent and hasattr(self._task, "uncancel"):
            self._task.uncancel()
        return self._sent and self._cancelling() <= self._before

    async def swallow(self):
        """Like over(), for a block that ended without the cancellation, which may still arrive."""
        try:
            if self._sent:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self.over():
                raise
        else:
            self.over()


class Client:
    """Acquires locks. Connects when necessary; tries `endpoints` ("host:port" or "unix:/path") in
    turn.

    credentials: from grpc.ssl_channel_credentials(); None for no TLS.
    token: a bearer token, or a function that returns one.
    grace: if this process dies or loses its connection, the daemon releases its locks after this
    time. The client trusts no lock for longer without an answer from a daemon.
    """

    def __init__(self, endpoints=("127.0.0.1:50051",), *, credentials=None, token=None, grace=5.0):
        self._driver = Driver(endpoints, credentials, token, grace)

    async def acquire(self, key, *, ttl=30.0, wait=None, owner="", margin=None, on_queued=None):
        """Returns a Lock. Waits up to `wait` seconds; 0 is a single try, None waits without a limit.

        ttl: the TTL of the lock, at least 0.01. owner: a label for humans, at most 128 bytes.
        margin: `lost` is set when at most this much is left of the time for which the lock can be
        trusted. From 0 to a third of `ttl` or of the client's `grace`, whichever is less. Default:
        the smallest of a tenth of `ttl`, a tenth of `grace`, and 0.5.
        on_queued(position) is called with the number of waiters ahead in the daemon's wait queue.
        """
        arguments = self._driver.checked(key, ttl, wait, owner, margin, on_queued)
        return Lock(self._driver, await self._acquire(arguments))

    async def _acquire(self, arguments):
        granted = asyncio.get_running_loop().create_future()

        def on_done(lease, error):
            if granted.cancelled():
                self._release_unseen(lease)
            else:
                granted.set_result((lease, error))

        acquire = self._driver.acquire(arguments, on_done)
        try:
            lease, error = await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._release_unseen(granted.result()[0])
            else:
                self._driver.give_up(acquire)
            raise
        if error is not None:
            raise error
        return lease

    def _release_unseen(self, lease):
        if lease is not None:
            self._driver.release(lease, lambda error: None)

    @contextlib.asynccontextmanager
    async def lock(self, key, **options):
        """Holds the lock inside the block; takes the options of acquire(). If the lock is lost,
        cancels the block and raises LockLost."""
        lock = await self.acquire(key, **options)
        interruption = _Interruption(lock)
        async with lock:
            try:
                yield lock
            except asyncio.CancelledError:
                if not interruption.over():
                    raise
                raise lock.loss from None
            except BaseException:
                await interruption.swallow()
                raise
            else:
                await interruption.swallow()

    async def close(self):
        """Releases all locks, and fails all waiting calls with CANCELLED. Takes at most 2 s."""
        await self._driver.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        await self.close()
