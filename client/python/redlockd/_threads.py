"""The client for threads."""

import asyncio
import concurrent.futures
import threading
from typing import Any, Callable, Coroutine, Iterable, Optional, Sequence, TypeVar, Union

import grpc

from . import _background
from ._arguments import (Seconds, check_callback, check_keep_for, check_key, check_observed, check_owner_token,
                         check_timeout, check_ttl, check_value)
from ._attempts import Way
from ._driver import Driver
from ._elections import Election, Observer
from ._keys import Keys
from ._named_lock import NamedLock
from ._requests import extension
from ._state import LockState
from ._values import Lease, RetryPolicy, WatchEvent, WatchItem, check_items
from .errors import InvalidArgument, LockAlreadyHeld, LockError, LockLost

_LINGER = 30.0  # seconds
_ONCE = RetryPolicy(max_retries=0)
_guard = threading.Lock()
_T = TypeVar("_T")
# Starts what ends with on_done(lease, error), and returns what Driver.give_up() takes.
_Start = Callable[[Callable[[Any, Optional[Exception]], None]], Any]


class Lock(LockState):
    """A held lock. Client.acquire() and its relatives return it. May be used from any thread.

    At the end of a `with` block it is released; if it was lost in the meantime, the block raises LockLost, unless
    the block itself raised an exception.
    """

    __slots__ = ("_client", "_lost")

    def __init__(self, client: "Client", lease: Any) -> None:
        super().__init__(lease)
        self._client = client
        self._lost: Optional[threading.Event] = None

    @property
    def lost(self) -> threading.Event:
        """Set when the lock is lost or about to be lost: the work that it protects must stop."""
        if self._lost is None:
            with _guard:
                if self._lost is None:
                    event = threading.Event()
                    self._lease.on_lost.append(event.set)
                    if self._lease.loss is not None:
                        event.set()
                    self._lost = event
        return self._lost

    def extend(self, ttl: Seconds) -> None:
        """Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock."""
        self._extend(ttl, None)

    def try_extend(self, ttl: Seconds) -> None:
        """Like extend(), but makes a single attempt: raises QuorumUnavailable if too few nodes answer it."""
        self._extend(ttl, _ONCE)

    def _extend(self, ttl: Seconds, retry: Optional[RetryPolicy]) -> None:
        checked = check_ttl(ttl)
        self._client._answer(lambda on_done: self._client._driver.extend(self._lease, checked, retry, on_done))

    def downgrade(self) -> "Lock":
        """Downgrades an exclusive lock to a share, and returns the share, a Lock with the same token. Other holders may
        share the key from then on; nobody else holds it exclusively in between. There is no upgrade.

        This lock counts as released from the beginning of the call, so the work that needs it must have stopped.
        Release the share separately, for example by `with lock.downgrade() as share:`. Takes at most as long as this
        lock was valid. Raises InvalidArgument, and leaves the lock as it is, for a share, for a slot of a semaphore,
        and while another call requests the key with the same token. After any other failure or an interruption, no
        lock is left behind: unless the error is LockLost, the lock is released in the background, and a token of your
        own must not be used again.
        """
        return self._client._wait_for_lock(lambda on_done: self._client._driver.downgrade(self._lease, on_done))

    def proclaim(self, value: str) -> None:
        """Replaces the value that the lock publishes, at most 4096 bytes; "" publishes no value. Observers see the
        new one.

        Retries for as long as the lock can be trusted. Raises LockLost if the lock was lost or released. After any
        other error, observers may or may not see the value, now or later.
        """
        checked = check_value(value)
        self._client._check_caller()
        self._client._result(asyncio.run_coroutine_threadsafe(
            self._client._driver.proclaim(self._lease, checked), _background.loop()))

    def release(self, keep_for: Optional[Seconds] = None) -> None:
        """Releases the lock. Raises LockLost if the lock was lost before. A second call does nothing.

        keep_for: keeps the key taken until this long after its acquisition, from 0.001 s; nobody holds it in that time.
        So a job that several machines begin at about the same time runs once. If the time has passed already, the key
        is free at once.

        Takes at most 2 s. After that it raises Unreachable, and the release continues in the
        background.
        """
        checked = check_keep_for(keep_for)
        self._client._answer(lambda on_done: self._client._driver.release(self._lease, checked, on_done))

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        self._leave(kind, None)

    def _leave(self, kind: Any, keep_for: Optional[Seconds]) -> None:
        """Ends a block."""
        try:
            self.release(keep_for)
        except LockLost:
            if kind is None:
                raise
        except InvalidArgument:
            if kind is None:  # the daemon has refused keep_for
                raise
        except LockError:
            pass  # the lock expires
        if kind is None and self.loss is not None:
            raise self.loss


class Watch:
    """Keeps leases alive until close(). Client.watch() makes it. May be used from any thread."""

    def __init__(self, client: "Client", watching: Any) -> None:
        self._client = client
        self._watching = watching

    def close(self) -> None:
        """Ends the watch. Returns once on_event has heard CANCELLED. The leases then expire."""
        self._client._check_caller()
        self._client._result(asyncio.run_coroutine_threadsafe(self._watching.close(), _background.loop()))

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Client:
    """Acquires locks, over one stream to one daemon, which keeps them alive. May be used from any thread.

    Connects when necessary. If the stream breaks, or the daemon falls silent or shuts down, the client moves its
    locks to the next endpoint. A client that has not been used may be used after a fork.

    endpoints: addresses, "host:port" or "unix:/path", which the client tries in turn.
    credentials: from grpc.ssl_channel_credentials(); None for no TLS.
    token: a bearer token, or a function that returns one; it is called on the library's thread for each connection,
    and must return at once.
    grace: if this process dies or loses its connection, the daemon releases its locks after this time, in seconds
    or as a timedelta. The client trusts no lock for longer without an answer from a daemon.
    owner: the default label of the locks, for people; at most 128 bytes. Default: "HOST/PID/PROGRAM".
    """

    def __init__(self, endpoints: Union[str, Iterable[str]] = ("127.0.0.1:50051",), *,
                 credentials: Optional[grpc.ChannelCredentials] = None,
                 token: Union[str, Callable[[], Any], None] = None, grace: Seconds = 5.0,
                 owner: Optional[str] = None) -> None:
        self._driver = Driver(endpoints, credentials, token, grace, owner, _LINGER)

    def acquire(self, key: Keys, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None, owner: Optional[str] = None,
                token: Optional[str] = None, margin: Optional[Seconds] = None, retry: Optional[RetryPolicy] = None,
                on_queued: Optional[Callable[[int], Any]] = None, shared: bool = False,
                max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lock:
        """Acquires the lock on `key`, and keeps it alive until it is released or lost, or the client is closed.

        key: 1 to 512 bytes of UTF-8, not beginning with "redlockd:". A list or tuple of up to 64 different keys, of at
        most 8192 bytes together, locks all of them at once or none; their order does not matter. The loss of one of
        them is the loss of the lock. Every method that takes a key takes such a list.
        All times are seconds or a timedelta.
        ttl: the TTL of the lock, at least 0.01.
        wait: how long to wait, connecting included; 0 is a single try, None waits without a limit.
        owner: a label for people, at most 128 bytes. Default: that of the client.
        token: the owner token, 1 to 128 bytes, unique to this lock. Default: the client makes one, which is best. Your
        own may be used again after a failed call, but not after a release or a downgrade that failed.
        margin: `lost` is set when at most this much is left of the time for which the lock can be trusted. From 0
        to a third of `ttl` or of the client's `grace`, whichever is less. Default: the smallest of a tenth of
        `ttl`, a tenth of `grace`, and 0.5.
        retry: how the daemon retries; its max_retries used up raise MaxRetriesExceeded.
        shared: hold the keys together with any number of other holders that pass shared=True, and with no holder that
        does not: readers, and one writer at a time. Each has a token, a TTL and a fencing token of its own. A waiting
        writer goes before readers that come later.
        max_holders: makes the key a semaphore: at most so many holders, from 2 to 64, have it at the same time. Each
        has a numbered slot, a token, a TTL and a fencing token of its own; fencing tokens grow from each holder of a
        slot to the next. All must pass the same number: while anyone holds the key with another one, or as a lock, the
        call raises KindMismatch and does not wait. For a single key, without `shared`.
        value: what the lock publishes to observers, for example an address; at most 4096 bytes of UTF-8. Not secret.
        proclaim() replaces it.
        lock_delay: if the lock is lost rather than released, nobody else is granted the key for this long after its
        TTL, so that what this holder has begun comes to an end, for storage that checks no fencing tokens.
        on_queued(position) is called, on the library's thread, with the number of waiters ahead in the daemon's
        wait queue. It must return at once, and must not call a client.

        A call that fails or is interrupted leaves no lock behind. Raises a LockError: LockAlreadyHeld (`wait` of 0)
        and LockTimeout only if other holders have the lock, QuorumUnavailable or Unreachable for an outage.
        """
        return self._acquire(Way.ACQUIRE, key, ttl=ttl, wait=wait, owner=owner, token=token, margin=margin,
                             retry=retry, on_queued=on_queued, shared=shared, max_holders=max_holders, value=value,
                             lock_delay=lock_delay)

    def try_acquire(self, key: Keys, *, ttl: Seconds = 30.0, owner: Optional[str] = None, token: Optional[str] = None,
                    margin: Optional[Seconds] = None, shared: bool = False, max_holders: Optional[int] = None,
                    value: str = "", lock_delay: Seconds = 0) -> Optional[Lock]:
        """A single try: returns None if another holder has the lock. See acquire()."""
        try:
            return self.acquire(key, ttl=ttl, wait=0, owner=owner, token=token, margin=margin,
                                shared=shared, max_holders=max_holders, value=value, lock_delay=lock_delay)
        except LockAlreadyHeld:
            return None

    def acquire_or_extend(self, key: Keys, token: str, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                          owner: Optional[str] = None, margin: Optional[Seconds] = None,
                          retry: Optional[RetryPolicy] = None,
                          on_queued: Optional[Callable[[int], Any]] = None, shared: bool = False,
                          max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lock:
        """Like acquire(), but if `token` holds the lock already, takes it over and keeps it alive. The lock then keeps
        the value and the delay that it had."""
        return self._acquire(Way.ACQUIRE_OR_EXTEND, key, ttl=ttl, wait=wait, owner=owner, token=token,
                             margin=margin, retry=retry, on_queued=on_queued, shared=shared,
                             max_holders=max_holders, value=value, lock_delay=lock_delay)

    def adopt(self, key: Keys, token: str, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
              margin: Optional[Seconds] = None, shared: bool = False, max_holders: Optional[int] = None,
              slot: Optional[int] = None) -> Lock:
        """Takes over a lock that `token` holds, for example a detached lock of another process, and keeps it alive.

        Raises LockLost if the token does not hold it in this way: a shared lock is adopted with shared=True, and a slot
        of a semaphore with its max_holders. slot: raises LockLost if the token has another one; None: any will do.
        `wait` bounds the call, as in acquire().
        """
        return self._acquire(Way.ADOPT, key, ttl=ttl, wait=wait, token=token, margin=margin, shared=shared,
                             max_holders=max_holders, slot=slot)

    def acquire_future(self, key: Keys, **options: Any) -> "concurrent.futures.Future[Lock]":
        """Like acquire(), but returns a concurrent.futures.Future; its cancel() gives up waiting."""
        future: "concurrent.futures.Future[Lock]" = concurrent.futures.Future()
        request = self._driver.request(Way.ACQUIRE, key, **options)
        self._begin(future, lambda on_done: self._driver.acquire(request, on_done))
        return future

    def _acquire(self, way: Way, key: Keys, **options: Any) -> Lock:
        request = self._driver.request(way, key, **options)
        return self._wait_for_lock(lambda on_done: self._driver.acquire(request, on_done))

    def _wait_for_lock(self, start: _Start) -> Lock:
        future: "concurrent.futures.Future[Lock]" = concurrent.futures.Future()
        try:
            self._begin(future, start)
            return future.result()
        except BaseException:  # KeyboardInterrupt gives up waiting
            if not future.cancel():
                future.add_done_callback(self._release_unseen)
            raise

    def _begin(self, future: "concurrent.futures.Future[Lock]", start: _Start) -> None:
        self._check_caller()
        _background.loop().call_soon_threadsafe(self._send, future, start)

    def _send(self, future: "concurrent.futures.Future[Lock]", start: _Start) -> None:
        acquire: Any = None

        def on_done(lease: Any, error: Optional[Exception]) -> None:
            nonlocal acquire
            acquire = None
            if not future.set_running_or_notify_cancel():
                self._driver.release_unseen(lease)
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(Lock(self, lease))

        def give_up() -> None:
            if acquire is not None:
                self._driver.give_up(acquire)
                future.set_running_or_notify_cancel()

        def on_future_done(future: Any) -> None:
            if future.cancelled():
                _background.loop().call_soon_threadsafe(give_up)

        try:
            acquire = start(on_done)
        except Exception as error:
            on_done(None, error)
        else:
            future.add_done_callback(on_future_done)

    def _release_unseen(self, future: Any) -> None:
        """Releases a lock that was granted while its caller was interrupted."""
        if not future.cancelled() and future.exception() is None:
            _background.loop().call_soon_threadsafe(self._driver.release_unseen, future.result()._lease)

    def lock(self, name: Keys, ttl: Optional[Seconds] = None, wait: Optional[Seconds] = None, *,
             timeout: Optional[Seconds] = None, blocking: bool = True, blocking_timeout: Optional[Seconds] = None,
             shared: bool = False, max_holders: Optional[int] = None, keep_for: Optional[Seconds] = None,
             **options: Any) -> NamedLock:
        """Returns a NamedLock: `with client.lock("reports", ttl=30, wait=10) as lock:` holds the lock inside the
        block, and raises LockLost at its end if the lock was lost in the meantime. It can also be used as redis-py's
        Lock, with that library's names of the arguments. name: the key, or a list of several. keep_for: that of
        Lock.release(), for the end of the block and for release(). shared, max_holders and options: those of
        acquire()."""
        return NamedLock(self, name, ttl, wait, timeout, blocking, blocking_timeout, shared, max_holders, keep_for,
                         options)

    def acquire_detached(self, key: Keys, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                         owner: Optional[str] = None, token: Optional[str] = None,
                         retry: Optional[RetryPolicy] = None, shared: bool = False,
                         max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lease:
        """Acquires a lock that outlives the process, and that nobody extends: it ends with its TTL, or by release().
        Another process can adopt() it by its keys and token, with shared=True if it is shared, and with its max_holders
        if the key is a semaphore.

        Like acquire() in everything else, but if the call fails, the token is released in the background and must not
        be used again.
        """
        future = self.acquire_detached_future(key, ttl=ttl, wait=wait, owner=owner, token=token, retry=retry,
                                              shared=shared, max_holders=max_holders, value=value,
                                              lock_delay=lock_delay)
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt gives up waiting
            if not future.cancel():
                future.add_done_callback(self._release_unseen_lease)
            raise

    def acquire_detached_future(self, key: Keys, **options: Any) -> "concurrent.futures.Future[Lease]":
        """Like acquire_detached(), but returns a concurrent.futures.Future; its cancel() gives up waiting."""
        request = self._driver.request(Way.ACQUIRE, key, **options)
        self._check_caller()
        future: "concurrent.futures.Future[Lease]" = concurrent.futures.Future()
        _background.loop().call_soon_threadsafe(self._send_detached, future, request)
        return future

    def _send_detached(self, future: "concurrent.futures.Future[Lease]", request: Any) -> None:
        async def acquire() -> Lease:
            self._driver.check_use()
            lease: Lease = await self._driver.detached.acquire(request)
            return lease

        def on_done(task: "asyncio.Task[Lease]") -> None:
            error = None if task.cancelled() else task.exception()
            if task.cancelled():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                if not task.cancelled() and error is None:
                    self._driver.detached.release_unseen(task.result())
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

        def on_future_done(future: Any) -> None:
            if future.cancelled():
                _background.loop().call_soon_threadsafe(task.cancel)

        task = asyncio.ensure_future(acquire())
        task.add_done_callback(on_done)
        future.add_done_callback(on_future_done)

    def _release_unseen_lease(self, future: Any) -> None:
        """Releases a detached lock that was granted while its caller was interrupted."""
        if not future.cancelled() and future.exception() is None:
            _background.loop().call_soon_threadsafe(self._driver.detached.release_unseen, future.result())

    def extend(self, key: Keys, token: str, ttl: Seconds, *, retry: Optional[RetryPolicy] = None,
               timeout: Seconds = 5.0, shared: bool = False, max_holders: Optional[int] = None,
               slot: Optional[int] = None) -> Lease:
        """Extends the lock that `token` holds so that it lasts for `ttl` from now; never shortens it.

        Takes at most `timeout`. Raises LockLost if the token does not hold the lock in this way: a shared lock is
        extended with shared=True, and a slot of a semaphore with its max_holders. slot: as in adopt().
        """
        arguments = extension(key, token, ttl, retry, timeout, shared, max_holders, slot)
        lease: Lease = self._call(lambda: self._driver.detached.extend(*arguments))
        return lease

    def try_extend(self, key: Keys, token: str, ttl: Seconds, *, timeout: Seconds = 5.0,
                   shared: bool = False, max_holders: Optional[int] = None, slot: Optional[int] = None) -> Lease:
        """Like extend(), but the daemon makes a single attempt."""
        return self.extend(key, token, ttl, retry=_ONCE, timeout=timeout, shared=shared, max_holders=max_holders,
                           slot=slot)

    def release(self, key: Keys, token: str, *, keep_for: Optional[Seconds] = None, timeout: Seconds = 5.0) -> None:
        """Releases the lock that `token` holds. Takes at most `timeout`. Raises LockLost if the token does not hold
        the lock. keep_for: as in Lock.release()."""
        arguments = check_key(key), check_owner_token(token), check_keep_for(keep_for), check_timeout(timeout)
        self._call(lambda: self._driver.detached.release(*arguments))

    def proclaim(self, key: Keys, token: str, value: str, *, timeout: Seconds = 5.0) -> None:
        """Replaces the value that the lock which `token` holds publishes; see Lock.proclaim(). Takes at most `timeout`.
        Raises LockLost if the token does not hold the lock."""
        arguments = check_key(key), check_owner_token(token), check_value(value), check_timeout(timeout)
        self._call(lambda: self._driver.detached.proclaim(*arguments))

    def observe(self, key: str) -> Observer:
        """Observes who holds the key: returns an iterator of KeyState, the present one and every change."""
        return Observer(self, check_observed(key))

    def election(self, name: str) -> Election:
        """Returns an Election: the key `name`, whose holder is the leader. Sends nothing."""
        return Election(self, check_observed(name))

    def watch(self, items: Sequence[WatchItem], on_event: Callable[[WatchEvent], Any], *,
              keep_watching_after_loss: bool = False) -> Watch:
        """Keeps the leases alive, each by its token, until the Watch is closed.

        on_event(event) is called on the library's thread with each WatchEvent; it must return at once, and must not
        call a client. The watch survives broken streams and callbacks that raise. With keep_watching_after_loss it
        also goes on after a loss or a release, and may begin before its locks are acquired.
        """
        checked = check_items(items)
        check_callback("on_event", on_event)

        async def begin() -> Any:
            return self._driver.watch(checked, on_event, keep_watching_after_loss)

        return Watch(self, self._call(begin))

    def close(self) -> None:
        """Releases all locks, and fails all waiting calls with CANCELLED. Takes about 2 s at most; what no daemon has
        answered by then continues in the background for a while."""
        self._check_caller()
        self._result(asyncio.run_coroutine_threadsafe(self._driver.close(), _background.loop()))

    def _call(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return self._result(self._begin_call(make))

    def _begin_call(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> "concurrent.futures.Future[_T]":
        """Runs the coroutine on the loop."""

        async def call() -> _T:
            self._driver.check_use()
            return await make()

        self._check_caller()
        return asyncio.run_coroutine_threadsafe(call(), _background.loop())

    def _result(self, future: "concurrent.futures.Future[_T]") -> _T:
        """Waits for the future. If the caller is interrupted, cancels it."""
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _answer(self, ask: Callable[[Callable[[Optional[LockError]], None]], None]) -> None:
        """Calls ask(on_done), waits for on_done(error), and raises the error if there is one."""
        self._check_caller()
        answered: "concurrent.futures.Future[Optional[Exception]]" = concurrent.futures.Future()

        def begin() -> None:
            try:
                ask(answered.set_result)
            except Exception as error:
                answered.set_result(error)

        _background.loop().call_soon_threadsafe(begin)
        error = answered.result()
        if error is not None:
            raise error

    def _check_caller(self) -> None:
        self._driver.process.check()
        if _background.is_current():
            raise RuntimeError("redlockd: clients must not be called from on_queued, on_event or token(), which run "
                               "on the library's thread; call them from another thread")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
