"""A share is a key of its own in the state machine."""

import asyncio
import pickle
import unittest
from unittest import mock

import redlockd
from redlockd._arguments import check_key
from redlockd._attempts import Way
from redlockd._keys import is_shared, key_of, names_of
from redlockd._lease import State
from redlockd._proto import pb
from redlockd._state import LockState
from redlockd._values import check_items
from redlockd._watching import Watching
from world import World, event, failed, granted, kinds


class Names(unittest.TestCase):
    def test_a_share_is_another_key_with_the_same_names(self):
        for names in ("a", ["b", "a"]):
            share, exclusive = check_key(names, True), check_key(names)
            self.assertNotEqual(share, exclusive)
            self.assertEqual([True, False], [is_shared(share), is_shared(exclusive)])
            self.assertEqual(names_of(exclusive), names_of(share))
            self.assertEqual(str(exclusive), str(share))

    def test_equal_names_make_equal_shares(self):
        for names, same in (("a", ["a"]), (["b", "a"], ("a", "b"))):
            self.assertEqual(1, len({check_key(names, True), check_key(same, True)}))

    def test_the_mode_is_a_bool(self):
        for value in (1, None, "yes"):
            with self.assertRaises(redlockd.InvalidArgument) as refused:
                check_key("a", value)
            self.assertEqual(f"shared: must be a bool, not {type(value).__name__}", str(refused.exception))

    def test_a_watch_has_one_item_for_a_key(self):
        share = redlockd.WatchItem(["a", "b"], "t", 5, shared=True)
        self.assertEqual([check_key(["a", "b"], True)], [item.key for item in check_items([share])])
        with self.assertRaises(redlockd.InvalidArgument):  # the daemon would refuse them
            check_items([share, redlockd.WatchItem(["b", "a"], "other", 5)])


class Messages(unittest.TestCase):
    def test_the_mode_of_an_answer_is_that_of_its_key(self):
        self.assertEqual(check_key("a", True), key_of(pb.Lease(key="a", mode=pb.LOCK_MODE_SHARED)))
        self.assertEqual(check_key(["a", "b"], True), key_of(pb.Lease(keys=["b", "a"], mode=pb.LOCK_MODE_SHARED)))
        for mode in (pb.LOCK_MODE_UNSPECIFIED, pb.LOCK_MODE_EXCLUSIVE):
            self.assertEqual("a", key_of(pb.Lease(key="a", mode=mode)))

    def test_every_operation_but_the_release_has_the_mode(self):
        for shared, mode in ((True, pb.LOCK_MODE_SHARED), (False, pb.LOCK_MODE_UNSPECIFIED)):
            _, operations = World().operations(["b", "a"], shared=shared)
            self.assertEqual(["acquire", "extend", "adopt", "release"], kinds(operations))
            acquire, extend, adopt, release = operations
            self.assertEqual([mode] * 3, [acquire.acquire.mode, extend.extend.mode, adopt.adopt.mode])
            self.assertEqual(["a", "b"], release.release.keys)

    def test_a_lock_is_looked_for_and_adopted_in_its_mode(self):
        for way in (Way.ADOPT, Way.ACQUIRE_OR_EXTEND):
            world = World()
            call = world.acquire("k", way=way, token="mine", shared=True)
            world.connect()
            [extend] = world.message()
            world.answer(granted(extend, 10))
            [adopt] = world.message()
            world.answer(granted(adopt, 10))
            self.assertEqual([pb.LOCK_MODE_SHARED] * 2, [extend.extend.mode, adopt.adopt.mode])
            self.assertTrue(LockState(call.value).shared)

    def test_a_call_that_is_given_up_gives_up_the_lock(self):
        world = World()
        call = world.acquire("k", token="mine", shared=True)
        world.connect()
        [acquire] = world.message()
        world.machine.give_up(call.acquire, world.now)
        world.answer(granted(acquire, 10))
        self.assertEqual([("k", "mine")], [(operation.give_up.key, operation.give_up.token)
                                           for operation in world.message() if operation.HasField("give_up")])


class Events(unittest.TestCase):
    def test_an_event_in_another_mode_is_about_another_lock(self):
        world = World()
        lease = world.acquire("k", token="mine", shared=True)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        lost = event("LOST", lease.value, reason="LOCK_NOT_HELD")
        lost.mode = pb.LOCK_MODE_UNSPECIFIED
        world.answer(events=[lost])
        self.assertIs(State.HELD, lease.value.state)
        lost.mode = pb.LOCK_MODE_SHARED
        world.answer(events=[lost])
        self.assertIs(State.LOST, lease.value.state)

    def test_the_same_token_in_another_mode_is_another_lock(self):
        world = World()
        world.acquire("k", token="mine", shared=True)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        same, other = world.acquire("k", token="mine", shared=True), world.acquire("k", token="mine")
        world.advance(0.01)
        self.assertEqual(["LOCK_ALREADY_HELD", None], [same.reason, other.reason])

    def test_a_watch_asks_no_more_for_a_share_that_it_has_lost(self):
        async def run(mode):
            heard = []
            items = check_items([redlockd.WatchItem("a", "t", 5, shared=True), redlockd.WatchItem("b", "t", 5)])
            watching = Watching(mock.Mock(), items, heard.append, False)
            watching._on_message(pb.WatchResponse(type=pb.EVENT_TYPE_LOST, key="a", mode=mode))
            left = watching._request().items
            await watching.close()
            return [(item.key, item.mode) for item in left], heard[0].shared

        share, exclusive = ("a", pb.LOCK_MODE_SHARED), ("b", pb.LOCK_MODE_UNSPECIFIED)
        self.assertEqual(([exclusive], True), asyncio.run(run(pb.LOCK_MODE_SHARED)))
        self.assertEqual(([share, exclusive], False), asyncio.run(run(pb.LOCK_MODE_UNSPECIFIED)))


class Shown(unittest.TestCase):
    def lock(self, world):
        call = world.acquire(["b", "a"], shared=True)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        return call.value

    def test_a_lock_shows_its_names_and_that_it_is_shared(self):
        lock = LockState(self.lock(World()))
        self.assertEqual(("a, b", ("a", "b"), True), (lock.key, lock.keys, lock.shared))
        self.assertRegex(repr(lock), "'a, b' held fencing_token=100 shared=True>$")
        exclusive = LockState(World().lock("k"))
        self.assertFalse(exclusive.shared)
        self.assertNotIn("shared", repr(exclusive))

    def test_errors_and_the_log_show_the_names(self):
        world = World()
        lease = self.lock(world)
        with self.assertLogs("redlockd") as logged:
            world.answer(events=[event("LOST", lease, reason="LOCK_NOT_HELD")])
        self.assertEqual(["WARNING:redlockd:lock lost: 'a, b': LOCK_NOT_HELD"], logged.output)
        self.assertEqual("a, b: the lock was lost: LOCK_NOT_HELD", str(lease.loss))
        call = world.acquire("k", wait=0, shared=True)
        world.answer(failed(world.message()[0], "LOCK_ALREADY_HELD", metadata={"owner": "crew 3", "held_for": "0.5"}))
        self.assertEqual('k: held by "crew 3" for 0.500 s', str(call.error))

    def test_a_named_lock(self):
        for client in (redlockd.Client(), redlockd.aio.Client()):
            named = client.lock(["b", "a"], shared=True)
            self.assertEqual(("a, b", ("a", "b"), True), (named.name, named.keys, named.shared))
            self.assertRegex(repr(named), "'a, b' not acquired shared=True>$")
            self.assertNotIn("shared", repr(client.lock("a")))

    def test_a_lease_keeps_its_mode(self):
        lease = pickle.loads(pickle.dumps(redlockd.Lease("k", "t", 1, 0.0, shared=True)))
        self.assertTrue(lease.shared)
        self.assertFalse(redlockd.Lease("k", "t", 1, 0.0).shared)


if __name__ == "__main__":
    unittest.main()
