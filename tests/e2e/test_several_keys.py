"""Tests leases of several keys from Python, with only the stubs generated from the proto."""

import itertools
import random
import threading
import time
import unittest

import grpc

import test_service
from test_service import admin_pb, eventually, pb, seconds

KEYS = ["a", "b", "c"]


class SeveralKeysTest(unittest.TestCase):
    # The daemon and the nodes of the service tests, without their tests. The keys of a lease may belong to
    # different shards.
    OPTIONS = ("--shards", "3")
    setUp = test_service.ServiceTest.setUp
    all_nodes_are_up = test_service.ServiceTest.all_nodes_are_up
    failure = test_service.ServiceTest.failure

    def acquire(self, keys, ttl=10.0, max_retries=0, timeout=10, **more):
        keys = {"keys": keys} if len(keys) > 1 else {"key": keys[0]}
        return self.stub.Acquire(
            pb.AcquireRequest(ttl=seconds(ttl), retry=pb.RetryPolicy(max_retries=max_retries), **keys,
                              **more),
            timeout=timeout).lease

    def release(self, lease):
        self.stub.Release(pb.ReleaseRequest(key=lease.key, keys=lease.keys, token=lease.token))

    def held(self, key):
        return self.stub.Inspect(pb.InspectRequest(key=key)).held

    def test_they_are_acquired_extended_and_released_together(self):
        lease = self.acquire(["c", "a", "b"], owner="python")
        self.assertEqual(lease.key, "")
        self.assertEqual(list(lease.keys), KEYS)
        for key in KEYS:
            self.assertEqual(self.stub.Inspect(pb.InspectRequest(key=key)).owner, "python")
            failure = self.failure(self.acquire, [key])
            self.assertEqual(failure.reason, "LOCK_ALREADY_HELD")
        failure = self.failure(self.acquire, ["b", "d"])
        self.assertEqual(failure.reason, "LOCK_ALREADY_HELD")
        self.assertFalse(self.held("d"))
        extended = self.stub.Extend(
            pb.ExtendRequest(keys=["b", "c", "a"], token=lease.token, ttl=seconds(20))).lease
        self.assertEqual(extended.fencing_token, lease.fencing_token)
        self.assertEqual(list(extended.keys), KEYS)
        self.release(lease)
        for key in KEYS:
            self.assertFalse(self.held(key))
            self.assertGreater(self.acquire([key]).fencing_token, lease.fencing_token)

    def test_bad_keys_are_reported(self):
        for keys, field in ((["a", "a"], "keys[1]"), (["a", ""], "keys[1]"),
                            (["a", "redlockd:x"], "keys[1]"), (["k%d" % i for i in range(65)], "keys"),
                            (["%d" % i + "k" * 400 for i in range(30)], "keys")):
            failure = self.failure(self.acquire, keys)
            self.assertEqual(failure.code, grpc.StatusCode.INVALID_ARGUMENT)
            self.assertEqual(set(failure.fields), {field}, keys)
        failure = self.failure(
            self.stub.Acquire, pb.AcquireRequest(key="k", keys=["a", "b"], ttl=seconds(1)))
        self.assertEqual(set(failure.fields), {"key"})

    def test_a_hold_keeps_them_and_reports_the_loss_of_one(self):
        stream = self.stub.Hold(pb.HoldRequest(keys=["b", "a"], ttl=seconds(1)), timeout=30)
        event = next(stream)
        self.assertEqual(event.type, pb.EVENT_TYPE_ACQUIRED)
        self.assertEqual(list(event.keys), ["a", "b"])
        self.assertEqual(next(stream).type, pb.EVENT_TYPE_EXTENDED)
        entries = self.admin.ListLeases(admin_pb.ListLeasesRequest()).entries
        self.assertEqual([list(entry.keys) for entry in entries], [["a", "b"]])
        for number in range(3):
            self.nodes.cli(number, "DEL", "b")
        kinds = [event.type for event in self.until_error(stream)]
        self.assertIn(pb.EVENT_TYPE_LOST, kinds)
        self.assertTrue(eventually(lambda: not self.held("a")))

    @staticmethod
    def until_error(stream):
        try:
            yield from stream
        except grpc.RpcError:
            pass

    def test_a_session_acquires_adopts_and_releases_them(self):
        waiting = threading.Event()
        first = self.acquire(["a", "b"])

        def requests():
            yield pb.SessionRequest(operations=[
                pb.SessionOperation(id=1, acquire=pb.AcquireRequest(keys=["b", "c"], ttl=seconds(10))),
                pb.SessionOperation(id=2, adopt=pb.AdoptOperation(keys=["b", "a"], token=first.token))])
            waiting.wait(20)

        results = {}
        adopted = None
        for response in self.stub.Session(requests(), timeout=30):
            for result in response.results:
                results[result.id] = result
            if adopted is None and 2 in results:
                adopted = results[2].lease
                self.assertEqual(list(adopted.keys), ["a", "b"])
                self.assertEqual(adopted.fencing_token, first.fencing_token)
                self.release(first)
            if 1 in results:
                break
        lease = results[1].lease
        self.assertEqual(list(lease.keys), ["b", "c"])
        self.assertGreater(lease.fencing_token, first.fencing_token)
        self.release(lease)
        waiting.set()

    def test_pages_of_leases_show_several_keys(self):
        names = [f"k{i}" for i in range(6)]
        for pair in itertools.combinations(names, 2):
            token = "-".join(pair)
            item = pb.WatchItem(keys=pair, token=token, ttl=seconds(10))
            self.addCleanup(self.stub.Watch(
                pb.WatchRequest(items=[item], keep_watching_after_loss=True)).cancel)
        page = lambda token: self.admin.ListLeases(
            admin_pb.ListLeasesRequest(page_size=4, page_token=token))

        def pages():
            seen, token = [], ""
            while True:
                answer = page(token)
                seen += [tuple(entry.keys) for entry in answer.entries]
                token = answer.next_page_token
                if not token:
                    return seen

        expected = list(itertools.combinations(names, 2))
        self.assertTrue(eventually(lambda: len(pages()) == len(expected)))
        self.assertEqual(pages(), expected)

    def test_transfers_between_accounts_lose_nothing(self):
        accounts = {f"account-{i}": 100 for i in range(4)}
        guard = threading.Lock()
        busy, clashes, done = set(), [], []
        end = time.monotonic() + 5

        def transfer(seed):
            choose = random.Random(seed)
            while time.monotonic() < end:
                pair = choose.sample(sorted(accounts), choose.choice([1, 2, 2]))
                lease = self.acquire(pair, max_retries=-1, timeout=60)
                with guard:
                    clashes.extend(busy.intersection(pair))
                    busy.update(pair)
                balances = [accounts[name] for name in pair]
                time.sleep(0.001)
                if len(pair) == 2:
                    accounts[pair[0]] = balances[0] - 1
                    accounts[pair[1]] = balances[1] + 1
                with guard:
                    busy.difference_update(pair)
                    done.append(seed)
                self.release(lease)

        threads = [threading.Thread(target=transfer, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(clashes, [])
        self.assertEqual(sum(accounts.values()), 400)
        self.assertEqual(set(done), set(range(6)), "every worker has had its turn")
        for name in accounts:
            self.assertFalse(self.held(name))


if __name__ == "__main__":
    unittest.main()
