"""Changes the node set at random times, and records which set was in force when."""

import threading
import time

import grpc

import limits
from admin import UP, Admin, difference, duration, is_changing
from cluster import now

LEAST, MOST = 3, 5  # members
# A daemon may have begun to use a record this long before the first answer that shows it, and may use it this long
# after the last one.
SPREAD = 1.0
# A change that is not complete this long after the last fault is stuck. A node that was added and then failed
# costs 30 s, and the daemon that coordinated the change up to 6 s.
COMPLETES = 45.0
CAN_BE_ABORTED = 15.0


class SetChanges:
    def __init__(self, cluster, faults, random):
        self.cluster = cluster
        self.faults = faults
        self.random = random
        self.admins = [Admin(daemon.port) for daemon in cluster.daemons]
        self.names = {node.name: index for index, node in enumerate(cluster.nodes)}
        self.outcomes = []
        self.seen = {}  # by epoch and members (indices of nodes): [first, last] answer
        self.all_up = -1e9  # when a daemon last showed all members as up
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.ended = threading.Event()
        self.watchers = [
            threading.Thread(target=self.watch, args=(admin,), daemon=True) for admin in self.admins
        ]
        self.changer = threading.Thread(target=self.change_at_random, daemon=True)

    def start(self, changing):
        for watcher in self.watchers:
            watcher.start()
        if changing:
            self.changer.start()
        else:
            self.changer = None

    def watch(self, admin):
        while not self.ended.is_set():
            begin = now()
            view = admin.node_set()
            if view is not None:
                members = tuple(sorted(self.names[member.name] for member in view.members))
                with self.lock:
                    times = self.seen.setdefault((view.epoch, members), [begin, begin])
                    times[0], times[1] = min(times[0], begin), max(times[1], now())
                    if all(member.state == UP for member in view.members):
                        self.all_up = max(self.all_up, begin)
            self.ended.wait(0.1)

    def members_are_up(self):
        """Whether a daemon has just seen all members up, so that each has the record and its promises."""
        return now() - self.all_up < 0.5

    def sets(self):
        """Returns (begin, end, members) of each set: when a daemon may have used it."""
        with self.lock:
            seen = sorted(self.seen.items())
        return [(first - SPREAD, last + SPREAD, members) for (_, members), (first, last) in seen]

    # Changes

    def change_at_random(self):
        while not self.over.wait(self.random.uniform(0.1, 2.5)):
            coordinator = self.random.randrange(len(self.admins))
            view = self.admins[coordinator].node_set()
            if view is None:
                continue
            if is_changing(view) and self.random.random() < 0.9:
                continue  # otherwise it is refused
            kind, request = self.choose(view)
            self.outcomes.append(f"{kind}: {self.follow(coordinator, request)}")

    def choose(self, view):
        members = [member.name for member in view.members]
        spare = sorted(set(self.names) - set(members))
        self.random.shuffle(spare)
        self.random.shuffle(members)
        # Members with a fault are the ones that operators replace.
        if self.random.random() < 0.5:
            members.sort(key=lambda name: ("node", self.names[name]) not in self.faults.busy)
        kinds = ["max_ttl"]
        if spare:
            kinds += ["replace"] * 3
        if len(members) < MOST and spare:
            kinds += ["grow"] * 3
        if len(members) > LEAST:
            kinds += ["shrink"] * 3
        kind = self.random.choice(kinds)
        if kind == "max_ttl":
            other = [ttl for ttl in limits.MAX_TTLS if view.max_ttl != duration(ttl)]
            return kind, {"max_ttl": duration(self.random.choice(other))}
        if kind == "replace":
            return kind, {"add": spare[:1], "remove": members[:1]}
        if kind == "grow":
            return kind, {"add": spare[: self.random.choice([1, MOST - len(members)])]}
        return kind, {"remove": members[: self.random.choice([1, len(members) - LEAST])]}

    def follow(self, coordinator, request):
        """Makes the request and follows it, unless the request is aborted, left alone or its daemon is killed at a
        random time. Returns the outcome."""
        disturb = self.random.choices(["", "abort", "kill", "leave"], [4, 2, 3, 1])[0]
        call = self.admins[coordinator].change(COMPLETES, **request)
        timer = threading.Timer(
            self.random.uniform(0, 3.5), self.disturb, (disturb, coordinator, call)
        )
        timer.daemon = True
        timer.start()
        try:
            for _ in call:
                pass
            return "complete"
        except grpc.RpcError as error:
            return outcome(error, disturb)
        finally:
            timer.cancel()
            timer.join()

    def disturb(self, how, coordinator, call):
        if how == "abort":
            self.outcomes.append(f"abort: {self.abort(self.random.choice(self.admins))}")
        elif how == "kill":
            self.faults.wishes.append(lambda: self.faults.daemon_killed(coordinator))
        elif how == "leave":
            call.cancel()

    def abort(self, admin):
        try:
            for _ in admin.change(CAN_BE_ABORTED, abort=True):
                pass
            return "complete"
        except grpc.RpcError as error:
            return outcome(error, "")

    # The end

    def settle(self):
        """Returns what is wrong after the faults have ended. The last change must become complete or, if
        the choice falls on that, be aborted."""
        wrong = []
        self.over.set()
        views = [admin.node_set() for admin in self.admins]
        if any(view and is_changing(view) for view in views) and self.random.random() < 0.5:
            how = self.abort(self.admins[0])
            self.outcomes.append(f"abort at the end: {how}")
            if how not in ("complete", "refused"):  # refused: it was complete by then
                wrong.append(f"a change could not be aborted: {how}")
        if problem := self.differs_for(COMPLETES):
            wrong.append(f"{COMPLETES:.0f} s after the faults: {problem}")
            wrong.append(f"then an abort was tried: {self.abort(self.admins[0])}")
            if problem := self.differs_for(CAN_BE_ABORTED):
                wrong.append(f"after the abort: {problem}")
        for index, admin in enumerate(self.admins):
            try:
                admin.release(admin.acquire(f"after-the-run-{index}", limits.WAIT))
            except grpc.RpcError as error:
                wrong.append(f"daemon {index} grants no lock after the faults: {error.details()}")
        return wrong

    def differs_for(self, patience):
        end = now() + patience
        while problem := difference([admin.node_set() for admin in self.admins]):
            if now() > end:
                return problem
            time.sleep(0.2)
        return None

    def end(self):
        self.over.set()
        self.ended.set()
        for thread in [*self.watchers, *([self.changer] if self.changer else [])]:
            thread.join(COMPLETES)


def outcome(error, disturb):
    code = error.code().name
    if code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
        return "refused"
    if code == "CANCELLED":
        return "left alone"
    if code == "ABORTED":
        return "undone"
    if code == "UNAVAILABLE":
        return "coordinator killed" if disturb == "kill" else "connection lost"
    return "stuck" if code == "DEADLINE_EXCEEDED" else code.lower()
