"""The audit log has one line for each lock that is acquired, released, lost or taken away, and holds up nothing."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import unittest
import urllib.request

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import lock_service_pb2 as pb
from test_logs import LoggingDaemon
from test_service import REDLOCKD, eventually, free_port, listens, seconds

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"
TRACED = [("x-request-id", "request-7"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")]


class Session:
    """A Session stream whose results and events are kept."""

    def __init__(self, stub, grace=None, **keywords):
        self.requests = queue.Queue()
        self.results, self.error, self.id, self.grace = {}, None, 0, grace
        self.stream = stub.Session(iter(self.requests.get, None), **keywords)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        try:
            for response in self.stream:
                for result in response.results:
                    self.results[result.id] = result
        except grpc.RpcError as error:
            self.error = error

    def do(self, **operation):
        self.id += 1
        number = self.id
        request = pb.SessionRequest(operations=[pb.SessionOperation(id=number, **operation)])
        if number == 1 and self.grace is not None:
            request.disconnect_grace.CopyFrom(seconds(self.grace))
        self.requests.put(request)
        assert eventually(lambda: number in self.results, 10), self.error
        result = self.results[number]
        assert not result.status.code, result.status
        return result

    def end(self):
        self.stream.cancel()
        self.requests.put(None)
        self.thread.join()


class AuditLogsTest(LoggingDaemon):
    def start_audited(self, *arguments, **keywords):
        self.http = free_port()
        arguments = ("--audit-log", self.path("audit"), "--metrics-listen", f"127.0.0.1:{self.http}", *arguments)
        with open(self.path("log"), "w") as file:
            self.start(*arguments, stderr=file, **keywords)
        self.assert_grants()
        self.assertTrue(eventually(lambda: listens(self.http), 20))

    def audit(self, name="audit"):
        """The lines, without those of the first trials of assert_grants()."""
        with open(self.path(name)) as file:
            lines = [json.loads(line) for line in file]
        return [line for line in lines if not line.get("key", "").startswith("key-")]

    def lines(self, count, name="audit"):
        self.assertTrue(eventually(lambda: len(self.audit(name)) >= count, 10), self.audit(name))
        lines = self.audit(name)
        self.assertEqual(len(lines), count, lines)
        for line in lines:
            self.assertRegex(line.pop("time"), TIME)
            self.assertRegex(line.pop("peer"), r"^ipv4:127\.0\.0\.1:\d+$")
            self.assertRegex(line.pop("request_id"), r"^(request-7|[0-9a-f]{16})$")
        return lines

    def hold(self, key, **fields):
        stream = self.stub.Hold(pb.HoldRequest(key=key, ttl=seconds(2), **fields))
        self.addCleanup(stream.cancel)
        for event in stream:
            if event.type == pb.EVENT_TYPE_ACQUIRED:
                return stream, event.lease

    def session(self, *arguments, **keywords):
        session = Session(self.stub, *arguments, **keywords)
        self.addCleanup(session.end)
        return session

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as response:
            found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.M)
        return float(found[1]) if found else None

    def test_unary_calls(self):
        self.start_audited()
        lease = self.stub.Acquire(pb.AcquireRequest(key="k", ttl=seconds(2), owner="job \"7\"\n"), timeout=10,
                                  metadata=TRACED).lease
        again = self.stub.Acquire(pb.AcquireRequest(key="k", ttl=seconds(2), token=lease.token, extend_if_held=True),
                                  timeout=10).lease
        self.stub.Release(pb.ReleaseRequest(key="k", token=lease.token), timeout=10, metadata=TRACED)
        with self.assertRaises(grpc.RpcError):  # nothing is held: no line
            self.stub.Release(pb.ReleaseRequest(key="k", token=lease.token), timeout=10)
        shared = self.stub.Acquire(pb.AcquireRequest(keys=["b", "a"], ttl=seconds(2), mode=pb.LOCK_MODE_SHARED),
                                   timeout=10).lease
        slot = self.stub.Acquire(pb.AcquireRequest(key="s", ttl=seconds(2), max_holders=3), timeout=10).lease
        lines = self.lines(5)
        for line in (lines[0], lines[1], lines[3], lines[4]):
            self.assertGreaterEqual(line.pop("waited_seconds"), 0)
        traced = {"trace_id": "a" * 32, "span_id": "b" * 16}
        self.assertEqual(lines, [
            {"event": "acquired", "key": "k", "owner": "job \"7\"\n", "fencing_token": lease.fencing_token, **traced},
            {"event": "acquired", "key": "k", "fencing_token": again.fencing_token, "already_held": True},
            {"event": "released", "key": "k", **traced},
            {"event": "acquired", "keys": ["a", "b"], "mode": "shared", "fencing_token": shared.fencing_token},
            {"event": "acquired", "key": "s", "max_holders": 3, "slot": slot.slot, "fencing_token": slot.fencing_token}])
        with open(self.path("audit")) as file:
            text = file.read()
        for secret in (lease, shared, slot):
            self.assertNotIn(secret.token, text)

    def test_callers_have_their_identity(self):
        self.http = free_port()
        with open(self.path("log"), "w") as file:
            billing = self.start_with_token("--audit-log", self.path("audit"), stderr=file)
        eventually(lambda: self.code(self.acquire, "billing/a", metadata=billing) == grpc.StatusCode.OK, 10)
        lines = self.lines(1)
        self.assertEqual((lines[0]["key"], lines[0]["identity"]), ("billing/a", "billing"))

    def test_a_hold_that_another_call_releases_has_one_line_for_its_end(self):
        self.start_audited()
        stream, lease = self.hold("held", owner="job")
        self.stub.Release(pb.ReleaseRequest(key="held", token=lease.token), timeout=10)
        self.assertEqual(list(stream)[-1:], [])
        acquired, released = self.lines(2)
        self.assertGreaterEqual(released.pop("held_seconds"), 0)
        self.assertEqual(released, {"event": "released", "key": "held", "owner": "job",
                                    "fencing_token": lease.fencing_token})
        self.assertEqual((acquired["event"], acquired["owner"]), ("acquired", "job"))

    def test_what_a_session_releases(self):
        self.start_audited()
        session = self.session(metadata=TRACED)
        for key in ("released", "given up", "closed"):
            lease = session.do(acquire=pb.AcquireRequest(key=key, ttl=seconds(2), owner=key)).lease
            if key == "released":
                session.do(release=pb.ReleaseRequest(key=key, token=lease.token))
            elif key == "given up":
                session.do(give_up=pb.GiveUpOperation(key=key, token=lease.token))
        session.do(close=pb.CloseOperation())
        lines = self.lines(6)
        self.assertEqual([(line["event"], line["key"]) for line in lines],
                         [(event, key) for key in ("released", "given up", "closed")
                          for event in ("acquired", "released")])
        for line in lines[1::2]:
            self.assertGreaterEqual(line["held_seconds"], 0)
            self.assertEqual((line["owner"], line["trace_id"]), (line["key"], "a" * 32))

    def test_the_end_of_a_grace_releases_with_a_line_also_after_the_stream_broke(self):
        self.start_audited()
        for broken in (False, True):
            session = self.session(0.5)
            lease = session.do(acquire=pb.AcquireRequest(key="silent", ttl=seconds(30), owner="job")).lease
            if broken:
                session.end()
            released = self.lines(4 if broken else 2)[-1]
            self.assertGreater(released.pop("held_seconds"), 0.1)
            self.assertEqual(released, {"event": "released", "key": "silent", "owner": "job",
                                        "fencing_token": lease.fencing_token})

    def test_losses_of_every_stream(self):
        self.start_audited()
        _, held = self.hold("held", owner="job")
        session = self.session()
        session.do(acquire=pb.AcquireRequest(key="session", ttl=seconds(2)))
        watched = self.stub.Acquire(pb.AcquireRequest(key="watched", ttl=seconds(2)), timeout=10).lease
        watch = self.stub.Watch(pb.WatchRequest(items=[pb.WatchItem(key="watched", token=watched.token,
                                                                    ttl=seconds(2))]))
        self.addCleanup(watch.cancel)
        self.assertEqual(next(watch).type, pb.EVENT_TYPE_EXTENDED)
        self.lines(3)
        for number in range(len(self.nodes.ports)):
            self.nodes.cli(number, "DEL", "held", "session", "watched")
        lost = {line.pop("key"): line for line in self.lines(6)[3:]}
        for line in lost.values():
            self.assertEqual((line["event"], line["reason"]), ("lost", "LOCK_NOT_HELD"))
            self.assertTrue(line["why"])
        self.assertEqual({key for key, line in lost.items() if "held_seconds" in line}, {"held", "session"})
        self.assertEqual((lost["held"]["owner"], lost["held"]["fencing_token"]), ("job", held.fencing_token))

    def test_a_forced_release_names_the_operator_and_its_reason(self):
        self.start_audited()
        _, lease = self.hold("taken", owner="job")
        for _ in range(2):  # the second finds no holder
            self.admin.ForceRelease(admin_pb.ForceReleaseRequest(key="taken", why="stuck"), timeout=10, metadata=TRACED)
        _, *lines = self.lines(3)
        lost, forced = sorted(lines, key=lambda line: line["event"], reverse=True)
        self.assertEqual(forced, {"event": "force_released", "key": "taken", "owner": "job", "why": "stuck",
                                  "fencing_token": lease.fencing_token, "trace_id": "a" * 32, "span_id": "b" * 16})
        self.assertEqual((lost["event"], lost["why"]), ("lost", "the lock was released by force"))
        for _ in range(2):
            self.stub.Acquire(pb.AcquireRequest(key="taken slots", ttl=seconds(2), max_holders=3, owner="slot"), timeout=10)
        self.admin.ForceRelease(admin_pb.ForceReleaseRequest(key="taken slots", why="stuck"), timeout=10)
        for line in self.lines(7)[5:]:
            self.assertEqual((line["event"], line["owner"], line["max_holders"]), ("force_released", "slot", 3))

    def test_a_hand_over_has_both_lines(self):
        self.start_audited()
        lease = self.stub.Acquire(pb.AcquireRequest(key="handed over", ttl=seconds(5)), timeout=10).lease
        waiting = self.stub.Acquire.future(pb.AcquireRequest(key="handed over", ttl=seconds(5)), timeout=10)
        self.assertTrue(eventually(lambda: self.stub.Inspect(pb.InspectRequest(key="handed over"), timeout=5).waiters == 1))
        self.stub.Release(pb.ReleaseRequest(key="handed over", token=lease.token), timeout=10)
        waiting.result()
        first, *both = self.lines(3)
        second, released = sorted(both, key=lambda line: line["event"])  # decided in one round
        self.assertEqual((second["event"], released["event"]), ("acquired", "released"))
        self.assertGreater(second["waited_seconds"], 0)
        self.assertGreater(second["fencing_token"], first["fencing_token"])

    def test_the_file_is_opened_again_on_sighup(self):
        self.start_audited()
        self.acquire("before")
        self.lines(1)
        os.rename(self.path("audit"), self.path("audit.1"))
        self.acquire("still the old file")
        self.lines(2, "audit.1")
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: os.path.exists(self.path("audit"))))
        self.acquire("after")
        self.assertEqual([line["key"] for line in self.lines(1)], ["after"])
        self.assertEqual(len(self.audit("audit.1")), 2)
        self.assertEqual(self.metric('redlockd_reload_successes_total{what="audit-log"}'), 1)
        os.rename(self.path("audit"), self.path("audit.2"))
        os.mkdir(self.path("audit"))
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: self.metric('redlockd_reload_ok{what="audit-log"}') == 0))
        self.acquire("no new file")
        self.lines(2, "audit.2")

    def test_a_path_that_cannot_be_written_ends_the_start(self):
        for path, why in {self.path("no/audit"): "No such file or directory", self.directory: "Is a directory"}.items():
            for more in ((), ("--check-config",)):
                ended = subprocess.run([REDLOCKD, "--node", "redis://127.0.0.1:1", "--listen", "127.0.0.1:0",
                                        "--audit-log", path, *more], capture_output=True, text=True, timeout=20)
                self.assertEqual(ended.returncode, 2, ended.stderr)
                self.assertIn(f"--audit-log {path}: cannot open the file for writing: {why}", ended.stderr)
        checked = subprocess.run([REDLOCKD, "--node", "redis://127.0.0.1:1", "--check-config", "--audit-log",
                                  self.path("new")], capture_output=True, text=True, timeout=20)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertFalse(os.path.exists(self.path("new")))

    def test_a_reader_that_stops_reading_blocks_nothing_and_finds_the_gap(self):
        os.mkfifo(self.path("audit"))
        read_end = os.open(self.path("audit"), os.O_RDONLY | os.O_NONBLOCK)
        self.start_audited()
        keys = [f"{number:0128}" for number in range(64)]

        def dropped():
            for _ in range(20):
                lease = self.stub.Acquire(pb.AcquireRequest(keys=keys, ttl=seconds(2)), timeout=10).lease
                self.stub.Release(pb.ReleaseRequest(keys=keys, token=lease.token), timeout=10)
            return self.metric("redlockd_audit_lines_dropped_total") > 0

        self.assertTrue(eventually(dropped, 60))
        self.assertTrue(eventually(lambda: any("lines were dropped, because the file" in line
                                               for line in self.log())))
        os.set_blocking(read_end, True)
        lines = []
        with open(read_end) as audit:
            reader = threading.Thread(target=lambda: lines.extend(json.loads(line) for line in audit))
            reader.start()
            self.assertTrue(eventually(lambda: any(line["event"] == "lines_dropped" for line in lines), 10))
            count = self.metric("redlockd_audit_lines_dropped_total")
            self.stop()
            reader.join()
        self.assertEqual(sum(line["lines"] for line in lines if line["event"] == "lines_dropped"), count)

    def test_standard_output(self):
        with open(self.path("audit"), "w") as file:
            self.http = free_port()
            self.start("--audit-log", "-", stderr=subprocess.DEVNULL, stdout=file)
        self.assert_grants()
        self.acquire("k")
        self.assertEqual(self.lines(1)[0]["event"], "acquired")

    def test_without_the_option_there_is_no_file(self):
        self.start_with_file("--log-level", "debug")
        self.assert_grants()
        self.assertEqual(sorted(os.listdir(self.directory)), ["log"])


if __name__ == "__main__":
    unittest.main()
