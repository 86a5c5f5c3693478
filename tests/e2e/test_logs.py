"""The log never blocks or ends the daemon, and tells operators what they need."""

import contextlib
import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, listens, seconds

RULES = """
[[rule]]
identity = "billing"
keys = ["billing/*"]
verbs = ["acquire", "release"]
"""


class LoggingDaemon(unittest.TestCase):
    """A daemon whose log is a file or another descriptor."""

    @classmethod
    def setUpClass(cls):
        cls.nodes = Nodes()
        cls.addClassCleanup(cls.nodes.close)

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, *arguments, stderr, **keywords):
        """Starts a daemon and waits until it grants locks."""
        self.port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{self.port}", "--node-timeout", "2s", *arguments]
        for node in self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        self.daemon = subprocess.Popen(command, stderr=stderr, **keywords)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(self.port), 20))
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.addCleanup(channel.close)
        self.stub = pb_grpc.LockServiceStub(channel)
        self.admin = admin_pb_grpc.AdminServiceStub(channel)

    def start_with_token(self, *arguments, **keywords):
        made = subprocess.run([REDLOCKCTL, "token", "billing", "--output", "json"],
                              capture_output=True, text=True, check=True)
        made = json.loads(made.stdout)
        for name, text in (("tokens", made["line"] + "\n"), ("rules", RULES)):
            with open(self.path(name), "w") as file:
                file.write(text)
        self.start("--token-file", self.path("tokens"), "--access-list", self.path("rules"),
                   *arguments, **keywords)
        return [("authorization", f"Bearer {made['token']}")]

    def start_with_file(self, *arguments, **keywords):
        with open(self.path("log"), "w") as file:
            self.start(*arguments, stderr=file, **keywords)

    def log(self):
        with open(self.path("log")) as file:
            return file.read().splitlines()

    def acquire(self, key, **keywords):
        return self.stub.Acquire(pb.AcquireRequest(key=key, ttl=seconds(0.5)), timeout=10, **keywords)

    def assert_grants(self):
        self.assertTrue(eventually(self.grants, 10))

    def grants(self):
        with contextlib.suppress(grpc.RpcError):
            self.acquire(f"key-{time.monotonic_ns()}")
            return True
        return False

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(10), 0)

    @staticmethod
    def code(method, *arguments, **keywords):
        try:
            method(*arguments, **keywords)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()


class LogsTest(LoggingDaemon):
    def test_a_reader_that_stops_reading_blocks_nothing_and_later_reads_what_was_dropped(self):
        read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        http = free_port()
        self.start("--log-level", "debug", "--metrics-listen", f"127.0.0.1:{http}", stderr=write_end)
        os.close(write_end)
        self.assert_grants()
        held = self.stub.Hold(pb.HoldRequest(key="held", ttl=seconds(1)))
        while next(held).type != pb.EVENT_TYPE_ACQUIRED:
            pass

        def dropped():
            request_id = [("x-request-id", "i" * 128), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")]
            calls = [self.stub.Inspect.future(pb.InspectRequest(key="k" * 500), timeout=10, metadata=request_id)
                     for _ in range(200)]
            self.assertTrue(all(call.result() for call in calls))
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as response:
                metrics = response.read().decode()
            return int(re.search(r"^redlockd_log_lines_dropped_total (\d+)", metrics, re.M)[1])

        self.assertTrue(eventually(lambda: dropped() > 0, 30))
        count = dropped()
        self.assertTrue(held.is_active())
        self.assertTrue(self.stub.Inspect(pb.InspectRequest(key="held"), timeout=5).held)
        lines = []
        with open(read_end, errors="strict") as log:
            reader = threading.Thread(target=lambda: lines.extend(log))
            reader.start()
            self.assertTrue(eventually(lambda: any("log lines were dropped" in line for line in lines), 10))
            held.cancel()
            self.stop()
            reader.join()
        reported = sum(int(found[1]) for found in (re.search(r"(\d+) log lines were dropped", line) for line in lines)
                       if found)
        self.assertGreaterEqual(reported, count)
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (debug|info|warning) .*\n$")

    def test_the_daemon_ends_although_its_reader_is_stuck(self):
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        os.write(write_end, b"." * 4096)
        self.start(stderr=write_end)
        self.assert_grants()
        self.stop()
        refused = subprocess.run([REDLOCKD, "--node", "nonsense://"], stderr=write_end, timeout=10)
        self.assertEqual(refused.returncode, 2)
        os.close(write_end)

    def test_a_reader_that_has_gone_ends_nothing(self):
        read_end, write_end = os.pipe()
        # Python's children start with the default action of SIGPIPE, which ends a process.
        self.start("--log-level", "debug", stderr=write_end)
        os.close(write_end)
        os.close(read_end)
        self.assert_grants()
        self.stop()

    def test_closed_standard_streams_are_not_taken_for_others(self):
        def close_all():
            for stream in (0, 1, 2):
                os.close(stream)

        self.start("--log-level", "debug", stderr=None, preexec_fn=close_all)
        self.assert_grants()
        for stream in (0, 1, 2):
            self.assertEqual(os.readlink(f"/proc/{self.daemon.pid}/fd/{stream}"), "/dev/null")
        self.stop()

    def test_a_full_disk_drops_lines_and_nothing_else(self):
        with open("/dev/full", "w") as full:
            self.start("--log-level", "debug", stderr=full)
        self.assert_grants()
        self.stop()

    def test_the_largest_file_size_ends_nothing(self):
        self.start_with_file("--log-level", "debug", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (2000, 2000)))
        self.assert_grants()
        self.assertTrue(eventually(lambda: self.grants() and os.path.getsize(self.path("log")) == 2000))
        self.stop()

    def test_json_stays_json_with_the_lines_of_grpc_and_the_reason_of_the_end(self):
        self.start_with_file("--log-format", "json", env={**os.environ, "GRPC_VERBOSITY": "debug"})
        self.assert_grants()
        with socket.create_connection(("127.0.0.1", self.port)) as raw:
            raw.sendall(b"this is not HTTP/2\r\n\r\n")
        self.stop()
        lines = [json.loads(line) for line in self.log()]
        self.assertTrue(any(line["message"].startswith("gRPC: ") for line in lines))
        self.assertEqual(lines[-1]["message"], "shut down; leases that are still held stay valid until they expire")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ended = subprocess.run(
                [REDLOCKD, "--log-format", "json", "--log-level", "off", "--node", "redis://127.0.0.1:1",
                 "--listen", "127.0.0.1:%d" % taken.getsockname()[1]], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(ended.returncode, 0)
        lines = [json.loads(line) for line in ended.stderr.splitlines()]
        self.assertEqual(lines[-1]["level"], "critical")

    def test_a_flood_of_one_failure_hides_no_other(self):
        with open(self.path("log"), "w") as file:
            billing = self.start_with_token(stderr=file)
        calls = [self.stub.Inspect.future(pb.InspectRequest(key="k"), timeout=10) for _ in range(300)]
        self.assertEqual({call.code() for call in calls}, {grpc.StatusCode.UNAUTHENTICATED})
        self.assertTrue(eventually(lambda: self.code(self.acquire, "other", metadata=billing)
                                   == grpc.StatusCode.PERMISSION_DENIED))
        self.assertEqual(self.code(self.admin.ListNodes, admin_pb.ListNodesRequest(), metadata=billing),
                         grpc.StatusCode.PERMISSION_DENIED)
        operation = pb.SessionOperation(id=1, acquire=pb.AcquireRequest(key="third", ttl=seconds(1)))
        session = self.stub.Session(iter([pb.SessionRequest(operations=[operation])]), metadata=billing)
        self.assertEqual(next(session).results[0].status.reason, "PERMISSION_DENIED")
        session.cancel()

        def lines(text):
            return [line for line in self.log() if text in line]

        self.assertTrue(eventually(lambda: len(lines("PERMISSION_DENIED")) == 3))
        for line, what in zip(lines("PERMISSION_DENIED"), ('Acquire "other"', "ListNodes", 'Session acquire "third"')):
            self.assertIn(what, line)
            self.assertRegex(line, r"for billing at ipv4:127\.0\.0\.1:\d+ request=\S+$")
        # What was left out is counted within some seconds, without another failure.
        self.assertLess(len(lines("UNAUTHENTICATED")), 50)
        self.assertTrue(eventually(lambda: len(lines("more not shown")) > 0, 15))
        shown = lines("UNAUTHENTICATED")
        left_out = sum(int(found[1]) for found in (re.search(r"\((\d+) more not shown\)", line) for line in shown)
                       if found)
        self.assertEqual(len(shown) + left_out, 300)

    def test_private_nodes_do_not_inherit_ignored_signals(self):
        port = free_port()
        with open(self.path("log"), "w") as file:
            daemon = subprocess.Popen([REDLOCKD, "--dev", "--listen", f"127.0.0.1:{port}"], stderr=file)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.terminate)
        self.assertTrue(eventually(lambda: listens(port), 20))
        with open(f"/proc/{daemon.pid}/task/{daemon.pid}/children") as file:
            children = file.read().split()
        self.assertEqual(len(children), 3)
        for child in children:
            with open(f"/proc/{child}/status") as status:
                ignored = int(re.search(r"^SigIgn:\s*(\S+)", status.read(), re.M)[1], 16)
            self.assertFalse(ignored & 1 << signal.SIGXFSZ - 1)
        self.assertTrue(eventually(lambda: any("--dev" in line for line in self.log())))


if __name__ == "__main__":
    sys.exit(unittest.main())
