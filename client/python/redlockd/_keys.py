"""The keys of a lock: one, or several that are locked together."""

from typing import Any, List, Tuple, Union

# What callers pass.
Keys = Union[str, List[str], Tuple[str, ...]]


class Together(Tuple[str, ...]):
    """Several keys, in order. Everything but the messages of the gRPC API treats them as one key."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(self)


# What a lock locks.
Key = Union[str, Together]


def names_of(key: Key) -> Tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)


def key_of_names(names: Tuple[str, ...]) -> Key:
    """The key of one or more different names. Their order does not matter."""
    return names[0] if len(names) == 1 else Together(sorted(names))


def key_of(message: Any) -> Key:
    """Reads the key of a message with the fields `key` and `keys`."""
    return key_of_names(tuple(message.keys) or (message.key,))


def set_key(message: Any, key: Key) -> None:
    """Writes the key into a message with the fields `key` and `keys`."""
    if isinstance(key, str):
        message.key = key
    else:
        message.keys.extend(key)
