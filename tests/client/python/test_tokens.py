"""Locks with a token of the caller: acquired, extended or adopted. See client/PROTOCOL.md."""

import unittest

from redlockd._attempts import Way
from world import World, done, failed, granted, kinds


class OwnToken(unittest.TestCase):
    def sent(self, world, **options):
        call = world.acquire(**{"token": "mine", **options})
        if world.machine.ready is None:
            world.connect()
        [operation] = world.message()
        return call, operation

    def test_it_is_sent_without_extending(self):
        world = World()
        call, operation = self.sent(world)
        self.assertEqual(("mine", False), (operation.acquire.token, operation.acquire.extend_if_held))
        world.answer(granted(operation, 10))
        self.assertEqual("mine", call.value.token)

    def test_an_interrupted_acquire_extends_what_it_finds_and_adopts_it(self):
        world = World()
        call, _ = self.sent(world)
        world.fail()
        world.connect()
        [again] = world.message()
        self.assertEqual(("mine", True), (again.acquire.token, again.acquire.extend_if_held))
        world.answer(granted(again, 10, fence=100))
        self.assertFalse(call.over)
        [adopt] = world.message()
        self.assertEqual(("mine", 103), (adopt.adopt.token, adopt.adopt.sequence))  # it was sent twice
        world.answer(granted(adopt, 10, fence=101))
        self.assertEqual((101, True), (call.value.fencing_token, call.value.validity(world.now) > 4))
        world.fail()
        world.advance(1)
        world.connect()
        self.assertEqual([104], [o.adopt.sequence for o in world.message()])

    def test_a_lease_that_ends_before_it_is_adopted_is_acquired_anew(self):
        world = World()
        call, _ = self.sent(world)
        world.fail()
        world.connect()
        world.answer(granted(world.message()[0], 10))
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        self.assertEqual(["acquire"], kinds(world.message()))
        self.assertFalse(call.over)

    def test_an_adoption_that_fails_is_repeated(self):
        world = World()
        call, _ = self.sent(world)
        world.fail()
        world.connect()
        world.answer(granted(world.message()[0], 10))
        world.answer(failed(world.message()[0], "QUORUM_UNAVAILABLE"))
        world.advance(0.11)
        [adopt] = world.message()
        world.answer(granted(adopt, 10))
        self.assertIsNotNone(call.value)

    def test_giving_up_gives_it_up_on_the_session_wherever_it_was_sent(self):
        for granted_before in (False, True):
            world = World()
            call, _ = self.sent(world)
            world.fail()
            world.connect()
            [again] = world.message()
            if granted_before:
                world.answer(granted(again, 10))
                self.assertEqual(["adopt"], kinds(world.message()))
            world.machine.give_up(call.acquire, world.now)
            if not granted_before:
                self.assertEqual(["cancel"], kinds(world.message()))
                world.answer(failed(again, "CANCELLED"))
            self.assertEqual(["mine"], [o.give_up.token for o in world.message()])

    def test_a_release_under_way_is_answered_before_the_token_is_used_again(self):
        world = World()
        call, operation = self.sent(world)
        world.answer(granted(operation, 10))
        world.release(call.value)
        [release] = world.message()
        again = world.acquire(token="mine")
        self.assertEqual([], world.message())
        world.answer(done(release))
        [operation] = world.message()
        world.answer(granted(operation, 10))
        self.assertIsNotNone(again.value)

    def test_a_release_that_an_earlier_daemon_may_still_carry_out_is_an_error(self):
        for token, reason in (("mine", "UNREACHABLE"), (None, None)):
            world = World()
            call, operation = self.sent(world, token=token)
            world.answer(granted(operation, 10))
            release = world.release(call.value)
            world.message()
            world.fail()
            world.connect()
            world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
            self.assertEqual(reason, release.reason)

    def test_one_token_may_hold_several_keys(self):
        world = World()
        leases = []
        for key in ("a", "b"):
            call, operation = self.sent(world, key=key)
            world.answer(granted(operation, 10))
            leases.append(call.value)
        world.release(leases[0])
        self.assertTrue(leases[1].validity(world.now) > 0)
        self.assertEqual(["a"], [o.release.key for o in world.message()])


class AcquireOrExtend(unittest.TestCase):
    """First finds out whether the token holds the key: what it holds then is the caller's, whatever happens."""

    def begin(self, world, **options):
        call = world.acquire(token="mine", way=Way.ACQUIRE_OR_EXTEND, **options)
        world.connect()
        [operation] = world.message()
        self.assertEqual("extend", operation.WhichOneof("operation"))
        return call, operation

    def begin_new(self, world, **options):
        call, extend = self.begin(world, **options)
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        [operation] = world.message()
        self.assertEqual("mine", operation.acquire.token)
        return call, operation

    def begin_found(self, world, **options):
        call, extend = self.begin(world, **options)
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        return call, adopt

    def test_a_lock_that_the_token_holds_is_adopted(self):
        world = World()
        call, adopt = self.begin_found(world)
        self.assertFalse(call.over)
        self.assertEqual(102, adopt.adopt.sequence)
        world.answer(granted(adopt, 10))
        self.assertIsNotNone(call.value)

    def test_otherwise_it_acquires(self):
        world = World()
        call, acquire = self.begin_new(world)
        self.assertFalse(acquire.acquire.extend_if_held)
        world.answer(granted(acquire, 10))
        self.assertIsNotNone(call.value)

    def test_an_undecided_acquire_is_repeated_and_adopted(self):
        world = World()
        call, acquire = self.begin_new(world)
        world.fail()
        world.connect()
        [again] = world.message()
        self.assertTrue(again.acquire.extend_if_held)
        world.answer(granted(again, 10))
        world.answer(granted(world.message()[0], 10))
        self.assertIsNotNone(call.value)

    def test_a_lock_that_ends_before_its_adoption_is_acquired(self):
        world = World()
        call, adopt = self.begin_found(world)
        world.answer(failed(adopt, "LOCK_NOT_HELD"))
        [extend] = world.message()
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        self.assertEqual(["acquire"], kinds(world.message()))

    def test_a_lease_that_the_client_holds_already_is_one_lease(self):
        world = World()
        world.acquire(token="mine").acquire
        world.connect()
        world.answer(granted(world.message()[0], 10))
        call = world.acquire(token="mine", ttl=20, way=Way.ACQUIRE_OR_EXTEND)
        world.answer(granted(world.message()[0], 20))
        world.answer(granted(world.message()[0], 20))
        self.assertEqual(1, len(world.machine.leases))
        world.release(call.value)
        self.assertEqual(["release"], kinds(world.message()))

    def test_the_daemon_extends_once_and_the_client_repeats_it(self):
        world = World()
        call, extend = self.begin(world)
        self.assertEqual(0, extend.extend.retry.max_retries)
        world.answer(failed(extend, "QUORUM_UNAVAILABLE"))
        self.assertFalse(call.over)
        world.advance(0.1)
        self.assertEqual(["extend"], kinds(world.message()))

    def test_a_refusal_ends_it_and_releases_nothing(self):
        for options, reason in (({"wait": 0}, "QUORUM_UNAVAILABLE"), ({}, "PERMISSION_DENIED")):
            world = World()
            call, extend = self.begin(world, **options)
            world.answer(failed(extend, reason))
            self.assertEqual(reason, call.reason)
            self.assertEqual([], world.message())

    def test_giving_up_before_the_adoption_releases_nothing(self):
        world = World()
        call, extend = self.begin(world, wait=1)
        world.advance(1.01)
        self.assertTrue(call.over)
        world.answer(granted(extend, 10))
        world.advance(30)
        self.assertNotIn("release", kinds(world.message()))
        world = World()
        call, extend = self.begin(world, wait=1)
        world.fail()
        world.advance(1.01)
        world.connect()
        self.assertTrue(call.over)
        self.assertEqual([], world.message())

    def test_giving_up_during_the_adoption_spares_the_lock_while_it_would_have_lasted(self):
        world = World()
        call, adopt = self.begin_found(world)
        world.machine.give_up(call.acquire, world.now)
        world.answer(granted(adopt, 10))
        world.keep(9.5)
        self.assertEqual([], world.message())
        world.advance(1)
        self.assertEqual(["mine"], [o.give_up.token for o in world.message() if o.HasField("give_up")])

    def test_a_later_call_with_the_token_keeps_the_lock(self):
        world = World()
        call, adopt = self.begin_found(world)
        world.machine.give_up(call.acquire, world.now)
        world.answer(granted(adopt, 10))
        again = world.acquire(token="mine", way=Way.ACQUIRE_OR_EXTEND)
        world.answer(granted(world.message()[0], 30))
        world.answer(granted(world.message()[0], 30))
        self.assertIsNotNone(again.value)
        for _ in range(11):
            world.keep(1)
            self.assertEqual([], world.message())
        self.assertGreater(again.value.validity(world.now), 0)

    def test_giving_up_gives_up_what_it_has_acquired(self):
        world = World()
        call, acquire = self.begin_new(world)
        world.machine.give_up(call.acquire, world.now)
        self.assertEqual(["cancel"], kinds(world.message()))
        world.answer(granted(acquire, 10))
        self.assertEqual(["mine"], [o.give_up.token for o in world.message()])


class HeldByThisClient(unittest.TestCase):
    def test_an_acquire_with_the_token_fails_at_once_and_sends_nothing(self):
        for wait in (None, 0, 5):
            world = World()
            lock = world.acquire(token="mine")
            world.connect()
            world.answer(granted(world.message()[0], 10))
            call = world.acquire(token="mine", wait=wait)
            self.assertFalse(call.over)  # the caller hears later
            world.advance(0)
            self.assertEqual("LOCK_ALREADY_HELD", call.reason)
            self.assertEqual([], world.message())
            self.assertGreater(lock.value.validity(world.now), 0)


class Adopting(unittest.TestCase):
    def begin(self, world, **options):
        call = world.acquire(token="mine", way=Way.ADOPT, **options)
        world.connect()
        [operation] = world.message()
        self.assertEqual("extend", operation.WhichOneof("operation"))
        return call, operation

    def test_a_lease_is_extended_and_then_adopted(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10, fence=7))
        [adopt] = world.message()
        self.assertEqual(("mine", 9), (adopt.adopt.token, adopt.adopt.sequence))
        world.answer(granted(adopt, 10, fence=7))
        self.assertEqual(("mine", 7), (call.value.token, call.value.fencing_token))

    def test_the_sequence_exceeds_those_of_a_client_that_has_adopted_it_before(self):
        world = World()
        world.wall_us = 500
        call, extend = self.begin(world)
        world.answer(granted(extend, 10, fence=7))
        [adopt] = world.message()
        self.assertEqual(502, adopt.adopt.sequence)

    def test_a_token_that_holds_nothing_is_reported(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        self.assertEqual("LOCK_NOT_HELD", call.reason)
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10))
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        self.assertEqual("LOCK_NOT_HELD", call.reason)

    def test_it_continues_on_the_next_session(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10, fence=7))
        world.message()
        world.fail()
        world.connect()
        [adopt] = world.message()
        self.assertEqual(10, adopt.adopt.sequence)
        world.answer(granted(adopt, 10, fence=7))
        self.assertIsNotNone(call.value)

    def test_a_failure_or_the_end_of_the_wait_releases_nothing(self):
        world = World()
        call, extend = self.begin(world, wait=0)
        world.answer(failed(extend, "QUORUM_UNAVAILABLE"))
        self.assertEqual("QUORUM_UNAVAILABLE", call.reason)
        self.assertEqual([], world.message())
        world = World()
        call, extend = self.begin(world, wait=1)
        world.advance(1.01)
        self.assertEqual("DEADLINE_EXCEEDED", call.reason)
        self.assertNotIn("release", kinds(world.message()))

    def test_an_adoption_after_giving_up_is_given_up(self):
        world = World()
        call, extend = self.begin(world)
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        world.machine.give_up(call.acquire, world.now)
        self.assertEqual([], world.message())
        world.answer(granted(adopt, 10))
        self.assertEqual(["mine"], [o.give_up.token for o in world.message()])


if __name__ == "__main__":
    unittest.main()
