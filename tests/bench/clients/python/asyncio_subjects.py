"""The libraries for asyncio. Each function returns acquire(key), whose result is an asynchronous function that releases
the key."""

import uuid

import grpc
import pottery
import redis.asyncio
import redlockd.aio
from google.protobuf.duration_pb2 import Duration

from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from thread_subjects import CONNECTIONS, TTL


async def client(daemon, _):
    shared = redlockd.aio.Client([daemon])

    async def acquire(key):
        return (await shared.acquire(key, ttl=TTL)).release

    return acquire


async def stubs(daemon, _):
    service = pb_grpc.LockServiceStub(grpc.aio.insecure_channel(daemon))

    async def acquire(key):
        token = str(uuid.uuid4())
        await service.Acquire(pb.AcquireRequest(key=key, token=token, ttl=Duration(seconds=TTL)))

        async def release():
            await service.Release(pb.ReleaseRequest(key=key, token=token))

        return release

    return acquire


def connections(nodes):
    return [redis.asyncio.Redis(host=host, port=int(port), max_connections=CONNECTIONS)
            for host, port in (node.split(":") for node in nodes)]


async def redlock_of_pottery(_, nodes):
    masters = set(connections(nodes))

    async def acquire(key):
        lock = pottery.AIORedlock(key=key, masters=masters, auto_release_time=TTL)
        assert await lock.acquire()
        return lock.release

    return acquire


async def lock_of_redis_py(_, nodes):
    """One node: no quorum."""
    node = connections(nodes[:1])[0]

    async def acquire(key):
        lock = node.lock(key, timeout=TTL)
        assert await lock.acquire()
        return lock.release

    return acquire


SUBJECTS = {"redlockd": client, "stubs": stubs, "pottery": redlock_of_pottery, "redis-py": lock_of_redis_py}
