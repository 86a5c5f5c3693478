"""Measures the cost of a daemon and its nodes by the number of held keys and by the number of waiters.

    tests/bench/scale [ROWS.json] [ROWS] [SECONDS]      (default: no file, all rows, 5)

Appends a line per row to the file. Measures only the first ROWS numbers, each for so many SECONDS; in 5 s, each lease
is extended once.

    tests/bench/scale --large          up to 500,000 leases, and 100,000 waiters for 10,000 keys: what each costs (10 minutes)
"""

import json
import os
import sys
import threading
import time

import grpc

from measured import CpuMeter, Session, resident_mib, service
from test_service import eventually, pb, pb_grpc, seconds

HELD = (0, 2_000, 5_000, 10_000, 20_000, 40_000)
WAITING = (0, 500, 1_000, 2_000, 5_000, 10_000)
TTL = 10  # seconds; watchdogs extend at half of it
WINDOW = 5  # seconds, in which each lease is extended once
CYCLES = 300

LARGE_HELD = (10_000, 100_000, 500_000)
EXTENSIONS = 2_500  # a second, of all leases together
LARGE_WAITING = (10_000, 100_000)
WAITERS_PER_KEY = 10
ROOM = ("--max-operations", "10000000", "--max-session-operations", "1000000", "--max-queue-time", "60s",
        "--max-ttl", "10m")
OUTSTANDING = 4_000  # acquires of a session
PATIENCE = 300  # seconds


class Reader(threading.Thread):
    """Reads a session's responses, as a client has to."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.leases, self.extended, self.lost, self.queued = session, 0, 0, 0, set()
        self.start()

    def run(self):
        try:
            for response in self.session.responses:
                self.leases += sum(result.HasField("lease") for result in response.results)
                self.queued.update(position.id for position in response.positions)
                self.extended += sum(event.type == pb.EVENT_TYPE_EXTENDED for event in response.events)
                self.lost += sum(event.type == pb.EVENT_TYPE_LOST for event in response.events)
        except grpc.RpcError:
            pass  # the session ends with the daemon


def cycle_ms(port):
    """Returns the median time of an acquire and a release of an uncontended key by unary calls."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.LockServiceStub(channel)
        took = []
        for i in range(CYCLES):
            begin = time.monotonic()
            lease = stub.Acquire(pb.AcquireRequest(key=f"free-{i}", ttl=seconds(5))).lease
            stub.Release(pb.ReleaseRequest(key=lease.key, token=lease.token))
            took.append((time.monotonic() - begin) * 1000)
        return sorted(took)[CYCLES // 2]


def measure(nodes, daemon, port, window):
    time.sleep(1)
    meter = CpuMeter(daemon, *nodes.processes)
    time.sleep(window)
    cpu = meter.percent()
    return {"resident_mib": resident_mib(daemon.pid), "daemon_cpu": cpu[0],
            "node_cpu": sum(cpu[1:]) / len(nodes.processes), "cycle_ms": cycle_ms(port)}


def by_held(rows, window):
    with service() as (nodes, daemon, port):
        session = Session(port)
        reader = Reader(session)
        for count in HELD[:rows]:
            session.acquire([f"key-{i}" for i in range(reader.leases, count)], TTL)
            assert eventually(lambda: reader.leases == count, 30)
            yield {"held": count, **measure(nodes, daemon, port, window)}
        assert reader.lost == 0


def by_waiting(rows, window):
    with service("--max-waiters-per-key", str(WAITING[-1])) as (nodes, daemon, port):
        session = Session(port)
        Reader(session)
        session.acquire(["held"], TTL)
        asked = 0
        for count in WAITING[:rows]:
            session.acquire(["held"] * (count - asked), TTL)
            asked = count
            inspect = pb.InspectRequest(key="held")
            assert eventually(lambda: session.stub.Inspect(inspect).waiters == count, 30)
            yield {"waiting": count, **measure(nodes, daemon, port, window)}


def acquire(session, reader, keys, ttl):
    """Returns when all are held."""
    for first in range(0, len(keys), OUTSTANDING // 2):
        assert eventually(lambda: reader.leases >= first - OUTSTANDING // 2, PATIENCE)
        session.acquire(keys[first:first + OUTSTANDING // 2], ttl)
    assert eventually(lambda: reader.leases == len(keys), PATIENCE)


def hold_many(count):
    """All rows have as many extensions a second, so that as many of them share a script call."""
    ttl = 2 * count // EXTENSIONS
    with service(*ROOM) as (nodes, daemon, port):
        empty = resident_mib(daemon.pid)
        session = Session(port)
        reader = Reader(session)
        acquire(session, reader, [f"key-{i}" for i in range(count)], ttl)
        resident = resident_mib(daemon.pid)
        time.sleep(ttl / 2)  # until each has been extended once
        meter, extended = CpuMeter(daemon, *nodes.processes), reader.extended
        time.sleep(2 * WINDOW)
        cpu, extended = meter.percent(), (reader.extended - extended) / (2 * WINDOW)
        assert reader.lost == 0
        print(f"| {count:,} | {ttl} s | {resident:.0f} | {(resident - empty) * 1024 / count:.2f} | {extended:.0f} | "
              f"{cpu[0] / extended * 1e4:.1f} | {sum(cpu[1:]) / extended * 1e4:.1f} |", flush=True)


def wait_many(count):
    keys = [f"key-{i}" for i in range(count // WAITERS_PER_KEY)]
    with service(*ROOM) as (_, daemon, port):
        holder = Session(port)
        holding = Reader(holder)
        acquire(holder, holding, keys, 60)
        before = resident_mib(daemon.pid)
        session = Session(port)
        reader = Reader(session)
        for _ in range(WAITERS_PER_KEY):
            session.acquire(keys, 60)
        assert eventually(lambda: len(reader.queued) == count, PATIENCE)
        resident = resident_mib(daemon.pid)
        cpu = CpuMeter(daemon)
        time.sleep(WINDOW)
        used, = cpu.percent()
        assert holding.lost == 0
        print(f"| {count:,} | {resident:.0f} | {(resident - before) * 1024 / count:.2f} | {used:.1f} |", flush=True)


def large():
    print("| leases in a Session | TTL | resident MiB | KiB each | extensions/s | CPU per extension, µs: daemon | "
          "all nodes |\n|---|---|---|---|---|---|---|")
    for count in LARGE_HELD:
        hold_many(count)
    print(f"\n| waiters, {WAITERS_PER_KEY} for each key | resident MiB | KiB each | CPU of the daemon, % of a core |\n"
          "|---|---|---|---|")
    for count in LARGE_WAITING:
        wait_many(count)


def main(path=os.devnull, count=len(HELD), window=WINDOW):
    if path == "--large":
        large()
        return
    count, window = int(count), float(window)
    with open(path, "a") as out:
        for what, rows in (("held", by_held(count, window)), ("waiting", by_waiting(count, window))):
            print(f"| {what} | resident MiB | CPU of the daemon, of a node, % of a core | "
                  "acquire and release of another key, median ms |\n|---|---|---|---|")
            for row in rows:
                print(f"| {row[what]} | {row['resident_mib']:.1f} | {row['daemon_cpu']:.1f}, "
                      f"{row['node_cpu']:.1f} | {row['cycle_ms']:.2f} |", flush=True)
                out.write(json.dumps(row) + "\n")
            print()


if __name__ == "__main__":
    main(*sys.argv[1:4])
