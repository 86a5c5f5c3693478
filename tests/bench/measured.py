"""Shared parts of the benches: a daemon over three nodes, a session that acquires many locks, and the
resources that processes use."""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import time

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from test_service import (  # noqa: E402
    Nodes, REDLOCKD, eventually, free_port, listens, pb, pb_grpc, seconds)

PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid):
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes the clock of a process


class CpuMeter:
    """Measures the CPU that processes use from now on, each in % of a core."""

    def __init__(self, *processes):
        self._pids = [process.pid for process in processes]
        self._before, self._begin = self._used(), time.monotonic()

    def _used(self):
        return [cpu_seconds(pid) for pid in self._pids]

    def percent(self):
        took = time.monotonic() - self._begin
        return [100 * (after - before) / took for before, after in zip(self._before, self._used())]


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE / 2**20


@contextlib.contextmanager
def daemon_over(nodes, *arguments):
    """Yields a daemon's process and its port; stops it at the end. The node time-out is long, so that other load
    on this machine cannot make an operation fail."""
    port = free_port()
    command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--log-level", "warning", "--node-timeout", "2s",
               *arguments]
    for node in nodes.ports:
        command += ["--node", f"redis://127.0.0.1:{node}"]
    daemon = subprocess.Popen(command)
    try:
        assert eventually(lambda: listens(port), 20)
        time.sleep(0.3)
        yield daemon, port
    finally:
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def service(*arguments):
    """Yields the nodes, the daemon's process and its port; stops them all at the end."""
    nodes = Nodes()
    try:
        with daemon_over(nodes, *arguments) as (daemon, port):
            yield nodes, daemon, port
    finally:
        nodes.close()


class Session:
    """One Session that acquires many locks."""

    BATCH = 100  # operations per message

    def __init__(self, port):
        self._requests = queue.Queue()
        self._asked = 0
        self.stub = pb_grpc.LockServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        self.responses = self.stub.Session(iter(self._requests.get, None))

    def acquire(self, keys, ttl):
        self._ask({"acquire": pb.AcquireRequest(key=key, ttl=seconds(ttl))} for key in keys)

    def adopt(self, leases, ttl):
        self._ask({"adopt": pb.AdoptOperation(key=lease.key, token=lease.token, ttl=seconds(ttl))} for lease in leases)

    def _ask(self, operations):
        while batch := list(itertools.islice(operations, self.BATCH)):
            request = pb.SessionRequest()
            for operation in batch:
                self._asked += 1
                request.operations.add(id=self._asked, **operation)
            self._requests.put(request)

    def agree_on_grace(self, grace):
        """Must be the first message."""
        self._requests.put(pb.SessionRequest(disconnect_grace=seconds(grace)))

    def release_all(self):
        """Returns when all leases have been released."""
        request = pb.SessionRequest()
        request.operations.add(id=self._asked + 1).close.SetInParent()
        self._requests.put(request)
        for _ in self.responses:
            pass

    def break_off(self):
        self.responses.cancel()

    def close(self):
        self._requests.put(None)
