"""Computes how available the locks were, from the workers' histories and the list of faults."""

import collections

import limits

# The longest time between a cause and its loss: the trust ends when the grace or the TTL has passed, whichever
# is first.
CAUSE = limits.GRACE + limits.MAX_TTL / 2 + 0.5


def of_calls(events, impaired, nodes, patience):
    """Counts the unary calls for an uncontended key during which the daemon had a quorum all the time, and
    how many of them succeeded. Also returns how long calls still failed after a quorum had returned."""
    may_fail = nodes - (nodes // 2 + 1)
    calls = collections.defaultdict(list)
    for event in events:
        if event["what"] in ("acquired", "not acquired") and event["key"].startswith("own-"):
            if "daemon" in event:
                calls[event["worker"], event["daemon"]].append(event)
    asked = succeeded = 0
    recoveries = []
    for (worker, daemon), list_of_calls in calls.items():
        down = down_times(impaired, worker, daemon, may_fail)
        for call in list_of_calls:
            if any(begin < call["received"] and call["sent"] - patience < end
                   for begin, end in down):
                continue
            asked += 1
            succeeded += call["what"] == "acquired"
        for (_, end), (next_begin, _) in zip(down, [*down[1:], (float("inf"), 0)]):
            after = [call for call in list_of_calls if end < call["received"] < next_begin]
            success = next((call for call in after if call["what"] == "acquired"), None)
            if success is not None:
                recoveries.append(success["received"] - max(end, after[0]["sent"]))
    return asked, succeeded, recoveries


def needless_losses(events, impaired, nodes, daemons):
    """Returns losses before which the client could reach every daemon that it can have used, and each of
    these had a quorum. They are not counted as violations, because a machine that is too busy for short TTLs
    can cause them too."""
    may_fail = nodes - (nodes // 2 + 1)
    found = []
    for event in events:
        if event["what"] != "lost":
            continue
        used = [event["daemon"]] if "daemon" in event else range(daemons)
        worker = event["worker"]
        if any(
            begin < event["received"] and end > event["received"] - CAUSE
            for daemon in used
            for begin, end in down_times(impaired, worker, daemon, may_fail)
        ):
            continue
        found.append(f"{event['key']}: {worker} at {event['received']:.3f}: {event['reason']}")
    return found


def down_times(impaired, worker, daemon, may_fail):
    """Returns the times at which this daemon had no quorum, or this worker could not reach the daemon."""
    changes = []
    for who, begin, end in impaired:
        if who in (f"daemon {daemon}", f"client {worker} {daemon}", f"worker {worker}"):
            changes += [(begin, may_fail + 1), (end, -may_fail - 1)]
        elif who.startswith("node ") or who.startswith(f"link {daemon} "):
            changes += [(begin, 1), (end, -1)]
    # A node that is both stopped and cut off counts twice, so that in doubt a time counts as down.
    times, count, since = [], 0, None
    for at, by in sorted(changes):
        count += by
        if count > may_fail and since is None:
            since = at
        elif count <= may_fail and since is not None:
            times.append((since, at))
            since = None
    if since is not None:
        times.append((since, float("inf")))
    return times
