"""Tests the service from Python, with only the stubs generated from the proto."""

import itertools
import json
import os
import queue
import re
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
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from ports import free_port
from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc

REDLOCKD = os.environ["REDLOCKD"]
REDLOCKCTL = os.environ["REDLOCKCTL"]


def seconds(value):
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition, patience=5.0):
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True


def redlockctl(address, *arguments):
    return subprocess.run([REDLOCKCTL, "--server", address, *arguments], capture_output=True, text=True, timeout=30)


class Failure:
    """The decoded details of a failed call."""

    def __init__(self, error):
        self.code, self.message = error.code(), error.details()
        self.reason, self.votes, self.retry, self.fields, self.metadata = None, [], None, {}, {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._decode(status_pb2.Status.FromString(value))

    def _decode(self, status):
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            retry = error_details_pb2.RetryInfo()
            bad = error_details_pb2.BadRequest()
            votes = pb.Votes()
            if detail.Unpack(info):
                assert info.domain == "redlock.v1"
                self.reason = info.reason
                self.metadata = dict(info.metadata)
            elif detail.Unpack(retry):
                self.retry = retry.retry_delay.ToNanoseconds() / 1e9
            elif detail.Unpack(bad):
                self.fields = {fault.field: fault.description for fault in bad.field_violations}
            elif detail.Unpack(votes):
                self.votes = list(votes.votes)


class Nodes:
    """redis-server processes."""

    def __init__(self, count=3, options=()):
        self.options = options
        self.directory = tempfile.TemporaryDirectory()
        self.ports = [free_port() for _ in range(count)]
        self.processes = [self._start(port) for port in self.ports]

    def _start(self, port):
        return subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.directory.name, *self.options],
            cwd=self.directory.name, stdout=subprocess.DEVNULL)

    def cli(self, number, *command):
        return subprocess.run(["redis-cli", "-p", str(self.ports[number]), *command],
                              capture_output=True, text=True).stdout.strip()

    def version(self):
        """The version of Redis. Valkey names the one with which it is compatible."""
        eventually(lambda: self.cli(0, "PING") == "PONG", 20)
        return re.search(r"redis_version:(\S+)", self.cli(0, "INFO", "server"))[1]

    def close(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.directory.cleanup()


class ServiceTest(unittest.TestCase):
    OPTIONS = ()  # of the daemon

    def setUp(self):
        self.nodes = Nodes()
        self.addCleanup(self.nodes.close)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.metrics_port = free_port()
        command = [REDLOCKD, "--listen", self.address, "--log-level", "warning", "--node-timeout", "2s",
                   "--metrics-listen", f"127.0.0.1:{self.metrics_port}", *self.OPTIONS]
        for node in self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        self.daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        # A channel that was refused waits before it connects again.
        self.assertTrue(eventually(lambda: listens(port), 20))
        self.channel = grpc.insecure_channel(self.address)
        self.addCleanup(self.channel.close)
        self.stub = pb_grpc.LockServiceStub(self.channel)
        self.admin = admin_pb_grpc.AdminServiceStub(self.channel)
        self.assertTrue(eventually(self.all_nodes_are_up, 20))

    def all_nodes_are_up(self):
        try:
            nodes = self.admin.ListNodes(admin_pb.ListNodesRequest(), timeout=1).nodes
            return all(node.state == admin_pb.NODE_STATE_UP for node in nodes)
        except grpc.RpcError:
            return False

    def acquire(self, key, ttl=10.0, max_retries=0, timeout=10, **more):
        return self.stub.Acquire(
            pb.AcquireRequest(key=key, ttl=seconds(ttl),
                              retry=pb.RetryPolicy(max_retries=max_retries), **more),
            timeout=timeout)

    def failure(self, call, *arguments, **more):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **more)
        return Failure(caught.exception)

    def test_a_lock_is_acquired_extended_and_released(self):
        lease = self.acquire("key", owner="python").lease
        failure = self.failure(self.acquire, "key")
        self.assertEqual(failure.code, grpc.StatusCode.ABORTED)
        self.assertEqual(failure.reason, "LOCK_ALREADY_HELD")
        self.assertGreater(failure.retry, 8)
        self.assertIn(pb.VOTE_OUTCOME_HELD, [vote.outcome for vote in failure.votes])
        extended = self.stub.Extend(
            pb.ExtendRequest(key="key", token=lease.token, ttl=seconds(20))).lease
        self.assertEqual(extended.fencing_token, lease.fencing_token)
        self.assertEqual(self.stub.Inspect(pb.InspectRequest(key="key")).owner, "python")
        self.stub.Release(pb.ReleaseRequest(key="key", token=lease.token))
        self.assertGreater(self.acquire("key").lease.fencing_token, lease.fencing_token)

    def test_invalid_input_is_reported_by_field(self):
        failure = self.failure(self.acquire, "", ttl=-1)
        self.assertEqual(failure.code, grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(set(failure.fields), {"key", "ttl"})
        # Bytes that are not UTF-8, which the generated classes would refuse to send.
        raw = self.channel.unary_unary("/redlock.v1.LockService/Acquire")
        failure = self.failure(raw, b"\x0a\x02k\xff")
        self.assertEqual(failure.fields, {"key": "must be UTF-8"})
        self.assertTrue(self.all_nodes_are_up())

    def test_two_dead_nodes_are_reported_and_the_grant_is_rolled_back(self):
        for process in self.nodes.processes[1:]:
            process.kill()
            process.wait()
        failure = self.failure(self.acquire, "key")
        self.assertEqual(failure.code, grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(failure.reason, "QUORUM_UNAVAILABLE")
        named = {vote.node for vote in failure.votes if vote.outcome == pb.VOTE_OUTCOME_ERROR}
        self.assertEqual(named, {f"127.0.0.1:{port}" for port in self.nodes.ports[1:]})
        self.assertTrue(eventually(lambda: self.nodes.cli(0, "EXISTS", "key") == "0"))

    def test_the_daemon_shuts_down_while_a_node_owes_the_answer_to_a_release(self):
        lease = self.acquire("key").lease
        self.nodes.processes[2].send_signal(signal.SIGSTOP)
        self.stub.Release(pb.ReleaseRequest(key="key", token=lease.token))
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(30), 0)

    def test_loss_is_reported_in_time_if_all_nodes_stop(self):
        lease = self.acquire("key", ttl=1.0).lease
        item = pb.WatchItem(key="key", token=lease.token, ttl=seconds(1.0))
        stream = self.stub.Watch(pb.WatchRequest(items=[item]))
        extended = time.monotonic()
        self.assertEqual(next(stream).type, pb.EVENT_TYPE_EXTENDED)
        for process in self.nodes.processes:
            process.send_signal(signal.SIGSTOP)
        for event in stream:
            if event.type == pb.EVENT_TYPE_EXTENDED:
                extended = time.monotonic()
            if event.type == pb.EVENT_TYPE_LOST:
                break
        self.assertEqual(event.type, pb.EVENT_TYPE_LOST)
        self.assertLess(time.monotonic() - extended, 1.0)

    def test_a_waiter_whose_process_is_killed_leaves_no_lock(self):
        lease = self.acquire("key").lease
        waiter = subprocess.Popen([REDLOCKCTL, "--server", self.address, "acquire", "key"],
                                  stdout=subprocess.DEVNULL)
        waiters = lambda: self.stub.Inspect(pb.InspectRequest(key="key")).waiters
        self.assertTrue(eventually(lambda: waiters() == 1))
        waiter.kill()
        waiter.wait()
        self.assertTrue(eventually(lambda: waiters() == 0))
        self.stub.Release(pb.ReleaseRequest(key="key", token=lease.token))
        time.sleep(0.4)
        self.assertEqual(self.nodes.cli(0, "EXISTS", "key"), "0")

    def test_many_clients_never_hold_a_lock_at_the_same_time(self):
        inside, most, fences = [0], [0], []
        guard = threading.Lock()

        def work():
            for _ in range(10):
                lease = self.acquire("key", max_retries=-1, timeout=60).lease
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    fences.append(lease.fencing_token)
                time.sleep(0.001)
                with guard:
                    inside[0] -= 1
                self.stub.Release(pb.ReleaseRequest(key="key", token=lease.token))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(most[0], 1)
        self.assertEqual(len(fences), 40)
        self.assertEqual(fences, sorted(set(fences)), "fences grow strictly in the order of holding")

    def test_redlockctl_prints_json(self):
        def ctl(*arguments):
            done = subprocess.run(
                [REDLOCKCTL, "--server", self.address, "--output", "json", *arguments],
                capture_output=True, text=True)
            return done.returncode, done.stdout, done.stderr

        status, out, _ = ctl("acquire", "key", "--ttl", "10s")
        self.assertEqual(status, 0)
        token = json.loads(out)["lease"]["token"]
        status, out, err = ctl("acquire", "key", "--try")
        self.assertEqual(status, 3)
        self.assertEqual(json.loads(out or err)["error"]["reason"], "LOCK_ALREADY_HELD")
        self.assertEqual(ctl("release", "key", "--token", token)[0], 0)

    def metric(self, name, **labels):
        """Returns the sum of all series that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.metrics().splitlines()
                   if line.split("{")[0].split(" ")[0] == name and all(w in line for w in wanted))

    def metrics(self):
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read().decode()

    def test_metrics_count_operations_and_contain_no_keys(self):
        self.acquire("some-key")
        self.failure(self.acquire, "some-key")
        self.assertEqual(self.metric("redlockd_operations_total", verb="acquire", result="ok"), 1)
        self.assertEqual(self.metric("redlockd_operations_total", result="lock_already_held"), 1)
        self.assertGreaterEqual(self.metric("redlockd_node_votes_total", outcome="held"), 2)
        self.assertEqual(self.metric("redlockd_acquire_duration_seconds_count"), 1)
        self.assertEqual(self.metric("redlockd_node_connected"), 3)
        for port in self.nodes.ports:
            node = f"127.0.0.1:{port}"
            self.assertTrue(eventually(
                lambda: self.metric("redlockd_node_answer_seconds_count", node=node) == 2), node)
        self.assertNotIn("some-key", self.metrics())

    def test_the_status_has_the_latency_of_each_node(self):
        def latencies():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/status.json", timeout=5) as response:
                return [node["latency"] for node in json.load(response)["nodes"]]

        none = {"answers": 0, "p50": None, "p99": None}
        self.assertEqual(latencies(), [none] * 3)
        numbers = itertools.count()

        def all_answered():
            self.acquire(f"key-{next(numbers)}")  # those before the first sample do not count
            time.sleep(0.2)
            return all(node["answers"] > 0 for node in latencies())

        self.assertTrue(eventually(all_answered, 30))
        for node in latencies():
            self.assertTrue(0 < node["p50"] <= node["p99"] <= 10, node)

    def test_metrics_report_a_node_that_lost_its_data(self):
        self.assertEqual(self.metric("redlockd_node_quarantined"), 0)
        self.assertEqual(self.nodes.cli(0, "FLUSHALL"), "OK")
        node = f"127.0.0.1:{self.nodes.ports[0]}"
        self.assertTrue(eventually(lambda: self.metric("redlockd_node_quarantined", node=node) == 1, 10))
        self.assertEqual(self.metric("redlockd_node_quarantined"), 1)
        self.assertGreater(self.metric("redlockd_node_quarantine_left_seconds", node=node), 250)
        self.assertEqual(self.metric("redlockd_node_quarantines_total"), 1)

    def test_the_node_set_is_shown(self):
        shown = self.admin.GetNodeSet(admin_pb.GetNodeSetRequest()).node_set
        names = {f"127.0.0.1:{port}" for port in self.nodes.ports}
        self.assertEqual({member.name for member in shown.members}, names)
        self.assertEqual([member.id for member in shown.members],
                         sorted({member.id for member in shown.members}))
        self.assertTrue(all(member.configured and member.state == admin_pb.NODE_STATE_UP
                            for member in shown.members))
        self.assertEqual((shown.epoch, shown.quorum, len(shown.others), shown.trouble), (1, 2, 0, ""))
        self.assertEqual(shown.max_ttl.seconds, 300)
        self.assertEqual(self.metric("redlockd_node_set_found"), 1)
        self.assertEqual(self.metric("redlockd_node_set_epoch"), 1)
        self.assertEqual(self.metric("redlockd_node_set_members"), 3)
        self.assertEqual(self.metric("redlockd_node_set_mismatches_total"), 0)
        self.assertEqual(self.metric("redlockd_node_member"), 3)

        def ctl(*arguments):
            return redlockctl(self.address, *arguments)

        listed = json.loads(ctl("nodes", "list", "--output", "json").stdout)["node_set"]
        self.assertEqual(listed["set_id"], shown.set_id)
        self.assertIn("3 members; the quorum is 2", ctl("nodes", "list").stdout)
        for process in self.nodes.processes[1:]:
            process.kill()
            process.wait()
        listed = ctl("nodes", "list")
        self.assertEqual(listed.returncode, 5)
        self.assertEqual(listed.stdout.count(" down: "), 2)

    def test_nodes_and_daemons_that_do_not_agree_on_the_set_are_named(self):
        extra = free_port()
        process = self.nodes._start(extra)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        address, http = f"127.0.0.1:{free_port()}", free_port()
        # One member is not configured, one configured node is not a member.
        command = [REDLOCKD, "--listen", address, "--metrics-listen", f"127.0.0.1:{http}",
                   "--node-timeout", "2s", "--node-guard", "off"]
        for port in [*self.nodes.ports[:2], extra]:
            command += ["--node", f"redis://127.0.0.1:{port}"]
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)

        def ctl(*arguments):
            return subprocess.run([REDLOCKCTL, "--server", address, *arguments],
                                  capture_output=True, text=True).stdout

        missing = f"member 127.0.0.1:{self.nodes.ports[2]} is not configured"
        self.assertTrue(eventually(lambda: missing in ctl("nodes", "list"), 20))
        self.assertTrue(eventually(lambda: ctl("nodes", "list").count(" up\n") == 2, 20))
        self.assertIn("configured nodes without a vote", ctl("nodes", "list"))
        self.assertRegex(ctl("status"), f"127.0.0.1:{extra} +not a member: ")
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/status.json", timeout=5) as response:
            status = json.load(response)
        self.assertEqual([node["state"] for node in status["nodes"]], ["up", "up", "not a member"])
        self.assertIn(missing, status["node_set"]["trouble"])
        self.assertEqual(status["quorum"], {"needed": 2, "voting": 2, "reachable": True})

    def test_leases_are_listed_in_pages(self):
        requests = queue.Queue()
        responses = self.stub.Session(iter(requests.get, None))
        self.addCleanup(requests.put, None)
        requests.put(pb.SessionRequest(operations=[
            pb.SessionOperation(id=i, acquire=pb.AcquireRequest(key=f"key-{i}", ttl=seconds(20)))
            for i in range(5)]))
        held = 0
        while held < 5:
            held += len(next(responses).results)
        requests.put(pb.SessionRequest(operations=[
            pb.SessionOperation(id=10 + i, acquire=pb.AcquireRequest(
                key="key-2", ttl=seconds(20), owner=f"waiter {i}")) for i in range(3)]))
        self.assertTrue(eventually(
            lambda: self.stub.Inspect(pb.InspectRequest(key="key-2")).waiters == 3))
        entries, token = [], ""
        while True:
            page = self.admin.ListLeases(admin_pb.ListLeasesRequest(page_size=2, page_token=token))
            self.assertLessEqual(len(page.entries), 2)
            entries += page.entries
            token = page.next_page_token
            if not token:
                break
        self.assertEqual([entry.key for entry in entries],
                         ["key-0", "key-1", "key-2", "key-2", "key-2", "key-2", "key-3", "key-4"])
        waiting = [entry for entry in entries if entry.kind == admin_pb.LEASE_KIND_WAITING]
        self.assertEqual([(entry.owner, entry.position) for entry in waiting],
                         [(f"waiter {i}", i) for i in range(3)])
        self.assertEqual(entries[0].kind, admin_pb.LEASE_KIND_WATCHED)
        self.assertGreater(entries[0].validity.seconds, 10)

    def test_a_forced_release_frees_the_lock_and_later_fencing_tokens_are_higher(self):
        first = self.acquire("key").lease
        answer = self.admin.ForceRelease(admin_pb.ForceReleaseRequest(key="key", why="its host is gone"))
        self.assertTrue(answer.released)
        self.assertTrue(eventually(lambda: not self.stub.Inspect(pb.InspectRequest(key="key")).held))
        self.assertGreater(self.acquire("key").lease.fencing_token, first.fencing_token)
        failure = self.failure(self.stub.Extend, pb.ExtendRequest(
            key="key", token=first.token, ttl=seconds(5)))
        self.assertEqual(failure.reason, "LOCK_NOT_HELD")
        self.assertFalse(self.admin.ForceRelease(
            admin_pb.ForceReleaseRequest(key="other", why="nothing")).released)
        failure = self.failure(self.admin.ForceRelease, admin_pb.ForceReleaseRequest(key=""))
        self.assertEqual(set(failure.fields), {"key", "why"})

    def test_the_log_level_can_be_changed(self):
        self.assertEqual(self.admin.SetLogLevel(
            admin_pb.SetLogLevelRequest(level="debug")).previous, "warning")
        self.assertEqual(self.admin.SetLogLevel(
            admin_pb.SetLogLevelRequest(level="off")).previous, "debug")
        failure = self.failure(self.admin.SetLogLevel, admin_pb.SetLogLevelRequest(level="loud"))
        self.assertEqual(set(failure.fields), {"level"})

    def test_health_follows_the_quorum(self):
        health = self.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        self.addCleanup(health.cancel)
        self.assertEqual(next(health), b"\x08\x01")  # SERVING
        for process in self.nodes.processes[1:]:
            process.kill()
            process.wait()
        self.assertEqual(next(health), b"\x08\x02")  # NOT_SERVING
        self.assertEqual(subprocess.run([REDLOCKCTL, "--server", self.address, "health"],
                                        capture_output=True).returncode, 5)

    def test_health_and_reflection_are_served(self):
        health = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(health(b"\x0a\x16redlock.v1.LockService"), b"\x08\x01")  # SERVING
        reflect = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answer = next(reflect(iter([b"\x3a\x00"])))  # list_services
        self.assertIn(b"redlock.v1.LockService", answer)


if __name__ == "__main__":
    sys.exit(unittest.main())
