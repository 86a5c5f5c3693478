"""Measures the cost of many leases in one Session: CPU and memory of the daemon and the nodes, how long others
wait for an acquire while the Session ends, and whether a drain loses any lease.

    tests/bench/leases [LEASES] [TTL seconds] [SECONDS] [LEASES AT THE END]      (default 10000 10 20 100000)

Starts three redis-server processes and one redlockd on free ports, acquires the leases, lets their watchdogs
run for SECONDS and prints the resources used in that time.

Then a Session with more leases ends, in each of the two ways that release them: the client closes it, or breaks it
off and is silent for its grace. Another process acquires 500 keys a second with unary calls, without waiting for the
answers, before and meanwhile.

At last, a daemon with a Session of as many leases gets SIGTERM, and the client moves them to another daemon.
"""

import asyncio
import multiprocessing
import signal
import sys
import time

import grpc

from measured import CpuMeter, Session, daemon_over, resident_mib, service
from test_service import pb, pb_grpc, seconds

ROOM = ("--max-operations", "10000000", "--max-queue-time", "60s")  # the bench acquires many at once
OUTSTANDING = 4_000  # acquires of the Session
RATE = 500
QUIET = 3  # seconds
GRACE = 6  # begins with the last message, before QUIET
SILENT = 6  # seconds that are measured after the break: 2 until the grace is over, and the releases


def get(session, ask, wanted):
    """Calls `ask` with portions of `wanted`, and returns the leases that the session answers with."""
    leases, asked = [], 0
    while len(leases) < len(wanted):
        while asked < len(wanted) and asked - len(leases) <= OUTSTANDING - Session.BATCH:
            ask(wanted[asked:asked + Session.BATCH])
            asked += Session.BATCH
        for result in next(session.responses).results:
            assert result.HasField("lease"), result
            leases.append(result.lease)
    return leases


def acquire(session, leases, ttl):
    return get(session, lambda keys: session.acquire(keys, ttl), [f"key-{i}" for i in range(leases)])


def steady(leases, ttl, duration):
    with service(*ROOM) as (nodes, daemon, port):
        empty = resident_mib(daemon.pid)
        session = Session(port)
        begin = time.monotonic()
        acquire(session, leases, ttl)
        print(f"acquired {leases} leases of TTL {ttl} s in {time.monotonic() - begin:.2f} s")
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


async def acquire_at_rate(port, stop, samples):
    """Adds when each acquire began, and how long it took."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.LockServiceStub(channel)

        async def one(number):
            began = time.monotonic()
            await stub.Acquire(pb.AcquireRequest(key=f"other-{number}", ttl=seconds(60)))
            samples.append((began, time.monotonic() - began))

        begin, tasks = time.monotonic(), []
        while not stop.is_set():
            tasks.append(asyncio.create_task(one(len(tasks))))
            await asyncio.sleep(max(0, begin + len(tasks) / RATE - time.monotonic()))
        await asyncio.gather(*tasks)


def others(port, stop, out):
    samples = []
    asyncio.run(acquire_at_rate(port, stop, samples))
    out.put(samples)


def percentiles(samples, begin, end):
    """p50, p99 and the maximum of those that began in that time, in ms."""
    took = sorted(1000 * each for began, each in samples if begin <= began < end)
    return took[len(took) // 2], took[len(took) * 99 // 100], took[-1]


def beside_the_end(leases, how):
    spawn = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    with service(*ROOM) as (_, daemon, port):
        session = Session(port)
        if how == "silent":
            session.agree_on_grace(GRACE)
        acquire(session, leases, 60)
        stop, out = spawn.Event(), spawn.Queue()
        process = spawn.Process(target=others, args=(port, stop, out))
        process.start()
        time.sleep(1 + QUIET)  # the process needs a moment
        meter = CpuMeter(daemon)
        begin = time.monotonic()
        if how == "closed":
            session.release_all()
        else:
            session.break_off()
            time.sleep(SILENT)
        end = time.monotonic()
        used, = meter.percent()
        stop.set()
        samples = out.get()
        process.join()
    alone = percentiles(samples, begin - QUIET + 1, begin)
    beside = percentiles(samples, begin, end)
    for name, before, during in zip(("p50", "p99", "max"), alone, beside):
        print(f"| {how}, {end - begin:.1f} s, CPU of the daemon {used:.0f} % | {name} | {before:.1f} | {during:.1f} | "
              f"{during / before:.1f} |", flush=True)


def drain(leases):
    with service(*ROOM, "--drain-timeout", "60s") as (nodes, daemon, port), \
            daemon_over(nodes, *ROOM) as (_, other_port):
        session, other = Session(port), Session(other_port)
        held = acquire(session, leases, 60)
        begin = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        while not any(event.type == pb.EVENT_TYPE_DRAINING for event in next(session.responses).events):
            pass
        moved = get(other, lambda portion: other.adopt(portion, 60), held)
        took = time.monotonic() - begin
        session.close()
        lost = sum(event.type == pb.EVENT_TYPE_LOST
                   for response in session.responses for event in response.events)
        assert {lease.key: lease.token for lease in moved} == {lease.key: lease.token for lease in held}
        print(f"\ndrain: {len(moved)} leases moved to another daemon in {took:.1f} s, {lost} lost")
        other.release_all()


def main(leases=10_000, ttl=10, duration=20, leases_at_end=100_000):
    steady(leases, ttl, duration)
    print(f"\n| end of a Session with {leases_at_end} leases | acquires of others | ms before | ms meanwhile | ratio |\n"
          "|---|---|---|---|---|")
    for how in ("closed", "silent"):
        beside_the_end(leases_at_end, how)
    drain(leases_at_end)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:5]))
