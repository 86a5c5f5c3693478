"""What an observer reports: KeyState and Holder."""

import dataclasses
from typing import Any, Optional, Tuple

from ._proto import pb
from ._wire import seconds

_STATES = {pb.HOLDER_STATE_HELD: "HELD", pb.HOLDER_STATE_VACANT: "VACANT"}  # others: UNDECIDED


@dataclasses.dataclass(frozen=True)
class Holder:
    """One of the holders of a key.

    owner: its label, for people.
    identity, peer: who it is, if the daemon that acquired the lock knows callers, and its address.
    daemon: the daemon that acquired the lock.
    fencing_token: the one of its lock.
    slot: which slot of the semaphore it has; None if the key is a lock.
    held_for: for how many seconds it has held the lock; None if that is unknown.
    remaining: after how many seconds the lock expires unless it is extended.
    value: what it publishes.
    """

    owner: str = ""
    identity: str = ""
    peer: str = ""
    daemon: str = ""
    fencing_token: int = 0
    slot: Optional[int] = None
    held_for: Optional[float] = None
    remaining: Optional[float] = None
    value: str = ""


@dataclasses.dataclass(frozen=True)
class KeyState:
    """Who holds a key, as an observer reports it.

    state: one of
      "HELD"       a quorum of nodes names the same holder with the same fencing token
      "VACANT"     a quorum of nodes has no holder
      "UNDECIDED"  neither is known at present; the key may be held
    The other fields are those of "HELD", if not stated otherwise.
    holders: the number of holders; more than 1 only if they share the key, or if it is a semaphore.
    owner, value: the label of the exclusive holder, and what it publishes.
    fencing_token: the one of the holder; of several, the highest, and of those that were reported before. 0 if there
    is no holder.
    held_for: for how many seconds the exclusive holder has held the key; None if that is unknown.
    remaining: after how many seconds the lock expires unless it is extended. Extensions are not reported.
    held_by: the holders, in the order of their fencing tokens.
    shared: whether the holders share the key.
    max_holders: the limit of the semaphore; None if the key is a lock.
    kept_for: of "VACANT": for how many seconds nobody will be granted the key, because of a keep_for or a lock_delay;
    None if it is free.
    message: of "UNDECIDED": why, for people.
    """

    state: str
    holders: int = 0
    owner: str = ""
    value: str = ""
    fencing_token: int = 0
    held_for: Optional[float] = None
    remaining: Optional[float] = None
    held_by: Tuple[Holder, ...] = ()
    shared: bool = False
    max_holders: Optional[int] = None
    kept_for: Optional[float] = None
    message: str = ""

    def _same_as(self, other: Optional["KeyState"]) -> bool:
        """Whether the other state says the same. Times and explanations may differ."""
        return other is not None and self._facts() == other._facts()

    def _facts(self) -> Tuple[Any, ...]:
        return (self.state, self.holders, self.owner, self.value, self.fencing_token, self.shared, self.max_holders,
                self.kept_for is None, [(by.fencing_token, by.slot, by.owner, by.value) for by in self.held_by])


def key_state(message: Any) -> KeyState:
    """The state in an ObserveResponse."""
    return KeyState(
        _STATES.get(message.state, "UNDECIDED"), message.holders, message.owner, message.value, message.fencing_token,
        _seconds(message, "held_for"), _seconds(message, "remaining"), tuple(map(_holder, message.held_by)),
        message.mode == pb.LOCK_MODE_SHARED, message.max_holders or None, _seconds(message, "kept_for"),
        message.message)


def _holder(message: Any) -> Holder:
    return Holder(message.owner, message.identity, message.peer, message.daemon, message.fencing_token,
                  message.slot or None, _seconds(message, "held_for"), _seconds(message, "remaining"), message.value)


def _seconds(message: Any, field: str) -> Optional[float]:
    return seconds(getattr(message, field)) if message.HasField(field) else None
