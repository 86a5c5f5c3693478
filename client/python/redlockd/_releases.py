"""Pending releases: those that a caller waits for, and those in the background."""

import math

from ._attempts import is_made_token
from ._keys import names_of, set_key
from ._operations import REFUSALS, Operation
from ._wire import error_of, set_keep_for
from .errors import make_error

_PATIENCE = 2.0  # how long a caller waits
_PAUSE = 0.1  # doubled
_LONGEST_PAUSE = 1.0


class Release(Operation):
    """A release. It is sent until it is answered, or until the lock would have expired anyway.

    on_done: called once, with an error or None. None if no caller waits.
    then: functions that are called once the daemon has answered.
    finally_: functions that are called once it is not sent again.
    trusted: whether the lock was trusted until it was released. If not, LOCK_NOT_HELD is always its loss.
    keep_for: for how long the key stays taken, counted from the acquisition; None: it is free at once.
    kept_until: when that time is over at the latest. Before that, a repetition of a release is answered with OK.
    """

    __slots__ = ("_releases", "key", "token", "give_up_at", "then", "finally_", "patience", "pause", "resting",
                 "trusted", "keep_for", "kept_until", "_on_done", "_times_sent", "_cut_off")

    def __init__(self, releases, key, token, give_up_at, on_done, trusted, keep_for, kept_until):
        self._releases = releases
        self.key = key
        self.token = token
        self.give_up_at = give_up_at
        self.then = []
        self.finally_ = []
        self.patience = None
        self.pause = _PAUSE
        self.resting = False  # until it is sent again
        self.trusted = trusted
        self.keep_for = keep_for
        self.kept_until = kept_until
        self._on_done = on_done
        self._times_sent = 0
        self._cut_off = False  # a Session that was abandoned may still carry it out

    def wanted(self, session):
        return self in self._releases

    def fill(self, message):
        self._times_sent += 1
        set_key(message.release, self.key)
        message.release.token = self.token
        set_keep_for(message.release, self.keep_for)

    def on_result(self, result, session, valid_until, now):
        reason = result.status.reason if result.HasField("status") else None
        if reason == "LOCK_NOT_HELD" and self._times_sent > 1 and self.trusted and now >= self.kept_until:
            reason = None  # the daemon has carried out an earlier copy
        if reason is None:
            self._releases.finish(self, self._warning())
        elif reason == "INVALID_ARGUMENT" and self.keep_for is not None:
            self._releases.release_anyway(self, error_of(result.status, self.key), now)
        elif reason in ("LOCK_NOT_HELD", *REFUSALS):
            self._releases.finish(self, error_of(result.status, self.key))
        else:
            self._releases.retry(self, error_of(result.status, self.key), now)

    def on_cut_off(self, now):
        self._cut_off = True

    def _warning(self):
        if not self._cut_off or is_made_token(self.token):
            return None
        return make_error(
            "UNREACHABLE",
            f"{self.key}: the lock is released, but an earlier daemon has not answered and may still carry out the "
            "release; the token must not be used again")

    def done(self, error):
        if self.patience is not None:
            self.patience.cancel()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(error)

    def answered(self):
        then, self.then = self.then, []
        for call in then:
            call()


class Releases:
    def __init__(self, machine):
        self._machine = machine
        self._unfinished = {}

    def __contains__(self, release):
        return release in self._unfinished

    def __len__(self):
        return len(self._unfinished)

    def find(self, key, token):
        """The unfinished release of the lock, or None."""
        for release in self._unfinished:
            if release.token == token and names_of(release.key) == names_of(key):  # a release has no mode
                return release
        return None

    def begin(self, key, token, give_up_at, now, on_done=None, trusted=True, keep_for=None, kept_until=-math.inf):
        release = Release(self, key, token, give_up_at, on_done, trusted, keep_for, kept_until)
        self._unfinished[release] = None
        if on_done is not None:
            release.patience = self._machine.timers.add(now + _PATIENCE, lambda now: self._leave_to_background(release))
        self._machine.send(release)
        return release

    def _leave_to_background(self, release):
        release.done(make_error(
            "UNREACHABLE",
            f"{release.key}: not released within {_PATIENCE:g} s; the release continues in the background"))

    def on_ready(self, session, now):
        """Sends the pending releases first on a new Session."""
        for release in list(self._unfinished):
            if release.give_up_at <= now:
                self.finish(release, None)
            elif not release.resting:
                session.send(release)

    def retry(self, release, error, now):
        """The daemon answered, but could not release the lock."""
        if error.reason == "DRAINING":
            return  # it is sent first on the next Session
        if error.reason != "OVERLOADED":
            release.done(error)
            release.answered()
        pause = max(release.pause, error.retry_after or 0)
        release.pause = min(2 * release.pause, _LONGEST_PAUSE)
        release.resting = True

        def again(now):
            release.resting = False
            if release.give_up_at <= now:
                self.finish(release, None)
            else:
                self._machine.send(release)

        self._machine.timers.add(now + pause, again)

    def release_anyway(self, release, error, now):
        """The daemon has refused keep_for, which exceeds its --max-ttl, and the Session would keep the lock alive."""
        again = self.begin(release.key, release.token, release.give_up_at, now)
        again.finally_, release.finally_ = release.finally_, []
        self.finish(release, error)

    def stop(self):
        """The client has closed: nothing more is sent or answered."""
        for release in list(self._unfinished):
            release.done(make_error("UNREACHABLE", f"{release.key}: the client was closed before a daemon has answered "
                                                   "the release; the lock expires if it was not carried out"))

    def finish(self, release, error):
        del self._unfinished[release]
        release.done(error)
        release.answered()
        for call in release.finally_:
            call()
        self._machine.on_release_finished()
