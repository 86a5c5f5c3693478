"""Pending requests for a lock. No lock is left behind if a caller gives up or a Session ends."""

from ._attempts import Attempt, Cancel, Phase, Way
from ._callbacks import call_user
from ._keys import names_of, slot_of
from ._lease import Lease
from ._operations import REFUSALS
from ._wire import error_of, not_in_time
from .errors import make_error

_CANCEL_PATIENCE = 1.0
_REASON_PATIENCE = 0.25  # how long a call whose wait is over waits for the reason
_SHORTEST_RETRY = 0.05
_ADOPT_PAUSE = 0.1


class Acquire:
    """A caller's request. on_done(lease, error) is called once, unless the caller gives up first.

    exclusive: the Lease that this request downgrades to a share; otherwise None.
    """

    __slots__ = ("key", "slot", "ttl", "owner", "margin", "single", "retry", "token", "way", "phase", "on_done",
                 "on_queued", "attempt", "blocked", "deferred", "timer", "ending", "last_error", "failures_before",
                 "undecided", "granted", "spared_until", "sendings", "sequence", "exclusive", "callers_token", "value",
                 "lock_delay")

    def __init__(self, request, on_done, exclusive=None):
        self.key = request.key
        self.slot = request.slot  # that the token has; None: not known, or the key is no semaphore
        self.ttl = request.ttl
        self.owner = request.owner
        self.value = request.value
        self.lock_delay = request.lock_delay
        self.margin = request.margin
        self.single = request.wait == 0
        self.retry = request.retry
        self.token = request.token  # None: a new one for each attempt
        self.exclusive = exclusive
        self.callers_token = request.token is not None if exclusive is None else exclusive.callers_token
        self.way = request.way
        self.phase = Phase.ACQUIRE if request.way is Way.ACQUIRE else Phase.EXTEND
        self.on_done = on_done
        self.on_queued = request.on_queued
        self.attempt = None  # the one that was sent, or is about to be
        self.blocked = 0  # how many releases, pauses and earlier calls must be over before it is sent
        self.deferred = False  # blocked by an earlier call with the token, which was given up
        self.timer = None  # ends the caller's time to wait
        self.ending = False  # that time is over; the answer to the cancel will say why
        self.last_error = None
        self.failures_before = 0
        self.sendings = 0
        self.sequence = 0 if exclusive is None else exclusive.sequence
        # Of a caller's own token:
        self.undecided = False  # an acquire was not answered; the daemon may have granted it
        self.granted = False  # a daemon has granted the lease, which has yet to be adopted
        self.spared_until = 0.0  # ACQUIRE_OR_EXTEND found a lock of the caller, who may rely on it until then

    @property
    def leaves_lock(self):
        """Whether the token may hold a lock that this request has acquired."""
        return self.granted or (self.undecided and self.way is Way.ACQUIRE)


class Acquires:
    def __init__(self, machine):
        self._machine = machine
        self._unfinished = {}
        self._leaving = {}  # by key and token of the caller: the attempt of a call that was given up, not yet answered

    def begin(self, acquire, wait, now):
        self._unfinished[acquire] = None
        acquire.failures_before = self._machine.failures
        if wait:
            acquire.timer = self._machine.timers.add(now + wait, lambda now: self._time_over(acquire, now))
        if acquire.token is not None:
            error = self._conflict(acquire)
            if error is not None:
                acquire.blocked += 1
                self._machine.timers.add(now, lambda now: self._fail(acquire, error, now))
                return
            # A release of this token that is still under way, or is sent again, would end the new lease.
            earlier = self._machine.releases.find(acquire.key, acquire.token)
            if earlier is not None:
                earlier.finally_.append(self._unblock(acquire))
            self._defer(acquire)
        self._try(acquire)

    def _defer(self, acquire):
        """Lets an earlier call with the token end first. If that was granted the lock, the lock is given up before this
        call is sent, which would wait for it, and keep the client from giving it up."""
        leaving = self._leaving.get((acquire.key, acquire.token))
        if leaving is not None:
            acquire.blocked += 1
            acquire.deferred = True
            leaving.deferred.append(acquire)

    def left(self, attempt):
        """The daemon has answered an attempt that was given up, or has had the time to."""
        if self._leaving.get((attempt.key, attempt.token)) is attempt:
            del self._leaving[attempt.key, attempt.token]
            for acquire in attempt.deferred:
                acquire.blocked -= 1
                acquire.deferred = False
                self._try(acquire)

    def _conflict(self, acquire):
        """Why the token cannot be used for the request; None if it can."""
        if acquire.exclusive is None and self._downgrades(acquire.key, acquire.token):
            return make_error("INVALID_ARGUMENT", f"token: this client is downgrading {acquire.key} with this token; "
                              "wait until the downgrade has ended, or use another token")
        if acquire.way is Way.ACQUIRE and self._machine.leases.holds(acquire.key, acquire.token):
            return make_error("LOCK_ALREADY_HELD", f"{acquire.key}: this client holds the lock with the same token")
        return None

    def _downgrades(self, key, token):
        """Whether a downgrade with the token is under way. The token must not hold the key exclusively meanwhile."""
        return any(acquire.exclusive is not None for acquire in self._with_token(key, token))

    def requests(self, key, token):
        """Whether a call with the token is under way for the key, in either mode."""
        return any(self._with_token(key, token))

    def _with_token(self, key, token):
        return (acquire for acquire in self._unfinished
                if acquire.token == token and names_of(acquire.key) == names_of(key))

    def _try(self, acquire):
        if acquire.attempt is None and not acquire.blocked and acquire in self._unfinished:
            attempt = Attempt(self, acquire)
            if self._machine.send(attempt):
                acquire.attempt = attempt

    def on_ready(self):
        for acquire in list(self._unfinished):
            acquire.last_error = None
            self._try(acquire)

    def on_queued(self, attempt, position):
        acquire = attempt.acquire
        if acquire is not None and acquire.on_queued is not None:
            call_user("on_queued", acquire.on_queued, position)

    # Answers.

    def granted(self, attempt, granted, session, valid_until, now):
        acquire = attempt.acquire
        acquire.attempt = None
        if acquire.ending:
            self._withhold(attempt, not_in_time(acquire.key, {}), now)
        elif attempt.phase is not Phase.ADOPT and (acquire.undecided or attempt.phase is not Phase.ACQUIRE):
            # The lease may be older, and belong to another stream. Each copy that was sent may have
            # moved it to yet another one.
            acquire.granted = attempt.phase is not Phase.EXTEND
            acquire.phase = Phase.ADOPT
            acquire.slot = slot_of(granted)
            if acquire.way is Way.ACQUIRE_OR_EXTEND:
                acquire.spared_until = max(acquire.spared_until, valid_until)
            known = self._machine.leases.sequence(acquire.key, acquire.token)
            if acquire.way is not Way.ACQUIRE:  # another client may have adopted it before, many times
                known = max(known, self._machine.wall_us())
            acquire.sequence = max(acquire.sequence, granted.fencing_token, known) + acquire.sendings
            self._try(acquire)
        else:
            sequence = max(acquire.sequence, granted.fencing_token + acquire.sendings - 1)
            lease = Lease(
                acquire, attempt.token, granted.fencing_token, slot_of(granted), sequence, session, valid_until, now)
            if lease.validity(now) <= lease.margin:
                self._withhold(attempt, make_error(
                    "VALIDITY_EXPIRED",
                    f"{acquire.key}: the lock was granted, but its validity had ended when the answer was read"), now)
            else:
                self._finish(acquire, self._machine.leases.add(lease), None)

    def refused(self, attempt, status, now):
        acquire = attempt.acquire
        acquire.attempt = None
        if acquire.ending:
            cancelled = status.reason in ("CANCELLED", "DEADLINE_EXCEEDED")
            self._fail(acquire, not_in_time(acquire.key, status.metadata) if cancelled
                       else error_of(status, acquire.key), now)
            return
        error = acquire.last_error = error_of(status, acquire.key)
        if error.reason == "DRAINING":
            return  # the client retries on the next daemon
        not_held = error.reason == "LOCK_NOT_HELD"
        if error.reason == "OVERLOADED" and not acquire.single:
            self._pause(acquire, max(error.retry_after or 0, _SHORTEST_RETRY), now)
        elif attempt.phase is Phase.EXTEND and not_held and acquire.way is Way.ACQUIRE_OR_EXTEND:
            acquire.way = Way.ACQUIRE  # whatever the token holds from now on, this call has acquired
            acquire.phase = Phase.ACQUIRE
            acquire.spared_until = 0.0
            self._try(acquire)
        elif attempt.phase is Phase.ADOPT and not_held and acquire.way is not Way.ADOPT:
            acquire.granted = False  # the lease that a daemon granted has ended since: begin anew
            acquire.slot = None
            acquire.phase = Phase.ACQUIRE if acquire.way is Way.ACQUIRE else Phase.EXTEND
            self._try(acquire)
        elif not attempt.is_acquire and not acquire.single and not not_held and error.reason not in REFUSALS:
            self._pause(acquire, _ADOPT_PAUSE, now)
        elif not_held and acquire.way is Way.ADOPT:
            self._finish(acquire, None, error)  # the token holds nothing, so there is nothing to give up
        else:
            self._fail(acquire, error, now)

    def _pause(self, acquire, seconds, now):
        self._machine.timers.add(now + seconds, self._unblock(acquire))

    def _unblock(self, acquire):
        acquire.blocked += 1

        def unblock(now=None):
            acquire.blocked -= 1
            self._try(acquire)

        return unblock

    # Sessions that end.

    def cut_off(self, attempt, now):
        """The daemon may have carried out the attempt."""
        acquire = attempt.acquire
        self.left(attempt)
        if attempt.is_acquire and (attempt.left_to_close or not attempt.callers_token):
            # Released before the next attempt, which it would otherwise block.
            release = self._release(attempt, now)
            if acquire is not None:
                release.then.append(self._unblock(acquire))
        if acquire is None:
            return
        acquire.attempt = None
        if acquire.token is not None and attempt.is_acquire:
            acquire.undecided = True
        if acquire.ending:
            self._fail(acquire, self._unreachable(acquire), now)

    def on_abandoned(self):
        """Attempts that were not sent are made again on the next Session."""
        for acquire in self._unfinished:
            acquire.attempt = None

    def on_failure(self, error, endpoints, now):
        """A daemon could not be reached. A single try fails once every endpoint has failed."""
        for acquire in list(self._unfinished):
            acquire.last_error = error
            if acquire.single and self._machine.failures - acquire.failures_before >= endpoints:
                self._fail(acquire, error, now)

    # The end.

    def fail_all(self, error, now):
        for acquire in list(self._unfinished):
            self._fail(acquire, error, now)

    def _fail(self, acquire, error, now):
        if acquire in self._unfinished:
            self.give_up(acquire, now)
            acquire.on_done(None, self._with_release(acquire, error))

    def _withhold(self, attempt, error, now):
        """Fails a call to which a lease is granted too late."""
        acquire = attempt.acquire
        self._forget(acquire)
        attempt.spared_until = acquire.spared_until
        self.give_back(attempt, now)  # before the caller may use its token again
        acquire.on_done(None, self._with_release(acquire, error))

    @staticmethod
    def _with_release(acquire, error):
        """The error of a failed call. A failed downgrade may have been carried out, or still be, so it is released."""
        if acquire.exclusive is None:
            return error
        text = f"{error}; the lock is being released"
        if acquire.callers_token:
            text += ", and its token must not be used again"
        return make_error(error.reason, text, error.retry_after, error.holder, error.held_for)

    def give_up(self, acquire, now):
        """Ends a request whose caller no longer waits, or which cannot succeed."""
        if acquire not in self._unfinished:
            return
        self._forget(acquire)
        attempt, acquire.attempt = acquire.attempt, None
        session = self._machine.ready
        if attempt is not None:
            attempt.acquire = None
            attempt.spared_until = acquire.spared_until
        waits = attempt is not None and session is not None and session.awaits(attempt)
        if waits and attempt.gives_back and acquire.spared_until == 0.0:
            self._leaving[attempt.key, attempt.token] = attempt
        if not waits or not attempt.is_acquire:
            if acquire.exclusive is not None:
                self._machine.leases.release_downgraded(acquire.exclusive, now)
            elif acquire.leaves_lock:
                self._machine.giving_up.begin(acquire.key, acquire.token, 0.0, now)
            return
        attempt.leaves_lock = acquire.leaves_lock
        closes = self._machine.closing and not self._machine.leaves_session
        attempt.left_to_close = closes and not acquire.leaves_lock
        if not acquire.ending:
            session.send(Cancel(attempt))
        if self._machine.leaves_session:
            self.give_back(attempt, now)
        elif attempt.phase is Phase.ACQUIRE:
            attempt.patience = self._machine.timers.add(
                now + _CANCEL_PATIENCE, lambda now: self._lose_patience(attempt, now))

    def _lose_patience(self, attempt, now):
        self.give_back(attempt, now)
        self.left(attempt)

    def _time_over(self, acquire, now):
        session, attempt = self._machine.ready, acquire.attempt
        if session is None:
            self._fail(acquire, self._unreachable(acquire), now)
        elif attempt is None or not attempt.is_acquire or not session.awaits(attempt):
            self._fail(acquire, acquire.last_error or not_in_time(acquire.key, {}), now)
        else:
            acquire.ending = True
            session.send(Cancel(attempt))
            acquire.timer = self._machine.timers.add(
                now + _REASON_PATIENCE, lambda now: self._fail(acquire, not_in_time(acquire.key, {}), now))

    def _unreachable(self, acquire):
        failure = self._machine.last_failure or "no daemon answered in time"
        return make_error("UNREACHABLE", f"{acquire.key}: the lock was not acquired within the wait: {failure}")

    def _release(self, attempt, now):
        give_up_at = now + attempt.ttl + attempt.lock_delay + self._machine.grace
        return self._machine.releases.begin(attempt.key, attempt.token, give_up_at, now)

    def give_back(self, attempt, now):
        """Gives back a lock that the attempt may have got, and that no caller gets."""
        if attempt.callers_token:
            self._machine.giving_up.begin(attempt.key, attempt.token, attempt.spared_until, now)
        else:
            self._release(attempt, now)

    def uses(self, key, token):
        """Whether a call has a lock with the token, or may get one."""
        return self._machine.leases.holds(key, token) or any(
            acquire.key == key and acquire.token == token and not acquire.deferred for acquire in self._unfinished)

    def _finish(self, acquire, lease, error):
        self._forget(acquire)
        acquire.on_done(lease, error)

    def _forget(self, acquire):
        del self._unfinished[acquire]
        if acquire.timer is not None:
            acquire.timer.cancel()
