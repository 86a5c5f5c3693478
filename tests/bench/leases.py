"""What many leases in one Session cost: CPU and memory of the daemon, and of the nodes.

    tests/bench/leases [LEASES] [TTL seconds] [SECONDS]      (default 10000 10 20)

Starts three redis-server processes and one redlockd on free ports, acquires the leases, lets their
watchdogs run for SECONDS and prints what was used in that time.
"""

import queue
import sys
import time

import grpc

from measured import cpu_seconds, resident_mib, service
from test_service import pb, pb_grpc, seconds

BATCH = 100


def main(leases=10_000, ttl=10, duration=20):
    with service() as (nodes, daemon, port):
        empty = resident_mib(daemon.pid)
        requests = queue.Queue()
        stub = pb_grpc.LockServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        responses = stub.Session(iter(requests.get, None))
        begin = time.monotonic()
        for first in range(0, leases, BATCH):
            requests.put(pb.SessionRequest(operations=[
                pb.SessionOperation(id=i + 1, acquire=pb.AcquireRequest(key=f"key-{i}", ttl=seconds(ttl)))
                for i in range(first, min(first + BATCH, leases))]))
        acquired = 0
        for response in responses:
            acquired += sum(1 for result in response.results if result.HasField("lease"))
            if acquired == leases:
                break
        print(f"acquired {acquired} leases of TTL {ttl} s in {time.monotonic() - begin:.2f} s")
        before = [cpu_seconds(pid) for pid in [daemon.pid] + [node.pid for node in nodes.processes]]
        begin = time.monotonic()
        extended = lost = messages = 0
        for response in responses:
            messages += 1
            for event in response.events:
                extended += event.type == pb.EVENT_TYPE_EXTENDED
                lost += event.type == pb.EVENT_TYPE_LOST
            if time.monotonic() - begin > duration:
                break
        took = time.monotonic() - begin
        after = [cpu_seconds(pid) for pid in [daemon.pid] + [node.pid for node in nodes.processes]]
        used = [100 * (b - a) / took for a, b in zip(before, after)]
        resident = resident_mib(daemon.pid)
        print(f"in {took:.1f} s: {extended} extensions ({extended / took:.0f}/s), {lost} lost, "
              f"{extended / max(messages, 1):.1f} events a message")
        print(f"CPU: daemon {used[0]:.1f} %, each node {sum(used[1:]) / 3:.1f} % of one core")
        print(f"resident: {empty:.1f} MiB before, {resident:.1f} MiB with the leases "
              f"({(resident - empty) * 1024 / leases:.2f} KiB a lease)")
        requests.put(None)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
