"""Metrics by group of keys, of refused callers, of reloads and of the process."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import unittest
import urllib.request

import grpc

from redlock.v1 import lock_service_pb2 as pb
from test_logs import LoggingDaemon
from test_service import REDLOCKD, eventually, free_port, listens, seconds

GROUPS = ("billing/*", "*/nightly")
DASHBOARD = os.path.join(os.path.dirname(__file__), "../../deploy/grafana/dashboards/redlockd.json")


class GroupsTest(LoggingDaemon):
    def setUp(self):
        super().setUp()
        self.http = free_port()
        self.arguments = ["--metrics-listen", f"127.0.0.1:{self.http}"]

    def start(self, *arguments, **keywords):
        super().start(*arguments, **keywords)
        self.assertTrue(eventually(lambda: listens(self.http), 20))  # it begins after gRPC

    def start_grouped(self):
        groups = [argument for group in GROUPS for argument in ("--key-group", group)]
        self.start(*self.arguments, *groups, stderr=subprocess.DEVNULL)
        self.assert_grants()

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as response:
            text = response.read().decode()
        return {name: float(value) for name, value in re.findall(r"^([^#\n].*) (\S+)$", text, re.M)}

    def by_group(self, name):
        return {group: self.metrics().get(f'{name}{{group="{group}"}}') for group in (*GROUPS, "other")}

    def hold(self, key):
        stream = self.stub.Hold(pb.HoldRequest(key=key, ttl=seconds(2)))
        self.addCleanup(stream.cancel)
        for event in stream:
            if event.type == pb.EVENT_TYPE_ACQUIRED:
                return stream, event.lease

    def test_the_dashboard_shows_metrics_that_exist(self):
        self.start_grouped()
        with open(DASHBOARD, encoding="utf-8") as file:
            queries = [target["expr"] for panel in json.load(file)["panels"] for target in panel["targets"]]
        shown = {name for query in queries for name in re.findall(r"redlockd_\w+", query)}
        self.assertGreater(len(shown), 15)
        self.assertEqual(shown - {name.split("{")[0] for name in self.metrics()}, set())

    def test_waits_and_queues_by_group(self):
        self.start_grouped()
        waited = "redlockd_wait_seconds_count"
        before = self.by_group(waited)
        self.acquire("billing/nightly")  # the first group that matches counts
        self.acquire("reports/nightly")
        self.stub.Acquire(pb.AcquireRequest(keys=["a", "b/nightly"], ttl=seconds(1)), timeout=10)
        after = self.by_group(waited)
        self.assertEqual({group: after[group] - before[group] for group in before},
                         {"billing/*": 1, "*/nightly": 2, "other": 0})
        lease = self.stub.Acquire(pb.AcquireRequest(key="billing/q", ttl=seconds(5)), timeout=10).lease
        waiting = [self.stub.Acquire.future(pb.AcquireRequest(key="billing/q", ttl=seconds(5)), timeout=10)
                   for _ in range(2)]
        self.assertTrue(eventually(lambda: self.by_group("redlockd_queue_length")
                                   == {"billing/*": 2, "*/nightly": 0, "other": 0}))
        self.assertEqual(self.metrics()["redlockd_waiters"], 2)
        time.sleep(0.2)
        self.stub.Release(pb.ReleaseRequest(key="billing/q", token=lease.token), timeout=10)
        self.assertTrue(eventually(lambda: self.by_group("redlockd_queue_length")["billing/*"] == 1))
        metrics = self.metrics()
        self.assertGreaterEqual(metrics['redlockd_wait_seconds_sum{group="billing/*"}'], 0.2)
        self.assertEqual(metrics['redlockd_wait_seconds_bucket{group="billing/*",le="+Inf"}'], 3)
        for call in waiting:
            call.cancel()

    def test_holds_and_the_oldest_holder_by_group(self):
        self.start_grouped()
        age = "redlockd_oldest_holder_age_seconds"
        nobody = {"billing/*": 0, "*/nightly": 0, "other": 0}
        self.assertEqual(self.by_group(age), nobody)
        _, first = self.hold("billing/a")
        begun = time.monotonic()
        _, second = self.hold("billing/b")
        self.hold("other")
        # Ages are up to 0.1 s too high, so this hold has lasted for more than the 0.5 s below.
        self.assertTrue(eventually(lambda: self.by_group(age)["billing/*"] >= 0.6))
        ages = self.by_group(age)
        self.assertLessEqual(ages["billing/*"], time.monotonic() - begun + 1)
        self.assertEqual(ages["*/nightly"], 0)
        self.assertGreater(ages["other"], 0)
        self.stub.Release(pb.ReleaseRequest(key="billing/a", token=first.token), timeout=10)
        younger = self.by_group(age)["billing/*"]
        self.assertGreater(younger, 0)  # the second is now the oldest
        self.assertEqual(self.by_group("redlockd_hold_seconds_count"), {"billing/*": 1, "*/nightly": 0, "other": 0})
        self.assertGreaterEqual(self.metrics()['redlockd_hold_seconds_sum{group="billing/*"}'], 0.5)
        for number in range(len(self.nodes.ports)):
            self.nodes.cli(number, "DEL", "billing/b")
        self.assertTrue(eventually(lambda: self.by_group(age)["billing/*"] == 0))
        self.assertEqual(self.by_group("redlockd_hold_seconds_count")["billing/*"], 2)
        self.assertTrue(second.token)

    def test_a_session_that_closes_ends_its_holds(self):
        self.start_grouped()
        acquired = threading.Event()

        def requests():
            for number, key in enumerate(("billing/1", "billing/2"), 1):
                yield pb.SessionRequest(operations=[
                    pb.SessionOperation(id=number, acquire=pb.AcquireRequest(key=key, ttl=seconds(2)))])
            acquired.wait(10)
            close = pb.SessionOperation(id=3)
            close.close.SetInParent()
            yield pb.SessionRequest(operations=[close])

        ids = set()
        for response in self.stub.Session(requests(), timeout=20):
            ids.update(result.id for result in response.results)
            if {1, 2} <= ids and not acquired.is_set():
                self.assertGreater(self.by_group("redlockd_oldest_holder_age_seconds")["billing/*"], 0)
                acquired.set()
        self.assertEqual(ids, {1, 2, 3})
        self.assertEqual(self.by_group("redlockd_hold_seconds_count")["billing/*"], 2)
        self.assertEqual(self.by_group("redlockd_oldest_holder_age_seconds")["billing/*"], 0)

    def test_without_groups_there_is_one(self):
        self.start(*self.arguments, stderr=subprocess.DEVNULL)
        self.assert_grants()
        groups = {group for name in self.metrics() for group in re.findall(r'group="([^"]*)"', name)}
        self.assertEqual(groups, {"other"})

    def test_refused_callers_and_reloads_are_counted(self):
        with open(self.path("log"), "w") as file:
            billing = self.start_with_token(*self.arguments, stderr=file)
        refused = {"no_credentials": None, "invalid_credentials": [("authorization", "Bearer nonsense")],
                   "permission_denied": billing}
        self.assertTrue(eventually(lambda: self.code(self.acquire, "billing/a", metadata=billing)
                                   == grpc.StatusCode.OK, 10))
        for reason, metadata in refused.items():
            name = f'redlockd_access_refusals_total{{reason="{reason}"}}'
            self.assertEqual(self.metrics()[name], 0)
            self.assertNotEqual(self.code(self.acquire, "other", metadata=metadata), grpc.StatusCode.OK)
            self.assertEqual(self.metrics()[name], 1)
        session = self.stub.Session(iter([pb.SessionRequest(operations=[
            pb.SessionOperation(id=1, acquire=pb.AcquireRequest(key="other", ttl=seconds(1)))])]), metadata=billing)
        self.assertEqual(next(session).results[0].status.reason, "PERMISSION_DENIED")
        self.assertEqual(self.metrics()['redlockd_access_refusals_total{reason="permission_denied"}'], 2)
        stream = self.stub.Hold(pb.HoldRequest(key="billing/b", ttl=seconds(2)), metadata=billing)
        self.assertEqual(next(stream).type, pb.EVENT_TYPE_ACQUIRED)
        reloads = 'redlockd_reload_successes_total{what="access"}'
        self.assertEqual(self.metrics()[reloads], 0)
        with open(self.path("tokens"), "w"):
            pass
        self.daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.code(list, stream), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.metrics()['redlockd_access_refusals_total{reason="token_revoked"}'], 1)
        self.assertTrue(eventually(lambda: self.metrics()[reloads] == 1))
        with open(self.path("rules"), "w") as rules:
            rules.write("nonsense")
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(
            lambda: self.metrics()['redlockd_reload_failures_total{what="access"}'] == 1))
        self.assertEqual(self.metrics()[reloads], 1)

    def test_the_process(self):
        begun = time.time()
        self.start(*self.arguments, stderr=subprocess.DEVNULL)
        metrics = self.metrics()
        page = os.sysconf("SC_PAGESIZE")
        with open(f"/proc/{self.daemon.pid}/statm") as file:
            virtual, resident = (int(pages) * page for pages in file.read().split()[:2])
        self.assertLess(abs(metrics["process_resident_memory_bytes"] / resident - 1), 0.5)
        self.assertLess(abs(metrics["process_virtual_memory_bytes"] / virtual - 1), 0.5)
        self.assertLess(abs(metrics["process_start_time_seconds"] - begun), 60)
        descriptors = len(os.listdir(f"/proc/{self.daemon.pid}/fd"))
        self.assertLess(abs(metrics["process_open_fds"] - descriptors), 20)
        self.assertGreater(metrics["process_max_fds"], descriptors)
        self.assertTrue(eventually(lambda: self.metrics()["process_cpu_seconds_total"] > 0, 20))

    def test_groups_are_checked(self):
        for groups, why in {
                ("a", "a"): '--key-group "a": given twice',
                ("other",): "--key-group other: this is the group of all keys that no pattern matches",
                ("x" * 129,): "must be a pattern of 1 to 128 bytes",
                tuple(map(str, range(33))): "--key-group: at most 32 groups are allowed, not 33"}.items():
            arguments = [argument for group in groups for argument in ("--key-group", group)]
            done = subprocess.run([REDLOCKD, "--check-config", "--node", "redis://127.0.0.1:1", *arguments],
                                  capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, 2, groups)
            self.assertIn(why, done.stderr)


if __name__ == "__main__":
    unittest.main()
