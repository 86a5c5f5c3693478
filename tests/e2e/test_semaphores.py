"""Tests semaphores, from Python, with only the stubs generated from the proto, and from redlockctl."""

import json
import threading
import time
import unittest
import urllib.request

import grpc

import test_service
from test_service import admin_pb, eventually, pb, redlockctl, seconds


class SemaphoreTest(unittest.TestCase):
    OPTIONS = ("--shards", "2")
    setUp = test_service.ServiceTest.setUp
    all_nodes_are_up = test_service.ServiceTest.all_nodes_are_up
    failure = test_service.ServiceTest.failure

    def acquire(self, key="k", ttl=10.0, max_retries=0, timeout=10, max_holders=3, **more):
        return self.stub.Acquire(
            pb.AcquireRequest(key=key, ttl=seconds(ttl), retry=pb.RetryPolicy(max_retries=max_retries),
                              max_holders=max_holders, **more), timeout=timeout).lease

    def release(self, lease):
        self.stub.Release(pb.ReleaseRequest(key=lease.key, token=lease.token))

    def inspect(self, key="k"):
        return self.stub.Inspect(pb.InspectRequest(key=key))

    def ctl(self, *arguments):
        return redlockctl(self.address, *arguments)

    def test_as_many_hold_it_as_the_limit_allows(self):
        leases = [self.acquire(owner=f"worker {i}" if i else "", ttl=10 + 5 * i) for i in range(3)]
        self.assertEqual(sorted(lease.slot for lease in leases), [1, 2, 3])
        self.assertEqual({lease.max_holders for lease in leases}, {3})
        seen = self.inspect()
        self.assertTrue(seen.held)
        self.assertEqual((seen.mode, seen.max_holders, seen.holders), (pb.LOCK_MODE_UNSPECIFIED, 3, 3))
        self.assertEqual(list(seen.owners), ["worker 1", "worker 2"])
        failure = self.failure(self.acquire)
        self.assertEqual(failure.reason, "LOCK_ALREADY_HELD")
        self.assertIn('all 3 slots are taken, one of them by "worker 2", ipv4:', failure.message)
        self.assertEqual((failure.metadata["owner"], failure.metadata["holders"]), ("worker 2", "3"))
        waiter = {}
        thread = threading.Thread(target=lambda: waiter.update(lease=self.acquire(max_retries=-1, timeout=20)))
        thread.start()
        self.assertTrue(eventually(lambda: self.inspect().waiters == 1))
        self.release(leases[1])
        thread.join(10)
        self.assertEqual(waiter["lease"].slot, leases[1].slot)
        self.assertGreater(waiter["lease"].fencing_token, leases[1].fencing_token)
        for lease in leases[0], waiter["lease"], leases[2]:
            self.release(lease)
        self.assertFalse(self.inspect().held)

    def test_a_key_is_used_in_one_way_at_a_time(self):
        lease = self.acquire()
        for other in {"max_holders": 2}, {"max_holders": 0}, {"max_holders": 0, "mode": pb.LOCK_MODE_SHARED}:
            failure = self.failure(self.acquire, max_retries=-1, **other)
            self.assertEqual((failure.code, failure.reason),
                             (grpc.StatusCode.FAILED_PRECONDITION, "KIND_MISMATCH"))
            self.assertEqual(failure.metadata["in_use_as"], "a semaphore of 3")
            self.assertIn('"k" is in use as a semaphore of 3', failure.message)
        self.release(lease)
        lock = self.acquire(max_holders=0)
        self.assertEqual((lock.max_holders, lock.slot), (0, 0))
        self.assertEqual(self.failure(self.acquire).metadata["in_use_as"], "a lock")
        self.release(lock)
        for number in range(3):
            self.assertEqual(self.nodes.cli(number, "SET", "k", "stranger", "NX", "PX", "500"), "OK")
        self.assertEqual(self.failure(self.acquire).metadata["in_use_as"], "a lock")
        self.assertTrue(eventually(lambda: not self.inspect().held))
        lease = self.acquire()
        taken = [self.nodes.cli(number, "SET", "k", "stranger", "NX", "PX", "500") for number in range(3)]
        self.assertGreaterEqual(taken.count(""), 2)
        self.release(lease)

    def test_an_extension_names_the_limit_and_may_name_the_slot(self):
        lease = self.acquire()

        def extend(**fields):
            return self.stub.Extend(pb.ExtendRequest(key="k", token=lease.token, ttl=seconds(20), **fields)).lease

        for wrong in {}, {"max_holders": 4}, {"max_holders": 3, "slot": lease.slot % 3 + 1}:
            self.assertEqual(self.failure(extend, **wrong).reason, "LOCK_NOT_HELD")
        self.assertEqual(extend(max_holders=3, slot=lease.slot).slot, lease.slot)
        self.assertEqual(extend(max_holders=3).slot, lease.slot)
        stream = self.stub.Watch(pb.WatchRequest(items=[
            pb.WatchItem(key="k", token=lease.token, ttl=seconds(5), max_holders=3)]), timeout=30)
        event = next(stream)
        self.assertEqual((event.type, event.max_holders, event.slot, event.lease.slot),
                         (pb.EVENT_TYPE_EXTENDED, 3, lease.slot, lease.slot))
        self.release(lease)
        self.assertEqual([event.type for event in stream if event.type != pb.EVENT_TYPE_EXTENDED], [])

    def test_a_hold_and_a_session_keep_their_slots(self):
        stream = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(0.5), max_holders=2), timeout=30)
        event = next(stream)
        self.assertEqual((event.type, event.max_holders, event.lease.max_holders), (pb.EVENT_TYPE_ACQUIRED, 2, 2))
        self.assertEqual(event.slot, event.lease.slot)
        done, answered = threading.Event(), threading.Event()

        def requests():
            yield pb.SessionRequest(operations=[pb.SessionOperation(
                id=1, acquire=pb.AcquireRequest(key="k", ttl=seconds(0.5), max_holders=2))])
            done.wait(20)
            yield pb.SessionRequest(operations=[
                pb.SessionOperation(id=2, give_up=pb.GiveUpOperation(key="k", token=lease.token, max_holders=3)),
                pb.SessionOperation(id=3, give_up=pb.GiveUpOperation(key="k", token=lease.token, max_holders=2))])
            answered.wait(20)

        answers = self.stub.Session(requests(), timeout=30)
        lease = next(answers).results[0].lease
        self.assertEqual({lease.slot, event.slot}, {1, 2})
        time.sleep(1.5)
        self.assertEqual(self.inspect().holders, 2)
        entries = self.admin.ListLeases(admin_pb.ListLeasesRequest()).entries
        self.assertEqual({(entry.key, entry.max_holders, entry.slot) for entry in entries}, {("k", 2, 1), ("k", 2, 2)})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/status.json", timeout=5) as page:
            shown = json.load(page)["leases"]
        self.assertEqual({(lease["max_holders"], lease["slot"]) for lease in shown}, {(2, 1), (2, 2)})
        done.set()
        results = {}
        for answer in answers:
            results.update({result.id: result.status.reason for result in answer.results})
            if len(results) == 2:
                answered.set()
        self.assertEqual(results, {2: "LOCK_NOT_HELD", 3: ""})
        self.assertEqual(self.inspect().holders, 1)
        self.release(event.lease)
        self.assertEqual([event.type for event in stream if event.type != pb.EVENT_TYPE_EXTENDED], [])
        self.assertFalse(self.inspect().held)

    def test_a_forced_release_takes_all_slots(self):
        stream = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(5), max_holders=3), timeout=30)
        next(stream)
        self.acquire()
        self.admin.ForceRelease(admin_pb.ForceReleaseRequest(key="k", why="test"))
        with self.assertRaises(grpc.RpcError):
            for event in stream:
                if event.type == pb.EVENT_TYPE_LOST:
                    self.assertEqual((event.key, event.max_holders), ("k", 3))
        self.release(self.acquire(max_holders=0))

    def test_each_slot_expires_by_itself(self):
        self.acquire(ttl=0.3)
        lasting = self.acquire(ttl=20)
        self.assertTrue(eventually(lambda: self.inspect().holders == 1))
        self.assertEqual(self.failure(self.acquire, max_holders=0).reason, "KIND_MISMATCH")
        self.release(lasting)
        self.release(self.acquire(max_holders=0))

    def test_bad_input_is_reported(self):
        for fields, wrong in (({"max_holders": 1}, {"max_holders"}), ({"max_holders": 65}, {"max_holders"}),
                              ({"max_holders": -1}, {"max_holders"}),
                              ({"mode": pb.LOCK_MODE_SHARED}, {"mode"})):
            failure = self.failure(self.acquire, **fields)
            self.assertEqual((failure.code, set(failure.fields)), (grpc.StatusCode.INVALID_ARGUMENT, wrong))
        failure = self.failure(self.stub.Acquire, pb.AcquireRequest(keys=["a", "b"], ttl=seconds(5), max_holders=2))
        self.assertEqual(set(failure.fields), {"keys"})
        for fields in {"slot": 1}, {"max_holders": 3, "slot": 4}, {"max_holders": 3, "slot": -1}:
            failure = self.failure(self.stub.Extend,
                                   pb.ExtendRequest(key="k", token="t", ttl=seconds(5), **fields))
            self.assertEqual(set(failure.fields), {"slot"})

    def test_redlockctl_takes_slots(self):
        first = self.ctl("acquire", "k", "--max-holders", "2", "--token", "one")
        self.assertIn(" of 2\n", first.stdout)
        run = self.ctl("run", "k", "--max-holders", "2", "--", "sh", "-c", "echo slot $REDLOCK_SLOT")
        self.assertRegex(run.stdout, "^slot [12]$")
        self.acquire(max_holders=2, ttl=20)
        shown = self.ctl("inspect", "k").stdout
        self.assertIn("k is a semaphore\n  slots taken    2 of 2\n", shown)
        full = self.ctl("run", "k", "--max-holders", "2", "--wait", "200ms", "--", "true")
        self.assertEqual(full.returncode, 123)
        self.assertIn("2 of 2 slots are taken", full.stderr)
        other = self.ctl("acquire", "k")
        self.assertEqual(other.returncode, 1)
        self.assertIn('"k" is in use as a semaphore of 2', other.stderr)
        extended = self.ctl("extend", "k", "--max-holders", "2", "--token", "one")
        self.assertIn(" of 2\n", extended.stdout)
        self.assertEqual(self.ctl("release", "k", "--token", "one").returncode, 0)
        self.assertEqual(self.ctl("acquire", "k", "--max-holders", "2", "--shared").returncode, 2)
        self.assertIn("--max-holders", self.ctl("acquire", "k", "--max-holders", "1").stderr)


if __name__ == "__main__":
    unittest.main()
