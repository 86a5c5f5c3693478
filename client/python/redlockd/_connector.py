"""Connections to daemons, with the credentials of a client."""

import asyncio
import inspect

import grpc
import grpc.aio

from ._arguments import check_token, refuse

_OPTIONS = [
    # A proxy in the environment (http_proxy) is for websites. It may not reach the daemon, or may end
    # streams that stay open.
    ("grpc.enable_http_proxy", 0),
    # Each Session has its own connection, so that no Session inherits one that hangs.
    ("grpc.use_local_subchannel_pool", 1),
]
# Calls that share a connection. A call that waits for a lock must notice that its daemon is gone; the
# daemon allows a ping a second. The pauses between attempts are those of the calls.
UNARY_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # how long an attempt may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),  # no limit
]
REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


class TokenFailed(Exception):
    """The client's token function raised an exception, or returned what no header can carry."""


class Connector:
    def __init__(self, credentials, token):
        if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
            refuse("credentials", "must be of grpc.ssl_channel_credentials(…) or None, not "
                                  f"{type(credentials).__name__}")
        self._credentials = credentials
        self._token = token if callable(token) else check_token(token)
        self.asks = callable(token)  # metadata() calls the user's function, which may wait

    def channel(self, endpoint, more=()):
        options = [*_OPTIONS, *more]
        if self._credentials is None or endpoint.startswith("unix:"):
            return grpc.aio.insecure_channel(endpoint, options=options)
        return grpc.aio.secure_channel(endpoint, self._credentials, options=options)

    async def metadata(self):
        token = self._token
        if callable(token):
            try:
                token = token()
                if inspect.isawaitable(token):
                    token = await token
                token = check_token(token)
            except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
                raise
            except BaseException as error:  # SystemExit would end the loop that serves all clients
                raise TokenFailed(f"the token function raised {type(error).__name__}: {error}") from error
        return [("authorization", f"Bearer {token}")] if token else []
