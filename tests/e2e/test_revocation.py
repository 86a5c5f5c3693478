"""Access that is taken back by SIGHUP while calls are open, and administrators of some keys only."""

import json
import queue
import signal
import sys
import threading
import unittest

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_access import AccessCase
from test_service import eventually, seconds

ALL = "[[rule]]\nidentity = 'ops'\nverbs = ['acquire', 'extend', 'release', 'inspect', 'admin']\n"
# `ops` may no longer use the key "gone", and does not administer all keys.
LESS = ALL.replace("verbs", "keys = ['kept*']\nverbs")


class Call:
    """A call that runs in the background: what it received, and how it ended."""

    def __init__(self, responses):
        self.received, self.end = [], None
        threading.Thread(target=self.read, args=(responses,), daemon=True).start()

    def read(self, responses):
        try:
            for response in responses:
                self.received.append(response)
            self.end = "OK"
        except grpc.RpcError as error:
            self.end = error.code().name

    def event(self, kind):
        return next((response for response in list(self.received) if response.type == kind), None)


class Session(Call):
    """A Session that acquires keys when it is told to. A result is identified by its key."""

    def __init__(self, stub, metadata):
        self.requests, self.keys = queue.SimpleQueue(), []
        super().__init__(stub.Session(iter(self.requests.get, None), metadata=metadata))

    def acquire(self, key):
        self.keys.append(key)
        self.requests.put(pb.SessionRequest(operations=[pb.SessionOperation(
            id=len(self.keys), acquire=pb.AcquireRequest(key=key, ttl=seconds(1)))]))

    def result(self, key):
        """The reason of the failure, "" after success, None if the key is waited for."""
        results = [result for response in list(self.received) for result in response.results]
        return next((one.status.reason for one in results if self.keys[one.id - 1] == key), None)

    def lost(self):
        events = [event for response in list(self.received) for event in response.events]
        return {event.key: event.reason for event in events if event.type == pb.EVENT_TYPE_LOST}


class RevocationTest(AccessCase):
    def setUp(self):
        super().setUp()
        self.bearer = [("authorization", f"Bearer {self.ops}")]

    def connect(self, *arguments):
        self.start("--token-file", self.path("tokens"), *arguments)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.addCleanup(self.channel.close)
        self.stub = pb_grpc.LockServiceStub(self.channel)
        self.wait_for(self.grants, 20)

    def grants(self):
        """Whether the daemon has found its nodes."""
        try:
            self.stub.Acquire(pb.AcquireRequest(key="ready", ttl=seconds(1)), metadata=self.bearer)
        except grpc.RpcError:
            return False
        return True

    def wait_for(self, condition, patience=10):
        self.assertTrue(eventually(condition, patience))

    def hold(self, key, metadata=None):
        call = Call(self.stub.Hold(pb.HoldRequest(key=key, ttl=seconds(1)), metadata=metadata or self.bearer))
        self.wait_for(lambda: call.event(pb.EVENT_TYPE_ACQUIRED))
        return call

    def watch(self, hold):
        lease = hold.event(pb.EVENT_TYPE_ACQUIRED).lease
        call = Call(self.stub.Watch(pb.WatchRequest(items=[pb.WatchItem(
            key=lease.key, token=lease.token, ttl=seconds(1))]), metadata=self.bearer))
        self.wait_for(lambda: call.event(pb.EVENT_TYPE_EXTENDED))
        return call

    def observe(self, key):
        call = Call(self.stub.Observe(pb.ObserveRequest(key=key), metadata=self.bearer))
        self.wait_for(lambda: call.received)
        return call

    def wait_behind_the_session(self, key):
        waiting = self.stub.Acquire.future(pb.AcquireRequest(key=key, ttl=seconds(20)), metadata=self.bearer)
        inspect = pb.InspectRequest(key=key)
        self.wait_for(lambda: self.stub.Inspect(inspect, metadata=self.bearer).waiters == 2)
        return waiting

    def held(self, key):
        return self.nodes.cli(0, "EXISTS", key) == "1"

    def test_a_revoked_token_ends_its_calls_and_its_locks_expire(self):
        new = json.loads(self.run_ctl("token", "ops", "--output", "json").stdout)
        with open(self.path("tokens")) as file:
            self.write("tokens", file.read() + new["line"] + "\r\n")  # an identity may have two tokens
        self.connect()
        hold = self.hold("held")
        watch = self.watch(hold)
        renewed = self.hold("kept", [("authorization", "Bearer " + new["token"])])
        session = Session(self.stub, self.bearer)
        session.acquire("session")
        self.wait_for(lambda: session.result("session") == "")
        session.acquire("kept")
        waiting = self.wait_behind_the_session("kept")

        self.write("tokens", new["line"] + "\r\n")
        self.daemon.send_signal(signal.SIGHUP)
        for call in (hold, watch, session):
            self.wait_for(lambda: call.end)
            self.assertEqual(call.end, "UNAUTHENTICATED")
        self.assertEqual(waiting.exception(timeout=10).code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertTrue(self.held("held"))  # its client may trust it until it expires
        self.wait_for(lambda: not self.held("held") and not self.held("session"), 5)
        self.assertIsNone(session.result("kept"))
        self.assertIsNone(renewed.end)
        self.assertTrue(self.held("kept"))

    def test_a_request_that_is_sent_after_the_token_was_revoked_is_refused(self):
        self.connect()
        hold_request, release_request = queue.SimpleQueue(), queue.SimpleQueue()
        hold = Call(self.channel.stream_stream(
            "/redlock.v1.LockService/Hold", pb.HoldRequest.SerializeToString, pb.HoldResponse.FromString)(
                iter(hold_request.get, None), metadata=self.bearer))
        release = self.channel.stream_unary(
            "/redlock.v1.AdminService/ForceRelease", admin_pb.ForceReleaseRequest.SerializeToString,
            admin_pb.ForceReleaseResponse.FromString).future(iter(release_request.get, None),
                                                             metadata=self.bearer)
        self.nodes.cli(0, "SET", "k", "of another")
        self.hold("kept")  # the calls before this one have arrived
        self.write("tokens", "")
        self.daemon.send_signal(signal.SIGHUP)
        inspect = pb.InspectRequest(key="k")
        self.wait_for(lambda: self.stub.Inspect.future(inspect, metadata=self.bearer).code()
                      == grpc.StatusCode.UNAUTHENTICATED)
        hold_request.put(pb.HoldRequest(key="h", ttl=seconds(1)))
        release_request.put(admin_pb.ForceReleaseRequest(key="k", why="test"))
        release_request.put(None)
        self.assertEqual(release.exception(timeout=10).code(), grpc.StatusCode.UNAUTHENTICATED)
        self.wait_for(lambda: hold.end == "UNAUTHENTICATED")
        self.assertTrue(self.held("k"))
        self.assertFalse(self.held("h"))

    def test_a_changed_access_list_ends_only_what_it_no_longer_allows(self):
        self.write("rules", ALL)
        self.connect("--access-list", self.path("rules"))
        gone, kept = self.hold("gone"), self.hold("kept")
        watch, kept_watch = self.watch(gone), self.watch(kept)
        observed, kept_observed = self.observe("gone"), self.observe("kept")
        session = Session(self.stub, self.bearer)
        for key in ("gone too", "kept too"):
            session.acquire(key)
            self.wait_for(lambda: session.result(key) == "")
        session.acquire("gone")
        waiting = self.wait_behind_the_session("gone")

        self.write("rules", LESS)
        self.daemon.send_signal(signal.SIGHUP)
        for call in (gone, watch, observed):
            self.wait_for(lambda: call.end)
            self.assertEqual(call.end, "PERMISSION_DENIED")
        for call in (gone, watch):
            self.assertEqual(call.event(pb.EVENT_TYPE_LOST).reason, "PERMISSION_DENIED")
        self.assertEqual(waiting.exception(timeout=10).code(), grpc.StatusCode.PERMISSION_DENIED)
        self.wait_for(lambda: session.lost())
        self.assertEqual(session.lost(), {"gone too": "PERMISSION_DENIED"})
        self.wait_for(lambda: session.result("gone") == "PERMISSION_DENIED")
        session.acquire("gone again")
        self.wait_for(lambda: session.result("gone again") == "PERMISSION_DENIED")
        self.wait_for(lambda: not self.held("gone") and not self.held("gone too"), 5)
        for call in (kept, kept_watch, kept_observed, session):
            self.assertIsNone(call.end)
        self.assertTrue(self.held("kept") and self.held("kept too"))

    def test_the_keys_of_a_rule_bind_administrators(self):
        self.write("rules", ALL)
        self.connect("--access-list", self.path("rules"))
        holds = [self.hold("kept"), self.hold("gone")]
        everything = admin_pb_grpc.AdminServiceStub(self.channel).ListLeases(
            admin_pb.ListLeasesRequest(), metadata=self.bearer)
        self.assertEqual([entry.key for entry in everything.entries], ["gone", "kept"])
        self.write("rules", ALL.replace(", 'admin'", "") + LESS)  # all keys, but to administer only some
        self.daemon.send_signal(signal.SIGHUP)
        as_ops = ("--server", f"127.0.0.1:{self.port}", "--auth-token-file", self.path("ops.token"))
        self.wait_for(lambda: self.result_of(*as_ops, "nodes", "abort") == "PERMISSION_DENIED")
        for command in (("status",), ("log-level", "debug"), ("nodes", "list"), ("nodes", "init"),
                        ("force-release", "gone", "--why", "test")):
            self.assertEqual(self.result_of(*as_ops, *command), "PERMISSION_DENIED", command)
        listed = json.loads(self.run_ctl(*as_ops, "leases", "--output", "json").stdout)
        self.assertIn("kept", json.dumps(listed))
        self.assertNotIn("gone", json.dumps(listed))
        self.assertEqual(self.result_of(*as_ops, "force-release", "kept", "--why", "test"), "ok")
        self.wait_for(lambda: holds[0].end)
        self.assertIsNone(holds[1].end)


if __name__ == "__main__":
    sys.exit(unittest.main())
