"""Judges what the workers wrote down.

What is certain of a lease: its client held it from when the answer was received until its validity
had passed, counted from when it can have been decided at the earliest; or until the client began to give
it back. Two such times of different tokens on one key must not overlap: that would be two holders.
"""

import collections
import json

LOST_GRACE = 0.5  # seconds that a LOST may take from the daemon through a busy machine


def read(paths):
    events = []
    for path in paths:
        with open(path, encoding="ascii") as file:
            for line in file:
                try:
                    events.append(json.loads(line))
                except ValueError:
                    pass  # cut off when its worker was killed
    return events


def certain_holds(events, killed=()):
    """Per key: (begin, end, token, fence), by begin. A stream ends with its worker."""
    released = {}
    for event in events:
        if event["what"] in ("releases", "lost"):
            at = event.get("sent", event.get("received"))
            token = (event["key"], event["token"])
            released[token] = min(released.get(token, at), at)
    holds = collections.defaultdict(list)
    for event in events:
        if event["what"] not in ("acquired", "extended", "held"):
            continue
        end = event["decided"] + event["validity"]
        end = min(end, released.get((event["key"], event["token"]), end))
        if event["what"] == "held":
            end = min(end, event["stream_ends"])
            for worker, at in killed:
                if worker == event["worker"] and at > event["received"]:
                    end = min(end, at)
        if end > event["received"]:
            holds[event["key"]].append((event["received"], end, event["token"], event["fence"]))
    for key in holds:
        holds[key].sort()
    return holds


def two_holders(events, killed=()):
    found = []
    for key, holds in certain_holds(events, killed).items():
        latest = {}  # end by token
        for begin, end, token, _ in holds:
            for other, other_end in latest.items():
                if other != token and other_end > begin:
                    found.append(
                        f"{key}: {other} and {token} both held it for"
                        f" {(min(end, other_end) - begin) * 1e3:.1f} ms from {begin:.6f}"
                    )
            latest = {t: e for t, e in latest.items() if e > begin}
            latest[token] = max(end, latest.get(token, end))
    return found


def fences_that_do_not_grow(events):
    """A holder that was decided after another was told must have the higher fence."""
    grants = collections.defaultdict(list)
    for event in events:
        if event["what"] in ("acquired", "held"):
            grants[event["key"]].append(event)
    found = []
    for key, list_of_grants in grants.items():
        by_answer = sorted(list_of_grants, key=lambda event: event["received"])
        by_decision = sorted(list_of_grants, key=lambda event: event["decided"])
        highest, told = None, 0
        for event in by_decision:
            while told < len(by_answer) and by_answer[told]["received"] < event["decided"]:
                if highest is None or by_answer[told]["fence"] > highest["fence"]:
                    highest = by_answer[told]
                told += 1
            if highest is None or highest["token"] == event["token"]:
                continue
            if event["fence"] <= highest["fence"]:
                found.append(
                    f"{key}: {event['token']} got fence {event['fence']} after"
                    f" {highest['token']} had {highest['fence']}"
                )
    return found


def refused_holders(events, killed=()):
    """A write refused by the storage while its client was certainly the holder."""
    holds = certain_holds(events, killed)
    found = []
    for event in events:
        if event["what"] != "refused":
            continue
        for begin, end, token, _ in holds[event["key"]]:
            if token == event["token"] and begin <= event["sent"] and event["received"] <= end:
                found.append(f"{event['key']}: a write by its holder {token} was refused")
    return found


def told_too_late(events, suspended):
    """LOST has to come when validity ends, unless the daemon or the worker was stopped then."""
    found = []
    for event in events:
        if event["what"] != "lost" or event["by"] is None:
            continue
        late = event["received"] - event["by"]
        if late <= LOST_GRACE or any(
            begin < event["received"] and event["by"] < end + LOST_GRACE
            for who, begin, end in suspended
            if who in (f"daemon {event['daemon']}", f"worker {event['worker']}")
        ):
            continue
        found.append(f"{event['key']}: {event['worker']} was told {late:.3f} s late of a loss")
    return found


def violations(events, suspended, killed=()):
    """`suspended`: (who, begin, end) of processes that were stopped; `killed`: (worker, when)."""
    return (
        two_holders(events, killed)
        + fences_that_do_not_grow(events)
        + refused_holders(events, killed)
        + told_too_late(events, suspended)
    )


def availability(events, impaired, nodes, patience):
    """Of the calls for an uncontended key: those that came while a quorum was up for their daemon
    all the time, and how many of them succeeded. Also the times from a quorum's return to the
    first success."""
    quorum = nodes // 2 + 1
    calls = collections.defaultdict(list)
    for event in events:
        if event["what"] in ("acquired", "not acquired") and event["key"].startswith("own-"):
            calls[event["daemon"]].append(event)
    asked = succeeded = 0
    recoveries = []
    for daemon, list_of_calls in calls.items():
        down = down_times(impaired, daemon, nodes - quorum)
        for call in list_of_calls:
            if any(begin < call["received"] and call["sent"] - patience < end
                   for begin, end in down):
                continue
            asked += 1
            succeeded += call["what"] == "acquired"
        successes = sorted(c["received"] for c in list_of_calls if c["what"] == "acquired")
        for _, end in down:
            after = next((at for at in successes if at > end), None)
            if after is not None:
                recoveries.append(after - end)
    return asked, succeeded, recoveries


def down_times(impaired, daemon, may_fail):
    """When too many nodes were out of reach for this daemon, or it was itself."""
    changes = []
    for who, begin, end in impaired:
        if who == f"daemon {daemon}":
            changes += [(begin, may_fail + 1), (end, -may_fail - 1)]
        elif who.startswith("node ") or who.startswith(f"link {daemon} "):
            changes += [(begin, 1), (end, -1)]
    # A node that is both stopped and cut off counts twice here: to be on the safe side, such times are
    # taken for down.
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
