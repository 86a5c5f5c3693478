"""Checks the arguments of a call before anything is sent, so that an invalid value fails only that call."""

import math
import re

from .errors import make_error

_KEY_BYTES = 512
_OWNER_BYTES = 128
_SHORTEST_TTL = 0.01
_SHORTEST_GRACE = 0.1
_LONGEST = 1e9  # seconds; the daemon's own bounds are far below it
_RESERVED = "redlockd:"
_LONGEST_DEFAULT_MARGIN = 0.5
# A wrong port is refused here; otherwise the client would only report that no daemon answers. Other
# forms of address are left to gRPC.
_HOST_PORT = re.compile(r"(?!unix:)(?:\[[^\]]*\]|[^:/]*):([0-9]+)")


def _refuse(field, problem):
    raise make_error("INVALID_ARGUMENT", f"{field}: {problem}")


def _text(field, value, longest):
    if not isinstance(value, str):
        _refuse(field, f"must be a str, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        _refuse(field, "contains a lone surrogate, which cannot be encoded as UTF-8")
    if size > longest:
        _refuse(field, f"has {size} bytes; use at most {longest}")
    return value


def _seconds(field, value, least):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(field, f"must be a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value) or value > _LONGEST:
        _refuse(field, f"is {value}; use a number of seconds up to {_LONGEST:g}")
    if value < least:
        _refuse(field, f"is {value:g} s; use at least {least:g} s")
    return float(value)


def check_key(key):
    if _text("key", key, _KEY_BYTES) == "":
        _refuse("key", "must not be empty")
    if key.startswith(_RESERVED):
        _refuse("key", f'must not begin with "{_RESERVED}", which is reserved')
    return key


def check_ttl(ttl):
    return _seconds("ttl", ttl, _SHORTEST_TTL)


def check_wait(wait):
    return None if wait is None else _seconds("wait", wait, 0)


def check_owner(owner):
    return _text("owner", owner, _OWNER_BYTES)


def check_grace(grace):
    return _seconds("grace", grace, _SHORTEST_GRACE)


def check_margin(margin, ttl, grace):
    """The daemon extends a lock when about half of its TTL is left. A margin close to that would
    signal a loss before the extension arrives."""
    if margin is None:
        return min(ttl / 10, grace / 10, _LONGEST_DEFAULT_MARGIN)
    longest = min(ttl, grace) / 3
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= longest:
        shown = f"{margin:g} s" if isinstance(margin, (int, float)) else repr(margin)
        _refuse("margin", f"must be from 0 to {longest:g} s (a third of the TTL or of the client's grace, "
                          f"whichever is less), not {shown}")
    return float(margin)


def check_on_queued(on_queued):
    if on_queued is not None and not callable(on_queued):
        _refuse("on_queued", f"must be callable, not {type(on_queued).__name__}")
    return on_queued


def check_endpoints(endpoints):
    if isinstance(endpoints, str):
        endpoints = [endpoints]
    try:
        endpoints = list(endpoints)
    except TypeError:
        _refuse("endpoints", f"must be a list of addresses, not {type(endpoints).__name__}")
    if not endpoints:
        _refuse("endpoints", 'none given; pass at least one address such as "127.0.0.1:50051"')
    for endpoint in endpoints:
        if not isinstance(endpoint, str) or not endpoint:
            _refuse("endpoints", f"{endpoint!r} is not an address such as \"127.0.0.1:50051\"")
        port = _HOST_PORT.fullmatch(endpoint)
        if port and not 1 <= int(port[1]) <= 65535:
            _refuse("endpoints", f"{endpoint}: the port must be a number from 1 to 65535")
    return endpoints


def check_token(token):
    """Checks that an HTTP header can carry the bearer token."""
    if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        _refuse("token", "must be a str of printable ASCII characters, or a function that returns one")
    return token
