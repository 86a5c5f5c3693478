"""Computes how available the locks were, from the workers' histories and the list of faults."""

import collections

import limits

# The longest time between a cause and its loss: the trust ends when the grace or the TTL has passed, whichever
# is first.
CAUSE = limits.GRACE + limits.MAX_TTL / 2 + 0.5


class Availability:
    """`impaired`: (who, begin, end) of all faults. `sets`: (begin, end, members) of each node set, from when until
    when a daemon may have used it; `members` are numbers of nodes."""

    def __init__(self, impaired, sets):
        self.impaired = impaired
        self.sets = sets
        self.times = {}

    def down_times(self, worker, daemon):
        """Returns the times at which this daemon may have had no quorum, or this worker could not reach it."""
        if (worker, daemon) not in self.times:
            self.times[worker, daemon] = self.find_down_times(worker, daemon)
        return self.times[worker, daemon]

    def find_down_times(self, worker, daemon):
        changes = []
        for who, begin, end in self.impaired:
            kind, *names = who.split()
            if who in (f"daemon {daemon}", f"client {worker} {daemon}", f"worker {worker}"):
                changes += [(begin, 1, "unreachable"), (end, -1, "unreachable")]
            elif kind == "node" or (kind == "link" and names[0] == str(daemon)):
                node = int(names[-1])
                changes += [(begin, 1, node), (end, -1, node)]
        for begin, end, members in self.sets:
            changes += [(begin, 1, members), (end, -1, members)]
        counts = collections.Counter()
        times, since = [], None
        for at, by, what in sorted(changes, key=lambda change: change[:2]):
            counts[what] += by
            down = counts["unreachable"] > 0 or any(
                counts[members] > 0 and lacks_quorum(members, counts) for _, _, members in self.sets
            )
            if down and since is None:
                since = at
            elif not down and since is not None:
                times.append((since, at))
                since = None
        if since is not None:
            times.append((since, float("inf")))
        return times

    def was_down(self, worker, daemon, begin, end):
        return any(b < end and begin < e for b, e in self.down_times(worker, daemon))

    def is_spreading(self, begin, end):
        """Whether a change of the node set may have been spreading: two sets were in use."""
        return sum(b < end and begin < e for b, e, _ in self.sets) > 1

    def of_calls(self, events, patience):
        """Counts the unary calls for an uncontended key during which the daemon had a quorum all the time, and
        how many of them succeeded. A single attempt during a change of the node set is not counted. Also returns
        how long calls still failed after a quorum had returned."""
        asked = succeeded = 0
        recoveries = []
        for (worker, daemon), calls in calls_by_daemon(events).items():
            down = self.down_times(worker, daemon)
            for call in calls:
                if self.was_down(worker, daemon, call["sent"] - patience, call["received"]):
                    continue
                if not call["wait"] and self.is_spreading(call["sent"], call["received"]):
                    continue
                asked += 1
                succeeded += call["what"] == "acquired"
            for (_, end), (next_begin, _) in zip(down, [*down[1:], (float("inf"), 0)]):
                after = [call for call in calls if end < call["received"] < next_begin]
                success = next((call for call in after if call["what"] == "acquired"), None)
                if success is not None:
                    recoveries.append(success["received"] - max(end, after[0]["sent"]))
        return asked, succeeded, recoveries

    def of_waiting(self, events):
        """Returns how long each acquisition with a wait of limits.WAIT took that succeeded, and those that failed,
        if the daemon had a quorum all the time. A change of the node set is no excuse."""
        took, failed = [], []
        for (worker, daemon), calls in calls_by_daemon(events).items():
            for call in calls:
                if call["wait"] < limits.WAIT or self.was_down(
                    worker, daemon, call["sent"], call["received"]
                ):
                    continue
                seconds = call["received"] - call["sent"]
                if call["what"] == "acquired":
                    took.append(seconds)
                else:
                    failed.append(
                        f"{call['key']}: not acquired in {seconds:.1f} s at daemon {daemon}, which had"
                        f" a quorum, at {call['sent']:.3f}: {call['reason']}"
                    )
        return took, failed

    def needless_losses(self, events, daemons):
        """Returns losses before which the client could reach every daemon that it can have used, and each of
        these had a quorum. They are not counted as violations, because a machine that is too busy for short TTLs
        can cause them too."""
        found = []
        for event in events:
            if event["what"] != "lost":
                continue
            used = [event["daemon"]] if "daemon" in event else range(daemons)
            worker, at = event["worker"], event["received"]
            if any(self.was_down(worker, daemon, at - CAUSE, at) for daemon in used):
                continue
            found.append(f"{event['key']}: {worker} at {at:.3f}: {event['reason']}")
        return found


def lacks_quorum(members, impaired):
    # A link and its node may both be impaired: that counts once.
    return sum(impaired[node] == 0 for node in members) < len(members) // 2 + 1


def calls_by_daemon(events):
    """Returns the unary calls for uncontended keys, by worker and daemon."""
    calls = collections.defaultdict(list)
    for event in events:
        if event["what"] in ("acquired", "not acquired") and event["key"].startswith("own-"):
            if "daemon" in event:
                calls[event["worker"], event["daemon"]].append(event)
    return calls
