"""Checks the histories that the workers wrote; README.md describes their lines.

A client certainly trusted a lock from the moment the worker saw the validity until that validity had passed,
counted from the earliest time at which it can have been decided, or until the client began to release the lock
or reported its loss. Two such periods of different tokens on one key must not overlap, unless both tokens share
it or have different slots of one semaphore: that would be two holders. A claim of several keys is a claim of each.
The end of a stream or a client does not shorten the period: the daemon must not give up the lock earlier.
"""

import bisect
import collections
import json
import typing

import limits

LOST_GRACE = 0.5  # seconds that the signal of a loss may be late on a busy machine
# After this long without a sign of life, nothing can still hold a worker's own key. In the worst case, the
# worker was killed while its request was frozen, first by the network, then by the daemon; then the silence
# rule and the TTL follow.
KEPT = 1 + 2 * limits.LONGEST_FAULT + 2 + limits.GRACE + limits.MAX_TTL + 2


def read(paths):
    events = []
    for path in paths:
        with open(path, encoding="ascii") as file:
            for line in file:
                try:
                    events.append(json.loads(line))
                except ValueError:
                    pass  # the worker was killed while it wrote this line
    return events


def ends_of_trust(events):
    """Returns the times at which clients ended their trust themselves, by (worker, key, token). A token may be
    reused."""
    ends = collections.defaultdict(list)
    for event in events:
        if event["what"] == "releases":
            ends[event["worker"], event["key"], event["token"]].append(event["sent"])
        elif event["what"] == "lost":
            ends[event["worker"], event["key"], event["token"]].append(event["received"])
    for times in ends.values():
        times.sort()
    return ends


class Use(typing.NamedTuple):
    """How a lease uses its keys. `max_holders` and `slot` are 0 unless the key is a semaphore."""

    shares: bool
    max_holders: int
    slot: int

    def allows(self, other):
        """Whether another token may use the key in the other way at the same time."""
        if self.max_holders:
            return self.max_holders == other.max_holders and self.slot != other.slot
        return self.shares and other.shares


def use_of(event):
    return Use(event.get("shares", False), event.get("max_holders", 0), event.get("slot", 0))


def keys_of(event):
    return event.get("keys", [event["key"]])


def certain_holds(events):
    """Returns (begin, end, token, use) by key, sorted by begin."""
    ends = ends_of_trust(events)
    holds = collections.defaultdict(list)
    for event in events:
        if event["what"] in ("acquired", "extended", "held") and "validity" in event:
            begin, end = event["received"], event["decided"] + event["validity"]
        elif event["what"] == "trusts":
            begin, end = event["begin"], event["end"]
        else:
            continue
        times = ends[event["worker"], event["key"], event["token"]]
        after = bisect.bisect_left(times, begin)
        if after < len(times):
            end = min(end, times[after])
        if end > begin:
            for key in keys_of(event):
                holds[key].append((begin, end, event["token"], use_of(event)))
    for key in holds:
        holds[key].sort()
    return holds


def two_holders(events):
    overlaps = {}  # (begin, end) by key and the two tokens
    for key, holds in certain_holds(events).items():
        latest = {}  # end by token and use
        for begin, end, token, use in holds:
            for (other, other_use), other_end in latest.items():
                if other != token and other_end > begin and not use.allows(other_use):
                    pair = (key, *sorted((other, token)))
                    first, last = overlaps.get(pair, (begin, begin))
                    overlaps[pair] = (first, max(last, min(end, other_end)))
            latest = {t: e for t, e in latest.items() if e > begin}
            latest[token, use] = max(end, latest.get((token, use), end))
    return [
        f"{key}: {one} and {other} both held it for {(end - begin) * 1e3:.1f} ms from {begin:.6f}"
        for (key, one, other), (begin, end) in overlaps.items()
    ]


def slots_in_use(events):
    """Returns (key, max_holders, begin, slots) each time that a lease of a semaphore begins: the (token, slot) of all
    leases at that time."""
    found = []
    for key, holds in certain_holds(events).items():
        latest = {}  # end by token and slot
        for begin, end, token, use in holds:
            if use.max_holders:
                latest = {t: e for t, e in latest.items() if e > begin}
                is_new = (token, use.slot) not in latest
                latest[token, use.slot] = max(end, latest.get((token, use.slot), end))
                if is_new:
                    found.append((key, use.max_holders, begin, sorted(latest)))
    return found


def wrong_slots(events):
    """No more tokens than the limit may have a slot at the same time, no token may have two, and there are no
    slots above the limit."""
    found = []
    for key, max_holders, begin, slots in slots_in_use(events):
        tokens = {token for token, _ in slots}
        listed = ", ".join(f"{token} in slot {slot}" for token, slot in slots)
        if len(tokens) > max_holders:
            found.append(f"{key}: {len(tokens)} holders, more than {max_holders}, at {begin:.6f}: {listed}")
        if len(tokens) < len(slots):
            found.append(f"{key}: one token had two slots at {begin:.6f}: {listed}")
        if not all(1 <= slot <= max_holders for _, slot in slots):
            found.append(f"{key}: a slot out of 1 to {max_holders} at {begin:.6f}: {listed}")
    return found


def fences_that_do_not_grow(events):
    """A grant that is decided after another holder's fence was seen must have a higher fence. A token that shares
    the key needs one that is higher than those of exclusive holders only, a slot of a semaphore one that is higher
    than those of the same slot."""
    grants, seen = collections.defaultdict(list), collections.defaultdict(list)
    for event in events:
        for place in [(key, event.get("slot", 0)) for key in keys_of(event)]:
            if event["what"] in ("acquired", "held"):
                grants[place].append((event.get("decided", event["sent"]), event))
            if event["what"] in ("acquired", "held", "extended", "trusts"):
                at = event.get("received", event.get("begin"))
                seen[place].append((at, event["fence"], event["token"], event.get("shares", False)))
    found = []
    for (key, slot), list_of_grants in grants.items():
        by_time = sorted(seen[key, slot])
        highest_of_all = highest_exclusive = (0, "")
        looked_at = 0
        for decided, event in sorted(list_of_grants, key=lambda grant: grant[0]):
            while looked_at < len(by_time) and by_time[looked_at][0] < decided:
                fence_and_token = by_time[looked_at][1:3]
                highest_of_all = max(highest_of_all, fence_and_token)
                if not by_time[looked_at][3]:
                    highest_exclusive = max(highest_exclusive, fence_and_token)
                looked_at += 1
            highest = highest_exclusive if event.get("shares") else highest_of_all
            if highest[1] != event["token"] and event["fence"] <= highest[0]:
                found.append(
                    f"{key}{f' slot {slot}' if slot else ''}: {event['token']} got fence {event['fence']} after"
                    f" {highest[1]} had {highest[0]}"
                )
    return found


def refused_holders(events):
    """The storage must not refuse a write while the client is certainly the holder."""
    holds = certain_holds(events)
    found = []
    for event in events:
        if event["what"] != "refused":
            continue
        for begin, end, token, _ in holds[event["key"]]:
            if token == event["token"] and begin <= event["sent"] and event["received"] <= end:
                found.append(f"{event['key']}: a write by its holder {token} was refused")
    return found


def signalled_too_late(events, suspended, impaired=()):
    """A loss must be signalled when the trust ends, unless the process was stopped at that time or, if only
    the daemon can signal the loss (an event with `daemon`), the network had a fault."""
    found = []
    for event in events:
        if event["what"] != "lost" or event["by"] is None:
            continue
        # A worker that polls reports the last time without a signal.
        late = event.get("unsignalled", event["received"]) - event["by"]
        excuses = [f"worker {event['worker']}"]
        if "daemon" in event:
            excuses += [
                f"daemon {event['daemon']}", f"client {event['worker']} {event['daemon']}"
            ]
        if late <= LOST_GRACE or any(
            begin < event["received"] and event["by"] < end + LOST_GRACE
            for who, begin, end in [*suspended, *impaired]
            if who in excuses
        ):
            continue
        found.append(f"{event['key']}: {event['worker']} learned of a loss {late:.3f} s late")
    return found


def kept_too_long(events):
    """Only one worker uses a key `own-...`: if the worker has not held it for long, it must be free."""
    last = {}
    found = []
    by_time = sorted(
        (event for event in events if event.get("key", "").startswith("own-")),
        key=lambda event: event.get("received", event.get("sent", event.get("begin"))),
    )
    for event in by_time:
        key = event["key"]
        if event["what"] == "not acquired" and event["reason"] == "LOCK_ALREADY_HELD":
            kept = event["sent"] - last.get(key, event["sent"])
            if kept > KEPT:
                found.append(f"{key}: still locked {kept:.1f} s after its last use")
        else:
            at = max(event.get(field, 0) for field in ("sent", "received", "end"))
            last[key] = max(at, last.get(key, at))
    return found


def violations(events, suspended, impaired=()):
    """`suspended`, `impaired`: (who, begin, end) of processes that were stopped, and of all faults."""
    return (
        two_holders(events)
        + wrong_slots(events)
        + fences_that_do_not_grow(events)
        + refused_holders(events)
        + signalled_too_late(events, suspended, impaired)
        + kept_too_long(events)
    )
