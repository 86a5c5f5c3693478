"""A minute of mixed hostile load: callers without credentials, idle and dripping connections, and a log that nobody reads.

The daemon must go on serving its callers, lose no lease, and end with bounded memory. REDLOCK_SOAK_SECONDS sets the time.
"""

import json
import multiprocessing
import os
import resource
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
import zlib

import grpc

import hostile
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, listens, seconds

SECONDS = float(os.environ.get("REDLOCK_SOAK_SECONDS", "60"))
HOLDS = 5
TTL = 5.0
MOST_MEMORY_MIB = 400
MOST_LEFT_MIB = 300


def resets(port):
    hostile.rapid_reset(port, 2_000)


def calls_without_a_message(port):
    peer = hostile.Connection(port)
    for _ in range(20):
        peer.send(b"".join(peer.open(hostile.HOLD)[0] for _ in range(50)))
    time.sleep(0.5)
    peer.close()


def streams_without_credentials(port):
    peer = hostile.Connection(port)
    for path in (hostile.HEALTH_WATCH, hostile.REFLECTION) * 100:
        opened, stream = peer.open(path)
        peer.send(opened + hostile.frame(hostile.DATA, 0, stream, hostile.EMPTY_MESSAGE))
    time.sleep(0.5)
    peer.close()


def bombs(port):
    """16 MiB of zeros for each call, compressed."""
    packed = zlib.compress(bytes(16 << 20), 9, 31)
    message = b"\1" + struct.pack(">I", len(packed)) + packed
    peer = hostile.Connection(port)
    for _ in range(5):
        opened, stream = peer.open(hostile.ACQUIRE, ("grpc-encoding", "gzip"))
        peer.send(opened)
        for start in range(0, len(message), 16_000):
            last = hostile.END_STREAM if start + 16_000 >= len(message) else 0
            peer.send(hostile.frame(hostile.DATA, last, stream, message[start:start + 16_000]))
    time.sleep(0.5)
    peer.close()


def metadata(port):
    peer = hostile.Connection(port)
    for _ in range(10):
        peer.send(peer.open(hostile.ACQUIRE, ("x-much", "m" * 15_000), ("authorization", "Bearer nobody.0123"))[0])
    time.sleep(0.5)
    peer.close()


def pings(port):
    hostile.flood(port, hostile.frame(hostile.PING, 0, 0, bytes(8)) * 100, 0.5)
    hostile.flood(port, hostile.frame(hostile.SETTINGS, 0, 0) * 100, 0.5, reads=False)


def garbage(port):
    with socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.sendall(os.urandom(2_000))


def idle_connections(port):
    peers = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(100)]
    time.sleep(1)
    for peer in peers:
        peer.close()


def scrapes_that_drip(port):
    peers = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(30)]
    for byte in b"GET /metrics":
        for peer in peers:
            peer.send(bytes([byte]))
        time.sleep(0.1)
    for peer in peers:
        peer.close()


def attack(work, port, end):
    while time.monotonic() < end:
        try:
            work(port)
        except OSError:  # the daemon has closed the connection
            pass
        time.sleep(0.05)


def attack_all(port, metrics_port, time_left):
    """Runs in a process of its own, so that it does not take the interpreter's lock from the honest callers."""
    os.nice(5)
    end = time.monotonic() + time_left
    works = [(work, port) for work in (resets, calls_without_a_message, streams_without_credentials, bombs, metadata,
                                       pings, garbage, idle_connections)]
    works += [(idle_connections, metrics_port), (scrapes_that_drip, metrics_port)]
    threads = [threading.Thread(target=attack, args=(*work, end)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Soak(unittest.TestCase):
    def setUp(self):
        self.nodes = Nodes()
        self.addCleanup(self.nodes.close)
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        made = json.loads(subprocess.run([REDLOCKCTL, "token", "honest", "--output", "json"], check=True,
                                         capture_output=True, text=True).stdout)
        tokens = os.path.join(self.directory.name, "tokens")
        with open(tokens, "w", encoding="utf-8") as file:
            file.write(made["line"] + "\n")
        self.credentials = [("authorization", f"Bearer {made['token']}")]
        self.port, self.metrics_port = free_port(), free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{self.port}", "--token-file", tokens, "--node-timeout", "2s",
                   "--log-level", "debug", "--metrics-listen", f"127.0.0.1:{self.metrics_port}"]
        for node in self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        log, self.log = os.pipe()  # nobody reads the log
        self.addCleanup(os.close, log)
        self.daemon = subprocess.Popen(
            command, stderr=self.log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
        os.close(self.log)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(self.port), 20))
        self.channel, self.stub = self.connect()
        self.assertTrue(eventually(lambda: self.take("probe", self.stub), 20))
        self.failures = []

    def connect(self):
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return channel, pb_grpc.LockServiceStub(channel)

    def take(self, key, stub):
        try:
            lease = stub.Acquire(pb.AcquireRequest(key=key, ttl=seconds(30)), timeout=20,
                                 metadata=self.credentials).lease
            stub.Release(pb.ReleaseRequest(key=key, token=lease.token), timeout=20, metadata=self.credentials)
            return True
        except grpc.RpcError as error:
            self.last_error = error
            return False

    def scrape(self):
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode()

    def memory(self, name):
        with open(f"/proc/{self.daemon.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

    def hold(self, key):
        call = self.stub.Hold(pb.HoldRequest(key=key, ttl=seconds(TTL)), metadata=self.credentials)
        acquired = threading.Event()

        def read():
            try:
                for event in call:
                    acquired.set()
                    if event.type == pb.EVENT_TYPE_LOST:
                        self.failures.append(f"{key} was lost: {event}")
            except grpc.RpcError as error:
                if not self.over:
                    self.failures.append(f"the stream of {key} ended: {error}")

        threading.Thread(target=read, daemon=True).start()
        self.assertTrue(acquired.wait(10))
        return call

    def repeat(self, every, work):
        def run():
            while not self.over:
                try:
                    work()
                except Exception as error:  # pylint: disable=broad-except
                    self.failures.append(repr(error))
                time.sleep(every)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def expect_service(self):
        if not self.take("again", self.stub):
            self.failures.append(f"a caller was not served: {self.last_error}")

    def expect_new_connections(self):
        """A new connection may be refused while all places are taken by connections that are as new. Clients try again."""
        def served():
            channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])
            with channel:
                return self.take("new", pb_grpc.LockServiceStub(channel))

        if not eventually(served, 10):
            self.failures.append(f"new connections were not served: {self.last_error}")

    def test_callers_are_served_beside_hostile_peers(self):
        self.over = False
        calls = [self.hold(f"held-{number}") for number in range(HOLDS)]
        attackers = multiprocessing.get_context("spawn").Process(
            target=attack_all, args=(self.port, self.metrics_port, SECONDS))
        attackers.start()
        honest = [self.repeat(0.1, self.expect_service), self.repeat(2, self.expect_new_connections),
                  self.repeat(2, self.scrape)]
        attackers.join(SECONDS + 60)
        self.over = True
        for thread in honest:
            thread.join(30)
        self.assertEqual(attackers.exitcode, 0)
        self.assertEqual(self.failures, [])
        self.assertLess(self.memory("VmHWM"), MOST_MEMORY_MIB)
        self.assertLess(self.memory("VmRSS"), MOST_LEFT_MIB)
        descriptors = f"/proc/{self.daemon.pid}/fd"
        self.assertTrue(eventually(lambda: len(os.listdir(descriptors)) < 64, 30), os.listdir(descriptors))
        print(f"highest memory {self.memory('VmHWM'):.0f} MiB, in the end {self.memory('VmRSS'):.0f} MiB")
        for call in calls:
            call.cancel()


if __name__ == "__main__":
    unittest.main()
