"""Unary calls: what a caller does by key and token. A call moves through the endpoints."""

import asyncio
import logging
import random

import grpc

from ._clock import now
from ._connector import UNARY_OPTIONS, TokenFailed
from ._proto import pb
from ._wire import error_of_details
from .errors import make_error

log = logging.getLogger("redlockd")

_CONNECT_TIMEOUT = 2.0
_PAUSE = 0.05  # doubled
_LONGEST_PAUSE = 1.0
_CLOSE_PATIENCE = 2.0


class Round:
    """The attempts of one call: which endpoint is next, and how long to pause before it."""

    def __init__(self, endpoints, first):
        self._endpoints = endpoints
        self._next = first
        self.failed_in_turn = 0

    def endpoint(self):
        return self._endpoints[self._next]

    @property
    def all_failed(self):
        return self.failed_in_turn >= len(self._endpoints)

    def failed(self):
        self._next = (self._next + 1) % len(self._endpoints)
        self.failed_in_turn += 1

    def steady(self):
        self.failed_in_turn = 0

    async def pause(self, deadline, least=0.0):
        """Pauses once all endpoints have failed, up to the deadline."""
        beyond = self.failed_in_turn - len(self._endpoints)
        pause = least
        if beyond >= 0:
            pause = max(pause, min(_PAUSE * 2 ** min(beyond, 10), _LONGEST_PAUSE) * random.uniform(0.5, 1))
        await asyncio.sleep(max(0.0, min(pause, deadline - now())))


class Calls:
    def __init__(self, endpoints, connector):
        self._endpoints = endpoints
        self._connector = connector
        self._channels = {}  # by endpoint
        self._tasks = set()
        self._last_connected = 0  # an index of _endpoints

    def round(self):
        return Round(self._endpoints, self._last_connected)

    @property
    def endpoints(self):
        return len(self._endpoints)

    async def unary(self, endpoint, name, request, key, timeout, on_sent=None, late="UNREACHABLE"):
        """Makes one call. Raises a LockError; its reason is UNREACHABLE if the daemon was not reached.

        on_sent() is called before the first byte of the request is sent. late: the reason if the daemon was
        reached and has not answered in time.
        """
        return await self._call(endpoint, name, request, key, timeout, on_sent, late)

    async def open_stream(self, endpoint, name, request, key):
        """Opens a call that streams its responses."""
        return await self._call(endpoint, name, request, key, _CONNECT_TIMEOUT, None, None)

    async def _call(self, endpoint, name, request, key, timeout, on_sent, late):
        until = now() + timeout
        metadata = await self._metadata(endpoint, key, timeout)
        channel = await self._connected(endpoint, key, until - now())
        if on_sent is not None:
            on_sent()
        stream = late is None
        make = channel.unary_stream if stream else channel.unary_unary
        method = make(f"/redlock.v1.LockService/{name}",
                      request_serializer=getattr(pb, name + "Request").SerializeToString,
                      response_deserializer=getattr(pb, name + "Response").FromString)
        if stream:
            return method(request, metadata=metadata)
        remaining = until - now()
        try:
            return await method(request, metadata=metadata, timeout=None if remaining > 1e8 else max(0.0, remaining))
        except grpc.RpcError as error:
            raise self.error(endpoint, error, key, late) from None

    def error(self, endpoint, error, key, late="UNREACHABLE"):
        """The LockError of a call that has failed."""
        details = next((value for name, value in error.trailing_metadata() or ()
                        if name == "grpc-status-details-bin"), None)
        answered = error_of_details(details, error.details(), key)
        if answered is not None:
            return answered
        code = error.code()
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
                    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED):
            return make_error(code.name, f"{key}: {endpoint}: {error.details()}")
        reason = late if code is grpc.StatusCode.DEADLINE_EXCEEDED else "UNREACHABLE"
        return make_error(reason, f"{key}: {endpoint}: {error.details()}")

    async def _metadata(self, endpoint, key, timeout):
        if not self._connector.asks:
            return await self._connector.metadata()
        asking = asyncio.ensure_future(self._connector.metadata())
        try:
            await asyncio.wait([asking], timeout=None if timeout > 1e8 else timeout)
        finally:
            in_time = asking.done()
            asking.cancel()
        if not in_time:
            raise make_error("UNREACHABLE", f"{key}: {endpoint}: the token function did not return in time")
        try:
            return asking.result()
        except TokenFailed as error:
            raise make_error("UNAUTHENTICATED", f"{key}: {endpoint}: {error}") from None

    async def _connected(self, endpoint, key, timeout):
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = self._connector.channel(endpoint, UNARY_OPTIONS)
        ready = asyncio.ensure_future(_ready(channel))
        try:
            # Not wait_for(): before Python 3.12, it may ignore that its caller is cancelled.
            await asyncio.wait([ready], timeout=min(timeout, _CONNECT_TIMEOUT))
        finally:
            in_time = ready.done()
            ready.cancel()
        if not in_time:
            raise make_error("UNREACHABLE", f"{key}: {endpoint}: not connected in time")
        if not ready.result():
            raise make_error("UNREACHABLE", f"{key}: {endpoint}: the connection failed")
        self._last_connected = self._endpoints.index(endpoint)
        return channel

    def start(self, coroutine):
        """Runs the coroutine in the background, until it is done or the client closes."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("unexpected error in the background", exc_info=task.exception())

    async def close(self, linger):
        """Waits for what runs in the background: up to 2 s, and lets it go on for up to `linger` more."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_PATIENCE)
        if self._tasks and linger > 0:
            asyncio.ensure_future(self._end(linger))
        else:
            await self._end(0.0)

    async def _end(self, linger):
        if self._tasks and linger > 0:
            await asyncio.wait(set(self._tasks), timeout=linger)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(channel.close() for channel in self._channels.values()),
                             return_exceptions=True)
        self._channels.clear()


async def _ready(channel):
    """Waits for the connection. Returns False if it failed."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            return False
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
    return True
