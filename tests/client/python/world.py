"""A state machine with a clock that only the test moves; the test drives both ends of its streams."""

from redlockd._proto import pb
from redlockd._machine import Machine
from redlockd import _requests
from redlockd._attempts import Way
from redlockd._keys import set_claim
from redlockd._wire import set_duration
from redlockd.errors import make_error

_DAEMON_AHEAD = 777.0  # the daemon's clock minus the client's


class World:
    def __init__(self, endpoints=("a", "b"), grace=5.0):
        self.now = 1000.0
        self.wall_us = 0
        self.opened = []
        self.cancelled = []
        self.losses = {}  # by lease
        # Always the longest possible pause, so that tests know it.
        self.machine = Machine(list(endpoints), grace, self, uniform=lambda least, most: most,
                               wall_us=lambda: self.wall_us)

    # The machine's transport.

    def open(self, session):
        self.opened.append(session)

    def cancel(self, session):
        self.cancelled.append(session)

    # Time.

    def advance(self, seconds):
        """Advances the clock and polls whenever the machine asks for it."""
        end = self.now + seconds
        while self.machine.due <= end:
            self.now = max(self.now, self.machine.due)
            self.machine.poll(self.now)
        self.now = end

    def sleep(self, seconds):
        """Advances the clock while nothing runs: a suspend, or a blocked event loop."""
        self.now += seconds

    def wake(self):
        """Runs the timer that became due meanwhile, late."""
        self.machine.poll(self.now, max(0.0, self.now - self.machine.due))

    # The daemon's end.

    @property
    def session(self):
        return self.machine.session

    def message(self):
        """Returns the operations that the client writes now; [] if there are none."""
        return list(self.request().operations)

    def request(self):
        request = self.session.next_message(self.now) if self.session else None
        if request is not None:
            self.session.on_written()
        return request or pb.SessionRequest()

    def answer(self, *results, session=None, **fields):
        self.machine.on_message(session or self.session, self.response(*results, **fields), self.now)

    def response(self, *results, events=(), positions=(), made=None):
        """Returns a response. made: the time at which the daemon sent it; default: now."""
        return pb.SessionResponse(
            results=results, events=events, positions=positions,
            clock=duration((self.now if made is None else made) + _DAEMON_AHEAD))

    def connect(self):
        """Answers the first message of the Session."""
        [ping] = self.message()
        assert ping.HasField("ping")
        self.answer(done(ping))

    def keep(self, seconds):
        """Advances the clock while the daemon answers pings at once and extends nothing."""
        end = self.now + seconds
        while self.now < end:
            self.advance(min(0.1, end - self.now))
            for operation in self.message():
                if operation.HasField("ping"):
                    self.answer(done(operation))

    def fail(self, reason="UNREACHABLE"):
        self.machine.on_broken(self.session, make_error(reason, "broken by the test"), self.now)

    # The user's end.

    def acquire(self, key="k", ttl=10.0, wait=None, margin=0.5, way=Way.ACQUIRE, **options):
        """Returns a Call whose value will be the lease."""
        call = Call()
        request = _requests.checked(way, self.machine.grace, "", key, ttl=ttl, wait=wait, margin=margin,
                                    on_queued=call.positions.append, **options)
        call.acquire = self.machine.acquire(request, call.on_granted, self.now)
        return call

    def lock(self, key="k", ttl=10.0, margin=0.5, validity=None):
        """Returns a lease that was acquired at the current Session."""
        call = self.acquire(key, ttl, margin=margin)
        if self.machine.ready is None:
            self.connect()
        [operation] = [o for o in self.message() if o.HasField("acquire")]
        self.answer(granted(operation, ttl if validity is None else validity))
        lease = call.value
        losses = self.losses[lease] = []
        lease.on_lost.append(lambda: losses.append(self.now))
        return lease

    def extend(self, lease, ttl=10.0):
        call = Call()
        self.machine.extend(lease, ttl, None, call.on_done)
        return call

    def release(self, lease):
        call = Call()
        self.machine.release(lease, call.on_done, self.now)
        return call

    def operations(self, key, slot=0, **options):
        """Acquires a lock, extends it, adopts it on another Session and releases it. Returns the lease and the four
        operations. slot: the one that the lock gets."""
        call = self.acquire(key, **options)
        self.connect()
        [acquire] = self.message()
        self.answer(granted(acquire, 10, slot=slot))
        self.extend(call.value)
        [extend] = self.message()
        self.fail()
        self.connect()
        [adopt] = self.message()
        self.release(call.value)
        [release] = self.message()
        return call.value, [acquire, extend, adopt, release]

    def close(self):
        call = Call()
        self.machine.close(lambda: call.on_done(None), 0.0, self.now)
        return call


class Call:
    """The result of a user's call."""

    def __init__(self):
        self.over = False
        self.value = None
        self.error = None
        self.positions = []

    def on_granted(self, value, error):
        assert not self.over, "answered twice"
        self.over, self.value, self.error = True, value, error

    def on_done(self, error):
        self.on_granted(None, error)

    @property
    def reason(self):
        return self.error.reason if self.error is not None else None


def duration(value):
    """For the constructor of a message."""
    return dict(zip(("seconds", "nanos"), divmod(round(value * 1e9), 10**9)))


def kinds(operations):
    return [operation.WhichOneof("operation") for operation in operations]


def done(operation):
    return pb.SessionResult(id=operation.id)


def failed(operation, reason, retry_delay=None, metadata=()):
    result = pb.SessionResult(id=operation.id, status=pb.OperationStatus(code=9, reason=reason, message=reason))
    result.status.metadata.update(metadata)
    if retry_delay is not None:
        set_duration(result.status.retry_delay, retry_delay)
    return result


def granted(operation, validity, fence=100, slot=1):
    """Returns the result of an acquire, an extend or an adopt with a lease. slot: the one that an acquire gets,
    or that the token has if the operation names none."""
    asked = getattr(operation, operation.WhichOneof("operation"))
    if asked.max_holders == 0:
        slot = 0
    elif not operation.HasField("acquire"):
        slot = asked.slot or slot
    return pb.SessionResult(id=operation.id, lease=pb.Lease(
        key=asked.key, keys=asked.keys, mode=asked.mode, max_holders=asked.max_holders, slot=slot, token=asked.token,
        fencing_token=fence, validity=duration(validity)))


def event(kind, lease=None, validity=0.0, fence=100, reason="", message=""):
    message = pb.WatchResponse(type=getattr(pb, "EVENT_TYPE_" + kind), reason=reason, message=message)
    if lease is not None:
        set_claim(message, lease.key, lease.slot)
        message.lease.CopyFrom(pb.Lease(token=lease.token, fencing_token=fence, validity=duration(validity)))
        set_claim(message.lease, lease.key, lease.slot)
    return message
