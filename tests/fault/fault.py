"""Faults at random on real processes, and what the clients saw. See README.md.

    fault.py [--seconds N] [--seed N] [--nodes N] [--daemons N] [--workers N]
"""

import argparse
import heapq
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

import history
from cluster import Cluster, now
from faults import Faults
from worker import PATIENCE

MAX_TTL = 2.0  # every worker's TTLs are at most half of it
QUIET = 2 * MAX_TTL + 3  # in which everything recovers


def has_packet_filter():
    """In a network of our own (unshare -n), where its rules hurt nobody else."""
    if os.environ.get("REDLOCK_FAULT_NETNS") != "own" or shutil.which("iptables") is None:
        return False
    return subprocess.run(["iptables", "-L"], capture_output=True, check=False).returncode == 0


def trouble(faults, chance, seconds):
    """Begins a fault now and then; each is undone in its time."""
    end = now() + seconds
    pending = []  # (when, number, undo)
    number = 0
    while now() < end or pending:
        if now() < end and (begun := faults.begin()) is not None:
            number += 1
            heapq.heappush(pending, (now() + begun[0], number, begun[1]))
        pause = now() + chance.uniform(0.1, 1.5)
        while pending and (pending[0][0] <= pause or now() >= end):
            when, _, undo = heapq.heappop(pending)
            time.sleep(max(when - now(), 0))
            undo()
        time.sleep(max(pause - now(), 0))


def keys_left(cluster):
    left = []
    for index, node in enumerate(cluster.nodes):
        for key in node.command("KEYS", "*").split():
            if not key.startswith("redlockd:"):
                left.append(f"{key} is still locked on node {index}")
    return left


def ended_by_themselves(cluster):
    return [
        f"daemon {index} ended by itself: {daemon.process.returncode}"
        for index, daemon in enumerate(cluster.daemons)
        if daemon.process.poll() is not None
    ]


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def run(options):
    chance = random.Random(options.seed)
    directory = tempfile.mkdtemp(prefix="redlock-fault-")
    cluster = Cluster(
        directory, options.nodes, options.daemons, options.workers, MAX_TTL, options.seed
    )
    packet_filter = has_packet_filter()
    faults = Faults(cluster, chance, packet_filter)
    try:
        time.sleep(3)
        trouble(faults, chance, options.seconds)
        time.sleep(QUIET)
        for index in range(options.workers):
            faults.kill_worker(index)
        time.sleep(MAX_TTL + 0.5)
        wrong = keys_left(cluster) + ended_by_themselves(cluster)
    finally:
        cluster.end()
    events = history.read([worker.history for worker in cluster.workers])
    wrong += history.violations(events, faults.suspended, faults.killed)
    asked, succeeded, recoveries = history.availability(
        events, faults.impaired, options.nodes, PATIENCE
    )
    report(options, events, faults, packet_filter, asked, succeeded, recoveries)
    print(f"  violations    {len(wrong)}")
    for line in wrong[:20]:
        print(f"    {line}")
    enough = sum(event["what"] == "acquired" for event in events) > options.seconds
    if not enough:
        print("  too little happened to prove anything")
    if wrong or not enough or options.keep:
        print(f"  what everybody wrote is in {directory}")
    if wrong or not enough:
        return 1
    if options.keep:
        return 0
    shutil.rmtree(directory)
    return 0


def report(options, events, faults, packet_filter, asked, succeeded, recoveries):
    counts = {}
    for event in events:
        counts[event["what"]] = counts.get(event["what"], 0) + 1
    print(
        f"seed {options.seed}: {options.seconds:.0f} s, {options.nodes} nodes,"
        f" {options.daemons} daemons, {options.workers} client processes"
    )
    print(f"  operations    {len(events)}: "
          + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    print(f"  faults        {sum(faults.counts.values())}: "
          + ", ".join(f"{count} {kind}" for kind, count in sorted(faults.counts.items())))
    if not packet_filter:
        print("                no packet filter here: partitions by the proxies only")
    print(f"  available     {percent(succeeded, asked)} of {asked} calls while a quorum was up")
    if recoveries:
        recoveries.sort()
        print(f"  to recover    {recoveries[len(recoveries) // 2]:.2f} s in the median,"
              f" {recoveries[-1]:.2f} s at most, of {len(recoveries)} times without a quorum")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--keep", action="store_true", help="keep what everybody wrote")
    sys.exit(run(parser.parse_args()))
