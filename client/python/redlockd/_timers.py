"""Timers of the state machine: a heap whose timers can be cancelled."""

import heapq
import math

_COMPACT_ABOVE = 64  # cancelled entries; compacts if they are also the majority


class Timer:
    def __init__(self, timers, call):
        self._timers = timers
        self._call = call

    def cancel(self):
        if self._call is not None:
            self._call = None
            self._timers.on_cancelled()

    def run(self, now):
        call, self._call = self._call, None
        call(now)

    @property
    def cancelled(self):
        return self._call is None


class Timers:
    def __init__(self):
        self._heap = []
        self._made = 0
        self._cancelled = 0

    def add(self, when, call):
        """Runs call(now) once `when` has come."""
        timer = Timer(self, call)
        self._made += 1
        heapq.heappush(self._heap, (when, self._made, timer))
        return timer

    def on_cancelled(self):
        self._cancelled += 1
        if self._cancelled > _COMPACT_ABOVE and 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled]
            heapq.heapify(self._heap)
            self._cancelled = 0

    @property
    def due(self):
        """When the next timer is due; inf if there is none."""
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else math.inf

    def run(self, now):
        while self.due <= now:
            heapq.heappop(self._heap)[2].run(now)
