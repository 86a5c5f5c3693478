"""Compares redlockd's clients with the libraries that their users have today, and with plain stubs.

    tests/bench/clients/run [LANGUAGE...]      go, node, python, java; all by default
      --clients DIRECTORY    a source tree whose clients are measured (default: this one)
      --rounds N             measurements of each subject at each number of outstanding cycles (default: 5)
      --duration SECONDS     of one measurement (default: 2)
      --warm-up SECONDS      before the first round, not counted (default: 3; a JVM compiles meanwhile)
      --outstanding N,N,...  (default: 1,16,64,256)
      --json FILE            appends a line per language and style

A cycle is an acquire and a release of a new key, which nobody else wants. The subjects take turns, and the ratios are
the medians of those within the rounds. Idle load programs stay connected meanwhile.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import builds
from measured import cpu_seconds, resident_mib, service

CLIENT, STUBS = "redlockd", "stubs"
# By language: the styles, with the arguments of the load program and the libraries that users have today.
STYLES = {
    "go": {"goroutines": ([], ["redsync-go-redis", "redsync-redigo"])},
    "node": {"promises": ([], ["node-redlock", "node-redlock-pipelined"])},
    "python": {"threads": (["threads"], ["pottery", "redis-py"]),
               "asyncio": (["asyncio"], ["pottery", "redis-py"])},
    "java": {"threads": (["threads"], ["RLock", "RedissonRedLock"]),
             "futures": (["futures"], ["RLock", "RedissonRedLock"])},
}
# These lock one node, without a quorum.
ONE_NODE = {"redis-py", "RLock", "MultiLock", "RReadWriteLock", "RPermitExpirableSemaphore"}
HELD = 10_000


class Load:
    """A load program that runs until the bench ends, so that start-up and warm-up are not measured."""

    def __init__(self, command, subject, daemon_port, nodes):
        self._process = subprocess.Popen(
            [*command, subject, f"127.0.0.1:{daemon_port}", *(f"127.0.0.1:{port}" for port in nodes.ports)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PROTO": os.path.join(builds.ROOT, "proto")})
        self.pid, self._subject = self._process.pid, subject

    def ask(self, *order):
        with contextlib.suppress(BrokenPipeError):
            print(*order, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the load program of {self._subject} ended: {self._process.wait()}")
        return json.loads(answer)

    def close(self):
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def loads(command, subjects):
    # The node time-out is long, so that other load on this machine cannot make a cycle fail.
    with service("--node-timeout", "2s") as (nodes, daemon, port), contextlib.ExitStack() as stack:
        started = {subject: Load(command, subject, port, nodes) for subject in subjects}
        for load in started.values():
            stack.callback(load.close)
        yield started, daemon, nodes


def measured_run(load, others, outstanding, seconds):
    """Returns the load program's figures, and the CPU time that it, the daemon and the nodes used per cycle, in µs.
    The CPU time changes less than the throughput if other programs use the machine."""
    begin, before = time.monotonic(), cpu_of(load, *others)
    figures = load.ask("run", outstanding, seconds)
    cycles = figures["cycles"] * (time.monotonic() - begin)
    figures["cpu_us"] = [(b - a) * 1e6 / cycles for a, b in zip(before, cpu_of(load, *others))]
    return figures


def cpu_of(load, daemon, nodes):
    return [cpu_seconds(load.pid), cpu_seconds(daemon.pid), sum(cpu_seconds(node.pid) for node in nodes.processes)]


def measure(command, subjects, options):
    """Returns the measurements: [outstanding][subject] is a list with one of each round."""
    rows = {}
    with loads(command, subjects) as (started, *others):
        for outstanding in options.outstanding:
            rows[outstanding] = {subject: [] for subject in subjects}
            for load in started.values():  # connections are opened and code is compiled: not counted
                load.ask("run", outstanding, options.warm_up)
            for _ in range(options.rounds):
                for subject, load in started.items():
                    rows[outstanding][subject].append(measured_run(load, others, outstanding, options.duration))
    return rows


def memory(command):
    """Returns the KiB per held lock: resident in the client, in its heap (None if unknown), resident in the daemon."""
    with loads(command, [CLIENT]) as (started, daemon, _):
        load = started[CLIENT]
        load.ask("run", 1, 1)
        load.ask("hold", 100)  # the first locks load code, and start threads
        before = resident_mib(load.pid), resident_mib(daemon.pid)
        heap = load.ask("hold", HELD)
        after = resident_mib(load.pid), resident_mib(daemon.pid)
        client, server = ((b - a) * 1024 / HELD for a, b in zip(before, after))
        return {"client": client, "daemon": server,
                "heap": (heap["heap"] - heap["heap_before"]) / 1024 / HELD if heap else None}


def median(rounds, what):
    return statistics.median(measurement[what] for measurement in rounds)


def ratio(row, numerator, denominator, what="cycles"):
    """The median of the ratios within the rounds."""
    return statistics.median(a[what] / b[what] for a, b in zip(row[numerator], row[denominator]))


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def report(title, rows, peers, held):
    print(f"\n### {title}\n\nLoad average {os.getloadavg()[0]:.1f}. Cycles/s (p50, p99 of a cycle in ms):\n")
    line("outstanding", *map(str, rows))
    line("---", *("---" for _ in rows))
    for subject in next(iter(rows.values())):
        line(f"**{subject}**" if subject == CLIENT else subject + (" (one node)" if subject in ONE_NODE else ""),
             *(f"{median(row[subject], 'cycles'):,.0f} ({median(row[subject], 'p50_ms'):.2f}, "
               f"{median(row[subject], 'p99_ms'):.2f})" for row in rows.values()))
    for subject in next(iter(rows.values())):
        line(f"CPU µs of {subject}: client, daemon, nodes", *(", ".join(
            f"{statistics.median(cpu):.0f}" for cpu in zip(*(run["cpu_us"] for run in row[subject])))
            for row in rows.values()))
    for other in (*peers, STUBS):
        line(f"{CLIENT} / {other}", *(f"{ratio(row, CLIENT, other):.2f}" for row in rows.values()))
    print()
    for outstanding, row in rows.items():
        best = max(peers, key=lambda peer: median(row[peer], "cycles"))
        if outstanding == 1:
            goal("cycle at 1 outstanding / that of the stubs", ratio(row, CLIENT, STUBS, "p50_ms"), most=1.3)
        else:
            goal(f"cycles/s at {outstanding} outstanding / {best}", ratio(row, CLIENT, best),
                 least=1.5 if outstanding >= 64 else 1)
    goal("KiB per held lock, resident in the client", held["client"], most=4)
    if held["heap"] is not None:
        goal("KiB per held lock, heap of the client", held["heap"], most=4)
    goal("KiB per held lock, resident in the daemon", held["daemon"], most=1)


def goal(what, value, least=None, most=None):
    met = value >= least if most is None else value <= most
    bound = f"at least {least}" if most is None else f"at most {most}"
    print(f"- {'met' if met else '**not met**'}: {what}: {value:.2f}, goal: {bound}", flush=True)


def parser_of(description, duration):
    """The parser of the arguments that this bench and that of the claims have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    parser.add_argument("--clients", default=builds.ROOT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=float, default=duration)
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--json", default=os.devnull)
    return parser


def main():
    parser = parser_of(__doc__, duration=2)
    parser.add_argument("--outstanding", default="1,16,64,256", type=lambda text: [int(n) for n in text.split(",")])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what has been started
    clients = os.path.realpath(options.clients)
    for language in options.languages or STYLES:
        command = getattr(builds, language)(clients)
        for style, (arguments, peers) in STYLES[language].items():
            rows = measure([*command, *arguments], [CLIENT, *peers, STUBS], options)
            held = memory([*command, *arguments])
            report(f"{language}, {style}", rows, peers, held)
            with open(options.json, "a") as out:
                out.write(json.dumps({"language": language, "style": style, "rows": rows, "memory": held}) + "\n")


if __name__ == "__main__":
    main()
