"""Measures the cost of many leases in one Session: CPU and memory of the daemon and the nodes.

    tests/bench/leases [LEASES] [TTL seconds] [SECONDS]      (default 10000 10 20)

Starts three redis-server processes and one redlockd on free ports, acquires the leases, lets their watchdogs
run for SECONDS and prints the resources used in that time.
"""

import sys
import time

from measured import CpuMeter, Session, resident_mib, service
from test_service import pb


def main(leases=10_000, ttl=10, duration=20):
    with service() as (nodes, daemon, port):
        empty = resident_mib(daemon.pid)
        session = Session(port)
        begin = time.monotonic()
        session.acquire([f"key-{i}" for i in range(leases)], ttl)
        acquired = 0
        for response in session.responses:
            acquired += sum(1 for result in response.results if result.HasField("lease"))
            if acquired == leases:
                break
        print(f"acquired {acquired} leases of TTL {ttl} s in {time.monotonic() - begin:.2f} s")
        meter = CpuMeter(daemon, *nodes.processes)
        begin = time.monotonic()
        extended = lost = messages = 0
        for response in session.responses:
            messages += 1
            for event in response.events:
                extended += event.type == pb.EVENT_TYPE_EXTENDED
                lost += event.type == pb.EVENT_TYPE_LOST
            if time.monotonic() - begin > duration:
                break
        took = time.monotonic() - begin
        used = meter.percent()
        resident = resident_mib(daemon.pid)
        print(f"in {took:.1f} s: {extended} extensions ({extended / took:.0f}/s), {lost} lost, "
              f"{extended / max(messages, 1):.1f} events per message")
        print(f"CPU: daemon {used[0]:.1f} %, each node {sum(used[1:]) / 3:.1f} % of one core")
        print(f"resident: {empty:.1f} MiB before, {resident:.1f} MiB with the leases "
              f"({(resident - empty) * 1024 / leases:.2f} KiB per lease)")
        session.close()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
