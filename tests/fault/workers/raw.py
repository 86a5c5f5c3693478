"""A worker without a client library: uses the proto's stubs, through any daemon. ../README.md describes its
output.

Acquires, extends, holds and releases keys, exclusively or shared, two keys at once, and slots of semaphores, also
with its own tokens, and accesses a storage that checks fencing tokens while it holds a lock. Its own key,
`own-NAME`, shows whether the service is available.
"""

import json
import os
import random
import sys
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from limits import MAX_HOLDERS, PATIENCE, SEMAPHORES, SHARED_KEYS, WAIT  # noqa: E402
from storage import Storage  # noqa: E402


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def duration(seconds):
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message


def seconds(message):
    return message.ToNanoseconds() / 1e9


def reason(error):
    """Returns the reason from the contract, or gRPC's code if the daemon gave none."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return error.code().name


def key_of(request_or_lease):
    """Returns the key; of several, the names in order, joined."""
    return request_or_lease.key or ", ".join(sorted(request_or_lease.keys))


def claim_of(lease):
    """Returns the fields of an event that say what the lease holds."""
    fields = {"key": key_of(lease)}
    if lease.keys:
        fields["keys"] = list(lease.keys)
    if lease.mode == pb.LOCK_MODE_SHARED:
        fields["shares"] = True
    if lease.max_holders:
        fields |= {"max_holders": lease.max_holders, "slot": lease.slot}
    return fields


class Worker:
    def __init__(self, name, seed, history, storage, endpoints):
        self.name = name
        self.random = random.Random(seed)
        self.history = open(history, "a", buffering=1, encoding="ascii")
        self.storage = Storage(storage)
        self.tokens = {}  # by key: its own tokens, which may be reused
        self.made = 0
        # Each daemon gets its own connection, which reconnects soon after the daemon restarts. gRPC reconnects
        # only after it has resolved the name again, which it does every 30 s by default.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.dns_min_time_between_resolutions_ms", 100),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", 1000),
            ("grpc.keepalive_timeout_ms", 1000),
        ]
        self.daemons = [
            pb_grpc.LockServiceStub(grpc.insecure_channel(endpoint, options))
            for endpoint in endpoints
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
                self.cycle({"key": f"own-{self.name}"})
            elif kind < 0.8:
                self.cycle(self.contended())
            else:
                self.hold(self.contended())

    def contended(self):
        """Returns the fields of a request that claims a semaphore, or one or two of the shared keys."""
        kind = self.random.random()
        if kind < 0.4:
            return {"key": f"semaphore-{self.random.randrange(SEMAPHORES)}", "max_holders": MAX_HOLDERS}
        keys = [f"shared-{i}" for i in self.random.sample(range(SHARED_KEYS), 2 if kind < 0.6 else 1)]
        shares = self.random.random() < 0.4
        return {
            **({"key": keys[0]} if len(keys) == 1 else {"keys": keys}),
            "mode": pb.LOCK_MODE_SHARED if shares else pb.LOCK_MODE_EXCLUSIVE,
        }

    def own_token(self, key):
        """Returns a token, or None to let the daemon generate one. The worker reuses its own tokens while that is
        allowed."""
        if self.random.random() < 0.5:
            return None
        if key not in self.tokens:
            self.made += 1
            self.tokens[key] = f"{self.name}-{os.getpid()}-{self.made}"
        return self.tokens[key]

    def cycle(self, claim):
        request = pb.AcquireRequest(**claim, ttl=duration(self.random.uniform(0.2, 1.0)), owner=self.name)
        key = key_of(request)
        token = self.own_token(key)
        if token is not None:
            request.token = token
        lease = self.acquire(key, request)
        if lease is None:
            self.tokens.pop(key, None)
            time.sleep(0.01)
            return
        end = now() + self.random.uniform(0, 0.6)
        while now() < end:
            self.access(lease)
            if self.random.random() < 0.3 and not self.extend(lease):
                break
            time.sleep(self.random.uniform(0, 0.05))
        if key.startswith("own-") or self.random.random() < 0.8:
            self.release(lease)  # otherwise the lock is forgotten, and its TTL has to end it
        else:
            self.tokens.pop(key, None)

    def acquire(self, key, request):
        daemon, stub = self.any_daemon()
        wait = self.random.choice([0, PATIENCE, WAIT if key.startswith("own-") else PATIENCE])
        if not wait:
            request.retry.max_retries = 0
        sent = now()
        fields = {"daemon": daemon, "sent": sent, "ttl": seconds(request.ttl), "wait": wait}
        try:
            answer = stub.Acquire(request, timeout=wait or PATIENCE)
        except grpc.RpcError as error:
            self.record("not acquired", key=key, **fields, received=now(), reason=reason(error))
            return None
        lease = answer.lease
        self.record(
            "acquired",
            **claim_of(lease),
            **fields,
            received=now(),
            token=lease.token,
            fence=lease.fencing_token,
            # Decided no earlier than this, so valid at least until this plus the validity.
            decided=sent + seconds(answer.waited),
            validity=seconds(lease.validity),
        )
        return lease

    def extend(self, lease):
        daemon, stub = self.any_daemon()
        sent = now()
        fields = {"token": lease.token, "daemon": daemon, "sent": sent}
        request = pb.ExtendRequest(
            key=lease.key,
            keys=lease.keys,
            token=lease.token,
            ttl=duration(0.6),
            mode=lease.mode,
            max_holders=lease.max_holders,
            slot=self.random.choice([0, lease.slot]),  # without one, the daemon finds it
        )
        request.retry.max_retries = 0
        try:
            answer = stub.Extend(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            self.record("not extended", **claim_of(lease), **fields, received=now(), reason=reason(error))
            return False
        self.record(
            "extended",
            **claim_of(answer.lease),
            **fields,
            received=now(),
            fence=answer.lease.fencing_token,
            decided=sent,
            validity=seconds(answer.lease.validity),
        )
        return True

    def release(self, lease):
        daemon, stub = self.any_daemon()
        fields = {**claim_of(lease), "token": lease.token, "daemon": daemon}
        self.record("releases", **fields, sent=now())
        outcome = "OK"
        try:
            stub.Release(
                pb.ReleaseRequest(key=lease.key, keys=lease.keys, token=lease.token), timeout=PATIENCE
            )
        except grpc.RpcError as error:
            outcome = reason(error)
        self.record("released", **fields, received=now(), reason=outcome)
        if outcome not in ("OK", "LOCK_NOT_HELD"):
            self.tokens.pop(key_of(lease), None)

    def hold(self, claim):
        daemon, stub = self.any_daemon()
        sent = now()
        ttl = self.random.uniform(0.3, 1.0)
        request = pb.HoldRequest(**claim, ttl=duration(ttl), owner=self.name)
        call = stub.Hold(request, timeout=self.random.uniform(0.2, 2.0))
        lease = None
        trusted_until = None
        try:
            for event in call:
                at = now()
                kind = pb.EventType.Name(event.type)
                if kind in ("EVENT_TYPE_ACQUIRED", "EVENT_TYPE_EXTENDED"):
                    lease = event.lease
                    # The client trusts the lock from the arrival of the event on. The event may have been
                    # delayed, so only the validity counted from the request certainly ends before the daemon
                    # gives up the lock.
                    trusted_until = at + seconds(lease.validity)
                    self.record(
                        "held",
                        **claim_of(lease),
                        token=lease.token,
                        daemon=daemon,
                        sent=sent,
                        received=at,
                        fence=lease.fencing_token,
                        decided=sent,
                        validity=seconds(lease.validity),
                    )
                    self.access(lease)
                elif kind == "EVENT_TYPE_LOST" and lease is not None:
                    self.record(
                        "lost",
                        **claim_of(lease),
                        token=lease.token,
                        daemon=daemon,
                        received=at,
                        by=trusted_until,
                        reason=event.reason,
                    )
                    lease = None
        except grpc.RpcError:
            pass
        # The end of the stream does not release the lock: it expires unless it is released.
        if lease is not None and self.random.random() < 0.5:
            self.release(lease)

    def access(self, lease):
        """Accesses what each key protects, or what the slot of the semaphore does."""
        reads = lease.mode == pb.LOCK_MODE_SHARED
        for key in lease.keys or [lease.key]:
            start = now()
            protected = f"{key} {lease.slot}" if lease.slot else key
            accepted = self.storage.access(protected, lease.fencing_token, reads)
            self.record(
                "written" if accepted else "refused",
                key=key,
                token=lease.token,
                fence=lease.fencing_token,
                sent=start,
                received=now(),
            )


if __name__ == "__main__":
    Worker(
        os.environ["WORKER_NAME"],
        int(os.environ["WORKER_SEED"]),
        os.environ["WORKER_HISTORY"],
        os.environ["WORKER_STORAGE"],
        os.environ["WORKER_ENDPOINTS"].split(","),
    ).run()
