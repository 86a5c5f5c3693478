"""What a caller asks for when it wants a lock, with checked arguments."""

import dataclasses
from typing import Any, Callable, Optional, Tuple

from ._arguments import (check_callback, check_key, check_lock_delay, check_margin, check_owner, check_owner_token,
                         check_slot, check_timeout, check_ttl, check_value, check_wait, refuse)
from ._attempts import Way
from ._keys import Key
from ._values import RetryPolicy, check_retry


@dataclasses.dataclass(frozen=True)
class Request:
    way: Way
    key: Key
    slot: Optional[int]
    ttl: float
    wait: Optional[float]
    owner: str
    margin: float
    token: Optional[str]
    retry: Optional[RetryPolicy]
    on_queued: Optional[Callable[..., Any]]
    value: str
    lock_delay: float


def checked(way: Way, grace: float, default_owner: str, key: Any, *, ttl: Any = 30.0, wait: Any = None,
            owner: Any = None, margin: Any = None, token: Any = None, retry: Any = None,
            on_queued: Any = None, shared: Any = False, max_holders: Any = None, slot: Any = None, value: Any = "",
            lock_delay: Any = 0) -> Request:
    """Raises InvalidArgument."""
    ttl = check_ttl(ttl)
    checked_key = check_key(key, shared, max_holders)
    if way is Way.ADOPT:
        slot = check_slot(slot, checked_key)
    elif slot is not None:
        refuse("slot", "an acquisition gets a free slot and cannot choose one")
    return Request(
        way, checked_key, slot, ttl, check_wait(wait), default_owner if owner is None else check_owner(owner),
        check_margin(margin, ttl, grace),
        None if token is None and way is Way.ACQUIRE else check_owner_token(token),
        check_retry(retry), check_callback("on_queued", on_queued), check_value(value), check_lock_delay(lock_delay))


def extension(key: Any, token: Any, ttl: Any, retry: Any, timeout: Any, shared: Any, max_holders: Any,
              slot: Any) -> Tuple[Any, ...]:
    """The arguments of Detached.extend(). Raises InvalidArgument."""
    checked_key = check_key(key, shared, max_holders)
    return (checked_key, check_slot(slot, checked_key), check_owner_token(token), check_ttl(ttl), check_retry(retry),
            check_timeout(timeout))
