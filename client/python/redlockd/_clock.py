"""The client's clock, and an estimate of when a daemon made its messages."""

import math
import time

# The clock rates of two machines differ by at most this.
DRIFT = 0.01


def now():
    """Returns the seconds on a clock that counts suspend time."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class DaemonClock:
    """Computes a lower bound of the time, on this machine's clock, at which a daemon made a message.

    An operation that was sent at `s` and answered when the daemon's clock read `c` proves that `c`
    is not before `s`. This object keeps the pair that gives the latest bound.
    """

    def __init__(self):
        self._sent = None
        self._answered = 0.0
        self._arrived = 0.0
        self._daemon = 0.0

    def on_message(self, daemon, now):
        """A message arrived in which the daemon's clock read `daemon`."""
        self._daemon = daemon
        self._arrived = now

    def on_round_trip(self, took):
        """That message answers an operation that was sent `took` before it arrived."""
        sent = self._arrived - took
        if sent >= self.made_at(self._daemon):
            self._sent = sent
            self._answered = self._daemon

    def made_at(self, daemon):
        """A lower bound of the time at which the daemon's clock read `daemon`; -inf if unknown."""
        if self._sent is None:
            return -math.inf
        passed = daemon - self._answered
        return self._sent + passed - DRIFT * abs(passed)
