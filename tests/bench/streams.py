"""Measures the cost of many open Holds: CPU and memory of the daemon, and the time to release all locks.

    tests/bench/streams [STREAMS] [TTL seconds] [SECONDS]      (default 9000 10 15)

Starts three redis-server processes and one redlockd on free ports, opens a Hold of a separate key on every
stream, lets the watchdogs run for SECONDS, and then cancels all streams.
"""

import asyncio
import subprocess
import sys
import time

import grpc

from measured import CpuMeter, resident_mib, service
from test_service import pb, pb_grpc, seconds

CHANNELS = 10


class Counts:
    acquired = extended = lost = failed = 0


async def hold(stub, key, ttl, counts):
    call = stub.Hold(pb.HoldRequest(key=key, ttl=seconds(ttl)))
    try:
        async for event in call:
            counts.acquired += event.type == pb.EVENT_TYPE_ACQUIRED
            counts.extended += event.type == pb.EVENT_TYPE_EXTENDED
            counts.lost += event.type == pb.EVENT_TYPE_LOST
    except grpc.aio.AioRpcError as error:
        counts.failed += 1
        print(error.details())
    except asyncio.CancelledError:
        call.cancel()


async def measure(daemon, port, redis_port, streams, ttl, duration):
    empty = resident_mib(daemon.pid)
    options = [("grpc.use_local_subchannel_pool", 1)]  # one connection each
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(CHANNELS)]
    stubs = [pb_grpc.LockServiceStub(channel) for channel in channels]
    counts = Counts()
    begin = time.monotonic()
    tasks = [asyncio.create_task(hold(stubs[i % CHANNELS], f"key-{i}", ttl, counts)) for i in range(streams)]
    while counts.acquired + counts.failed < streams:
        await asyncio.sleep(0.01)
    print(f"{counts.acquired} Holds of TTL {ttl} s acquired in {time.monotonic() - begin:.2f} s, {counts.failed} failed")
    meter = CpuMeter(daemon)
    extended, begin = counts.extended, time.monotonic()
    await asyncio.sleep(duration)
    took = time.monotonic() - begin
    used, = meter.percent()
    resident = resident_mib(daemon.pid)
    print(f"in {took:.1f} s: {(counts.extended - extended) / took:.0f} extensions/s, {counts.lost} lost; "
          f"CPU of the daemon {used:.1f} % of one core")
    print(f"resident: {empty:.1f} MiB before, {resident:.1f} MiB with the streams "
          f"({(resident - empty) * 1024 / streams:.2f} KiB per stream)")
    begin = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    def locked():
        return int(subprocess.check_output(
            ["redis-cli", "-p", str(redis_port), "EVAL", "return #redis.call('KEYS', 'key-*')", "0"]))
    while locked() > 0 and time.monotonic() - begin < ttl:
        await asyncio.sleep(0.02)
    print(f"all cancelled: {locked()} keys locked after {time.monotonic() - begin:.2f} s")
    for channel in channels:
        await channel.close()


def main(streams=9_000, ttl=10, duration=15):
    with service("--max-streams", str(streams)) as (nodes, daemon, port):
        asyncio.run(measure(daemon, port, nodes.ports[0], streams, ttl, duration))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
