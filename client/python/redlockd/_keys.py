"""The keys of a lock: one, or several that are locked together; and whether it shares them, or has a slot of one."""

import dataclasses
from typing import Any, List, Optional, Tuple, Union

from ._proto import pb

# What callers pass.
Keys = Union[str, List[str], Tuple[str, ...]]


class Together(Tuple[str, ...]):
    """Several keys, in order. Everything but the messages of the gRPC API treats them as one key."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(self)


@dataclasses.dataclass(frozen=True)
class Share:
    """A key in shared mode. Everything but the messages of the gRPC API treats it as another key."""

    key: Union[str, Together]

    def __str__(self) -> str:
        return str(self.key)


@dataclasses.dataclass(frozen=True)
class Semaphore:
    """A key that several holders have at a time. Everything but the messages of the gRPC API treats it as another key.
    The slot belongs to the lease."""

    key: str
    max_holders: int

    def __str__(self) -> str:
        return self.key


# What a lock locks.
Key = Union[str, Together, Share, Semaphore]


def is_shared(key: Key) -> bool:
    return isinstance(key, Share)


def max_holders_of(key: Key) -> Optional[int]:
    """The limit of a semaphore; None for a lock."""
    return key.max_holders if isinstance(key, Semaphore) else None


def names_of(key: Key) -> Tuple[str, ...]:
    if isinstance(key, (Share, Semaphore)):
        key = key.key
    return (key,) if isinstance(key, str) else tuple(key)


def kind_text(key: Key) -> str:
    """What repr() shows of a key that is not held exclusively."""
    if isinstance(key, Semaphore):
        return f" max_holders={key.max_holders}"
    return " shared=True" if is_shared(key) else ""


def key_of_names(names: Tuple[str, ...], shared: bool = False, max_holders: Optional[int] = None) -> Key:
    """The key of one or more different names. Their order does not matter."""
    if max_holders is not None:
        return Semaphore(names[0], max_holders)
    key = names[0] if len(names) == 1 else Together(sorted(names))
    return Share(key) if shared else key


def key_of(message: Any) -> Key:
    """Reads the key of a message with the fields `key`, `keys`, `mode` and `max_holders`."""
    return key_of_names(tuple(message.keys) or (message.key,), message.mode == pb.LOCK_MODE_SHARED,
                        message.max_holders or None)


def slot_of(message: Any) -> Optional[int]:
    """Reads the slot of a lease or an event; None if its key is no semaphore."""
    return message.slot or None


def set_key(message: Any, key: Key) -> None:
    """Writes the key into a message with the fields `key` and `keys`."""
    names = names_of(key)
    if len(names) == 1:
        message.key = names[0]
    else:
        message.keys.extend(names)


def set_claim(message: Any, key: Key, slot: Optional[int] = None) -> None:
    """Like set_key(), for a message that also has the fields `mode` and `max_holders`. slot: of a lease of a semaphore,
    for a message that names it. Without it, such a message is about the slot that the token has."""
    set_key(message, key)
    if is_shared(key):
        message.mode = pb.LOCK_MODE_SHARED
    if isinstance(key, Semaphore):
        message.max_holders = key.max_holders
        if slot is not None:
            message.slot = slot
