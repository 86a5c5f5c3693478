"""Real nodes and a real daemon for tests. REDLOCKD names the daemon's binary."""

import os
import socket
import subprocess
import tempfile
import time

import grpc
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """Three nodes and `daemons` daemons."""

    def __init__(self, daemons=1):
        self._directory = tempfile.TemporaryDirectory()
        ports = [_free_port() for _ in range(3)]
        self._processes = [subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
             self._directory.name], stdout=subprocess.DEVNULL) for port in ports]
        nodes = [word for port in ports for word in ("--node", f"redis://127.0.0.1:{port}")]
        self.endpoints = [f"127.0.0.1:{_free_port()}" for _ in range(daemons)]
        self.daemons = [subprocess.Popen(
            [os.environ["REDLOCKD"], "--listen", endpoint, "--log-level", "error",
             "--node-timeout", "2s", *nodes])
            for endpoint in self.endpoints]
        self._processes += self.daemons
        self._channels = [grpc.insecure_channel(endpoint) for endpoint in self.endpoints]
        self.stubs = [pb_grpc.LockServiceStub(channel) for channel in self._channels]
        for endpoint in self.endpoints:
            self._wait_until_ready(endpoint)

    def _wait_until_ready(self, endpoint):
        stub = self.stubs[self.endpoints.index(endpoint)]
        request = pb.AcquireRequest(key="ready", token="rl-" + os.urandom(16).hex())
        request.ttl.FromMilliseconds(1000)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                lease = stub.Acquire(request, timeout=1, wait_for_ready=True).lease
                stub.Release(pb.ReleaseRequest(key="ready", token=lease.token))
                return
            except grpc.RpcError:
                request.token = "rl-" + os.urandom(16).hex()
                time.sleep(0.05)
        raise AssertionError(f"{endpoint} is not ready")

    def held(self, key, daemon=-1):
        return self.stubs[daemon].Inspect(pb.InspectRequest(key=key), timeout=5).held

    def close(self):
        for channel in self._channels:
            channel.close()
        for process in self._processes:
            process.kill()
            process.wait()
        self._directory.cleanup()
