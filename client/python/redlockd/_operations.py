"""The base class of the operations of a Session."""

# A retry cannot help if a daemon gives one of these reasons.
REFUSALS = ("INVALID_ARGUMENT", "KIND_MISMATCH", "UNAUTHENTICATED", "PERMISSION_DENIED")


class Operation:
    __slots__ = ("id",)  # set when it is sent
    has_result = True

    def wanted(self, session):
        """Called before the operation is sent. False: it is dropped."""
        return True

    def fill(self, message):
        """Writes the operation into a SessionOperation."""
        raise NotImplementedError

    def on_result(self, result, session, valid_until, now):
        """The daemon answered. valid_until: of the result's lease; None if it has no lease."""

    def on_cut_off(self, now):
        """The Session was abandoned: the daemon may or may not have carried out the operation."""


class Ping(Operation):
    __slots__ = ()

    def fill(self, message):
        message.ping.SetInParent()
