"""A lock that was acquired: whether it can still be trusted, and until when."""

import enum


class State(enum.Enum):
    HELD = "held"
    LOST = "lost"
    RELEASED = "released"


class Lease:
    """Owned by the machine; the Lock of a user reads it.

    session: the Session that keeps it alive; None while it has yet to be adopted.
    """

    def __init__(self, acquire, token, fencing_token, session, valid_until):
        self.key = acquire.key
        self.token = token
        self.fencing_token = fencing_token
        self.ttl = acquire.ttl
        self.margin = acquire.margin
        self.state = State.HELD
        self.session = session
        self.loss = None
        self.on_lost = []  # called without arguments
        self.extends = {}  # unanswered, in the order of their calls
        self._valid_until = valid_until
        self._sequence = 0

    @property
    def trusted_until(self):
        session = self.session  # read once: users' threads read, the loop's thread writes
        return self._valid_until if session is None else min(self._valid_until, session.trusted_until)

    def validity(self, now):
        """For how many seconds it can be trusted if nothing is heard any more."""
        return max(0.0, self.trusted_until - now) if self.state is State.HELD else 0.0

    @property
    def expires_by(self):
        """A time by which the nodes have forgotten it, seen from the time of its last extension."""
        return self._valid_until + self.ttl

    def refresh(self, valid_until, fencing_token):
        """The daemon has extended it, at the Session that keeps it alive."""
        self._valid_until = max(self._valid_until, valid_until)
        self.fencing_token = max(self.fencing_token, fencing_token)

    def adopted(self, session, valid_until, fencing_token):
        self.session = session
        self.refresh(valid_until, fencing_token)

    def freeze(self):
        """Its Session was abandoned: only an adoption raises the trust again."""
        self._valid_until = self.trusted_until
        self.session = None

    def next_sequence(self):
        """For an adoption: higher than the fencing token, and than that of every adoption before."""
        self._sequence = max(self._sequence, self.fencing_token) + 1
        return self._sequence

    def end(self, state, loss=None):
        """Ends the trust. With `loss`, whoever works under the lock is signalled to stop."""
        self.state = state
        self.loss = loss
        if self.session is not None:
            self.session.leases.discard(self)
        if loss is not None:
            for call in self.on_lost:
                call()
