"""Cycles of new keys while one node is stopped or dead; of etcd, the leader."""

import signal

from loads import CLIENT, ONE_NODE, STUBS, Failed
from tables import head, heading, line, median, name_of

OUTSTANDING = 64
FAULTS = {"stopped": signal.SIGSTOP, "dead": signal.SIGKILL}


def measure(world_of, subjects, options):
    """Returns the measurements: [fault]["before" or "after"][subject] is a list with one of each round. It is empty if
    the library does not work after the fault."""
    subjects = [subject for subject in subjects if subject not in {*ONE_NODE, STUBS}]
    rows = {}
    for name in options.faults:
        with world_of(subjects) as made:
            for load in made.loads.values():
                load.ask("run", OUTSTANDING, options.warm_up)
            before = rounds_of(made, options)
            made.strike(FAULTS[name])
            for subject in subjects:
                settle(made, subject, options)
            rows[name] = {"before": before, "after": {**dict.fromkeys(subjects, []), **rounds_of(made, options)}}
    return rows


def settle(made, subject, options):
    """Removes a peer that does not work any more. That redlockd does not is an error."""
    try:
        made.loads[subject].ask("run", OUTSTANDING, options.after_fault, limit=options.after_fault + options.patience)
    except Failed:
        if subject == CLIENT:
            raise
        made.give_up(subject)


def rounds_of(made, options):
    rows = {subject: [] for subject in made.loads}
    for _ in range(options.rounds):
        for subject, load in made.loads.items():
            rows[subject].append(load.ask("run", OUTSTANDING, options.duration))
    return rows


def report(results):
    heading(f"A fault of one node, {OUTSTANDING} outstanding: cycles/s before and after (ratio); p99 of a cycle, ms")
    head("", *next(iter(results.values())))
    for language, rows in results.items():
        for subject in next(iter(rows.values()))["before"]:
            line(f"{language}: {name_of(subject)}", *(effect(row["before"][subject], row["after"][subject])
                                                      for row in rows.values()))


def effect(before, after):
    healthy = median(before, "cycles")
    if not after:
        return f"{healthy:,.0f} → none"
    left = median(after, "cycles")
    return (f"{healthy:,.0f} → {left:,.0f} ({left / healthy:.2f}); "
            f"{median(before, 'p99_ms'):.1f} → {median(after, 'p99_ms'):.1f}")
