"""A semaphore is a key of its own in the state machine; its slot belongs to the lease."""

import asyncio
import pickle
import unittest
from unittest import mock

import redlockd
from redlockd._arguments import check_key, check_slot
from redlockd._attempts import Way
from redlockd._clock import now
from redlockd._detached import Detached
from redlockd._keys import key_of, max_holders_of, names_of
from redlockd._lease import State
from redlockd._proto import pb
from redlockd._requests import checked
from redlockd._state import LockState
from redlockd._values import check_items
from redlockd._watching import Watching
from redlockd._wire import error_of
from world import World, duration, event, failed, granted, kinds


def request(way, **options):
    return checked(way, 5, "", "k", token="t", **options)


def limit_and_slot(message):
    return message.max_holders, message.slot


class Names(unittest.TestCase):
    def test_a_semaphore_is_another_key_with_the_same_name(self):
        lock, share, three, four = (
            check_key("a"), check_key("a", True), check_key("a", max_holders=3), check_key("a", max_holders=4))
        self.assertEqual(4, len({lock, share, three, four}))
        self.assertEqual([None, None, 3, 4], [max_holders_of(key) for key in (lock, share, three, four)])
        self.assertEqual(("a", ("a",)), (str(three), names_of(three)))
        self.assertEqual(1, len({three, check_key(["a"], max_holders=3)}))

    def test_the_limits_of_max_holders(self):
        self.assertEqual([2, 64], [max_holders_of(check_key("a", max_holders=most)) for most in (2, 64)])
        for key, shared, value, problem in (
                ("a", False, 1, "is 1; use from 2 to 64"), ("a", False, 65, "is 65; use from 2 to 64"),
                ("a", False, 0, "is 0; use from 2 to 64"), ("a", False, -1, "is -1; use from 2 to 64"),
                ("a", False, 2.0, "must be an int, not float"), ("a", False, True, "must be an int, not bool"),
                ("a", False, "2", "must be an int, not str"),
                (["a", "b"], False, 2, "a semaphore has one key, not 2; acquire the keys one by one"),
                ("a", True, 2, "cannot be combined with shared; pass one of them")):
            with self.assertRaises(redlockd.InvalidArgument) as refused:
                check_key(key, shared, value)
            self.assertEqual(f"max_holders: {problem}", str(refused.exception))

    def test_the_limits_of_a_slot(self):
        three = check_key("a", max_holders=3)
        self.assertEqual([1, 3, None], [check_slot(1, three), check_slot(3, three), check_slot(None, three)])
        self.assertIsNone(check_slot(None, check_key("a")))
        for slot, key, problem in (
                (0, three, "is 0; use from 1 to 3"), (4, three, "is 4; use from 1 to 3"),
                (1.0, three, "must be an int, not float"), (True, three, "must be an int, not bool"),
                (1, check_key("a"), "only a semaphore has slots; pass its max_holders, too"),
                (1, check_key("a", True), "only a semaphore has slots; pass its max_holders, too")):
            with self.assertRaises(redlockd.InvalidArgument) as refused:
                check_slot(slot, key)
            self.assertEqual(f"slot: {problem}", str(refused.exception))

    def test_which_calls_take_a_slot(self):
        self.assertEqual(2, request(Way.ADOPT, max_holders=3, slot=2).slot)
        self.assertIsNone(request(Way.ADOPT, max_holders=3).slot)
        for way, options in ((Way.ADOPT, {"slot": 1}), (Way.ADOPT, {"max_holders": 3, "slot": 4}),
                             (Way.ACQUIRE_OR_EXTEND, {"max_holders": 3, "slot": 1}),
                             (Way.ACQUIRE, {"max_holders": 3, "slot": 1})):
            with self.assertRaisesRegex(redlockd.InvalidArgument, "^slot: "):
                request(way, **options)

    def test_the_items_of_a_watch(self):
        for slot in (2, None):
            item = redlockd.WatchItem("a", "t", 5, max_holders=3, slot=slot)
            self.assertEqual([(check_key("a", max_holders=3), slot)], [(it.key, it.slot) for it in check_items([item])])
        for items in ([redlockd.WatchItem("a", "t", 5, slot=1)],
                      [redlockd.WatchItem("a", "t", 5, max_holders=3, slot=4)],
                      [redlockd.WatchItem("a", "t", 5, max_holders=1, slot=1)],
                      [item, redlockd.WatchItem("a", "other", 5, max_holders=3, slot=1)]):  # the same key
            with self.assertRaises(redlockd.InvalidArgument):
                check_items(items)


class Messages(unittest.TestCase):
    def test_the_limit_of_an_answer_is_that_of_its_key(self):
        self.assertEqual(check_key("a", max_holders=3), key_of(pb.Lease(key="a", max_holders=3, slot=2)))
        self.assertEqual(check_key("a", max_holders=3), key_of(pb.WatchResponse(key="a", max_holders=3, slot=1)))

    def test_every_operation_but_the_release_names_the_limit_and_those_on_a_lease_the_slot(self):
        for max_holders, slot in ((3, 2), (None, 0)):
            lease, operations = World().operations("k", max_holders=max_holders, slot=2)
            self.assertEqual(["acquire", "extend", "adopt", "release"], kinds(operations))
            acquire, extend, adopt, release = operations
            limit = max_holders or 0
            self.assertEqual(limit, acquire.acquire.max_holders)
            self.assertEqual([(limit, slot)] * 2, [limit_and_slot(extend.extend), limit_and_slot(adopt.adopt)])
            self.assertEqual(pb.ReleaseRequest(key="k", token=lease.token), release.release)

    def test_a_slot_is_looked_for_and_adopted(self):
        world = World()
        call = world.acquire("k", way=Way.ADOPT, token="mine", max_holders=3, slot=2)
        world.connect()
        [extend] = world.message()
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        world.answer(granted(adopt, 10))
        self.assertEqual([(3, 2)] * 2, [limit_and_slot(extend.extend), limit_and_slot(adopt.adopt)])
        self.assertEqual((3, 2), limit_and_slot(LockState(call.value)))

    def test_an_adoption_without_a_slot_adopts_the_one_that_it_finds_also_in_a_later_session(self):
        world = World()
        call = world.acquire("k", way=Way.ADOPT, token="mine", max_holders=3)
        world.connect()
        [extend] = world.message()
        self.assertEqual((3, 0), limit_and_slot(extend.extend))
        world.answer(granted(extend, 10, slot=2))
        [unanswered] = world.message()
        world.fail()
        world.connect()
        [adopt] = world.message()
        self.assertEqual([(3, 2)] * 2, [limit_and_slot(unanswered.adopt), limit_and_slot(adopt.adopt)])
        world.answer(granted(adopt, 10))
        self.assertEqual((3, 2), limit_and_slot(LockState(call.value)))

    def test_an_interrupted_acquire_adopts_the_slot_that_it_finds(self):
        world = World()
        call = world.acquire("k", token="mine", max_holders=3)
        world.connect()
        world.message()
        world.fail()
        world.connect()
        [again] = world.message()
        self.assertEqual((3, True), (again.acquire.max_holders, again.acquire.extend_if_held))
        world.answer(granted(again, 10, slot=3))
        [adopt] = world.message()
        self.assertEqual((3, 3), limit_and_slot(adopt.adopt))
        world.answer(granted(adopt, 10))
        self.assertEqual(3, call.value.slot)

    def test_a_call_that_is_given_up_gives_up_the_slot(self):
        world = World()
        call = world.acquire("k", token="mine", max_holders=3)
        world.connect()
        [acquire] = world.message()
        world.machine.give_up(call.acquire, world.now)
        world.answer(granted(acquire, 10, slot=2))
        [give_up] = [operation.give_up for operation in world.message() if operation.HasField("give_up")]
        self.assertEqual(pb.GiveUpOperation(key="k", token="mine", max_holders=3), give_up)

    def test_detached(self):
        def answer(endpoint, name, message, *rest, **options):
            lease = pb.Lease(key="k", token="t", fencing_token=7, max_holders=3, slot=2, validity=duration(9))
            return {"Acquire": pb.AcquireResponse, "Extend": pb.ExtendResponse}[name](lease=lease)

        async def run():
            acquired = await detached.acquire(request(Way.ACQUIRE, max_holders=3))
            key = check_key("k", max_holders=3)
            extended = [await detached.extend(key, slot, "t", 9, None, 5) for slot in (acquired.slot, None)]
            detached.release_unseen(acquired)
            calls.unary.side_effect = None
            await calls.start.call_args.args[0]
            return acquired, *extended

        calls = mock.Mock(unary=mock.AsyncMock(side_effect=answer), endpoints=1)
        detached = Detached(calls)
        for lease in asyncio.run(run()):
            self.assertEqual((3, 2), limit_and_slot(lease))
        acquire, one, any_slot, release = [call.args[2] for call in calls.unary.await_args_list]
        self.assertEqual((3, (3, 2), (3, 0)), (acquire.max_holders, limit_and_slot(one), limit_and_slot(any_slot)))
        self.assertEqual(pb.ReleaseRequest(key="k", token="t"), release)


class AcquireOrExtend(unittest.TestCase):
    """The call learns from the extension which slot the token has."""

    def begin(self, world, **options):
        call = world.acquire("k", token="mine", way=Way.ACQUIRE_OR_EXTEND, max_holders=3, **options)
        if world.machine.ready is None:
            world.connect()
        [extend] = world.message()
        self.assertEqual((3, 0), limit_and_slot(extend.extend))  # whichever the token has
        return call, extend

    def lock(self, world, slot):
        call, extend = self.begin(world)
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        [acquire] = world.message()
        self.assertEqual(3, acquire.acquire.max_holders)
        world.answer(granted(acquire, 10, slot=slot))
        return call.value

    def test_the_slot_that_it_finds_is_adopted(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10, slot=2))
        [adopt] = world.message()
        self.assertEqual((3, 2), limit_and_slot(adopt.adopt))
        world.answer(granted(adopt, 10))
        self.assertEqual(2, call.value.slot)

    def test_a_token_without_a_slot_acquires_one(self):
        self.assertEqual(2, self.lock(World(), 2).slot)

    def test_a_slot_that_ends_before_it_is_adopted_is_looked_for_anew(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10, slot=2))
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        [extend] = world.message()
        self.assertEqual((3, 0), limit_and_slot(extend.extend))
        world.answer(granted(extend, 10, slot=3))
        self.assertEqual((3, 3), limit_and_slot(world.message()[0].adopt))
        self.assertFalse(call.over)

    def test_a_lock_of_the_client_is_given_to_both_and_has_its_new_slot_if_it_had_ended(self):
        world = World()
        lease = self.lock(world, 2)
        again, extend = self.begin(world)
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        world.answer(granted(world.message()[0], 10, slot=3))
        self.assertIs(lease, again.value)
        self.assertEqual(3, lease.slot)
        world.extend(lease)
        self.assertEqual((3, 3), limit_and_slot(world.message()[0].extend))


class Events(unittest.TestCase):
    def test_an_event_with_another_limit_is_about_another_lock(self):
        world = World()
        lease = world.acquire("k", token="mine", max_holders=3)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        lost = event("LOST", lease.value, reason="LOCK_NOT_HELD")
        for max_holders in (0, 4):
            lost.max_holders = max_holders
            world.answer(events=[lost])
            self.assertIs(State.HELD, lease.value.state)
        lost.max_holders = 3
        world.answer(events=[lost])
        self.assertIs(State.LOST, lease.value.state)

    def test_the_same_token_with_another_limit_is_another_lock(self):
        world = World()
        world.acquire("k", token="mine", max_holders=3)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        calls = [world.acquire("k", token="mine", max_holders=most) for most in (3, 4, None)]
        world.advance(0.01)
        self.assertEqual(["LOCK_ALREADY_HELD", None, None], [call.reason for call in calls])

    def test_a_watch_asks_for_its_slot_until_it_has_lost_it(self):
        async def run(slot, max_holders):
            heard = []
            item = redlockd.WatchItem("a", "t", 5, max_holders=3, slot=slot)
            items = check_items([item, redlockd.WatchItem("b", "t", 5)])
            watching = Watching(mock.Mock(), items, heard.append, False)
            watching._on_message(pb.WatchResponse(type=pb.EVENT_TYPE_LOST, key="a", max_holders=max_holders, slot=2))
            left = watching._request().items
            await watching.close()
            return [(item.key, *limit_and_slot(item)) for item in left], limit_and_slot(heard[0])

        for slot in (2, None):
            self.assertEqual(([("b", 0, 0)], (3, 2)), asyncio.run(run(slot, 3)))
            self.assertEqual([("a", 3, slot or 0), ("b", 0, 0)], asyncio.run(run(slot, 4))[0])


class KindMismatch(unittest.TestCase):
    METADATA = {"in_use_as": "a semaphore of 3"}
    TEXT = "k: the key is in use as a semaphore of 3; use it in the same way, or another key"

    def test_it_ends_every_call_at_once(self):
        for way in (Way.ACQUIRE, Way.ACQUIRE_OR_EXTEND, Way.ADOPT):
            for wait in (None, 60):
                world = World()
                call = world.acquire("k", way=way, token="mine", wait=wait)
                world.connect()
                world.answer(failed(world.message()[0], "KIND_MISMATCH", metadata=self.METADATA))
                self.assertIsInstance(call.error, redlockd.KindMismatch)
                self.assertEqual((self.TEXT, "a semaphore of 3"), (str(call.error), call.error.in_use_as))
                world.advance(2)
                self.assertEqual([], [kind for kind in kinds(world.message()) if kind != "ping"])

    def test_it_ends_an_extension_and_a_release(self):
        world = World()
        lease = world.lock()
        extension = world.extend(lease)
        world.answer(failed(world.message()[0], "KIND_MISMATCH"))
        self.assertEqual("KIND_MISMATCH", extension.reason)
        release = world.release(lease)
        world.answer(failed(world.message()[0], "KIND_MISMATCH"))
        self.assertEqual("KIND_MISMATCH", release.reason)
        world.advance(1)
        self.assertNotIn("release", kinds(world.message()))

    def test_without_metadata_the_message_says_it(self):
        error = error_of(pb.OperationStatus(reason="KIND_MISMATCH", message="in use as a lock"), "k")
        self.assertEqual(("k: in use as a lock", None), (str(error), error.in_use_as))

    def test_it_is_final_for_a_detached_lock_which_leaves_nothing_to_release(self):
        error = error_of(pb.OperationStatus(reason="KIND_MISMATCH", metadata=self.METADATA), "k")

        def refuse(endpoint, name, message, key, timeout, on_sent, late):
            on_sent()
            raise error

        calls = mock.Mock(unary=mock.AsyncMock(side_effect=refuse), endpoints=1)
        with self.assertRaises(redlockd.KindMismatch):
            asyncio.run(Detached(calls).acquire(request(Way.ACQUIRE)))
        calls.unary.assert_awaited_once()
        calls.start.assert_not_called()

    def test_it_can_be_pickled_and_is_no_contention(self):
        error = pickle.loads(pickle.dumps(redlockd.KindMismatch("KIND_MISMATCH", "text", None, None, "a lock")))
        self.assertEqual(("KIND_MISMATCH", "text", "a lock"), (error.reason, str(error), error.in_use_as))
        self.assertNotIsInstance(error, (redlockd.LockAlreadyHeld, redlockd.LockTimeout))


class Shown(unittest.TestCase):
    def test_a_lock_shows_its_slot(self):
        world = World()
        call = world.acquire("k", max_holders=3)
        world.connect()
        world.answer(granted(world.message()[0], 10, slot=2))
        lock = LockState(call.value)
        self.assertEqual(("k", ("k",), 3, 2, False), (lock.key, lock.keys, lock.max_holders, lock.slot, lock.shared))
        self.assertRegex(repr(lock), "'k' held fencing_token=100 max_holders=3 slot=2>$")
        with self.assertLogs("redlockd") as logged:
            world.answer(events=[event("LOST", call.value, reason="LOCK_NOT_HELD")])
        self.assertEqual(["WARNING:redlockd:lock lost: 'k': LOCK_NOT_HELD"], logged.output)
        other = LockState(World().lock("k"))
        self.assertEqual((None, None), (other.max_holders, other.slot))
        self.assertRegex(repr(other), "fencing_token=100>$")

    def test_a_named_lock(self):
        for client in (redlockd.Client(), redlockd.aio.Client()):
            named = client.lock("k", max_holders=3)
            self.assertEqual(("k", ("k",), 3), (named.name, named.keys, named.max_holders))
            self.assertRegex(repr(named), "'k' not acquired max_holders=3>$")
            self.assertIsNone(client.lock("k").max_holders)
            with self.assertRaises(redlockd.LockLost):
                named.slot

    def test_a_lease_keeps_its_slot(self):
        lease = pickle.loads(pickle.dumps(redlockd.Lease("k", "t", 1, now(), max_holders=3, slot=2)))
        self.assertEqual((3, 2), limit_and_slot(lease))
        self.assertEqual((None, None), limit_and_slot(redlockd.Lease("k", "t", 1, 0.0)))


if __name__ == "__main__":
    unittest.main()
