"""Cancels a task whose lock is lost, and turns that cancellation into LockLost."""

import asyncio


class Interruption:
    """Cancels the current task if the lock is lost while the task is in a block."""

    def __init__(self, lock):
        self._task = asyncio.current_task()
        self._before = self._cancelling()
        self._sent = False
        self._lock = lock
        self._listen()

    def watch(self, share):
        """The lock has become a share."""
        self._lock._lease.on_lost.remove(self._send)
        self._lock = share
        self._listen()

    @property
    def loss(self):
        return self._lock.loss

    async def end(self, kind):
        """To be called when the block has ended with this kind of exception. True if the loss alone cancelled the
        task. Raises CancelledError if other code has cancelled it meanwhile."""
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            return self._over()
        await self._swallow()
        return False

    def _cancelling(self):
        return self._task.cancelling() if hasattr(self._task, "cancelling") else 0  # from Python 3.11

    def _listen(self):
        self._lock._lease.on_lost.append(self._send)
        if self._lock.loss is not None:
            self._send()

    def _send(self):
        self._sent = True
        self._task.cancel()

    def _over(self):
        self._lock._lease.on_lost.remove(self._send)
        if self._sent and hasattr(self._task, "uncancel"):
            self._task.uncancel()
        return self._sent and self._cancelling() <= self._before

    async def _swallow(self):
        """The block ended without the cancellation, which may still arrive."""
        try:
            if self._sent:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self._over():
                raise
        else:
            self._over()
