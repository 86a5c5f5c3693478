"""One client process: takes, extends, holds and gives back locks through any daemon, for ever.

    worker.py NAME SEED HISTORY STORAGE_DIRECTORY PORT...

Writes a line of JSON for everything that happened, with times of CLOCK_BOOTTIME, which is the
daemons' clock too. A key of its own, `own-NAME`, shows whether the service is available.
"""

import json
import random
import sys
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from storage import Storage

SHARED_KEYS = 3
PATIENCE = 1.0  # seconds for a call


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def duration(seconds):
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message


class Worker:
    def __init__(self, name, seed, history, storage, ports):
        self.name = name
        self.random = random.Random(seed)
        self.history = open(history, "a", buffering=1, encoding="ascii")
        self.storage = Storage(storage)
        # Each with a connection of its own that comes back soon after its daemon does. gRPC connects
        # again only after the name was resolved again, which it does every 30 s by default.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.dns_min_time_between_resolutions_ms", 100),
        ]
        self.daemons = [
            pb_grpc.LockServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}", options))
            for port in ports
        ]

    def record(self, what, **fields):
        self.history.write(json.dumps({"worker": self.name, "what": what, **fields}) + "\n")

    def any_daemon(self):
        index = self.random.randrange(len(self.daemons))
        return index, self.daemons[index]

    def run(self):
        while True:
            kind = self.random.random()
            if kind < 0.3:
                self.cycle(f"own-{self.name}")
            elif kind < 0.8:
                self.cycle(f"shared-{self.random.randrange(SHARED_KEYS)}")
            else:
                self.hold(f"shared-{self.random.randrange(SHARED_KEYS)}")

    def cycle(self, key):
        lease = self.acquire(key, self.random.uniform(0.2, 1.0))
        if lease is None:
            time.sleep(0.01)
            return
        end = now() + self.random.uniform(0, 0.6)
        while now() < end:
            self.write(lease)
            if self.random.random() < 0.3 and not self.extend(lease):
                break
            time.sleep(self.random.uniform(0, 0.05))
        if key.startswith("own-") or self.random.random() < 0.8:
            self.release(lease)  # else it is forgotten, and its TTL has to end it

    def acquire(self, key, ttl):
        daemon, stub = self.any_daemon()
        sent = now()
        fields = {"key": key, "daemon": daemon, "sent": sent, "ttl": ttl}
        try:
            answer = stub.Acquire(
                pb.AcquireRequest(key=key, ttl=duration(ttl), owner=self.name), timeout=PATIENCE
            )
        except grpc.RpcError as error:
            self.record(
                "not acquired",
                **fields,
                received=now(),
                code=error.code().name,
                message=error.details(),
            )
            return None
        lease = answer.lease
        self.record(
            "acquired",
            **fields,
            received=now(),
            token=lease.token,
            fence=lease.fencing_token,
            # Decided no earlier than this, so valid for at least so long from then on.
            decided=sent + answer.waited.ToNanoseconds() / 1e9,
            validity=lease.validity.ToNanoseconds() / 1e9,
        )
        return lease

    def extend(self, lease):
        daemon, stub = self.any_daemon()
        sent = now()
        fields = {"key": lease.key, "token": lease.token, "daemon": daemon, "sent": sent}
        request = pb.ExtendRequest(key=lease.key, token=lease.token, ttl=duration(0.6))
        request.retry.max_retries = 0
        try:
            answer = stub.Extend(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            self.record("not extended", **fields, received=now(), code=error.code().name)
            return False
        self.record(
            "extended",
            **fields,
            received=now(),
            fence=answer.lease.fencing_token,
            decided=sent,
            validity=answer.lease.validity.ToNanoseconds() / 1e9,
        )
        return True

    def release(self, lease):
        daemon, stub = self.any_daemon()
        self.record("releases", key=lease.key, token=lease.token, daemon=daemon, sent=now())
        try:
            stub.Release(pb.ReleaseRequest(key=lease.key, token=lease.token), timeout=PATIENCE)
        except grpc.RpcError:
            pass

    def hold(self, key):
        daemon, stub = self.any_daemon()
        sent = now()
        ttl = self.random.uniform(0.3, 1.0)
        length = self.random.uniform(0.2, 2.0)
        call = stub.Hold(
            pb.HoldRequest(key=key, ttl=duration(ttl), owner=self.name), timeout=length
        )
        token = ""
        trusted_until = None
        try:
            for event in call:
                at = now()
                kind = pb.EventType.Name(event.type)
                lease = event.lease
                if kind in ("EVENT_TYPE_ACQUIRED", "EVENT_TYPE_EXTENDED"):
                    token = lease.token
                    trusted_until = at + lease.validity.ToNanoseconds() / 1e9
                    self.record(
                        "held",
                        key=key,
                        token=token,
                        daemon=daemon,
                        sent=sent,
                        received=at,
                        fence=lease.fencing_token,
                        decided=sent,
                        validity=lease.validity.ToNanoseconds() / 1e9,
                        stream_ends=sent + length,  # and the lock with it
                    )
                    self.write(lease)
                elif kind == "EVENT_TYPE_LOST":
                    self.record(
                        "lost", key=key, token=token, daemon=daemon, received=at, by=trusted_until
                    )
        except grpc.RpcError:
            pass
        if token:
            self.record("releases", key=key, token=token, daemon=daemon, sent=now())

    def write(self, lease):
        begun = now()
        accepted = self.storage.write(lease.key, lease.fencing_token)
        self.record(
            "written" if accepted else "refused",
            key=lease.key,
            token=lease.token,
            fence=lease.fencing_token,
            sent=begun,
            received=now(),
        )


if __name__ == "__main__":
    name, seed, history, storage, *ports = sys.argv[1:]
    Worker(name, int(seed), history, storage, [int(port) for port in ports]).run()
