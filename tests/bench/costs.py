"""Measures the cost of an idle daemon (startup, memory, wake-ups) and the memory per waiter and per open
stream.

    tests/bench/costs [WAITERS] [STREAMS] [SECONDS]      (default 5000 4000 10)

SECONDS is the time for which an idle daemon is observed.
"""

import os
import subprocess
import sys
import time

import grpc

from measured import REDLOCKD, Session, free_port, listens, resident_mib, service
from test_service import Nodes, pb, pb_grpc, seconds

CHANNELS = 64
HEALTH_STREAMS = 960  # a daemon allows 16 for each connection and 1,000 in all


def wake_ups(pid):
    """Returns the wake-ups of all threads. Each voluntary context switch is a sleep, and thus a wake-up."""
    threads = subprocess.run(["sh", "-c", f"cat /proc/{pid}/task/*/status"], capture_output=True,
                             text=True, check=True).stdout
    return sum(int(line.split()[1]) for line in threads.splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def start_to_serving():
    """Returns the milliseconds until the port is open, with the nodes up."""
    nodes = Nodes()
    try:
        took = []
        for _ in range(9):
            port = free_port()
            command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--log-level", "warning"]
            for node in nodes.ports:
                command += ["--node", f"redis://127.0.0.1:{node}"]
            begin = time.monotonic()
            daemon = subprocess.Popen(command)
            while not listens(port):
                time.sleep(0.001)
            took.append((time.monotonic() - begin) * 1000)
            daemon.kill()
            daemon.wait()
        return sorted(took)[len(took) // 2]
    finally:
        nodes.close()


def stream_kib(streams, open_stream):
    """Returns the resident memory per open stream. open_stream(channel, i) must return the stream's iterator."""
    with service("--max-streams", str(streams + 1)) as (_, daemon, port):
        options = [("grpc.use_local_subchannel_pool", 1)]  # one connection each
        channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(CHANNELS)]
        for channel in channels:
            grpc.channel_ready_future(channel).result(10)
        before = resident_mib(daemon.pid)
        calls = [open_stream(channels[i % CHANNELS], i) for i in range(streams)]
        for call in calls:
            next(call)
        return (resident_mib(daemon.pid) - before) * 1024 / streams


def watch_health(channel, _):
    """Opens a stream without a lease, which costs almost nothing but gRPC's own memory."""
    return channel.unary_stream("/grpc.health.v1.Health/Watch", lambda raw: raw, lambda raw: raw)(b"")


def hold(channel, i):
    return pb_grpc.LockServiceStub(channel).Hold(pb.HoldRequest(key=f"key-{i}", ttl=seconds(60)))


def main(waiters=5000, streams=4000, idle_seconds=10):
    print(f"| startup until the daemon serves, median of 9 | {start_to_serving():.0f} ms |")
    with service("--max-waiters-per-key", str(waiters + 1)) as (_, daemon, port):
        idle = resident_mib(daemon.pid)
        print(f"| idle: resident | {idle:.1f} MiB |")
        before = wake_ups(daemon.pid)
        time.sleep(idle_seconds)
        print(f"| idle: wake-ups of all threads, guards on 3 nodes once a second | "
              f"{(wake_ups(daemon.pid) - before) / idle_seconds:.1f} a second |")
        session = Session(port)
        session.acquire(["held"], 60)
        assert next(session.responses).results[0].HasField("lease")
        before = resident_mib(daemon.pid)
        session.acquire(["held"] * waiters, 60)
        while session.stub.Inspect(pb.InspectRequest(key="held")).waiters < waiters:
            time.sleep(0.05)
        used = resident_mib(daemon.pid) - before
        print(f"| {waiters} waiters on one key, in one session | {used * 1024 / waiters:.2f} KiB each |")
        session.close()
    health = min(streams, HEALTH_STREAMS)
    print(f"| {health} streams without a lease (Health Watch) | {stream_kib(health, watch_health):.1f} KiB each |")
    print(f"| {streams} Holds | {stream_kib(streams, hold):.1f} KiB each |")
    sys.stdout.flush()
    os._exit(0)  # gRPC's threads would wait for the streams of daemons that have exited


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
