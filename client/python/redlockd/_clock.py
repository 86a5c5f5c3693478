"""How old the daemon's messages are; see client/cpp/src/daemon_clock.h for why it is so."""

import math

_WINDOW = 60.0


class DaemonClock:
    def __init__(self):
        self._smallest = self._before = math.inf
        self._window_began = -math.inf
        self._shortest_trip = math.inf

    def on_message(self, daemon, now):
        difference = now - daemon
        if now - self._window_began > _WINDOW:
            self._before, self._smallest, self._window_began = self._smallest, difference, now
        self._smallest = min(self._smallest, difference)

    def on_round_trip(self, took):
        self._shortest_trip = min(self._shortest_trip, took)

    def made_at(self, daemon):
        """By this machine's clock, not after the moment when the daemon made the message."""
        return daemon + min(self._smallest, self._before) - self._shortest_trip
