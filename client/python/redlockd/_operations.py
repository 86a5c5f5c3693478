"""What every operation of a Session has in common."""


class Operation:
    id = None  # set when it is sent
    has_result = True

    def wanted(self, session):
        """Asked before it is sent. False: it is dropped."""
        return True

    def fill(self, message):
        """Writes itself into a SessionOperation."""
        raise NotImplementedError

    def on_result(self, result, session, valid_until, now):
        """valid_until: of the result's lease; None if it has none."""

    def on_cut_off(self, now):
        """Its Session was abandoned: the daemon may or may not have carried it out."""


class Ping(Operation):
    def fill(self, message):
        message.ping.SetInParent()
