"""Locks by redlockd.

    with redlockd.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        with client.lock("reports", ttl=30, wait=10) as lock:
            store.write(report, lock.fencing_token)   # stop where lock.lost.is_set()

This is redlockd.aio behind a thread with an event loop; see there for what holds. Objects may be
used from any thread. All times are in seconds.
"""

import asyncio
import concurrent.futures
import contextlib
import threading

from . import aio
from .errors import (LockAlreadyHeld, LockError, LockLost, LockTimeout, QuorumUnavailable,
                     Unreachable)

__all__ = ["Client", "Lock", "LockAlreadyHeld", "LockError", "LockLost", "LockTimeout",
           "QuorumUnavailable", "Unreachable", "aio"]


class Lock:
    """A held lock. Made by Client.acquire() and Client.lock()."""

    def __init__(self, client, lock):
        self._client = client
        self._lock = lock
        self.key = lock.key
        self.token = lock.token
        self.fencing_token = lock.fencing_token
        # Set when the lock is lost, or about to be: the work that it protects has to stop.
        self.lost = threading.Event()
        self._watcher = asyncio.ensure_future(self._tell())  # made by the loop's thread

    async def _tell(self):
        await self._lock.lost.wait()
        self.lost.set()

    @property
    def validity(self):
        """For how many seconds the lock can be trusted if nothing is heard any more."""
        return self._lock.validity

    @property
    def held(self):
        return self.validity > 0

    @property
    def loss(self):
        """Why it was lost, as an exception; None while it is held."""
        return self._lock.loss

    def extend(self, ttl):
        """Makes it last for `ttl` from now. The daemon extends it all the while anyhow."""
        self._client._run(self._lock.extend(ttl))

    def release(self):
        """Gives the lock back. Raises LockLost where it was lost before."""
        self._client._run(self._lock.release())
        self._watcher.cancel()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(LockError):
            self.release()


class Client:
    """As aio.Client, for threads."""

    def __init__(self, endpoints=("127.0.0.1:50051",), *, credentials=None, token=None):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redlockd", daemon=True)
        self._client = aio.Client(endpoints, credentials=credentials, token=token)
        self._thread.start()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def acquire(self, key, *, ttl=30.0, wait=None, owner="", margin=None, on_queued=None):
        """A Lock; see aio.Client.acquire(). on_queued is called by the library's thread."""
        future = self.acquire_future(
            key, ttl=ttl, wait=wait, owner=owner, margin=margin, on_queued=on_queued)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # KeyboardInterrupt gives up waiting
            raise

    def acquire_future(self, key, **options):
        """The same as a concurrent.futures.Future, whose cancel() gives up waiting."""
        future = concurrent.futures.Future()
        asyncio.run_coroutine_threadsafe(self._acquire(key, options, future), self._loop)
        return future

    async def _acquire(self, key, options, future):
        task = asyncio.current_task()

        def given_up(ended):
            if ended.cancelled():
                self._loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(given_up)
        try:
            lock = await self._client.acquire(key, **options)
        except Exception as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        if future.set_running_or_notify_cancel():
            future.set_result(Lock(self, lock))
        else:
            await lock.release()

    @contextlib.contextmanager
    def lock(self, key, **options):
        """Holds the lock inside the block; options as for acquire(). Raises LockLost at its end
        where the lock was lost meanwhile."""
        lock = self.acquire(key, **options)
        with lock:
            yield lock
            if lock.lost.is_set():
                raise lock.loss

    def close(self):
        """Releases all locks."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
