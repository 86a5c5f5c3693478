"""Tests keys that holders share, from Python, with only the stubs generated from the proto."""

import json
import threading
import time
import unittest

import grpc

import test_service
from test_service import admin_pb, eventually, pb, redlockctl, seconds

SHARED = pb.LOCK_MODE_SHARED


class SharingTest(unittest.TestCase):
    OPTIONS = ("--shards", "2")
    setUp = test_service.ServiceTest.setUp
    all_nodes_are_up = test_service.ServiceTest.all_nodes_are_up
    failure = test_service.ServiceTest.failure

    def acquire(self, key="k", ttl=10.0, max_retries=0, timeout=10, **more):
        return self.stub.Acquire(
            pb.AcquireRequest(key=key, ttl=seconds(ttl), retry=pb.RetryPolicy(max_retries=max_retries), **more),
            timeout=timeout).lease

    def release(self, lease):
        self.stub.Release(pb.ReleaseRequest(key=lease.key, keys=lease.keys, token=lease.token))

    def inspect(self, key="k"):
        return self.stub.Inspect(pb.InspectRequest(key=key))

    def test_readers_share_and_a_writer_waits_for_them(self):
        before = self.acquire()
        self.assertEqual(before.mode, pb.LOCK_MODE_UNSPECIFIED)
        self.release(before)
        one = self.acquire(mode=SHARED, owner="first", ttl=20)
        two = self.acquire(mode=SHARED)
        self.assertEqual(one.mode, SHARED)
        self.assertGreater(min(one.fencing_token, two.fencing_token), before.fencing_token)
        seen = self.inspect()
        self.assertTrue(seen.held)
        self.assertEqual((seen.mode, seen.holders, list(seen.owners)), (SHARED, 2, ["first"]))
        self.assert_names_first(self.failure(self.acquire), "LOCK_ALREADY_HELD")
        self.assert_names_first(self.failure(self.acquire, max_retries=-1, timeout=0.5), "DEADLINE_EXCEEDED")
        writer = {}
        thread = threading.Thread(target=lambda: writer.update(
            lease=self.acquire(max_retries=-1, timeout=20)))
        thread.start()
        self.assertTrue(eventually(lambda: self.inspect().waiters == 1))
        self.assertEqual(self.failure(self.acquire, mode=SHARED).reason, "LOCK_ALREADY_HELD")
        self.release(one)
        time.sleep(0.3)
        self.assertTrue(thread.is_alive())
        self.release(two)
        thread.join(10)
        self.assertGreater(writer["lease"].fencing_token, max(one.fencing_token, two.fencing_token))
        self.assertEqual(self.inspect().mode, pb.LOCK_MODE_EXCLUSIVE)
        self.release(writer["lease"])
        self.assertEqual(self.inspect().holders, 0)

    def assert_names_first(self, failure, reason):
        self.assertEqual(failure.reason, reason)
        self.assertEqual((failure.metadata["owner"], failure.metadata["holders"]), ("first", "2"))
        self.assertGreaterEqual(float(failure.metadata["held_for"]), 0)
        self.assertRegex(failure.message,
                         r'2 holders share the lock, among them "first", ipv4:\S+:\d+, for \d+\.\d{3} s')

    def test_streams_learn_who_shares_the_key(self):
        self.acquire(mode=SHARED, owner="first", ttl=20)
        self.acquire(mode=SHARED)
        never = pb.RetryPolicy(max_retries=0)
        hold = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(5), retry=never), timeout=10)
        self.assert_names_first(self.failure(next, hold), "LOCK_ALREADY_HELD")
        done = threading.Event()
        self.addCleanup(done.set)

        def requests():
            yield pb.SessionRequest(operations=[pb.SessionOperation(id=1, acquire=pb.AcquireRequest(
                key="k", ttl=seconds(5), retry=never))])
            done.wait(20)

        session = self.stub.Session(requests(), timeout=30)
        result = next(result for response in session for result in response.results)
        self.assert_names_first(result.status, "LOCK_ALREADY_HELD")

    def test_an_extension_names_the_mode(self):
        lease = self.acquire(mode=SHARED)
        extend = pb.ExtendRequest(key="k", token=lease.token, ttl=seconds(20))
        self.assertEqual(self.failure(self.stub.Extend, extend).reason, "LOCK_NOT_HELD")
        extend.mode = SHARED
        self.assertEqual(self.stub.Extend(extend).lease.mode, SHARED)
        self.release(lease)
        self.assertEqual(self.failure(self.release, lease).reason, "LOCK_NOT_HELD")

    def test_a_writer_becomes_a_reader(self):
        lease = self.acquire()
        extend = pb.ExtendRequest(key="k", token=lease.token, ttl=seconds(20), mode=SHARED,
                                  downgrade_from=lease.fencing_token - 1)
        self.assertEqual(self.failure(self.stub.Extend, extend).reason, "LOCK_NOT_HELD")
        extend.downgrade_from = lease.fencing_token
        share = self.stub.Extend(extend).lease
        self.assertEqual((share.mode, share.fencing_token), (SHARED, lease.fencing_token))
        reader = self.acquire(mode=SHARED)
        self.assertGreater(reader.fencing_token, lease.fencing_token)
        self.assertEqual(self.inspect().holders, 2)
        for mode in pb.LOCK_MODE_UNSPECIFIED, pb.LOCK_MODE_EXCLUSIVE:
            extend.mode = mode
            failure = self.failure(self.stub.Extend, extend)
            self.assertEqual(set(failure.fields), {"downgrade_from"})
        self.release(lease)
        self.release(reader)
        # In a Session, which keeps the share alive.
        lease = {}
        steps = [threading.Event() for _ in range(2)]

        def requests():
            yield pb.SessionRequest(operations=[pb.SessionOperation(
                id=1, acquire=pb.AcquireRequest(key="k", ttl=seconds(0.5)))])
            steps[0].wait(20)
            yield pb.SessionRequest(operations=[pb.SessionOperation(id=2, extend=pb.ExtendRequest(
                key="k", token=lease["it"].token, ttl=seconds(0.5), mode=SHARED,
                downgrade_from=lease["it"].fencing_token))])
            steps[1].wait(20)
            yield pb.SessionRequest(operations=[pb.SessionOperation(id=3, close=pb.CloseOperation())])

        answers = self.stub.Session(requests(), timeout=30)
        lease["it"] = next(answers).results[0].lease
        steps[0].set()
        downgraded = next(result for answer in answers for result in answer.results)
        self.assertEqual((downgraded.id, downgraded.lease.mode), (2, SHARED))
        time.sleep(1.5)
        self.assertEqual((self.inspect().mode, self.inspect().holders), (SHARED, 1))
        self.release(self.acquire(mode=SHARED))
        steps[1].set()
        events = [event.type for answer in answers for event in answer.events]
        self.assertEqual(set(events), {pb.EVENT_TYPE_EXTENDED})
        self.assertFalse(self.inspect().held)

    def test_redlockctl_downgrades(self):
        acquired = redlockctl(self.address, "--output", "json", "acquire", "k", "--token", "one").stdout
        fence = str(json.loads(acquired)["lease"]["fencing_token"])
        wrong = redlockctl(self.address, "extend", "k", "--token", "one", "--downgrade-from", fence)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("--shared", wrong.stderr)
        extend = "extend", "k", "--token", "one", "--shared", "--downgrade-from"
        self.assertEqual(redlockctl(self.address, *extend, "0").returncode, 2)
        self.assertEqual(redlockctl(self.address, *extend, str(int(fence) - 1)).returncode, 4)
        self.assertEqual(redlockctl(self.address, *extend, fence).returncode, 0)
        self.assertEqual(self.inspect().mode, SHARED)
        self.assertEqual(redlockctl(self.address, "run", "k", "--shared", "true").returncode, 0)

    def test_each_reader_expires_by_itself(self):
        self.acquire(mode=SHARED, ttl=0.3)
        lasting = self.acquire(mode=SHARED, ttl=20)
        self.assertTrue(eventually(lambda: self.inspect().holders == 1))
        self.assertEqual(self.failure(self.acquire).reason, "LOCK_ALREADY_HELD")
        self.release(lasting)
        self.release(self.acquire())

    def test_other_libraries_are_kept_out_and_keep_out(self):
        lease = self.acquire(mode=SHARED)
        for number in range(3):
            self.assertEqual(self.nodes.cli(number, "SET", "k", "stranger", "NX", "PX", "1000"), "")
        self.release(lease)
        for number in range(2):
            self.assertEqual(self.nodes.cli(number, "SET", "k", "stranger", "NX", "PX", "10000"), "OK")
        self.assertEqual(self.failure(self.acquire, mode=SHARED).reason, "LOCK_ALREADY_HELD")

    def test_a_hold_and_a_session_keep_their_shares(self):
        stream = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(0.5), mode=SHARED), timeout=30)
        event = next(stream)
        self.assertEqual((event.type, event.mode, event.lease.mode), (pb.EVENT_TYPE_ACQUIRED, SHARED, SHARED))
        done = threading.Event()

        def requests():
            yield pb.SessionRequest(operations=[pb.SessionOperation(
                id=1, acquire=pb.AcquireRequest(key="k", ttl=seconds(0.5), mode=SHARED))])
            done.wait(20)
            yield pb.SessionRequest(operations=[pb.SessionOperation(id=2, close=pb.CloseOperation())])

        answers = self.stub.Session(requests(), timeout=30)
        lease = next(answers).results[0].lease
        self.assertEqual(lease.mode, SHARED)
        time.sleep(1.5)
        self.assertEqual(self.inspect().holders, 2)
        entries = self.admin.ListLeases(admin_pb.ListLeasesRequest()).entries
        self.assertEqual([(entry.key, entry.mode) for entry in entries], [("k", SHARED)] * 2)
        done.set()
        for _ in answers:
            pass
        self.assertEqual(self.inspect().holders, 1)
        self.release(event.lease)
        self.assertEqual([event.type for event in stream if event.type != pb.EVENT_TYPE_EXTENDED], [])
        self.assertFalse(self.inspect().held)

    def test_a_forced_release_takes_the_key_from_all(self):
        stream = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(5), mode=SHARED), timeout=30)
        next(stream)
        self.acquire(mode=SHARED)
        self.admin.ForceRelease(admin_pb.ForceReleaseRequest(key="k", why="test"))
        with self.assertRaises(grpc.RpcError):
            for event in stream:
                if event.type == pb.EVENT_TYPE_LOST:
                    self.assertEqual((event.key, event.mode), ("k", SHARED))
        self.release(self.acquire())

    def test_bad_input_is_reported(self):
        failure = self.failure(self.acquire, mode=7)
        self.assertEqual(failure.code, grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(set(failure.fields), {"mode"})
        failure = self.failure(self.acquire, token="redlockd:shared")
        self.assertEqual(set(failure.fields), {"token"})


if __name__ == "__main__":
    unittest.main()
