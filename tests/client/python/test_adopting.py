"""Locks that move to another Session. See client/PROTOCOL.md."""

import unittest

from redlockd._lease import State
from redlockd._wire import seconds
from world import World, done, event, failed, granted, kinds


class Moving(unittest.TestCase):
    def test_held_locks_are_adopted_with_their_ttl(self):
        world = World()
        lease = world.lock(ttl=8.5)
        world.fail()
        world.connect()
        [operation] = world.message()
        adopt = operation.adopt
        self.assertEqual((lease.key, lease.token, 8.5),
                         (adopt.key, adopt.token, seconds(adopt.ttl)))

    def test_the_sequence_grows_with_each_adopt_and_with_the_fencing_token(self):
        world = World()
        lease = world.lock()  # with fencing token 100
        sequences = []
        for fence in (100, 100, 107, 107):
            world.fail()
            if world.session is None:
                world.advance(0.5)  # a pause
            world.connect()
            [adopt] = world.message()
            sequences.append(adopt.adopt.sequence)
            world.answer(granted(adopt, 10, fence=fence))
        self.assertEqual([101, 102, 103, 108], sequences)
        self.assertEqual(107, lease.fencing_token)

    def test_draining_as_an_event_moves_at_once(self):
        world = World()
        lease = world.lock()
        world.answer(events=[event("DRAINING")])
        self.assertEqual("b", world.session.endpoint)
        self.assertEqual([world.opened[0]], world.cancelled)
        world.connect()
        self.assertEqual(["adopt"], kinds(world.message()))
        self.assertEqual([], world.losses[lease])

    def test_draining_as_the_reason_of_a_result_moves_at_once(self):
        world = World()
        lease = world.lock()
        call = world.extend(lease)
        [extend] = world.message()
        world.answer(failed(extend, "DRAINING"))
        self.assertEqual("b", world.session.endpoint)
        self.assertFalse(call.over)

    def test_other_answers_in_the_message_with_draining_count(self):
        world = World()
        lease = world.lock()
        call = world.acquire("other")
        [acquire] = world.message()
        world.answer(granted(acquire, 10), events=[event("DRAINING")])
        self.assertIsNotNone(call.value)
        world.connect()
        self.assertEqual(["adopt", "adopt"], kinds(world.message()))
        self.assertEqual([], world.losses[lease])

    def test_an_adoption_that_is_answered_after_the_next_drain_is_ignored(self):
        world = World()
        lease = world.lock()
        world.answer(events=[event("DRAINING")])
        world.connect()
        [late] = world.message()
        between = world.session
        world.answer(events=[event("DRAINING")])
        world.answer(failed(late, "LOCK_NOT_HELD"), session=between)
        self.assertEqual([], world.losses[lease])
        world.advance(0.1)
        world.connect()
        [adopt] = world.message()
        self.assertGreater(adopt.adopt.sequence, late.adopt.sequence)
        world.answer(granted(adopt, 10))
        self.assertIs(State.HELD, lease.state)

    def test_a_lock_that_is_no_longer_held_is_lost(self):
        world = World()
        lease = world.lock()
        world.fail()
        world.connect()
        [adopt] = world.message()
        world.answer(failed(adopt, "LOCK_NOT_HELD"))
        self.assertEqual([world.now], world.losses[lease])

    def test_other_failures_are_retried_after_100_ms_while_the_lock_is_trusted(self):
        world = World()
        lease = world.lock(ttl=4)
        end = lease.trusted_until
        world.fail()
        world.connect()
        tried = 0
        while not world.losses[lease]:
            for operation in world.message():
                if operation.HasField("adopt"):
                    tried += 1
                    world.answer(failed(operation, "QUORUM_UNAVAILABLE"))
                elif operation.HasField("ping"):
                    world.answer(done(operation))
            world.advance(0.01)
        self.assertAlmostEqual(end - 0.5, world.now, delta=0.02)
        self.assertAlmostEqual(3.5 / 0.1, tried, delta=4)
        world.keep(1)
        self.assertNotIn("adopt", kinds(world.message()))

    def test_a_released_lock_is_never_adopted_again(self):
        world = World()
        lease = world.lock()
        world.release(lease)
        world.message()
        world.fail()
        world.connect()
        self.assertEqual(["release"], kinds(world.message()))

    def test_a_lock_that_is_released_before_its_adoption_is_sent_is_not_adopted(self):
        world = World()
        lease = world.lock()
        world.fail()
        world.connect()
        call = world.release(lease)
        [release] = world.message()
        self.assertTrue(release.HasField("release"))
        world.answer(done(release))
        self.assertIsNone(call.error)

    def test_an_adoption_that_is_answered_after_the_loss_leaves_nothing_behind(self):
        for answer in (lambda adopt: granted(adopt, 2), lambda adopt: failed(adopt, "LOCK_NOT_HELD"),
                       lambda adopt: failed(adopt, "QUORUM_UNAVAILABLE")):
            world = World()
            lease = world.lock(ttl=2)
            world.fail()
            world.connect()
            [adopt] = world.message()
            world.keep(1.9)
            self.assertEqual(1, len(world.losses[lease]))
            world.answer(answer(adopt))
            self.assertIs(State.LOST, lease.state)
            self.assertEqual(1, len(world.losses[lease]))
            world.advance(0.2)
            self.assertIn("release", kinds(world.message()))

    def test_an_extension_waits_for_the_adoption(self):
        world = World()
        lease = world.lock()
        world.fail()
        world.connect()
        [adopt] = world.message()
        call = world.extend(lease)
        self.assertEqual([], world.message())
        world.answer(granted(adopt, 10))
        [extend] = world.message()
        world.answer(granted(extend, 10))
        self.assertTrue(call.over)
        self.assertIsNone(call.error)


if __name__ == "__main__":
    unittest.main()
