"""An acquired lock: its state, and until when it can be trusted."""

import enum

from ._callbacks import call_user


class State(enum.Enum):
    HELD = "held"
    LOST = "lost"
    RELEASED = "released"
    DOWNGRADED = "downgraded"  # its token holds a share, or may


class Lease:
    """An acquired lock. The machine owns it; the user's Lock reads it.

    session: the Session that keeps it alive; None while it has yet to be adopted.
    """

    __slots__ = ("key", "token", "fencing_token", "ttl", "margin", "state", "session", "loss", "on_lost", "extends",
                 "release_asked", "_valid_until", "sequence", "callers_token", "slot", "longest", "lock_delay",
                 "granted_at", "spared_until", "callers", "obstacle")

    def __init__(self, acquire, token, fencing_token, slot, sequence, session, valid_until, now):
        self.key = acquire.key
        self.token = token
        self.callers_token = acquire.callers_token  # the caller gave the token, and may use it again
        self.fencing_token = fencing_token
        self.slot = slot  # of a semaphore; otherwise None
        self.ttl = acquire.ttl
        # The longest TTL that was asked for, answered or not: how long the lock may last by itself.
        self.longest = self.ttl if acquire.exclusive is None else acquire.exclusive.longest
        self.lock_delay = acquire.lock_delay  # for how long it stays taken after its loss
        self.margin = acquire.margin
        self.state = State.HELD
        self.session = session
        self.loss = None
        self.on_lost = []  # called without arguments
        self.extends = None  # a dict of the unanswered ones, in the order of their calls
        self.release_asked = False
        self._valid_until = valid_until
        self.granted_at = now  # not before the nodes took it
        self.spared_until = acquire.spared_until  # by a call that ends before its caller has the lock
        self.callers = 1  # how many calls got it
        self.sequence = sequence
        self.obstacle = ""  # why the last extension has failed; empty: it has not

    @property
    def trusted_until(self):
        session = self.session  # read once: other threads read it while the loop's thread writes it
        return self._valid_until if session is None else min(self._valid_until, session.trusted_until)

    def validity(self, now):
        """How many seconds the lock can be trusted if no further message arrives."""
        return max(0.0, self.trusted_until - now) if self.state is State.HELD else 0.0

    def refresh(self, valid_until, fencing_token):
        """The daemon has extended the lock on the Session that keeps it alive."""
        self.obstacle = ""
        self._valid_until = max(self._valid_until, valid_until)
        self.fencing_token = max(self.fencing_token, fencing_token)

    def taken_again(self, other):
        """The same token has acquired the lock again: `other` describes it."""
        self.ttl, self.margin = other.ttl, other.margin
        self.longest = max(self.longest, other.longest)
        self.lock_delay = max(self.lock_delay, other.lock_delay)
        self.granted_at = other.granted_at
        self.callers += 1
        self.slot = other.slot  # another one if the old lease had ended
        self.sequence = max(self.sequence, other.sequence)
        if self.session is not None:
            self.session.leases.discard(self)
        self.adopted(other.session, other._valid_until, other.fencing_token)

    def adopted(self, session, valid_until, fencing_token):
        self.session = session
        self.refresh(valid_until, fencing_token)

    def freeze(self):
        """Its Session was abandoned: only an adoption can raise the trust again."""
        self._valid_until = self.trusted_until
        self.session = None
        self.obstacle = ""

    def next_sequence(self):
        """The sequence of the next adoption: higher than the fencing token and every one before."""
        self.sequence = max(self.sequence, self.fencing_token) + 1
        return self.sequence

    def end(self, state, loss=None):
        """Ends the trust. With `loss`, signals the work under the lock to stop."""
        self.state = state
        self.loss = loss
        if self.session is not None:
            self.session.leases.discard(self)
        if loss is not None:
            for call in list(self.on_lost):
                call_user("the handler of a loss", call)
