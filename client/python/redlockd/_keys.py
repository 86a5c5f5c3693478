"""The keys of a lock: one, or several that are locked together; and whether it shares them."""

import dataclasses
from typing import Any, List, Tuple, Union

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


# What a lock locks.
Key = Union[str, Together, Share]


def is_shared(key: Key) -> bool:
    return isinstance(key, Share)


def names_of(key: Key) -> Tuple[str, ...]:
    if isinstance(key, Share):
        key = key.key
    return (key,) if isinstance(key, str) else tuple(key)


def key_of_names(names: Tuple[str, ...], shared: bool = False) -> Key:
    """The key of one or more different names. Their order does not matter."""
    key = names[0] if len(names) == 1 else Together(sorted(names))
    return Share(key) if shared else key


def key_of(message: Any) -> Key:
    """Reads the key of a message with the fields `key`, `keys` and `mode`."""
    return key_of_names(tuple(message.keys) or (message.key,), message.mode == pb.LOCK_MODE_SHARED)


def set_key(message: Any, key: Key) -> None:
    """Writes the key into a message with the fields `key` and `keys`."""
    names = names_of(key)
    if len(names) == 1:
        message.key = names[0]
    else:
        message.keys.extend(names)


def set_claim(message: Any, key: Key) -> None:
    """Like set_key(), for a message that also has the field `mode`."""
    set_key(message, key)
    if is_shared(key):
        message.mode = pb.LOCK_MODE_SHARED
