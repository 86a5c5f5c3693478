"""Checks the arguments of a call before anything is sent, so that an invalid value fails only that call."""

import datetime
import inspect
import os
import re
import socket
import sys
from typing import Any, Callable, List, NoReturn, Optional, Tuple, Union

from ._keys import Key, key_of_names, max_holders_of
from .errors import make_error

# A time: a number of seconds, or a timedelta.
Seconds = Union[float, datetime.timedelta]

_KEY_BYTES = 512
_MOST_KEYS = 64
_KEYS_BYTES = 8192  # together
_LEAST_HOLDERS = 2
_MOST_HOLDERS = 64
_OWNER_BYTES = 128
_TOKEN_BYTES = 128
_VALUE_BYTES = 4096
_SHORTEST_TTL = 0.01
_SHORTEST_GRACE = 0.1
_SHORTEST_KEEPING = 0.001
_LONGEST = 1e9  # seconds; the daemon's own bounds are far below it
_RESERVED = "redlockd:"
_LONGEST_DEFAULT_MARGIN = 0.5
# A wrong port, or none, is refused here; otherwise the client would only report that no daemon answers. Other
# forms of address are left to gRPC.
_HOST_PORT = re.compile(r"(?!unix:)(?:\[[^\]]*\]|[^:/]*):([0-9]+)")
_ADDRESS = re.compile(r"(?!https?://)(?!\[[^\]]*\]:?$|[^:]*:$)[^:]*:")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def refuse(field: str, problem: str) -> NoReturn:
    raise make_error("INVALID_ARGUMENT", f"{field}: {problem}")


def _text(field: str, value: Any, longest: int) -> str:
    if not isinstance(value, str):
        refuse(field, f"must be a str, not {type(value).__name__}")
    size = 0
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        refuse(field, "contains a lone surrogate, which cannot be encoded as UTF-8")
    if size > longest:
        refuse(field, f"has {size} bytes; use at most {longest}")
    return value


def check_seconds(field: str, value: Any, least: float) -> float:
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(field, f"must be a number of seconds or a timedelta, not {type(value).__name__}")
    if not -_LONGEST <= value <= _LONGEST:  # also NaN, and an int that is too large for a float
        shown = value if isinstance(value, float) else "too large"
        refuse(field, f"is {shown}; use a number of seconds up to {_LONGEST:g}")
    if value < least:
        refuse(field, f"is {value:g} s; use at least {least:g} s")
    return float(value)


def check_key(key: Any, shared: Any = False, max_holders: Any = None) -> Key:
    """A key, or several that are locked together, in either mode; or the key of a semaphore."""
    if not isinstance(shared, bool):
        refuse("shared", f"must be a bool, not {type(shared).__name__}")
    names = _names(key)
    if max_holders is not None:
        _check_number("max_holders", max_holders, _LEAST_HOLDERS, _MOST_HOLDERS)
        if len(names) > 1:
            refuse("max_holders", f"a semaphore has one key, not {len(names)}; acquire the keys one by one")
        if shared:
            refuse("max_holders", "cannot be combined with shared; pass one of them")
    return key_of_names(names, shared, max_holders)


def check_observed(key: Any) -> str:
    """The key of an observer."""
    names = _names(key)
    if len(names) != 1:
        refuse("key", f"names {len(names)} keys; observe them one by one")
    return names[0]


def check_slot(slot: Any, key: Key) -> Optional[int]:
    """The slot of the semaphore that a token holds; None: whichever it has, or the key is no semaphore."""
    if slot is None:
        return None
    most = max_holders_of(key)
    if most is None:
        refuse("slot", "only a semaphore has slots; pass its max_holders, too")
    _check_number("slot", slot, 1, most)
    return int(slot)


def _check_number(field: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(field, f"must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        refuse(field, f"is {value}; use from {least} to {most}")


def _names(key: Any) -> Tuple[str, ...]:
    if not isinstance(key, (list, tuple)):
        if not isinstance(key, str):
            refuse("key", f"must be a str, or a list or tuple of str, not {type(key).__name__}")
        return (_unreserved("key", key, _KEY_BYTES),)
    if not 1 <= len(key) <= _MOST_KEYS:
        refuse("key", f"names {len(key)} keys; use from 1 to {_MOST_KEYS}")
    names = tuple(_unreserved(f"key[{i}]", name, _KEY_BYTES) for i, name in enumerate(key))
    for i, name in enumerate(names):
        if name in names[:i]:
            refuse(f"key[{i}]", f'"{name}" is given twice; use different keys')
    size = sum(len(name.encode()) for name in names)
    if size > _KEYS_BYTES:
        refuse("key", f"the keys have {size} bytes together; use at most {_KEYS_BYTES}")
    return names


def check_owner_token(token: Any) -> str:
    return _unreserved("token", token, _TOKEN_BYTES)


def _unreserved(field: str, value: Any, most: int) -> str:
    """Never shows the value, which may be a token."""
    if _text(field, value, most) == "":
        refuse(field, "must not be empty")
    if value.startswith(_RESERVED):
        refuse(field, f'must not begin with "{_RESERVED}", which is reserved')
    return str.__str__(value)  # the text of an enum.Enum that is a str, not its name


def check_ttl(ttl: Any) -> float:
    return check_seconds("ttl", ttl, _SHORTEST_TTL)


def check_wait(wait: Any) -> Optional[float]:
    return None if wait is None else check_seconds("wait", wait, 0)


def check_timeout(timeout: Any) -> float:
    return check_seconds("timeout", timeout, 0)


def check_owner(owner: Any) -> str:
    return _text("owner", owner, _OWNER_BYTES)


def check_value(value: Any) -> str:
    return _text("value", value, _VALUE_BYTES)


def check_lock_delay(delay: Any) -> float:
    return check_seconds("lock_delay", delay, 0)


def check_keep_for(keep_for: Any) -> Optional[float]:
    return None if keep_for is None else check_seconds("keep_for", keep_for, _SHORTEST_KEEPING)


def default_owner() -> str:
    """HOST/PID/PROGRAM, for people who ask who holds a lock."""
    program = os.path.basename(sys.argv[0] if sys.argv and sys.argv[0] else sys.executable or "python")
    label = f"{socket.gethostname()}/{os.getpid()}/{program}"
    return label.encode("utf-8", "replace")[:_OWNER_BYTES].decode("utf-8", "ignore")


def check_grace(grace: Any) -> float:
    return check_seconds("grace", grace, _SHORTEST_GRACE)


def check_margin(margin: Any, ttl: float, grace: float) -> float:
    """The daemon extends a lock when about half of its TTL is left. A margin close to that would
    signal a loss before the extension arrives."""
    if margin is None:
        return min(ttl / 10, grace / 10, _LONGEST_DEFAULT_MARGIN)
    value = check_seconds("margin", margin, 0)
    longest = min(ttl, grace) / 3
    if value > longest:
        refuse("margin", f"is {value:g} s; use at most {longest:g} s (a third of the TTL or of the client's "
                          "grace, whichever is less)")
    return value


def check_callback(field: str, callback: Any) -> Optional[Callable[..., Any]]:
    if callback is not None and not callable(callback):
        refuse(field, f"must be callable, not {type(callback).__name__}")
    if inspect.iscoroutinefunction(callback):
        refuse(field, "must not be a coroutine function, because it is not awaited; let it start a task")
    return callback  # type: ignore[no-any-return]


def check_endpoints(endpoints: Any) -> List[str]:
    if isinstance(endpoints, str):
        endpoints = [endpoints]
    checked: List[str] = []
    try:
        checked = list(endpoints)
    except TypeError:
        refuse("endpoints", f"must be a list of addresses, not {type(endpoints).__name__}")
    if not checked:
        refuse("endpoints", 'none given; pass at least one address such as "127.0.0.1:50051"')
    for endpoint in checked:
        if not isinstance(endpoint, str) or not endpoint or _LONE_SURROGATE.search(endpoint):
            refuse("endpoints", f"{endpoint!r} is not an address such as \"127.0.0.1:50051\"")
        if not _ADDRESS.match(endpoint):
            refuse("endpoints", f"{endpoint!r} must be host:port or unix:/path")
        port = _HOST_PORT.fullmatch(endpoint)
        if port and not 1 <= int(port[1]) <= 65535:
            refuse("endpoints", f"{endpoint}: the port must be a number from 1 to 65535")
    return checked


def check_token(token: Any) -> Optional[str]:
    """Checks that an HTTP header can carry the bearer token."""
    if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        refuse("token", "must be a str of printable ASCII characters, or a function that returns one")
    return token
