"""Drives the state machine over grpc.aio. A driver belongs to one event loop."""

import asyncio
import logging
import os

import grpc
import grpc.aio

from . import _requests
from ._arguments import check_endpoints, check_grace, check_owner, default_owner
from ._calls import Calls
from ._clock import now
from ._connector import REFUSALS, Connector, TokenFailed
from ._detached import Detached
from ._environment import Process
from ._machine import Machine
from ._observing import Observing
from ._proto import pb
from ._watching import Watching
from .errors import make_error

log = logging.getLogger("redlockd")
log.addHandler(logging.NullHandler())

_DISCONNECT_TIMEOUT = 0.5
_SETTLE_TIME = 0.01


class _Stream:
    def __init__(self, session):
        self.session = session
        self.wake = asyncio.Event()
        self.task = None


class Driver:
    """Runs one Machine. All methods must be called on the loop's thread, except request() and check_use().

    linger: how long a close that was not answered continues in the background, in seconds.
    """

    def __init__(self, endpoints, credentials, token, grace, owner, linger):
        endpoints = check_endpoints(endpoints)
        self.machine = Machine(endpoints, check_grace(grace), self)
        self.process = Process()
        self._connector = Connector(credentials, token)
        self._calls = Calls(endpoints, self._connector)
        self.detached = Detached(self._calls)
        self._followed = set()  # what has a stream of its own: watches and observers
        self._owner = None if owner is None else check_owner(owner)
        self._default_owner = 0, ""  # with the process that it names
        self._linger = linger
        self._loop = None
        self._streams = {}  # by Session; removed when the task has ended
        self._timer = None
        self._timer_at = None
        self._closed = None  # a task, once close() was called

    def request(self, way, key, **options):
        """Returns a Request. Raises InvalidArgument. Callable from any thread."""
        return _requests.checked(way, self.machine.grace, self.owner, key, **options)

    @property
    def owner(self):
        if self._owner is not None:
            return self._owner
        pid = os.getpid()
        if self._default_owner[0] != pid:
            self._default_owner = pid, default_owner()
        return self._default_owner[1]

    def check_use(self):
        """To be called on the loop's thread before anything is sent."""
        self._check_loop()
        if self._closed is not None:
            raise make_error("CANCELLED", "the client is closed; make a new one")

    def _check_loop(self):
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if loop is not self._loop:
            raise RuntimeError("redlockd: this client belongs to another event loop; make a client in each loop")

    def acquire(self, request, on_done):
        """Starts what the request asks for. on_done(lease, error) is called later, unless give_up() comes first."""
        self.check_use()
        acquire = self.machine.acquire(request, on_done, now())
        self._settle()
        return acquire

    def give_up(self, acquire):
        self.machine.give_up(acquire, now())
        self._settle()

    def downgrade(self, lease, on_done):
        """Like acquire(), but downgrades the lease to a share. Returns None if on_done() was called."""
        self._check_loop()
        acquire = self.machine.downgrade(lease, on_done, now())
        self._settle()
        return acquire

    def extend(self, lease, ttl, retry, on_done):
        self._check_loop()
        self.machine.extend(lease, ttl, retry, on_done)
        self._settle()

    def release(self, lease, keep_for, on_done):
        self._check_loop()
        self.machine.release(lease, on_done, now(), keep_for)
        self._settle()

    def release_unseen(self, lease):
        """Gives back a lock whose caller has gone."""
        if lease is not None:
            self.machine.release_unseen(lease, now())
            self._settle()

    def watch(self, items, on_event, keep_watching_after_loss):
        self.check_use()
        watching = Watching(self._calls, items, on_event, keep_watching_after_loss)
        self._followed = {other for other in self._followed if not other.ended} | {watching}
        return watching

    def observe(self, key, on_change=None):
        self.check_use()
        observing = Observing(self._calls, key, on_change)
        self._followed = {other for other in self._followed if not other.ended} | {observing}
        return observing

    async def leader(self, key, timeout):
        """The first state of the key that is HELD or VACANT."""
        return await self.observe(key).first_decided(timeout)

    async def proclaim(self, lease, value):
        self._check_loop()
        await self.detached.proclaim_held(lease, value)

    async def inspect(self, key):
        """Whether a quorum of nodes holds the key, or one of several, for whomever."""
        self.check_use()
        return await self.detached.inspect(key)

    async def close(self):
        """Closes the machine. Takes at most about 2 s. Goes on if the caller is cancelled, for example because the
        close has ended the lock of its block."""
        self._check_loop()
        if self._closed is None:
            closed = self._loop.create_future()
            self._closed = asyncio.ensure_future(self._end(closed))
            self.machine.close(lambda: closed.set_result(None), self._linger, now())
            self._settle()
        await asyncio.shield(self._closed)

    async def _end(self, closed):
        followed, self._followed = self._followed, set()
        await asyncio.gather(self.detached.close(), *(one.close() for one in followed))
        await asyncio.gather(closed, self._calls.close(self._linger))
        tasks = [stream.task for stream in self._streams.values()]
        if tasks and self.machine.closed:
            await asyncio.wait(tasks, timeout=_DISCONNECT_TIMEOUT)
        # gRPC still reports the ends of its calls to this loop. If the loop is closed by then, gRPC prints errors.
        await asyncio.sleep(_SETTLE_TIME)

    # The machine's transport.

    def open(self, session):
        stream = self._streams[session] = _Stream(session)
        stream.task = asyncio.ensure_future(self._serve(stream))

    def cancel(self, session):
        stream = self._streams.get(session)  # None: the stream has already ended
        if stream is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()

    async def _serve(self, stream):
        try:
            error = await self._read_all(stream)
        except asyncio.CancelledError:
            return  # abandoned
        finally:
            del self._streams[stream.session]
        if error is not None:
            self.machine.on_broken(stream.session, error, now())
            self._settle()

    async def _read_all(self, stream):
        """Returns why the stream ended; None if it was abandoned."""
        endpoint = stream.session.endpoint
        try:
            metadata = await self._connector.metadata()
        except TokenFailed as error:
            return make_error("UNAUTHENTICATED", f"{endpoint}: {error}")
        channel = self._connector.channel(endpoint)
        open_session = channel.stream_stream(
            "/redlock.v1.LockService/Session", request_serializer=pb.SessionRequest.SerializeToString,
            response_deserializer=pb.SessionResponse.FromString)
        call = open_session(metadata=metadata)
        writer = asyncio.ensure_future(self._write_all(stream, call))
        try:
            while stream.session is self.machine.session:
                message = await call.read()
                if message is grpc.aio.EOF:
                    return make_error("UNREACHABLE", f"{endpoint}: the daemon closed the stream")
                self.machine.on_message(stream.session, message, now())
                self._settle()
            return None  # abandoned
        except grpc.RpcError as error:
            reason = error.code().name if error.code() in REFUSALS else "UNREACHABLE"
            return make_error(reason, f"{endpoint}: {error.details()}")
        except Exception as error:
            if stream.session is not self.machine.session:
                return None  # the exception of a cancelled read depends on the version of gRPC
            log.exception("%s: unexpected error in the Session", endpoint)
            return make_error("UNREACHABLE", f"{endpoint}: {type(error).__name__}: {error}")
        finally:
            call.cancel()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await channel.close()

    async def _write_all(self, stream, call):
        try:
            while True:
                message = stream.session.next_message(now())
                if message is None:
                    stream.wake.clear()
                    await stream.wake.wait()
                    continue
                await call.write(message)
                stream.session.on_written()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the reader reports the error

    # After every input.

    def _settle(self):
        session = self.machine.session
        if session in self._streams and session.has_message:
            self._streams[session].wake.set()
        self._schedule()

    def _schedule(self):
        """Sets the timer. Sleeps are bounded, because the loop's clock stops during a suspend."""
        if self.machine.closed:
            if self._timer is not None:
                self._timer.cancel()
            return
        current = now()
        due = min(self.machine.due, current + self.machine.longest_sleep)
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - current), self._poll)

    def _poll(self):
        self._timer = None
        current = now()
        self.machine.poll(current, max(0.0, current - self._timer_at))
        self._settle()
