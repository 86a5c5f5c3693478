"""Several keys that are locked together are one key of the state machine."""

import asyncio
import enum
import pickle
import unittest
from unittest import mock

import redlockd
from redlockd._arguments import check_key, check_owner_token
from redlockd._clock import now
from redlockd._detached import Detached
from redlockd._keys import key_of, names_of
from redlockd._lease import State
from redlockd._proto import pb
from redlockd._state import LockState
from redlockd._values import check_items
from redlockd._watching import Watching
from world import World, event, failed, granted, kinds


class Names(unittest.TestCase):
    def test_their_order_does_not_matter(self):
        first, second = check_key(["b", "a", "c"]), check_key(("c", "b", "a"))
        self.assertEqual(first, second)
        self.assertEqual(1, len({first, second}))
        self.assertEqual(("a", "b", "c"), names_of(first))
        self.assertNotEqual(first, check_key(["a", "b"]))

    def test_they_are_in_the_order_of_their_bytes(self):
        names = ["\U00010000", "\uffff", "é", "z", "Z"]
        self.assertEqual(sorted(names, key=str.encode), list(names_of(check_key(names))))

    def test_an_enum_of_strings_names_its_values(self):
        class Locks(str, enum.Enum):
            REPORTS = "reports"
            PRICES = "prices"

        for given, keys in ((Locks.REPORTS, ("reports",)), (list(Locks), ("prices", "reports"))):
            self.assertEqual(keys, names_of(check_key(given)))
            self.assertEqual({str}, {type(name) for name in names_of(check_key(given))})
        self.assertEqual("reports", check_owner_token(Locks.REPORTS))

    def test_a_list_of_one_is_its_key(self):
        for given in ("a", ["a"], ("a",)):
            self.assertEqual("a", check_key(given))
            self.assertEqual(("a",), names_of(check_key(given)))

    def test_a_key_that_looks_like_several_is_one(self):
        self.assertEqual(str(check_key("a, b")), str(check_key(["a", "b"])))
        self.assertNotEqual(check_key("a, b"), check_key(["a", "b"]))

    def test_the_limits(self):
        self.assertEqual(64, len(names_of(check_key([str(i) for i in range(64)]))))
        names = [f"{i:02}" + "é" * 255 for i in range(16)]  # 512 bytes each
        self.assertEqual(16, len(names_of(check_key(names))))
        for names, problem in (([*names, "x"], "key: the keys have 8193 bytes together; use at most 8192"),
                               ([str(i) for i in range(65)], "key: names 65 keys; use from 1 to 64"),
                               ([], "key: names 0 keys; use from 1 to 64"),
                               (["a", "b", "a"], 'key[2]: "a" is given twice; use different keys'),
                               (["a", "é" * 257], "key[1]: has 514 bytes; use at most 512")):
            with self.assertRaises(redlockd.InvalidArgument) as refused:
                check_key(names)
            self.assertEqual(problem, str(refused.exception))

    def test_an_item_of_a_watch_may_have_several(self):
        one, other = [redlockd.WatchItem(key, "t", 5) for key in (["b", "a"], "a")]
        self.assertEqual([check_key(["a", "b"]), "a"], [item.key for item in check_items([one, other])])
        with self.assertRaises(redlockd.InvalidArgument):
            check_items([one, redlockd.WatchItem(("a", "b"), "t", 5)])


class Messages(unittest.TestCase):
    def test_the_answer_to_a_list_in_any_order_is_its_key(self):
        self.assertEqual(check_key(["a", "b"]), key_of(pb.Lease(keys=["b", "a"])))
        self.assertEqual("a", key_of(pb.Lease(key="a")))

    def of(self, operation):
        message = getattr(operation, operation.WhichOneof("operation"))
        return message.key, list(message.keys)

    def test_every_operation_names_them(self):
        for key, fields in (("k", ("k", [])), (["k"], ("k", [])), (["b", "a"], ("", ["a", "b"]))):
            _, operations = World().operations(key)
            self.assertEqual(["acquire", "extend", "adopt", "release"], kinds(operations))
            self.assertEqual([fields] * 4, [self.of(operation) for operation in operations])

    def test_an_interrupted_acquire_releases_them(self):
        world = World()
        world.acquire(["b", "a"])
        world.connect()
        world.message()
        world.fail()
        world.connect()
        [release] = world.message()
        self.assertEqual(("", ["a", "b"]), self.of(release))

    def test_a_detached_lock_whose_caller_has_gone_releases_them(self):
        calls = mock.Mock(unary=mock.AsyncMock())
        Detached(calls).release_unseen(redlockd.Lease("a, b", "t", 1, now() + 10, ("a", "b")))
        asyncio.run(calls.start.call_args.args[0])
        [(_, name, release, *_)] = [call.args for call in calls.unary.await_args_list]
        self.assertEqual(("Release", "", ["a", "b"]), (name, release.key, list(release.keys)))


class Events(unittest.TestCase):
    def test_an_event_that_names_them_in_any_order_is_about_their_lock(self):
        world = World()
        lease = world.lock(["a", "b"])
        extended = event("EXTENDED", lease, validity=5, fence=107)
        extended.keys[:] = ["b", "a"]
        world.answer(events=[extended])
        self.assertEqual(107, lease.fencing_token)
        world.answer(events=[event("LOST", lease, reason="LOCK_NOT_HELD")])
        self.assertIs(State.LOST, lease.state)

    def test_an_event_about_one_of_them_is_about_another_lock(self):
        world = World()
        lease = world.lock(["a", "b"])
        lost = event("LOST", lease)
        del lost.keys[:]
        lost.key = "a"
        world.answer(events=[lost])
        self.assertEqual([], world.losses[lease])

    def test_a_watch_asks_no_more_for_those_that_it_has_lost(self):
        async def run():
            items = check_items([redlockd.WatchItem(["a", "b"], "t", 5), redlockd.WatchItem("a", "other", 5)])
            watching = Watching(mock.Mock(), items, lambda event: None, False)
            watching._on_message(pb.WatchResponse(type=pb.EVENT_TYPE_LOST, keys=["b", "a"]))
            left = watching._request().items
            await watching.close()
            return [(item.key, list(item.keys)) for item in left]

        self.assertEqual([("a", [])], asyncio.run(run()))

    def test_a_token_is_known_by_all_of_them(self):
        world = World()
        call = world.acquire(["a", "b"], token="mine")
        world.connect()
        world.answer(granted(world.message()[0], 10))
        again, part = world.acquire(["b", "a"], token="mine"), world.acquire("a", token="mine")
        world.advance(0.01)
        self.assertEqual("LOCK_ALREADY_HELD", again.reason)
        self.assertFalse(part.over)
        self.assertTrue(call.value.validity(world.now) > 0)


class Shown(unittest.TestCase):
    def test_a_lock_shows_its_names(self):
        lease = World().lock(["b", "a"])
        lock = LockState(lease)
        self.assertEqual(("a, b", ("a", "b")), (lock.key, lock.keys))
        self.assertIs(tuple, type(lock.keys))
        self.assertIn("'a, b' held", repr(lock))
        single = LockState(World().lock("k"))
        self.assertEqual(("k", ("k",)), (single.key, single.keys))

    def test_so_do_errors_and_the_log(self):
        world = World()
        lease = world.lock(["b", "a"])
        with self.assertLogs("redlockd") as logged:
            world.answer(events=[event("LOST", lease, reason="LOCK_NOT_HELD")])
        self.assertEqual(["WARNING:redlockd:lock lost: 'a, b': LOCK_NOT_HELD"], logged.output)
        self.assertEqual("a, b: the lock was lost: LOCK_NOT_HELD", str(lease.loss))
        call = world.acquire(["b", "a"], wait=0)
        world.answer(failed(world.message()[0], "LOCK_ALREADY_HELD", metadata={"owner": "crew 3", "held_for": "7"}))
        self.assertEqual('a, b: held by "crew 3" for 7.000 s', str(call.error))

    def test_a_named_lock_keeps_the_names_that_it_was_given(self):
        for client in (redlockd.Client(), redlockd.aio.Client()):
            names = ["b", "a"]
            named = client.lock(names)
            names.append("c")
            self.assertEqual(("a, b", "a, b", ("a", "b")), (named.name, named.key, named.keys))
            self.assertIn("'a, b' not acquired", repr(named))

    def test_a_lease_that_is_made_of_one_key_has_a_list_of_it(self):
        lease = redlockd.Lease("k", "t", 1, 0.0)
        self.assertEqual(("k",), lease.keys)
        self.assertEqual(lease, pickle.loads(pickle.dumps(lease)))


if __name__ == "__main__":
    unittest.main()
