"""Locks by redlockd, with asyncio.

    async with redlockd.aio.Client(["10.0.0.1:50051", "10.0.0.2:50051"]) as client:
        async with client.lock("reports", ttl=30, wait=10) as lock:
            await store.write(report, lock.fencing_token)   # cancelled if the lock is lost

A lock has a stream of its own (Session), in which the daemon keeps it alive. Where the stream breaks
or the daemon shuts down, the lock is taken along to the next endpoint, if nobody else has had it
since. All times are in seconds. For one event loop.
"""

import asyncio
import contextlib
import random
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc

from ._clock import DaemonClock
from .errors import LockError, make_error

_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 3000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
_CONNECT_TIMEOUT = 2.0
_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


def _duration(seconds):
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _seconds(duration):
    return duration.ToNanoseconds() / 1e9


def _error_of(status):
    retry = _seconds(status.retry_delay) if status.HasField("retry_delay") else None
    return make_error(status.reason, status.message, retry)


class _Broken(Exception):
    """The stream ended, or the daemon is about to. `orderly`: it said so before."""

    def __init__(self, error, orderly=False):
        super().__init__(str(error))
        self.error = error
        self.orderly = orderly


class _Stream:
    """A Session for one lock."""

    PING, ACQUIRE, EXTEND, RELEASE = 1, 2, 3, 4

    def __init__(self, stub, endpoint, metadata):
        self.endpoint = endpoint
        self._call = stub.Session(metadata=metadata)
        self._clock = DaemonClock()
        self._sent = {}

    async def open(self):
        await self._send(pb.SessionOperation(id=self.PING, ping=pb.PingOperation()))
        try:
            await asyncio.wait_for(self.read(), _CONNECT_TIMEOUT)
        except asyncio.TimeoutError:
            raise _Broken(make_error("UNREACHABLE", f"{self.endpoint}: no answer")) from None

    async def send(self, kind, **operation):
        await self._send(pb.SessionOperation(id=kind, **operation))

    async def _send(self, operation):
        self._sent.setdefault(operation.id, time.monotonic())
        try:
            await self._call.write(pb.SessionRequest(operations=[operation]))
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise await self._broken() from error

    async def read(self):
        """The next message, and when it was made, by this machine's clock."""
        try:
            message = await self._call.read()
        except grpc.RpcError as error:
            raise await self._broken() from error
        if message is grpc.aio.EOF:
            raise await self._broken()
        now = time.monotonic()
        daemon = _seconds(message.clock)
        self._clock.on_message(daemon, now)
        for result in message.results:
            sent = self._sent.pop(result.id, None)
            if sent is not None:
                self._clock.on_round_trip(now - sent)
        if any(event.type == pb.EVENT_TYPE_DRAINING for event in message.events):
            raise _Broken(make_error("DRAINING", f"{self.endpoint}: is shutting down"), orderly=True)
        return message, self._clock.made_at(daemon)

    async def _broken(self):
        code = await self._call.code()
        details = f"{self.endpoint}: {await self._call.details() or 'the stream was closed'}"
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return _Broken(make_error(code.name, details))
        return _Broken(make_error("UNREACHABLE", details))

    async def close(self):
        """In an orderly way: what the daemon holds for the stream is released, or left to others
        where it said DRAINING."""
        with contextlib.suppress(Exception):
            await self._call.done_writing()
            await asyncio.wait_for(self._call.code(), _CONNECT_TIMEOUT)
        self._call.cancel()

    def cancel(self):
        self._call.cancel()


class Lock:
    """A held lock. Made by Client.acquire() and Client.lock()."""

    def __init__(self, client, key, ttl, margin, stream, lease, made):
        self.key = key
        self.token = lease.token
        self.fencing_token = lease.fencing_token
        # Set when the lock is lost, or about to be: the work that it protects has to stop.
        self.lost = asyncio.Event()
        # Why it was lost, as an exception; None while it is held.
        self.loss = None
        self._client = client
        self._ttl = ttl
        self._margin = margin
        self._stream = stream
        self._valid_until = made + _seconds(lease.validity)
        self._released = False
        self._answers = {}
        self._keeper = asyncio.ensure_future(self._keep())
        client._locks.add(self)

    @property
    def validity(self):
        """For how many seconds the lock can be trusted if nothing is heard any more."""
        if self._released or self.lost.is_set():
            return 0.0
        return max(0.0, self._valid_until - time.monotonic())

    @property
    def held(self):
        return self.validity > 0

    async def extend(self, ttl):
        """Makes it last for `ttl` from now. The daemon extends it all the while anyhow."""
        result = await self._ask(_Stream.EXTEND, extend=pb.ExtendRequest(
            key=self.key, token=self.token, ttl=_duration(ttl)))
        if result.HasField("status"):
            raise _error_of(result.status)

    async def release(self):
        """Gives the lock back. Raises LockLost where it was lost before."""
        if self.lost.is_set():
            raise self.loss
        if self._released:
            return
        result = await self._ask(_Stream.RELEASE, release=pb.ReleaseRequest(
            key=self.key, token=self.token))
        self._released = True
        await self._end()
        if result.HasField("status"):
            raise _error_of(result.status)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        with contextlib.suppress(LockError):
            await self.release()

    async def _ask(self, kind, **operation):
        while not self.lost.is_set():
            answer = asyncio.get_running_loop().create_future()
            self._answers[kind] = answer
            with contextlib.suppress(_Broken):
                stream = self._stream
                if stream is not None:
                    await stream.send(kind, **operation)
            lost = asyncio.ensure_future(self.lost.wait())
            try:
                await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
            if answer.done() and not answer.cancelled():
                return answer.result()  # cancelled: over a new stream, once more
        raise self.loss

    async def _keep(self):
        """Reads events; takes the lock to another daemon when the stream breaks; tells its loss."""
        try:
            while not self._released:
                left = self._valid_until - self._margin - time.monotonic()
                if left <= 0:
                    raise make_error("VALIDITY_EXPIRED", "it could not be extended in time")
                try:
                    await asyncio.wait_for(self._step(), left)
                except asyncio.TimeoutError:
                    continue  # unless it was extended just now
        except LockError as error:
            self._lose(error)
        if not self._released:
            await self._end(keeper=True)

    async def _step(self):
        try:
            if self._stream is None:
                await self._take_along()
            message, made = await self._stream.read()
        except _Broken as broken:
            stream, self._stream = self._stream, None
            if stream is not None:
                if broken.orderly:
                    await stream.close()
                stream.cancel()
            for answer in self._answers.values():
                answer.cancel()
            self._client._next_endpoint()
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1))
            return
        for result in message.results:
            answer = self._answers.pop(result.id, None)
            if answer is not None and not answer.done():
                answer.set_result(result)
            if result.HasField("lease"):
                self._extended(result.lease, made)
        for event in message.events:
            if event.type == pb.EVENT_TYPE_EXTENDED:
                self._extended(event.lease, made)
            elif event.type == pb.EVENT_TYPE_LOST:
                raise make_error(event.reason, event.message)

    def _extended(self, lease, made):
        self._valid_until = max(self._valid_until, made + _seconds(lease.validity))

    async def _take_along(self):
        stream = self._client._stream()
        try:
            await stream.open()
            await stream.send(_Stream.ACQUIRE, acquire=pb.AcquireRequest(
                key=self.key, token=self.token, ttl=_duration(self._ttl), extend_if_held=True,
                retry=pb.RetryPolicy(max_retries=0)))
            while True:
                message, made = await stream.read()
                for result in message.results:
                    if result.id != _Stream.ACQUIRE:
                        continue
                    if result.HasField("status"):
                        error = _error_of(result.status)
                        if error.reason in ("LOCK_ALREADY_HELD", "LOCK_NOT_HELD"):
                            raise make_error("LOCK_NOT_HELD", f"another holder has the lock: {error}")
                        raise _Broken(error)
                    if result.lease.fencing_token != self.fencing_token:
                        raise make_error(
                            "LOCK_NOT_HELD", "it was let go before another daemon took it over")
                    self._extended(result.lease, made)
                    self._stream = stream
                    return
        finally:
            if self._stream is not stream:
                stream.cancel()  # and with it what was taken afresh

    def _lose(self, error):
        if self.lost.is_set() or self._released:
            return
        self.loss = make_error("LOCK_NOT_HELD", f"the lock was lost: {error}")
        self.lost.set()

    async def _end(self, keeper=False):
        self._client._locks.discard(self)
        if not keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


class Client:
    """Connects when it has to. `endpoints` ("host:port" or "unix:/path") are tried in turn.

    credentials: of grpc.ssl_channel_credentials(); None for no TLS.
    token: a bearer token, or a function that returns one.
    """

    def __init__(self, endpoints=("127.0.0.1:50051",), *, credentials=None, token=None):
        if isinstance(endpoints, str):
            endpoints = [endpoints]
        if not endpoints:
            raise ValueError("endpoints: there is none")
        self._endpoints = list(endpoints)
        self._credentials = credentials
        self._token = token
        self._channels = {}
        self._current = 0
        self._locks = set()

    async def acquire(self, key, *, ttl=30.0, wait=None, owner="", margin=None, on_queued=None):
        """A Lock. Waits for it as long as it takes, or `wait` seconds; 0 is a single try.

        margin: `lost` is set when no more than this is left of the validity; unset: a tenth of the
        TTL, at most 0.5. on_queued(position) hears how many are before it.
        """
        margin = min(ttl / 10, 0.5) if margin is None else margin
        deadline = None if wait is None or wait <= 0 else time.monotonic() + wait
        request = pb.AcquireRequest(key=key, ttl=_duration(ttl), owner=owner)
        if wait is not None and wait <= 0:
            request.retry.max_retries = 0
        failures, pause, was_there, last = 0, _PAUSE, False, None
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                if last is not None:
                    raise last
                raise make_error("DEADLINE_EXCEEDED", f"{key}: still held when the time was over")
            try:
                return await asyncio.wait_for(
                    self._acquire_once(key, request, ttl, margin, on_queued), left)
            except asyncio.TimeoutError:
                last = None
            except _Broken as broken:
                if broken.error.reason in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
                    raise broken.error from None
                last = broken.error if not broken.orderly else None
                was_there = was_there or broken.orderly
                failures += 1
                self._next_endpoint()
                everywhere = failures >= len(self._endpoints)
                if everywhere and not was_there and last is not None:
                    raise last from None
                if everywhere:
                    await asyncio.sleep(pause * random.uniform(0.5, 1))
                    pause = min(pause * 2, _LONGEST_PAUSE)
            except LockError as error:
                if error.reason != "OVERLOADED" or deadline is None and wait is not None:
                    raise
                await asyncio.sleep(max(error.retry_after or 0, _PAUSE))

    async def _acquire_once(self, key, request, ttl, margin, on_queued):
        stream = self._stream()
        kept = False
        try:
            await stream.open()
            await stream.send(_Stream.ACQUIRE, acquire=request)
            while True:
                message, made = await stream.read()
                for position in message.positions:
                    if on_queued is not None:
                        on_queued(position.position)
                for result in message.results:
                    if result.HasField("status"):
                        if result.status.reason == "DRAINING":
                            raise _Broken(_error_of(result.status), orderly=True)
                        raise _error_of(result.status)
                    lock = Lock(self, key, ttl, margin, stream, result.lease, made)
                    kept = True
                    return lock
        finally:
            if not kept:
                stream.cancel()  # the daemon gives up, or back

    @contextlib.asynccontextmanager
    async def lock(self, key, **options):
        """Holds the lock inside the block; options as for acquire(). Where the lock is lost, the
        block is cancelled, and LockLost raised."""
        lock = await self.acquire(key, **options)
        task = asyncio.current_task()

        async def watch():
            await lock.lost.wait()
            task.cancel()

        watcher = asyncio.ensure_future(watch())
        try:
            yield lock
        except asyncio.CancelledError:
            if lock.lost.is_set():
                raise lock.loss from None
            raise
        finally:
            watcher.cancel()
            with contextlib.suppress(LockError):
                await lock.release()
        if lock.lost.is_set():
            raise lock.loss

    async def close(self):
        """Releases all locks."""
        for lock in list(self._locks):
            lock._lose(make_error("CANCELLED", "the client was closed"))
            await lock._end()
        for channel, _ in self._channels.values():
            await channel.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        await self.close()

    def _stream(self):
        endpoint = self._endpoints[self._current]
        if endpoint not in self._channels:
            if self._credentials is None or endpoint.startswith("unix:"):
                channel = grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(
                    endpoint, self._credentials, options=_CHANNEL_OPTIONS)
            self._channels[endpoint] = channel, pb_grpc.LockServiceStub(channel)
        token = self._token() if callable(self._token) else self._token
        metadata = [("authorization", f"Bearer {token}")] if token else []
        return _Stream(self._channels[endpoint][1], endpoint, metadata)

    def _next_endpoint(self):
        self._current = (self._current + 1) % len(self._endpoints)
