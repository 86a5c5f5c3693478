"""Gives up the locks of callers' tokens that no caller gets or keeps."""

from ._keys import set_claim
from ._operations import Operation
from ._wire import seconds

_IN_USE_PAUSE = 1.0
_SHORTEST_RETRY = 0.05


class GiveUp(Operation):
    """Ends only what the current Session has. The caller may use its token again: a release that a silent daemon
    carries out late would end a later lock of the token. It is never sent on another Session, because the end of a
    Session gives up its leases."""

    __slots__ = ("_giving_up", "key", "token", "postponed")

    def __init__(self, giving_up, key, token):
        self._giving_up = giving_up
        self.key = key
        self.token = token
        self.postponed = False  # the close of the client does not wait for it

    def wanted(self, session):
        return self in self._giving_up

    def fill(self, message):
        set_claim(message.give_up, self.key)
        message.give_up.token = self.token

    def on_result(self, result, session, valid_until, now):
        if result.status.reason == "OVERLOADED":  # the daemon has not carried it out
            self._giving_up.send_later(self, max(seconds(result.status.retry_delay), _SHORTEST_RETRY), now)
        else:
            self._giving_up.finish(self)


class GivingUp:
    def __init__(self, machine):
        self._machine = machine
        self._unfinished = {}

    def __contains__(self, give_up):
        return give_up in self._unfinished

    @property
    def delays_close(self):
        return any(not give_up.postponed for give_up in self._unfinished)

    def begin(self, key, token, spared_until, now):
        """spared_until: the caller may trust the lock until then. Goes on until the Session ends, which keeps the
        lock alive."""
        if self._machine.ready is None:
            return
        delay = max(0.0, spared_until - now, _IN_USE_PAUSE if self._machine.acquires.uses(key, token) else 0.0)
        give_up = GiveUp(self, key, token)
        self._unfinished[give_up] = None
        if delay > 0:
            self._postpone(give_up, delay, now)
        else:
            self._machine.send(give_up)

    def _postpone(self, give_up, delay, now):
        give_up.postponed = True
        self.send_later(give_up, delay, now)

    def send_later(self, give_up, delay, now):
        self._machine.timers.add(now + delay, lambda now: self._send_unless_used(give_up, now))

    def _send_unless_used(self, give_up, now):
        if give_up not in self._unfinished:
            return
        if self._machine.acquires.uses(give_up.key, give_up.token):
            self._postpone(give_up, _IN_USE_PAUSE, now)
        else:
            self._machine.send(give_up)

    def on_abandoned(self):
        self._unfinished.clear()

    def finish(self, give_up):
        del self._unfinished[give_up]
        self._machine.on_release_finished()
