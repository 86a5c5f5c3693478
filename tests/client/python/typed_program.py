"""Checked by mypy --strict: the types that a user of the package sees."""

from datetime import timedelta
from typing import List, Optional, Tuple

import redlockd
import redlockd.aio
from redlockd.testing import Server


def threads(client: redlockd.Client) -> None:
    with client.lock("k", ttl=timedelta(seconds=5), wait=1) as named:
        fence: int = named.fencing_token
        lost: bool = named.lost.wait(0.1)
    lock: Optional[redlockd.Lock] = client.try_acquire("k", owner=f"{fence} {lost}")
    if lock is not None:
        lock.extend(5)
    lease: redlockd.Lease = client.acquire_detached("k", retry=redlockd.RetryPolicy(max_retries=1))
    validity: float = client.extend("k", lease.token, 5).validity
    events: List[redlockd.WatchEvent] = []
    client.watch([redlockd.WatchItem("k", lease.token, validity)], events.append).close()
    keys: List[str] = ["a", "b"]
    with client.lock(keys) as together, client.acquire(("a", "b")) as both:
        names: Tuple[str, ...] = together.keys + both.keys + events[0].keys
    client.watch([redlockd.WatchItem(names, lease.token), redlockd.WatchItem(keys, lease.token)], events.append).close()
    client.release(keys, lease.token)
    with client.lock("k", shared=True) as reader:
        modes: List[bool] = [reader.shared, lease.shared, events[0].shared]
    with client.lock("k") as writer, writer.downgrade() as share, client.acquire("j").downgrade() as other_share:
        modes += [share.shared, other_share.shared]
    client.watch([redlockd.WatchItem("k", lease.token, shared=modes[0])], events.append).close()
    client.extend("k", lease.token, 5, shared=client.try_extend("k", lease.token, 5, shared=True).shared)
    with client.lock("k", max_holders=5) as worker, client.acquire("k", max_holders=5) as other:
        slots: List[Optional[int]] = [worker.slot, other.slot, other.max_holders, lease.slot, events[0].slot]
    client.watch([redlockd.WatchItem("k", lease.token, max_holders=5, slot=slots[0])], events.append).close()
    client.extend("k", lease.token, 5, max_holders=5, slot=client.acquire_detached("k", max_holders=5).slot)
    with client.lock("job", value="v", lock_delay=timedelta(seconds=1), keep_for=timedelta(minutes=1)) as job:
        job.proclaim("w")
    client.proclaim("k", lease.token, "v", timeout=1)
    client.release("k", lease.token, keep_for=60)
    election: redlockd.Election = client.election("e")
    leadership: redlockd.Lock = election.campaign("v", ttl=5, lock_delay=1)
    election.proclaim("w")
    leadership.release(keep_for=60)
    leader: redlockd.KeyState = election.leader(timeout=1)
    with client.observe("k") as states:
        for state in states:
            by: Tuple[redlockd.Holder, ...] = state.held_by
            facts: Tuple[str, str, int] = (state.state, by[0].value, leader.fencing_token)
            print(facts, state.kept_for)
    election.resign()
    try:
        client.adopt(lease.keys, lease.token).release()
    except redlockd.KindMismatch as mismatch:
        in_use_as: Optional[str] = mismatch.in_use_as
        print(in_use_as)
    except redlockd.LockAlreadyHeld as error:
        print(error.holder, error.reason, error.retry_after, error.held_for)


async def tasks(client: redlockd.aio.Client) -> None:
    async with client.lock("k", timeout=5) as named:
        await named.extend(5)
    lock: redlockd.aio.Lock = await client.acquire("k")
    await lock.lost.wait()
    held: bool = await client.lock("k").acquire(blocking=False)
    async with client.lock(["a", "b"]) as together, await client.acquire(lock.keys):
        keys: Tuple[str, ...] = together.keys
    async with client.lock("k", shared=True) as reader:
        shared: bool = (await client.adopt("k", reader.token, shared=reader.shared)).shared
    async with client.lock("k") as writer, await writer.downgrade() as share:
        downgraded: List[redlockd.aio.Lock] = [share, await lock.downgrade()]
    async with client.lock("k", max_holders=5) as worker:
        slot: Optional[int] = (await client.adopt("k", worker.token, max_holders=5, slot=worker.slot)).slot
    election: redlockd.aio.Election = client.election("e")
    leadership: redlockd.aio.Lock = await election.campaign("v", wait=1)
    await election.proclaim("w")
    await client.proclaim("k", leadership.token, "v")
    leader: redlockd.KeyState = await election.leader()
    async with client.lock("job", keep_for=60) as job, election.observe() as states:
        await job.proclaim(leader.value)
        async for state in states:
            remaining: Optional[float] = state.remaining
            print(remaining)
    await election.resign()
    print(held, keys, shared, slot, downgraded)


def kit(server: Server) -> bool:
    server.delay(0.1)
    return server.lose(server.address)
