"""Compares several keys, shared keys and semaphores in redlockd's clients with the libraries that offer the same.

    tests/bench/clients/claims [LANGUAGE...]   node, java; both by default
      --clients, --rounds, --duration (default: 0.8), --warm-up, --json: as for tests/bench/peers

A cycle is an acquire and a release of what the workload wants, without a pause between them. It waits for as long as
it must. A measurement counts the cycles that end in its time. The latencies include those that end later.

    transfers-1000, transfers-10    two keys together, out of so many
    readers                         one key: 9 of 10 cycles share it, the others hold it alone
    semaphore                       one key with at most 10 holders

Before the measurements, a run whose cycles hold for 1 ms checks that there are never too many holders at the same time.
"""

import argparse
import json
import os
import signal
import sys

import builds
from loads import CLIENT, STYLES, Usage, world
from tables import advantage, head, line, median, medians, name_of

# By language: the workloads, with the numbers of workers and the libraries that offer the same.
WORKLOADS = {
    "node": [("transfers-1000", [16, 64], ["node-redlock", "node-redlock-pipelined"]),
             ("transfers-10", [16, 64], ["node-redlock", "node-redlock-pipelined"])],
    "java": [("transfers-1000", [16, 64], ["MultiLock"]),
             ("transfers-10", [16, 64], ["MultiLock"]),
             ("readers", [16, 64], ["RReadWriteLock"]),
             ("semaphore", [100], ["RPermitExpirableSemaphore"])],
}
CHECK = 0.5  # s


def measured_work(made, subject, workload, workers, seconds):
    """Returns the load program's figures, and what a cycle used."""
    usage = Usage(made, subject)
    figures = made.loads[subject].ask("work", workload, workers, seconds)
    return {**figures, **usage.each(figures["count"]), "cycles": figures["in_time"] / seconds}


def measure(command, workload, all_workers, subjects, options):
    """Returns the measurements: [workers][subject] is a list with one of each round."""
    rows = {}
    with world(command, subjects) as made:
        for workers in all_workers:
            rows[workers] = {subject: [] for subject in subjects}
            for load in made.loads.values():  # connections are opened and code is compiled: not counted
                load.ask("check", workload, workers, CHECK)
                load.ask("work", workload, workers, options.warm_up)
            for _ in range(options.rounds):
                for subject, rounds in rows[workers].items():
                    rounds.append(measured_work(made, subject, workload, workers, options.duration))
    return rows


def report(workload, rows):
    for workers, row in rows.items():
        for subject, rounds in row.items():
            line(f"{workload}, {workers} workers", name_of(subject), f"{median(rounds, 'cycles'):,.0f}",
                 advantage(row, subject, "cycles"), f"{median(rounds, 'p50_ms'):.2f}, {median(rounds, 'p99_ms'):.2f}",
                 ", ".join(f"{value:.0f}" for value in medians(rounds, "cpu_us")))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    parser.add_argument("--clients", default=builds.ROOT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=float, default=0.8)
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--json", default=os.devnull)
    return parser.parse_args()


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what has been started
    clients = os.path.realpath(options.clients)
    for language in options.languages or WORKLOADS:
        command = getattr(builds, language)(clients)
        for style, (arguments, _) in STYLES[language].items():
            print(f"\n### {language}, {style}")
            head("workload", "library", "cycles/s", f"{CLIENT} / library", "p50, p99 ms",
                 "CPU µs: client, daemon, nodes")
            for workload, all_workers, peers in WORKLOADS[language]:
                rows = measure([*command, *arguments], workload, all_workers, [CLIENT, *peers], options)
                report(workload, rows)
                with open(options.json, "a") as out:
                    out.write(json.dumps({"language": language, "style": style, "workload": workload, "rows": rows})
                              + "\n")
            print(f"\nLoad average {os.getloadavg()[0]:.1f}.", flush=True)


if __name__ == "__main__":
    main()
