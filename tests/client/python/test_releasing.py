"""Releasing, extending and closing a client. See client/PROTOCOL.md."""

import unittest

from redlockd._wire import seconds
from world import World, done, failed, granted, kinds


class Releasing(unittest.TestCase):
    def test_a_release_is_answered(self):
        world = World()
        call = world.release(world.lock())
        self.assertFalse(call.over)
        world.answer(done(world.message()[0]))
        self.assertTrue(call.over)
        self.assertIsNone(call.error)

    def test_a_second_release_does_nothing_and_succeeds(self):
        world = World()
        lease = world.lock()
        first, second = world.release(lease), world.release(lease)
        self.assertEqual(1, len(world.message()))
        self.assertFalse(first.over)
        self.assertTrue(second.over)
        self.assertIsNone(second.error)

    def test_a_release_of_a_lock_that_was_no_longer_held_reports_the_loss(self):
        world = World()
        call = world.release(world.lock())
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        self.assertEqual("LOCK_NOT_HELD", call.reason)

    def test_it_is_sent_again_on_the_next_session_before_anything_else(self):
        world = World()
        lease = world.lock()
        world.lock("other")
        call = world.release(lease)
        world.message()
        world.fail()
        world.connect()
        operations = world.message()
        self.assertEqual(["release", "adopt"], kinds(operations))
        world.answer(done(operations[0]))
        self.assertTrue(call.over)

    def test_not_held_is_success_for_a_release_that_was_sent_more_than_once(self):
        world = World()
        call = world.release(world.lock())
        world.message()
        world.fail()
        world.connect()
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        self.assertTrue(call.over)
        self.assertIsNone(call.error)

    def test_the_caller_waits_at_most_two_seconds(self):
        world = World(endpoints=["a"])
        lease = world.lock()
        world.fail()
        call = world.release(lease)
        world.advance(1.99)
        self.assertFalse(call.over)
        world.advance(0.02)
        self.assertEqual("UNREACHABLE", call.reason)

    def test_it_continues_in_the_background(self):
        world = World(endpoints=["a"])
        lease = world.lock()
        world.fail()
        world.release(lease)
        while world.machine.ready is None:
            world.advance(1.0)
            if world.session is not None and world.now > 1004:
                world.connect()
        self.assertEqual(["release"], kinds(world.message()))

    def test_it_ends_when_the_lock_has_expired(self):
        world = World(endpoints=["a"])
        lease = world.lock(ttl=3)
        world.fail()
        world.release(lease)
        world.advance(30)
        while world.session is None or not world.session.has_message:
            world.advance(0.1)
        world.connect()
        self.assertEqual([], world.message())

    def test_it_lasts_as_long_as_an_extension_may_have_made_the_lock_last(self):
        for answered in (True, False):
            world = World(endpoints=["a"])
            lease = world.lock(ttl=3)
            world.extend(lease, 60)
            [extend] = world.message()
            if answered:
                world.answer(granted(extend, 60))
            world.fail()
            world.release(lease)
            world.advance(50)
            while world.session is None or not world.session.has_message:
                world.advance(0.1)
            world.connect()
            self.assertEqual(["release"], kinds(world.message()))

    def test_an_undecided_release_is_reported_and_retried_in_the_background(self):
        world = World()
        call = world.release(world.lock(ttl=2))
        sent = 0
        for _ in range(200):
            for operation in world.message():
                if operation.HasField("release"):
                    sent += 1
                    world.answer(failed(operation, "QUORUM_UNAVAILABLE"))
                else:
                    world.answer(done(operation))
            self.assertEqual("QUORUM_UNAVAILABLE", call.reason)
            world.advance(0.1)
        self.assertGreater(sent, 5)
        self.assertLess(sent, 20)
        world.keep(5)
        self.assertEqual(0, len(world.machine.releases))

    def test_a_call_with_the_same_token_waits_until_it_is_not_sent_again(self):
        for reason, keep_for in (("QUORUM_UNAVAILABLE", None), ("OVERLOADED", None), ("INVALID_ARGUMENT", 600.0)):
            world = World()
            first = world.acquire(token="mine")
            world.connect()
            world.answer(granted(world.message()[0], 10))
            world.machine.release(first.value, lambda error: None, world.now, keep_for)
            second = world.acquire(token="mine")
            [release] = world.message()
            world.answer(failed(release, reason))
            world.advance(0.2)
            [again] = world.message()
            self.assertTrue(again.HasField("release"))
            world.answer(done(again))
            [acquire] = world.message()
            world.answer(granted(acquire, 10))
            self.assertGreater(second.value.validity(world.now), 0)

    def test_an_overloaded_daemon_is_retried(self):
        world = World()
        call = world.release(world.lock())
        world.answer(failed(world.message()[0], "OVERLOADED", retry_delay=0.3))
        self.assertFalse(call.over)
        world.advance(0.31)
        world.answer(done(world.message()[0]))
        self.assertTrue(call.over)
        self.assertIsNone(call.error)

    def test_a_draining_daemon_is_abandoned_for_the_next_one(self):
        world = World()
        call = world.release(world.lock())
        world.answer(failed(world.message()[0], "DRAINING"))
        self.assertEqual("b", world.session.endpoint)
        world.connect()
        world.answer(done(world.message()[0]))
        self.assertIsNone(call.error)
        self.assertTrue(call.over)


class Extending(unittest.TestCase):
    def test_an_extension_raises_the_validity(self):
        world = World(grace=60)
        lease = world.lock(ttl=5)
        call = world.extend(lease, 20)
        [extend] = world.message()
        self.assertEqual(20, extend.extend.ttl.seconds)
        world.answer(granted(extend, 20))
        self.assertTrue(call.over)
        self.assertAlmostEqual(20, lease.validity(world.now), places=3)

    def test_it_fails_with_the_reason_and_the_lock_is_kept(self):
        world = World()
        lease = world.lock()
        call = world.extend(lease)
        world.answer(failed(world.message()[0], "QUORUM_UNAVAILABLE"))
        self.assertEqual("QUORUM_UNAVAILABLE", call.reason)
        self.assertEqual([], world.losses[lease])

    def test_not_held_means_that_the_lock_is_lost(self):
        world = World()
        lease = world.lock()
        call = world.extend(lease)
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        self.assertIs(lease.loss, call.error)
        self.assertEqual([world.now], world.losses[lease])

    def test_it_fails_when_the_lock_ends(self):
        world = World()
        lease = world.lock(ttl=2)
        released = world.lock("other")
        calls = [world.extend(lease), world.extend(released)]
        world.message()
        world.release(released)
        self.assertEqual("LOCK_NOT_HELD", calls[1].reason)
        world.advance(2)
        self.assertIs(lease.loss, calls[0].error)
        self.assertIs(lease.loss, world.extend(lease).error)
        self.assertEqual("LOCK_NOT_HELD", world.extend(released).reason)


class Closing(unittest.TestCase):
    def test_closing_sends_close_which_releases_adopted_locks(self):
        world = World()
        lease = world.lock()
        call = world.close()
        [close] = world.message()
        self.assertTrue(close.HasField("close"))
        self.assertEqual(0, lease.validity(world.now))
        self.assertEqual(1, len(world.losses[lease]))
        self.assertFalse(call.over)
        world.answer(done(close))
        self.assertTrue(call.over)
        self.assertEqual(world.opened, world.cancelled)

    def test_a_client_that_was_never_used_closes_at_once(self):
        world = World()
        self.assertTrue(world.close().over)
        self.assertEqual([], world.opened)

    def test_it_fails_waiting_calls(self):
        world = World()
        world.lock()
        waiting = world.acquire("other")
        world.message()
        world.close()
        self.assertEqual("CANCELLED", waiting.reason)

    def test_locks_that_are_not_adopted_are_released_one_by_one_first(self):
        world = World()
        one, two = world.lock("one"), world.lock("two")
        world.fail()
        world.connect()
        first, second = world.message()
        world.answer(granted(first, 10))
        call = world.close()
        [release] = world.message()
        self.assertEqual(two.token, release.release.token)
        world.answer(done(release))
        [close] = world.message()
        self.assertTrue(close.HasField("close"))
        world.answer(done(close))
        self.assertTrue(call.over)

    def test_a_session_that_breaks_during_close_is_replaced(self):
        world = World()
        lease = world.lock()
        call = world.close()
        world.message()
        world.fail()
        world.connect()
        [release] = world.message()
        self.assertEqual(lease.token, release.release.token)
        world.answer(done(release))
        world.answer(done(world.message()[0]))
        self.assertTrue(call.over)

    def test_it_takes_at_most_two_seconds(self):
        world = World()
        world.lock()
        released = world.release(world.lock("other"))
        call = world.close()
        world.advance(1.99)
        self.assertFalse(call.over)
        world.advance(0.02)
        self.assertTrue(call.over)
        self.assertTrue(released.over)
        self.assertEqual(len(world.opened), len(world.cancelled))

    def test_a_release_and_an_extension_after_it_are_answered(self):
        world = World()
        lease = world.lock()
        world.close()
        released, extended = world.release(lease), world.extend(lease)
        self.assertTrue(released.over)
        self.assertIsNone(released.error)
        self.assertEqual("LOCK_NOT_HELD", extended.reason)

    def test_a_release_that_is_not_answered_before_it_fails(self):
        for answer in ((), ("OVERLOADED", 5.0)):
            world = World()
            release = world.release(world.lock())
            [operation] = world.message()
            close = world.close()
            if answer:
                world.answer(failed(operation, *answer))
            world.advance(1.0)
            [operation] = [o for o in world.message() if o.HasField("close")]
            world.answer(done(operation))
            self.assertTrue(close.over)
            self.assertEqual("UNREACHABLE", release.reason)

    def test_a_grant_that_crosses_the_close_is_released(self):
        world = World()
        world.lock()
        world.acquire("other")
        [acquire] = world.message()
        call = world.close()
        world.answer(granted(acquire, 10))
        operations = world.message()
        self.assertIn("release", kinds(operations))
        world.answer(*[done(o) for o in operations if not o.HasField("cancel")])
        for operation in world.message():
            world.answer(done(operation))
        self.assertTrue(call.over)


if __name__ == "__main__":
    unittest.main()
