"""What a run asks the daemons' AdminService."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # child processes only execute other programs

import grpc  # noqa: E402
from google.protobuf.duration_pb2 import Duration  # noqa: E402
from redlock.v1 import admin_service_pb2 as pb  # noqa: E402
from redlock.v1 import admin_service_pb2_grpc as pb_grpc  # noqa: E402
from redlock.v1 import lock_service_pb2 as lock_pb  # noqa: E402
from redlock.v1 import lock_service_pb2_grpc as lock_pb_grpc  # noqa: E402

UP = pb.NODE_STATE_UP


def duration(seconds):
    message = Duration()
    message.FromMilliseconds(round(seconds * 1e3))
    return message


class Admin:
    """One daemon, which may restart."""

    def __init__(self, port):
        # As in workers/raw.py: reconnects soon after the daemon has restarted.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.dns_min_time_between_resolutions_ms", 100),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.admin = pb_grpc.AdminServiceStub(self.channel)
        self.locks = lock_pb_grpc.LockServiceStub(self.channel)

    def node_set(self, timeout=1.0):
        """Returns the node set, or None if the daemon does not answer or knows none."""
        try:
            answer = self.admin.GetNodeSet(pb.GetNodeSetRequest(), timeout=timeout)
        except grpc.RpcError:
            return None
        return answer.node_set if answer.node_set.set_id else None

    def change(self, timeout, **request):
        return self.admin.ChangeNodeSet(pb.ChangeNodeSetRequest(**request), timeout=timeout)

    def acquire(self, key, wait, ttl=1.0, token=None):
        """`wait`: in seconds. 0: makes a single attempt."""
        request = lock_pb.AcquireRequest(key=key, ttl=duration(ttl), token=token)
        request.retry.max_retries = -1 if wait else 0
        return self.locks.Acquire(request, timeout=wait or 1.0).lease

    def release(self, lease):
        request = lock_pb.ReleaseRequest(key=lease.key, token=lease.token)
        self.locks.Release(request, timeout=1.0)


def is_changing(node_set):
    return bool(node_set.wanted_add or node_set.wanted_remove)


def difference(views):
    """Returns why the daemons do not agree on one node set in which nothing is wrong; None if they do."""
    for daemon, view in enumerate(views):
        if view is None:
            return f"daemon {daemon} shows no node set"
        if is_changing(view):
            return f"daemon {daemon} still wants to change epoch {view.epoch}"
        if view.trouble:
            return f"daemon {daemon}: {view.trouble}"
        not_up = [member.name for member in view.members if member.state != UP]
        if not_up:
            return f"daemon {daemon} shows members that are not up: {', '.join(not_up)}"
    shown = {
        (view.set_id, view.epoch, tuple(member.id for member in view.members), str(view.max_ttl))
        for view in views
    }
    if len(shown) > 1:
        return f"the daemons show different sets: {sorted(view.epoch for view in views)}"
    return None
