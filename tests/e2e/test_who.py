"""Who holds a lock, and who waits for it: as Inspect, ListLeases, errors and redlockctl report it."""

import json
import socket
import subprocess
import threading
import time
import unittest
import urllib.request

import test_service
from test_service import REDLOCKD, admin_pb, eventually, free_port, listens, pb, redlockctl, seconds


class WhoTest(unittest.TestCase):
    OPTIONS = ("--shards", "2")
    all_nodes_are_up = test_service.ServiceTest.all_nodes_are_up
    acquire = test_service.ServiceTest.acquire
    failure = test_service.ServiceTest.failure

    def setUp(self):
        test_service.ServiceTest.setUp(self)
        self.name = f"{socket.gethostname()}:{self.address.split(':')[1]}"

    def inspect(self, key="k"):
        return self.stub.Inspect(pb.InspectRequest(key=key))

    def assert_holder(self, holder, owner, at_least=0.0):
        self.assertEqual((holder.owner, holder.identity, holder.daemon), (owner, "", self.name))
        self.assertRegex(holder.peer, r"^ipv4:127\.0\.0\.1:\d+$")
        held_for = holder.held_for.ToTimedelta().total_seconds()
        self.assertTrue(at_least <= held_for < at_least + 20, held_for)
        self.assertGreater(holder.fencing_token, 0)

    def wait_for(self, key="k", **more):
        thread = threading.Thread(target=lambda: self.stub.Release(pb.ReleaseRequest(
            key=key, token=self.acquire(key, max_retries=-1, timeout=20, **more).lease.token)))
        thread.start()
        self.addCleanup(thread.join)

    def test_the_holder_is_reported_however_it_acquired_the_lock(self):
        lease = self.acquire("k", owner="unary").lease
        time.sleep(0.3)
        [holder] = self.inspect().held_by
        self.assert_holder(holder, "unary", 0.3)
        self.assertEqual(holder.fencing_token, lease.fencing_token)
        # An extension changes nothing, even if another caller extends the lock.
        self.stub.Extend(pb.ExtendRequest(key="k", token=lease.token, ttl=seconds(20)))
        self.assert_holder(self.inspect().held_by[0], "unary", 0.3)
        hold = self.stub.Hold(pb.HoldRequest(key="held", ttl=seconds(5), owner="hold"), timeout=30)
        next(hold)
        self.assert_holder(self.inspect("held").held_by[0], "hold")
        done = threading.Event()

        def requests():
            yield pb.SessionRequest(operations=[pb.SessionOperation(id=1, acquire=pb.AcquireRequest(
                key="session", ttl=seconds(5), owner="session"))])
            done.wait(20)

        session = self.stub.Session(requests(), timeout=30)
        next(session)
        self.assert_holder(self.inspect("session").held_by[0], "session")
        watch = self.stub.Watch(pb.WatchRequest(items=[pb.WatchItem(key="k", token=lease.token, ttl=seconds(5))]),
                                timeout=30)
        next(watch)
        entries = self.admin.ListLeases(admin_pb.ListLeasesRequest())
        self.assertEqual(entries.daemon, self.name)
        self.assertEqual({entry.key: entry.owner for entry in entries.entries},
                         {"k": "unary", "held": "hold", "session": "session"})
        for entry in entries.entries:
            self.assert_holder(entry.holder, entry.owner)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/status.json") as status:
            shown = {lease["key"]: lease for lease in json.load(status)["leases"]}
        self.assertEqual(shown["k"]["owner"], "unary")
        self.assertRegex(shown["k"]["peer"], "^ipv4:")
        self.assertGreater(shown["k"]["held_for"], 0.3)
        done.set()
        for stream in hold, session, watch:
            stream.cancel()

    def test_a_holder_of_another_library_is_reported_without_details(self):
        for number in range(3):
            self.nodes.cli(number, "SET", "k", "stranger", "NX", "PX", "10000")
        [holder] = self.inspect().held_by
        self.assertEqual((holder.owner, holder.peer, holder.HasField("held_for")), ("", "", False))
        failure = self.failure(self.acquire, "k")
        self.assertEqual(failure.metadata, {})

    def test_those_who_share_a_key_are_told_apart(self):
        leases = [self.acquire("k", mode=pb.LOCK_MODE_SHARED, owner=owner).lease for owner in ("a", "b")]
        held_by = self.inspect().held_by
        self.assertEqual([(one.owner, one.fencing_token) for one in held_by],
                         [(one, lease.fencing_token) for one, lease in zip("ab", leases)])
        slots = [self.acquire("s", max_holders=3, owner=owner).lease for owner in ("a", "b")]
        self.assertEqual([(one.owner, one.slot, one.fencing_token) for one in self.inspect("s").held_by],
                         sorted(((owner, lease.slot, lease.fencing_token) for owner, lease in zip("ab", slots)),
                                key=lambda one: one[2]))

    def test_a_refusal_names_the_holder(self):
        self.acquire("k", owner="the holder")
        time.sleep(0.2)
        for failure in (self.failure(self.acquire, "k"),
                        self.failure(self.acquire, "k", max_retries=-1, timeout=0.3)):
            self.assertEqual(failure.metadata["owner"], "the holder")
            self.assertEqual(failure.metadata["daemon"], self.name)
            self.assertRegex(failure.metadata["peer"], r"^ipv4:127\.0\.0\.1:\d+$")
            self.assertTrue(0.2 <= float(failure.metadata["held_for"]) < 20)
            self.assertRegex(failure.message, r'"the holder", ipv4:127\.0\.0\.1:\d+, for \d+\.\d{3} s')

    def test_waiters_are_listed_in_order(self):
        lease = self.acquire("k", owner="holder").lease
        for number, more in enumerate(({}, {"mode": pb.LOCK_MODE_SHARED})):
            self.wait_for(owner=f"waiter {number}", **more)
            self.assertTrue(eventually(lambda: self.inspect().waiters == number + 1))
        time.sleep(0.2)
        waiting = self.inspect().waiting
        self.assertEqual([(one.owner, one.position, one.mode) for one in waiting],
                         [("waiter 0", 0, 0), ("waiter 1", 1, pb.LOCK_MODE_SHARED)])
        for waiter in waiting:
            self.assertRegex(waiter.peer, "^ipv4:")
            self.assertTrue(0.2 <= waiter.waited.ToTimedelta().total_seconds() < 20)
        entries = self.admin.ListLeases(admin_pb.ListLeasesRequest()).entries
        self.assertEqual([entry.waiter.owner for entry in entries], ["waiter 0", "waiter 1"])
        self.stub.Release(pb.ReleaseRequest(key="k", token=lease.token))

    def test_redlockctl_asks_all_daemons(self):
        port = free_port()
        other = f"127.0.0.1:{port}"
        daemon = subprocess.Popen(
            [REDLOCKD, "--listen", other, *(part for node in self.nodes.ports
                                            for part in ("--node", f"redis://127.0.0.1:{node}"))],
            stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        self.assertTrue(eventually(lambda: listens(port), 20))
        self.assertTrue(eventually(lambda: redlockctl(other, "health").returncode == 0, 20))
        both = f"{self.address},{other}"
        self.assertEqual(redlockctl(both, "who", "k").stdout, "k is free\n")
        lease = self.acquire("k", owner="hol\nder").lease
        self.wait_for(owner="here")
        there = subprocess.Popen([test_service.REDLOCKCTL, "--server", other, "hold", "k", "--owner", "there"],
                                 stdout=subprocess.DEVNULL)
        self.addCleanup(there.wait)
        self.addCleanup(there.kill)

        def both_wait():
            return redlockctl(both, "who", "k").stdout.count("waiting  ") == 2

        self.assertTrue(eventually(both_wait, 20))
        shown = redlockctl(both, "who", "k")
        self.assertEqual(shown.returncode, 0)
        self.assertRegex(shown.stdout, r"(?s)^k is held\n  held by        hol\\nder, ipv4:\S+, through " + self.name +
                         r"\n    held for       \d+\.\d+ s\n    fencing token  " + str(lease.fencing_token) +
                         r"\n.*at " + self.name + r"\n  waiting        here, ipv4:\S+, for \d.*at \S+:" + str(port) +
                         r"\n  waiting        there, ")
        answers = [json.loads(line) for line in redlockctl(both, "--output", "json", "who", "k").stdout.splitlines()]
        self.assertEqual([answer["waiting"][0]["owner"] for answer in answers], ["here", "there"])
        leases = redlockctl(both, "leases").stdout
        self.assertRegex(leases, rf"k +waiting  0 ahead, for \S+ s, here, ipv4:\S+, at {self.name}\n")
        self.assertRegex(leases, rf"k +waiting  0 ahead, for \S+ s, there, ipv4:\S+, at \S+:{port}\n")
        # redlockctl reports a daemon that does not answer, and shows what the others answered.
        some = redlockctl(f"127.0.0.1:{free_port()},{self.address}", "who", "k")
        self.assertEqual(some.returncode, 6)
        self.assertIn("k is held\n", some.stdout)
        self.assertIn("no redlockd answers", some.stderr)
        self.stub.Release(pb.ReleaseRequest(key="k", token=lease.token))


if __name__ == "__main__":
    unittest.main()
