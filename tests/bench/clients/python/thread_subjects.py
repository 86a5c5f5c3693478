"""The libraries for threads. Each function returns acquire(key), which returns a function that releases the key."""

import uuid

import grpc
import pottery
import redis
import redlockd
from google.protobuf.duration_pb2 import Duration

from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc

TTL = 30
# redis-py keeps a connection for each thread that uses one at the same time: none has to wait.
CONNECTIONS = 1024


def client(daemon, _):
    shared = redlockd.Client([daemon])
    return lambda key: shared.acquire(key, ttl=TTL).release


def stubs(daemon, _):
    """Makes the two unary calls over one connection, as a program without a client library does. The caller sets the
    token, as anybody must who repeats calls."""
    service = pb_grpc.LockServiceStub(grpc.insecure_channel(daemon))

    def acquire(key):
        token = str(uuid.uuid4())
        service.Acquire(pb.AcquireRequest(key=key, token=token, ttl=Duration(seconds=TTL)))
        return lambda: service.Release(pb.ReleaseRequest(key=key, token=token))

    return acquire


def connections(nodes):
    return [redis.Redis(host=host, port=int(port), max_connections=CONNECTIONS)
            for host, port in (node.split(":") for node in nodes)]


def redlock_of_pottery(_, nodes):
    masters = set(connections(nodes))

    def acquire(key):
        lock = pottery.Redlock(key=key, masters=masters, auto_release_time=TTL)
        assert lock.acquire()
        return lock.release

    return acquire


def lock_of_redis_py(_, nodes):
    """One node: no quorum."""
    node = connections(nodes[:1])[0]

    def acquire(key):
        lock = node.lock(key, timeout=TTL)
        assert lock.acquire()
        return lock.release

    return acquire


SUBJECTS = {"redlockd": client, "stubs": stubs, "pottery": redlock_of_pottery, "redis-py": lock_of_redis_py}
