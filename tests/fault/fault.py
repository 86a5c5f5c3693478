"""Injects random faults into real processes and checks what the clients saw. See README.md.

    fault.py [--seconds N] [--seed N] [--nodes N] [--members N] [--daemons N] [--workers N] [--languages LIST]
    fault.py --script [--seed N]
"""

import argparse
import heapq
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque

import history
import limits
import set_script
from availability import Availability
from cluster import Cluster, now
from faults import Faults
from set_changes import SetChanges

QUIET = 2 * limits.MAX_TTL + 3  # the time in which everything recovers
# The time until all keys are free after all clients have exited: the daemons' silence rule, then the TTL of
# keys on unreachable nodes.
GONE = limits.GRACE + limits.MAX_TTL + 0.5


def has_packet_filter():
    """Returns whether iptables can be used: only in a separate network namespace (unshare -n), where its rules
    affect nothing else."""
    if os.environ.get("REDLOCK_FAULT_NETNS") != "own" or shutil.which("iptables") is None:
        return False
    return subprocess.run(["iptables", "-L"], capture_output=True, check=False).returncode == 0


def inject_faults(faults, chance, seconds):
    """Begins random faults and undoes each when its time has passed."""
    end = now() + seconds
    pending = []  # (when, number, undo)
    number = 0
    while now() < end or pending:
        if now() < end and (fault := faults.begin()) is not None:
            number += 1
            heapq.heappush(pending, (now() + fault[0], number, fault[1]))
        pause = now() + chance.uniform(0.1, 1.5)
        while pending and (pending[0][0] <= pause or now() >= end):
            when, _, undo = heapq.heappop(pending)
            time.sleep(max(when - now(), 0))
            undo()
        time.sleep(max(pause - now(), 0))


def keys_left(cluster):
    left = []
    for index, node in enumerate(cluster.nodes):
        for key in node.redis("KEYS", "*").split():
            if not key.startswith("redlockd:"):
                left.append(f"{key} is still locked on node {index}")
    return left


def ended_by_themselves(cluster):
    daemons = [(f"daemon {index}", daemon) for index, daemon in enumerate(cluster.daemons)]
    workers = [(f"worker {worker.name}", worker) for worker in cluster.workers]
    return [
        f"{who} exited unexpectedly: {process.process.returncode}; its output ends with\n{last_lines(process.log.name)}"
        for who, process in daemons + workers
        if process.process.poll() is not None
    ]


def last_lines(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return "".join(f"      {line}" for line in deque(log, maxlen=12)).rstrip()


def worker_commands(count, languages):
    """Returns the workers' commands from REDLOCK_FAULT_WORKERS, which has one line per language with its name and
    its command. The workers use the languages in rotation."""
    lines = [line.split(None, 1) for line in os.environ["REDLOCK_FAULT_WORKERS"].splitlines()]
    available = {name: shlex.split(command) for name, command in lines}
    chosen = languages.split(",") if languages else list(available)
    return [chosen[i % len(chosen)] for i in range(count)], available


def run(options):
    chance = random.Random(options.seed)
    directory = tempfile.mkdtemp(prefix="redlock-fault-")
    languages, available = worker_commands(options.workers, options.languages)
    commands = [available[language] for language in languages]
    members = min(options.members, options.nodes)
    cluster = Cluster(directory, options.nodes, members, options.daemons, commands, chance)
    packet_filter = has_packet_filter()
    faults = Faults(cluster, chance, packet_filter)
    changes = SetChanges(cluster, faults, random.Random(options.seed + 1))
    faults.members_are_up = changes.members_are_up
    try:
        changes.start(changing=members < options.nodes)
        time.sleep(3)
        inject_faults(faults, chance, options.seconds)
        recovered = now() + QUIET
        wrong = changes.settle()
        time.sleep(max(recovered - now(), 0))
        changes.end()
        wrong += ended_by_themselves(cluster)
        for worker in cluster.workers:
            worker.kill()
        time.sleep(GONE)
        wrong += keys_left(cluster)
    finally:
        changes.end()
        cluster.end()
    with open(os.path.join(directory, "faults.json"), "w", encoding="ascii") as file:
        json.dump(
            {"impaired": faults.impaired, "suspended": faults.suspended, "sets": changes.sets()},
            file,
        )
    events = history.read([worker.history for worker in cluster.workers])
    wrong += history.violations(events, faults.suspended, faults.impaired)
    available = Availability(faults.impaired, changes.sets())
    waited, not_acquired = available.of_waiting(events)
    wrong += not_acquired
    report(options, languages, events, faults, packet_filter)
    report_semaphores(events)
    report_changes(changes)
    report_availability(options, events, available, waited)
    print(f"  violations    {len(wrong)}")
    for line in wrong[:20]:
        print(f"    {line}")
    silent = [
        f"{worker.name} ({language})"
        for worker, language in zip(cluster.workers, languages)
        if not any(e["worker"] == worker.name and e["what"] == "acquired" for e in events)
    ]
    enough = not silent and sum(e["what"] == "acquired" for e in events) > options.seconds
    if not enough:
        print(f"  too few locks were acquired to prove anything; workers without a lock: {silent}")
    if wrong or not enough or options.keep:
        print(f"  the output of all processes is in {directory}")
    if wrong or not enough:
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    return 0


def count_by(name, values):
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    listed = ", ".join(f"{count} {value}" for value, count in sorted(counts.items()))
    print(f"  {name:13} {len(values)}: {listed}")


def report_semaphores(events):
    begun = history.slots_in_use(events)
    if begun:
        refused = sum(e["what"] == "not acquired" and e["key"].startswith("semaphore-") for e in events)
        most = max(len(slots) for *_, slots in begun)
        print(f"  semaphores    {len(begun)} leases, {most} at the same time at most; {refused} not acquired")


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def report(options, languages, events, faults, packet_filter):
    print(
        f"seed {options.seed}: {options.seconds:.0f} s, {options.nodes} nodes,"
        f" {options.daemons} daemons, {options.workers} client processes ({', '.join(languages)})"
    )
    count_by("operations", [event["what"] for event in events])
    count_by("faults", [kind for kind, count in faults.counts.items() for _ in range(count)])
    if not packet_filter:
        print("                no packet filter available: only the proxies cause partitions")


def report_changes(changes):
    count_by("changes", changes.outcomes)
    sizes = [len(members) for _, _, members in changes.sets()]
    if sizes:
        print(f"  node sets     {len(sizes)}, with {min(sizes)} to {max(sizes)} members")


def report_availability(options, events, available, waited):
    asked, succeeded, recoveries = available.of_calls(events, limits.PATIENCE)
    print(f"  available     {percent(succeeded, asked)} of {asked} calls while a quorum was up")
    if waited:
        print(f"  waiting       {len(waited)} acquisitions with a wait of {limits.WAIT:.0f} s while a quorum"
              f" was up: {max(waited):.2f} s at most")
    if recoveries:
        recoveries.sort()
        print(f"  to recover    {recoveries[len(recoveries) // 2]:.2f} s (median),"
              f" {recoveries[-1]:.2f} s (maximum), {len(recoveries)} times without a quorum")
    losses = [event for event in events if event["what"] == "lost"]
    needless = available.needless_losses(events, options.daemons)
    print(f"  lost          {len(losses)} locks, {len(needless)} of them without a fault"
          " in reach of their client")
    for line in needless[:5]:
        print(f"    {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--members", type=int, default=3,
                        help="of the node set at first; it changes if there are more nodes")
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--languages", default="", help="such as raw,python; default: all")
    parser.add_argument("--keep", action="store_true", help="keep the output of all processes")
    parser.add_argument("--script", action="store_true",
                        help="change the node set in a fixed order, without random faults")
    arguments = parser.parse_args()
    sys.exit(set_script.run(arguments) if arguments.script else run(arguments))
