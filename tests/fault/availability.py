"""How available the locks were, as far as the workers and the list of faults show it."""

import collections

import limits

# A loss has its cause at most so long before: the trust ends when grace or TTL have passed, whichever is first.
CAUSE = limits.GRACE + limits.MAX_TTL / 2 + 0.5


def of_calls(events, impaired, nodes, patience):
    """Of the unary calls for an uncontended key: those that came while a quorum was up for their daemon all the
    time, and how many of them succeeded. Also how long calls went on to fail after a quorum's return."""
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
    """Losses before which no daemon that the client can have used was out of its reach or without a quorum.
    A machine that is too busy for short TTLs is not excluded: so this is not counted as a violation."""
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
    """When too many nodes were out of reach for this daemon, or it was itself for this worker."""
    changes = []
    for who, begin, end in impaired:
        if who in (f"daemon {daemon}", f"client {worker} {daemon}", f"worker {worker}"):
            changes += [(begin, may_fail + 1), (end, -may_fail - 1)]
        elif who.startswith("node ") or who.startswith(f"link {daemon} "):
            changes += [(begin, 1), (end, -1)]
    # A node that is both stopped and cut off counts twice here: to be on the safe side, such times count as down.
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
