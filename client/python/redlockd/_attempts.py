"""The operations by which a client comes to hold a lock: one of them on one Session is an attempt."""

import enum
import os

from ._keys import set_claim
from ._operations import Operation
from ._wire import set_duration, set_published, set_retry


_MADE = "rl-"


def make_token():
    return _MADE + os.urandom(16).hex()


def is_made_token(token):
    """Whether a client or a daemon has made the token, so that it is never used for another lock."""
    return token.startswith(_MADE)


class Phase(enum.Enum):
    """What a request sends next."""

    ACQUIRE = 1
    EXTEND = 2  # finds out whether the token holds the key, and the fencing token of the lease that is to be adopted
    ADOPT = 3


class Way(enum.Enum):
    """What a caller asks for."""

    ACQUIRE = 1
    ACQUIRE_OR_EXTEND = 2  # begins as ADOPT, and continues as ACQUIRE if the token does not hold the key
    ADOPT = 3


class Attempt(Operation):
    """One operation on one Session. An acquire without a token of the caller has a new one each time."""

    __slots__ = ("_acquires", "acquire", "phase", "key", "token", "callers_token", "ttl", "lock_delay",
                 "patience", "leaves_lock", "left_to_close", "spared_until", "deferred")

    def __init__(self, acquires, acquire):
        self._acquires = acquires
        self.acquire = acquire  # None: given up
        self.phase = acquire.phase
        self.key = acquire.key
        self.token = acquire.token or make_token()
        self.ttl = acquire.ttl
        self.lock_delay = acquire.lock_delay
        self.patience = None
        # Whether the caller may use it again: not after a failed downgrade, which the nodes may still carry out.
        self.callers_token = acquire.callers_token and acquire.exclusive is None
        # Whether the lock must be given back if nobody hears the answer.
        self.leaves_lock = False
        self.left_to_close = False  # the close of the client releases its lock
        self.spared_until = 0.0  # if nobody hears the answer: as in Acquire
        self.deferred = []  # later calls with the token, which wait until this one is over

    def wanted(self, session):
        return self.acquire is not None

    def fill(self, message):
        acquire = self.acquire
        if self.phase is Phase.ADOPT:
            acquire.sequence += 1
            request = message.adopt
            request.sequence = acquire.sequence
        else:
            acquire.sendings += 1
            request = message.extend if self.phase is Phase.EXTEND else message.acquire
            set_retry(request, acquire.retry)
            if acquire.single or self.phase is Phase.EXTEND:  # the client repeats an extension itself
                request.retry.max_retries = 0
        set_claim(request, self.key, None if self.is_acquire else acquire.slot)
        request.token = self.token
        set_duration(request.ttl, self.ttl)
        if acquire.exclusive is not None:
            request.downgrade_from = acquire.exclusive.fencing_token
        if self.is_acquire:
            request.owner = acquire.owner
            set_published(request, acquire)
            request.extend_if_held = acquire.undecided

    @property
    def is_acquire(self):
        return self.phase is Phase.ACQUIRE

    @property
    def gives_back(self):
        """Whether a caller who gives up may leave a lock of its token behind."""
        return self.callers_token and self.phase is not Phase.EXTEND

    def on_result(self, result, session, valid_until, now):
        if self.patience is not None:
            self.patience.cancel()
        if self.acquire is None:
            # A late answer. An extension keeps nothing alive.
            if self.leaves_lock or (valid_until is not None and self.phase is not Phase.EXTEND):
                self._acquires.give_back(self, now)
            self._acquires.left(self)
        elif valid_until is not None:
            self._acquires.granted(self, result.lease, session, valid_until, now)
        else:
            self._acquires.refused(self, result.status, now)

    def on_cut_off(self, now):
        if self.patience is not None:
            self.patience.cancel()
        self._acquires.cut_off(self, now)


class Cancel(Operation):
    __slots__ = ("_attempt",)
    has_result = False

    def __init__(self, attempt):
        self._attempt = attempt

    def wanted(self, session):
        return session.awaits(self._attempt)

    def fill(self, message):
        message.id = self._attempt.id
        message.cancel.SetInParent()
