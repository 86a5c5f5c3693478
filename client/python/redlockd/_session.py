"""One Session: what the client sent, what was answered, and until when the Session is trusted."""

import collections
import enum
import math

from ._clock import DaemonClock
from ._operations import Ping
from ._wire import pb, seconds, set_duration

_MOST_OPERATIONS = 1000  # in one message
_ENOUGH_BYTES = 2**19  # of a message; the daemon's default for --max-message-bytes is twice that
_LONGEST_SILENCE = 2.0
_LONGEST_CONNECT = 2.0


class Phase(enum.Enum):
    CONNECTING = 1
    READY = 2
    ABANDONED = 3


class Session:
    """A Session. `ids` gives each operation a number that is never used again."""

    def __init__(self, endpoint, endpoints, grace, ids, now):
        self.endpoint = endpoint
        self.phase = Phase.CONNECTING
        self.ready_at = math.inf
        self.leases = set()  # the leases that this Session keeps alive
        # Until when the Session is trusted, on this machine's clock.
        self.trusted_until = -math.inf
        self._grace = grace
        self._ids = ids
        self._clock = DaemonClock()
        # Shorter than 2 s if this is needed to try every endpoint within half of the grace.
        self._connect_limit = min(_LONGEST_CONNECT, grace / 2 / endpoints)
        self._connect_by = now + self._connect_limit
        self._silence_limit = min(grace / 3, _LONGEST_SILENCE)
        self._queue = collections.deque()
        self._sent = {}  # id → (operation, when), unanswered
        self._pings = {}  # id → since when the client waits for its answer
        self._ping_queued = False
        self._last_sent = self._last_answered = -math.inf
        self._writing_since = None

    def send(self, operation):
        """Puts the operation into the next message."""
        self._queue.append(operation)

    def awaits(self, operation):
        """Whether the operation was sent and not yet answered."""
        return getattr(operation, "id", None) in self._sent

    @property
    def unanswered(self):
        """The operations that the daemon may have carried out."""
        return [operation for operation, _ in self._sent.values()]

    def operation(self, operation_id):
        return self._sent.get(operation_id, (None,))[0]

    @property
    def has_message(self):
        if self._writing_since is not None:
            return False
        if self.phase is Phase.CONNECTING:
            return self._last_sent == -math.inf
        return self.phase is Phase.READY and bool(self._queue)

    def next_message(self, now):
        """The message to write now, or None. on_written() must follow before the next one."""
        if not self.has_message:
            return None
        request = pb.SessionRequest()
        if self.phase is Phase.CONNECTING:
            set_duration(request.disconnect_grace, self._grace)
            self._add(request, Ping(), now)
        size = 0
        while self._queue and len(request.operations) < _MOST_OPERATIONS and size < _ENOUGH_BYTES:
            operation = self._queue.popleft()
            if operation.wanted(self):
                size += self._add(request, operation, now)
        if not request.operations:
            return None
        self._last_sent = self._writing_since = now
        return request

    def _add(self, request, operation, now):
        """Returns how many bytes the operation has."""
        message = request.operations.add()
        if operation.has_result:
            message.id = operation.id = next(self._ids)
            self._sent[operation.id] = operation, now
        operation.fill(message)
        if isinstance(operation, Ping):
            self._pings[operation.id] = now
            self._ping_queued = False
        return message.ByteSize()

    def on_written(self):
        self._writing_since = None

    def on_message(self, message, now):
        """Returns the operations that the message answers, as (operation, result)."""
        self._clock.on_message(seconds(message.clock), now)
        answered = []
        for result in message.results:
            operation, sent = self._sent.pop(result.id, (None, None))
            if operation is None:
                continue
            self._pings.pop(result.id, None)
            self._clock.on_round_trip(now - sent)
            self._last_answered = max(self._last_answered, sent)
            answered.append((operation, result))
        self.trusted_until = self._last_answered + self._grace - (self._grace * 0.01 + 0.002)
        if answered and self.phase is Phase.CONNECTING:
            self.phase = Phase.READY
            self.ready_at = now
        return answered

    def valid_until(self, message, lease):
        return self._clock.made_at(seconds(message.clock)) + seconds(lease.validity)

    def tick(self, now, late):
        """Sends a ping if one is due. Returns True if the daemon is silent. `late`: how much later
        than due this is called."""
        if self.phase is Phase.READY and now >= self._ping_due:
            self._ping_queued = True
            self.send(Ping())
        if now < self._silent_at:
            return False
        if late <= self._silence_limit / 4:
            return True
        # This process was held up, so the answer may have arrived unread: wait once more, to read
        # it first.
        self._connect_by = now + self._connect_limit
        self._pings = dict.fromkeys(self._pings, now)
        if self._writing_since is not None:
            self._writing_since = now
        return False

    @property
    def due(self):
        """When tick() must be called next."""
        return min(self._silent_at, self._ping_due)

    @property
    def _ping_due(self):
        if self.phase is not Phase.READY or self._ping_queued:
            return math.inf
        # The last operation sent may be an acquire that waits and is not answered for a long time.
        since = self._last_sent if self._pings else min(self._last_sent, self._last_answered)
        return since + self._grace / 4

    @property
    def _silent_at(self):
        if self.phase is Phase.CONNECTING:
            return self._connect_by
        waiting = list(self._pings.values())
        if self._writing_since is not None:
            waiting.append(self._writing_since)
        return min(waiting) + self._silence_limit if waiting else math.inf
