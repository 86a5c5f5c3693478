"""Drives the state machine over grpc.aio. A driver belongs to one event loop."""

import asyncio
import logging

import grpc
from redlock.v1 import lock_service_pb2_grpc as pb_grpc

from ._arguments import (check_endpoints, check_grace, check_key, check_margin, check_on_queued,
                         check_owner, check_token, check_ttl, check_wait)
from ._clock import now
from ._machine import Machine
from .errors import make_error

log = logging.getLogger("redlockd")
log.addHandler(logging.NullHandler())

_CHANNEL_OPTIONS = [
    # Each Session has its own connection, so that no Session inherits one that hangs.
    ("grpc.use_local_subchannel_pool", 1),
    # Daemons are on the local network; an HTTP proxy in the environment is for external hosts.
    ("grpc.enable_http_proxy", 0),
]
_DISCONNECT_TIMEOUT = 0.5
_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.INVALID_ARGUMENT)


class _Stream:
    def __init__(self, session):
        self.session = session
        self.wake = asyncio.Event()
        self.task = None


class Driver:
    """Runs one Machine. All methods must be called on the loop's thread, except checked()."""

    def __init__(self, endpoints, credentials, token, grace):
        self.machine = Machine(check_endpoints(endpoints), check_grace(grace), self)
        self._credentials = credentials
        self._token = token if callable(token) else check_token(token)
        self._streams = {}  # by Session; removed when the task has ended
        self._timer = None
        self._timer_at = None
        self._closed = None  # a future, once close() was called

    def checked(self, key, ttl, wait, owner, margin, on_queued):
        """Returns the arguments for acquire(). Raises InvalidArgument. Callable from any thread."""
        ttl = check_ttl(ttl)
        return (check_key(key), ttl, check_owner(owner), check_margin(margin, ttl, self.machine.grace),
                check_wait(wait), check_on_queued(on_queued))

    def acquire(self, arguments, on_done):
        """Starts an acquisition. on_done(lease, error) is called later, unless give_up() comes first."""
        if self._closed is not None:
            raise make_error("CANCELLED", "the client is closed; make a new one")
        key, ttl, owner, margin, wait, on_queued = arguments
        acquire = self.machine.acquire(key, ttl, owner, margin, wait, on_done, on_queued, now())
        self._settle()
        return acquire

    def give_up(self, acquire):
        self.machine.give_up(acquire, now())
        self._settle()

    def extend(self, lease, ttl, on_done):
        self.machine.extend(lease, ttl, on_done, now())
        self._settle()

    def release(self, lease, on_done):
        self.machine.release(lease, on_done, now())
        self._settle()

    async def close(self):
        """Closes the machine. Takes at most about 2 s."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self.machine.close(lambda: self._closed.set_result(None), now())
            self._settle()
        await asyncio.shield(self._closed)
        tasks = [stream.task for stream in self._streams.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_DISCONNECT_TIMEOUT)

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
            metadata = self._metadata()
        except Exception as error:
            return make_error(
                "UNAUTHENTICATED", f"{endpoint}: the token function raised {type(error).__name__}: {error}")
        channel = self._channel(endpoint)
        call = pb_grpc.LockServiceStub(channel).Session(metadata=metadata)
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
            reason = error.code().name if error.code() in _REFUSED else "UNREACHABLE"
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

    def _channel(self, endpoint):
        if self._credentials is None or endpoint.startswith("unix:"):
            return grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(endpoint, self._credentials, options=_CHANNEL_OPTIONS)

    def _metadata(self):
        token = check_token(self._token()) if callable(self._token) else self._token
        return [("authorization", f"Bearer {token}")] if token else []

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
