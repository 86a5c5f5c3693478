"""What waiters cost while one holder keeps the key that they want."""

import time

from loads import CLIENT, STUBS, Usage
from tables import head, heading, line, medians, name_of
from uncontended import commands


def measure(made, options):
    """Returns the measurements: [subject] is a list with one of each round. "nobody": redlockd without waiters."""
    subjects = [subject for subject in made.loads if subject != STUBS]
    rows = {"nobody": [], **{subject: [] for subject in subjects}}
    for _ in range(options.rounds):
        rows["nobody"].append(used(made, CLIENT, options))
        for subject in subjects:
            made.loads[subject].ask("wait", options.waiters)
            rows[subject].append({**used(made, subject, options), "waiters": options.waiters})
            made.loads[subject].ask("pass")
    return rows


def used(made, subject, options):
    time.sleep(options.settle)
    usage = Usage(made, subject)
    time.sleep(options.waiting)
    return usage.a_second()


def report(results):
    waiters = next(iter(results.values()))[CLIENT][0]["waiters"]
    heading(f"{waiters} waiters for one held key: in each second")
    head("", "commands on the nodes", "CPU of the client, %", "of the daemon", "of the nodes")
    for language, rows in results.items():
        for subject, rounds in rows.items():
            line(f"{language}: {name_of(subject)}", commands(rounds),
                 *(f"{value:.1f}" for value in medians(rounds, "cpu_percent")))
