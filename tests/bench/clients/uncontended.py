"""Cycles of an acquire and a release of new keys, which nobody else wants."""

from loads import Usage
from tables import advantage, head, heading, line, median, medians, name_of


def measured_run(made, subject, outstanding, seconds):
    """Returns the load program's figures, and what a cycle used. The CPU time changes less than the throughput if other
    programs use the machine."""
    usage = Usage(made, subject)
    figures = made.loads[subject].ask("run", outstanding, seconds)
    return {**figures, **usage.each(figures["count"])}


def measure(made, options):
    """Returns the measurements: [outstanding][subject] is a list with one of each round."""
    rows = {}
    for outstanding in options.outstanding:
        rows[outstanding] = {subject: [] for subject in made.loads}
        for load in made.loads.values():  # connections are opened and code is compiled: not counted
            load.ask("run", outstanding, options.warm_up)
        for _ in range(options.rounds):
            for subject, rounds in rows[outstanding].items():
                rounds.append(measured_run(made, subject, outstanding, options.duration))
    return rows


def report(results):
    heading("Uncontended: cycles/s (p50, p99 of a cycle in ms)")
    outstanding = list(next(iter(results.values())))
    head("", *map(str, outstanding), *(f"redlockd / it, {number}" for number in outstanding))
    for language, rows in results.items():
        for subject in rows[outstanding[0]]:
            line(f"{language}: {name_of(subject)}",
                 *(f"{median(row[subject], 'cycles'):,.0f} ({median(row[subject], 'p50_ms'):.2f}, "
                   f"{median(row[subject], 'p99_ms'):.2f})" for row in rows.values()),
                 *(advantage(row, subject, "cycles") for row in rows.values()))
    heading("Uncontended: CPU µs of a cycle (client, daemon, nodes); commands on the nodes")
    head("", *map(str, outstanding))
    for language, rows in results.items():
        for subject in rows[outstanding[0]]:
            line(f"{language}: {name_of(subject)}", *(cost(row[subject]) for row in rows.values()))


def cost(rounds):
    """What an operation used: CPU µs and commands."""
    cpu = ", ".join(f"{value:.0f}" for value in medians(rounds, "cpu_us"))
    return f"{cpu}; {commands(rounds)}"


def commands(rounds):
    """The commands on the nodes; etcd counts no commands."""
    return "–" if rounds[0]["commands"] is None else f"{median(rounds, 'commands'):,.1f}"
