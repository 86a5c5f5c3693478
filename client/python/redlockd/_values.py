"""The values that callers pass in and get: RetryPolicy, WatchItem, WatchEvent and Lease."""

import dataclasses
from typing import Any, List, Optional, Tuple

from ._arguments import Seconds, check_key, check_owner_token, check_seconds, check_slot, check_ttl, refuse
from ._clock import now
from ._keys import Key, Keys, names_of
from .errors import LockError

_MOST_RETRIES = 2**31 - 1
_MOST_ITEMS = 1000  # of a Watch; the default of the daemon's --max-items-per-stream
_SHORTEST_INTERVAL = 0.001


@dataclasses.dataclass(frozen=True)
class Lease:
    """A detached lock: a plain value. It outlives the process, and nobody extends it.

    (keys, token, shared, max_holders) is all that another process needs to extend, adopt or release it.
    The token is secret; repr() does not show it.

    key: for people; of several keys, their names with commas in between.
    keys: the keys that are locked together, in order; or the only one. Default: `key` alone.
    fencing_token: for the storage that the lock protects.
    valid_until: until when the lock can be trusted, on the clock of this machine that counts the time
    since its boot (time.CLOCK_BOOTTIME). Meaningless on another machine.
    shared: whether other holders may share the keys.
    max_holders, slot: the limit of a semaphore, and which of its slots is held; None if the key is a lock.
    """

    key: str
    token: str = dataclasses.field(repr=False)
    fencing_token: int
    valid_until: float = dataclasses.field(repr=False)
    keys: Tuple[str, ...] = dataclasses.field(default=(), repr=False)
    shared: bool = False
    max_holders: Optional[int] = None
    slot: Optional[int] = None

    def __post_init__(self) -> None:
        if not self.keys:
            object.__setattr__(self, "keys", (self.key,))

    @property
    def validity(self) -> float:
        """How many seconds the lock can still be trusted; 0 if no longer."""
        return float(max(0.0, self.valid_until - now()))

    @property
    def held(self) -> bool:
        return self.validity > 0


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """How the daemon retries an operation. Unset fields have the daemon's defaults.

    max_retries: the number of retries after the first attempt; -1 for no limit.
    min_delay: the least pause between attempts. max_jitter: the upper bound of a random pause that is
    added to it. Both are seconds or a timedelta.
    """

    max_retries: Optional[int] = None
    min_delay: Optional[Seconds] = None
    max_jitter: Optional[Seconds] = None


def check_retry(retry: Any) -> Optional[RetryPolicy]:
    if retry is None:
        return None
    if not isinstance(retry, RetryPolicy):
        refuse("retry", f"must be a RetryPolicy, not {type(retry).__name__}")
    most = retry.max_retries
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or not -1 <= most <= _MOST_RETRIES):
        refuse("retry.max_retries", f"is {most!r}; use an int from 0, or -1 for no limit")
    delay = None if retry.min_delay is None else check_seconds("retry.min_delay", retry.min_delay, 0)
    jitter = None if retry.max_jitter is None else check_seconds("retry.max_jitter", retry.max_jitter, 0)
    return RetryPolicy(most, delay, jitter)


@dataclasses.dataclass(frozen=True)
class WatchItem:
    """A lease that Client.watch() keeps alive: `token` holds `key`. Each extension sets `ttl`.

    key: a list or tuple of keys for a lease of several. The loss of one of them is the loss of the lease.
    interval: the pause between extensions, from 0.001 s and less than `ttl`. Default: half of `ttl`.
    shared: whether `token` shares the keys; as in the call that acquired them.
    max_holders: of a lease of a semaphore, its limit.
    slot: the lease is lost if `token` has another slot of the semaphore; None: any will do.
    """

    key: Keys
    token: str = dataclasses.field(repr=False)
    ttl: Seconds = 30.0
    interval: Optional[Seconds] = None
    shared: bool = False
    max_holders: Optional[int] = None
    slot: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class CheckedItem:
    key: Key
    token: str = dataclasses.field(repr=False)
    ttl: float
    interval: Optional[float]
    slot: Optional[int]


def check_items(items: Any) -> List[CheckedItem]:
    try:
        given = list(items)
    except TypeError:
        refuse("items", f"must be a list of WatchItem, not {type(items).__name__}")
    if not 1 <= len(given) <= _MOST_ITEMS:
        refuse("items", f"has {len(given)} items; use from 1 to {_MOST_ITEMS}")
    checked = []
    for item in given:
        if not isinstance(item, WatchItem):
            refuse("items", f"must be WatchItem objects, not {type(item).__name__}")
        ttl, interval = check_ttl(item.ttl), None
        if item.interval is not None:
            interval = check_seconds("interval", item.interval, _SHORTEST_INTERVAL)
            if interval >= ttl:
                refuse("interval", f"is {interval:g} s; use less than the TTL of {ttl:g} s")
        key = check_key(item.key, item.shared, item.max_holders)
        checked.append(CheckedItem(key, check_owner_token(item.token), ttl, interval, check_slot(item.slot, key)))
    if len({names_of(item.key) for item in checked}) < len(checked):
        refuse("items", "must have different keys")
    return checked


@dataclasses.dataclass(frozen=True)
class WatchEvent:
    """What a Watch reports.

    kind: one of
      "EXTENDED"       the lease was extended; `validity` is set
      "EXTEND_FAILED"  an extension failed; the daemon retries until the validity ends
      "LOST"           the lease is lost
      "FAILED"         the stream broke; the watch continues at the next daemon
      "CANCELLED"      the watch has ended; always the last event, exactly once
    key: of the lease, for people; of several keys, their names with commas in between. "" for FAILED and CANCELLED.
    keys: of the lease, in order; () for FAILED and CANCELLED.
    error: why, with its reason; None for EXTENDED.
    validity: for how many seconds the lease was valid when the daemon sent the event.
    shared: whether the lease shares its keys.
    max_holders, slot: as in the lease.
    """

    kind: str
    key: str = ""
    error: Optional[LockError] = None
    validity: float = 0.0
    keys: Tuple[str, ...] = ()
    shared: bool = False
    max_holders: Optional[int] = None
    slot: Optional[int] = None
