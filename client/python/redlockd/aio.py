"""Client of redlockd, the lock service, for asyncio.

    async with redlockd.aio.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        async with client.lock("reports", ttl=30, wait=10) as lock:
            await store.write(report, lock.fencing_token)   # cancelled if the lock is lost

All locks of a client share one stream to one daemon, which keeps them alive. If the stream breaks,
or the daemon falls silent or shuts down, the client moves its locks to the next endpoint. All times
are in seconds, or timedeltas. A client belongs to the event loop in which it is first used.
"""

import asyncio
from typing import Any, Callable, Iterable, Optional, Sequence, Union

import grpc

from ._arguments import (Seconds, check_callback, check_keep_for, check_key, check_observed, check_owner_token,
                         check_timeout, check_ttl, check_value)
from ._attempts import Way
from ._driver import Driver
from ._elections import ElectionState
from ._interruption import Interruption
from ._key_state import KeyState
from ._keys import Keys
from ._named_lock import NamedLockState
from ._requests import extension
from ._state import LockState
from ._values import Lease, RetryPolicy, WatchEvent, WatchItem, check_items
from .errors import InvalidArgument, LockAlreadyHeld, LockError, LockLost, LockTimeout

__all__ = ["Client", "Election", "Lock", "NamedLock", "Observer", "Watch"]

_LINGER = 30.0  # seconds, if the event loop runs that long
_ONCE = RetryPolicy(max_retries=0)


class Lock(LockState):
    """A held lock. Client.acquire() and its relatives return it.

    At the end of an `async with` block it is released; if it was lost in the meantime, the block raises LockLost,
    unless the block itself raised an exception. Only the block of Client.lock() is cancelled by a loss.
    """

    __slots__ = ("_driver", "_lost")

    def __init__(self, driver: Driver, lease: Any) -> None:
        super().__init__(lease)
        self._driver = driver
        self._lost: Optional[asyncio.Event] = None

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock is lost or about to be lost: the work that it protects must stop."""
        if self._lost is None:
            self._lost = asyncio.Event()
            self._lease.on_lost.append(self._lost.set)
            if self._lease.loss is not None:
                self._lost.set()
        return self._lost

    async def extend(self, ttl: Seconds) -> None:
        """Extends the lock to `ttl` from now. Rarely needed: the daemon keeps extending the lock."""
        await self._extend(ttl, None)

    async def try_extend(self, ttl: Seconds) -> None:
        """Like extend(), but makes a single attempt: raises QuorumUnavailable if too few nodes answer it."""
        await self._extend(ttl, _ONCE)

    async def _extend(self, ttl: Seconds, retry: Optional[RetryPolicy]) -> None:
        checked = check_ttl(ttl)
        await _answer(lambda on_done: self._driver.extend(self._lease, checked, retry, on_done))

    async def downgrade(self) -> "Lock":
        """Downgrades an exclusive lock to a share, and returns the share, a Lock with the same token. Other holders may
        share the key from then on; nobody else holds it exclusively in between. There is no upgrade.

        This lock counts as released from the beginning of the call, so the work that needs it must have stopped.
        Release the share separately, for example by `async with await lock.downgrade() as share:`. Takes at most as
        long as this lock was valid. Raises InvalidArgument, and leaves the lock as it is, for a share, for a slot of a
        semaphore, and while another call requests the key with the same token. After any other failure or a
        cancellation, no lock is left behind: unless the error is LockLost, the lock is released in the background, and
        a token of your own must not be used again.
        """
        return await _wait_for_lock(self._driver, lambda on_done: self._driver.downgrade(self._lease, on_done))

    async def proclaim(self, value: str) -> None:
        """Replaces the value that the lock publishes, at most 4096 bytes; "" publishes no value. Observers see the
        new one.

        Retries for as long as the lock can be trusted. Raises LockLost if the lock was lost or released. After any
        other error, observers may or may not see the value, now or later.
        """
        await self._driver.proclaim(self._lease, check_value(value))

    async def release(self, keep_for: Optional[Seconds] = None) -> None:
        """Releases the lock. Raises LockLost if the lock was lost before. A second call does nothing.

        keep_for: keeps the key taken until this long after its acquisition, from 0.001 s; nobody holds it in that time.
        So a job that several machines begin at about the same time runs once. If the time has passed already, the key
        is free at once.

        Takes at most 2 s. After that it raises Unreachable, and the release continues in the
        background.
        """
        checked = check_keep_for(keep_for)
        await _answer(lambda on_done: self._driver.release(self._lease, checked, on_done))

    async def __aenter__(self) -> "Lock":
        return self

    async def __aexit__(self, kind: Any, *exception: Any) -> None:
        await self._leave(kind, None)

    async def _leave(self, kind: Any, keep_for: Optional[Seconds]) -> None:
        """Ends a block."""
        try:
            await self.release(keep_for)
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


async def _answer(ask: Callable[[Callable[[Optional[LockError]], None]], None]) -> None:
    """Calls ask(on_done), waits for on_done(error), and raises the error if there is one."""
    answered: "asyncio.Future[Optional[LockError]]" = asyncio.get_running_loop().create_future()

    def on_done(error: Optional[LockError]) -> None:
        if not answered.done():
            answered.set_result(error)

    ask(on_done)
    error = await answered
    if error is not None:
        raise error


async def _wait_for_lock(driver: Driver, start: Callable[[Callable[[Any, Optional[LockError]], None]], Any]) -> Lock:
    """Calls start(on_done), which returns what Driver.give_up() takes, and waits for on_done(lease, error)."""
    granted: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()

    def on_done(lease: Any, error: Optional[LockError]) -> None:
        if granted.cancelled():
            driver.release_unseen(lease)
        else:
            granted.set_result((lease, error))

    acquire = start(on_done)
    try:
        lease, error = await granted
    except BaseException:
        if granted.done() and not granted.cancelled():
            driver.release_unseen(granted.result()[0])
        else:
            driver.give_up(acquire)
        raise
    if error is not None:
        raise error
    return Lock(driver, lease)


class NamedLock(NamedLockState[Lock]):
    """For `async with client.lock(name, ...) as lock:`, and for code that is written for redis-py's asyncio Lock.

    If the lock is lost, cancels the block and raises LockLost.
    """

    def __init__(self, client: "Client", *arguments: Any) -> None:
        super().__init__(*arguments)
        self._client = client
        self._interruption: Optional[Interruption] = None

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock is lost or about to be lost: the work that it protects must stop."""
        return self.acquired.lost

    async def acquire(self, blocking: Optional[bool] = None, blocking_timeout: Optional[Seconds] = None,
                      token: Optional[str] = None) -> bool:
        """Acquires the lock. Returns False if another holder has kept it for as long as the call could wait.
        An outage raises, for example QuorumUnavailable or Unreachable."""
        try:
            await self._acquire(self._wait_for(blocking, blocking_timeout), token)
        except (LockAlreadyHeld, LockTimeout):
            return False
        return True

    async def _acquire(self, wait: Optional[Seconds], token: Optional[str] = None) -> None:
        self._begin()
        try:
            self._lock = await self._client.acquire(self.keys, **self._arguments(wait, token))
        except BaseException:
            self._end()
            raise

    async def release(self) -> None:
        """Releases the lock, with the keep_for of this object. Raises LockLost if it was lost before, or is not
        acquired."""
        lock = self.acquired
        self._end()
        await lock.release(self._keep_for)

    async def proclaim(self, value: str) -> None:
        """Replaces the value that the lock publishes; see Lock.proclaim()."""
        await self.acquired.proclaim(value)

    async def extend(self, additional_time: Seconds, replace_ttl: bool = False) -> bool:
        """Makes the lock last for `additional_time` longer; with replace_ttl, for that long from now."""
        await self.acquired.extend(self._extended(additional_time, replace_ttl))
        return True

    async def downgrade(self) -> Lock:
        """Downgrades an exclusive lock to a share, which this object holds from then on, with a new event `lost`.
        release() or the end of the block releases the share, and the loss of the share cancels the block. Returns the
        share; see Lock.downgrade(). The next acquire() is exclusive again."""
        before = self.acquired
        share = await before.downgrade()
        try:
            self._replace(before, share)
        except LockLost:
            await share.release()
            raise
        if self._interruption is not None:
            self._interruption.watch(share)
        return share

    async def reacquire(self) -> bool:
        """Makes the lock last for its whole TTL from now."""
        await self.acquired.extend(self._ttl)
        return True

    async def locked(self) -> bool:
        """Whether any holder has the lock, or one of its keys. Asks a daemon."""
        return await self._client._used().inspect(self._key)  # type: ignore[no-any-return]

    async def owned(self) -> bool:
        """Whether this object has the lock and can trust it now. Asks nobody."""
        return self.held

    async def __aenter__(self) -> "NamedLock":
        await self._acquire(self._wait)
        self._interruption = Interruption(self.acquired)
        return self

    async def __aexit__(self, kind: Any, *exception: Any) -> None:
        interruption, self._interruption = self._interruption, None
        assert interruption is not None
        try:
            lost_alone = await interruption.end(kind)
        except asyncio.CancelledError as cancelled:
            await self._leave(type(cancelled))
            raise
        await self._leave(kind)
        if lost_alone:
            raise interruption.loss from None

    async def _leave(self, kind: Any) -> None:
        lock = self._lock
        if lock is not None:  # otherwise the block has released it
            self._end()
            await lock._leave(kind, self._keep_for)


class Watch:
    """Keeps leases alive until close(). Client.watch() makes it."""

    def __init__(self, watching: Any) -> None:
        self._watching = watching

    async def close(self) -> None:
        """Ends the watch. Returns once on_event has heard CANCELLED. The leases then expire."""
        await self._watching.close()

    async def __aenter__(self) -> "Watch":
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()


class Observer:
    """An asynchronous iterator of KeyState: the present state of a key, and every change. Client.observe() makes it.

    It survives broken streams and daemons that shut down: it then moves to another daemon, and reports UNDECIDED if
    none has confirmed the state in time. Fencing tokens never go backwards. A slow reader gets the latest state, not
    those in between. It ends with close(), at the end of an `async with` block, and with the client; a daemon that
    refuses it ends it with an error.
    """

    def __init__(self, observing: Any) -> None:
        self._observing = observing

    def __aiter__(self) -> "Observer":
        return self

    async def __anext__(self) -> KeyState:
        state: Optional[KeyState] = await self._observing.next()
        if state is None:
            raise StopAsyncIteration
        return state

    async def close(self) -> None:
        """Ends the observer. It reports nothing more after this."""
        await self._observing.close()

    async def __aenter__(self) -> "Observer":
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    def __del__(self) -> None:
        self._observing.abandon()


class Election(ElectionState[Lock]):
    """The election of one leader at a time. Client.election() makes it; each candidate needs an object of its own.

    The leader is the holder of the lock on the key `name`: leadership ends when the lock is released or lost.
    """

    def __init__(self, client: "Client", name: str) -> None:
        super().__init__(name)
        self._client = client

    async def campaign(self, value: str = "", *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                       owner: Optional[str] = None, margin: Optional[Seconds] = None,
                       on_queued: Optional[Callable[[int], Any]] = None, lock_delay: Seconds = 0) -> Lock:
        """Waits until this candidate is elected, and returns its Lock, whose `lost` is set when the leadership ends.

        value: what observers see, for example the address of the leader. The rest: as in Client.acquire(). Raises
        RuntimeError if this object leads already.
        """
        self._check_candidate()
        self._lock = await self._client.acquire(self.name, ttl=ttl, wait=wait, owner=owner, margin=margin,
                                                on_queued=on_queued, value=value, lock_delay=lock_delay)
        return self._lock

    async def proclaim(self, value: str) -> None:
        """Replaces the value of this leader; see Lock.proclaim(). Raises LockLost if this object does not lead."""
        await self._leadership().proclaim(value)

    async def resign(self) -> None:
        """Ends the leadership: releases the lock. Raises LockLost if this object does not lead."""
        await self._leadership().release()

    async def leader(self, timeout: Seconds = 5.0) -> KeyState:
        """Returns the present state of the election: HELD, with the value of the leader, or VACANT. If no quorum
        confirms either within `timeout`, raises why: QuorumUnavailable, Unreachable, or the refusal of a daemon."""
        checked = check_timeout(timeout)
        return await self._client._used().leader(self.name, checked)  # type: ignore[no-any-return]

    def observe(self) -> Observer:
        """Client.observe() of this election: reports each leader, and what it proclaims."""
        return self._client.observe(self.name)


class Client:
    """Acquires locks, over one stream to one daemon, which keeps them alive.

    Connects when necessary. For the arguments, see redlockd.Client. The function `token` and the callbacks are
    called on the event loop; `token` may be a coroutine function.
    """

    def __init__(self, endpoints: Union[str, Iterable[str]] = ("127.0.0.1:50051",), *,
                 credentials: Optional[grpc.ChannelCredentials] = None,
                 token: Union[str, Callable[[], Any], None] = None, grace: Seconds = 5.0,
                 owner: Optional[str] = None) -> None:
        self._driver = Driver(endpoints, credentials, token, grace, owner, _LINGER)

    async def acquire(self, key: Keys, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                      owner: Optional[str] = None, token: Optional[str] = None, margin: Optional[Seconds] = None,
                      retry: Optional[RetryPolicy] = None,
                      on_queued: Optional[Callable[[int], Any]] = None, shared: bool = False,
                      max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lock:
        """Acquires the lock on `key`; see redlockd.Client.acquire(). A task that is cancelled at any moment leaves no
        lock behind."""
        return await self._acquire(Way.ACQUIRE, key, ttl=ttl, wait=wait, owner=owner, token=token, margin=margin,
                                   retry=retry, on_queued=on_queued, shared=shared, max_holders=max_holders,
                                   value=value, lock_delay=lock_delay)

    async def try_acquire(self, key: Keys, *, ttl: Seconds = 30.0, owner: Optional[str] = None,
                          token: Optional[str] = None, margin: Optional[Seconds] = None,
                          shared: bool = False, max_holders: Optional[int] = None, value: str = "",
                          lock_delay: Seconds = 0) -> Optional[Lock]:
        """A single try: returns None if another holder has the lock. See acquire()."""
        try:
            return await self.acquire(key, ttl=ttl, wait=0, owner=owner, token=token, margin=margin,
                                      shared=shared, max_holders=max_holders, value=value, lock_delay=lock_delay)
        except LockAlreadyHeld:
            return None

    async def acquire_or_extend(self, key: Keys, token: str, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                                owner: Optional[str] = None, margin: Optional[Seconds] = None,
                                retry: Optional[RetryPolicy] = None,
                                on_queued: Optional[Callable[[int], Any]] = None, shared: bool = False,
                                max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lock:
        """Like acquire(), but if `token` holds the lock already, takes it over and keeps it alive. The lock then keeps
        the value and the delay that it had."""
        return await self._acquire(Way.ACQUIRE_OR_EXTEND, key, ttl=ttl, wait=wait, owner=owner, token=token,
                                   margin=margin, retry=retry, on_queued=on_queued, shared=shared,
                                   max_holders=max_holders, value=value, lock_delay=lock_delay)

    async def adopt(self, key: Keys, token: str, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                    margin: Optional[Seconds] = None, shared: bool = False, max_holders: Optional[int] = None,
                    slot: Optional[int] = None) -> Lock:
        """Takes over a lock that `token` holds, for example a detached lock of another process, and keeps it alive.

        Raises LockLost if the token does not hold it in this way: a shared lock is adopted with shared=True, and a slot
        of a semaphore with its max_holders. slot: raises LockLost if the token has another one; None: any will do.
        `wait` bounds the call, as in acquire().
        """
        return await self._acquire(Way.ADOPT, key, ttl=ttl, wait=wait, token=token, margin=margin, shared=shared,
                                   max_holders=max_holders, slot=slot)

    async def _acquire(self, way: Way, key: Keys, **options: Any) -> Lock:
        driver = self._used()
        request = driver.request(way, key, **options)
        return await _wait_for_lock(driver, lambda on_done: driver.acquire(request, on_done))

    def lock(self, name: Keys, ttl: Optional[Seconds] = None, wait: Optional[Seconds] = None, *,
             timeout: Optional[Seconds] = None, blocking: bool = True, blocking_timeout: Optional[Seconds] = None,
             shared: bool = False, max_holders: Optional[int] = None, keep_for: Optional[Seconds] = None,
             **options: Any) -> NamedLock:
        """Returns a NamedLock: `async with client.lock("reports", ttl=30, wait=10) as lock:` holds the lock inside
        the block; if the lock is lost, cancels the block and raises LockLost. It can also be used as the Lock of
        redis-py's asyncio, with that library's names of the arguments. name: the key, or a list of several. keep_for:
        that of Lock.release(), for the end of the block and for release(). shared, max_holders and options: those of
        acquire()."""
        return NamedLock(self, name, ttl, wait, timeout, blocking, blocking_timeout, shared, max_holders, keep_for,
                         options)

    async def acquire_detached(self, key: Keys, *, ttl: Seconds = 30.0, wait: Optional[Seconds] = None,
                               owner: Optional[str] = None, token: Optional[str] = None,
                               retry: Optional[RetryPolicy] = None, shared: bool = False,
                               max_holders: Optional[int] = None, value: str = "", lock_delay: Seconds = 0) -> Lease:
        """Acquires a lock that outlives the process, and that nobody extends: it ends with its TTL, or by release().
        Another process can adopt() it by its keys and token, with shared=True if it is shared, and with its max_holders
        if the key is a semaphore.

        Like acquire() in everything else, but if the call fails, the token is released in the background and must not
        be used again.
        """
        driver = self._used()
        request = driver.request(Way.ACQUIRE, key, ttl=ttl, wait=wait, owner=owner, token=token, retry=retry,
                                 shared=shared, max_holders=max_holders, value=value, lock_delay=lock_delay)
        return await driver.detached.acquire(request)  # type: ignore[no-any-return]

    async def extend(self, key: Keys, token: str, ttl: Seconds, *, retry: Optional[RetryPolicy] = None,
                     timeout: Seconds = 5.0, shared: bool = False, max_holders: Optional[int] = None,
                     slot: Optional[int] = None) -> Lease:
        """Extends the lock that `token` holds so that it lasts for `ttl` from now; never shortens it.

        Takes at most `timeout`. Raises LockLost if the token does not hold the lock in this way: a shared lock is
        extended with shared=True, and a slot of a semaphore with its max_holders. slot: as in adopt().
        """
        arguments = extension(key, token, ttl, retry, timeout, shared, max_holders, slot)
        return await self._used().detached.extend(*arguments)  # type: ignore[no-any-return]

    async def try_extend(self, key: Keys, token: str, ttl: Seconds, *, timeout: Seconds = 5.0,
                         shared: bool = False, max_holders: Optional[int] = None,
                         slot: Optional[int] = None) -> Lease:
        """Like extend(), but the daemon makes a single attempt."""
        return await self.extend(key, token, ttl, retry=_ONCE, timeout=timeout, shared=shared, max_holders=max_holders,
                                 slot=slot)

    async def release(self, key: Keys, token: str, *, keep_for: Optional[Seconds] = None,
                      timeout: Seconds = 5.0) -> None:
        """Releases the lock that `token` holds. Takes at most `timeout`. Raises LockLost if the token does not hold
        the lock. keep_for: as in Lock.release()."""
        arguments = check_key(key), check_owner_token(token), check_keep_for(keep_for), check_timeout(timeout)
        await self._used().detached.release(*arguments)

    async def proclaim(self, key: Keys, token: str, value: str, *, timeout: Seconds = 5.0) -> None:
        """Replaces the value that the lock which `token` holds publishes; see Lock.proclaim(). Takes at most `timeout`.
        Raises LockLost if the token does not hold the lock."""
        arguments = check_key(key), check_owner_token(token), check_value(value), check_timeout(timeout)
        await self._used().detached.proclaim(*arguments)

    def observe(self, key: str) -> Observer:
        """Observes who holds the key: returns an asynchronous iterator of KeyState, the present one and every
        change."""
        checked = check_observed(key)
        return Observer(self._used().observe(checked))

    def election(self, name: str) -> Election:
        """Returns an Election: the key `name`, whose holder is the leader. Sends nothing."""
        return Election(self, check_observed(name))

    def watch(self, items: Sequence[WatchItem], on_event: Callable[[WatchEvent], Any], *,
              keep_watching_after_loss: bool = False) -> Watch:
        """Keeps the leases alive, each by its token, until the Watch is closed.

        on_event(event) is called on the event loop with each WatchEvent. The watch survives broken streams and
        callbacks that raise. With keep_watching_after_loss it also goes on after a loss or a release, and may begin
        before its locks are acquired.
        """
        checked = check_items(items)
        check_callback("on_event", on_event)
        return Watch(self._used().watch(checked, on_event, keep_watching_after_loss))

    async def close(self) -> None:
        """Releases all locks, and fails all waiting calls with CANCELLED. Takes about 2 s at most."""
        self._driver.process.check()
        await self._driver.close()

    def _used(self) -> Driver:
        """The driver, once it is known that it can be used here."""
        self._driver.process.check()
        self._driver.check_use()
        return self._driver

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()
