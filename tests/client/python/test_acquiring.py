"""Acquiring locks and giving up. See client/PROTOCOL.md."""

import pickle
import re
import unittest
from datetime import timedelta

from redlockd._proto import pb
from redlockd import RetryPolicy
from redlockd._wire import seconds
from world import World, done, failed, granted, kinds


def waiting(world, **options):
    """Returns a call that was sent, and its operation."""
    call = world.acquire(**options)
    if world.machine.ready is None:
        world.connect()
    [operation] = [o for o in world.message() if o.HasField("acquire")]
    return call, operation


class Acquiring(unittest.TestCase):
    def test_the_client_generates_the_token(self):
        world = World()
        _, first = waiting(world)
        _, second = waiting(world)
        for operation in first, second:
            self.assertRegex(operation.acquire.token, re.compile(r"\Arl-[0-9a-f]{32}\Z"))
        self.assertNotEqual(first.acquire.token, second.acquire.token)

    def test_a_grant_is_returned(self):
        world = World()
        call, operation = waiting(world, key="k", ttl=7.5)
        self.assertEqual(7.5, seconds(operation.acquire.ttl))
        self.assertFalse(operation.acquire.HasField("retry"))
        world.answer(granted(operation, 7, fence=5))
        self.assertEqual(("k", operation.acquire.token, 5),
                         (call.value.key, call.value.token, call.value.fencing_token))

    def test_a_refusal_is_reported(self):
        for reason in ("LOCK_ALREADY_HELD", "QUORUM_UNAVAILABLE", "INVALID_ARGUMENT", "PERMISSION_DENIED"):
            world = World()
            call, operation = waiting(world, wait=0)
            self.assertEqual(0, operation.acquire.retry.max_retries)
            self.assertTrue(operation.acquire.HasField("retry"))
            world.answer(failed(operation, reason, retry_delay=1.5))
            self.assertEqual((reason, 1.5), (call.reason, call.error.retry_after))

    def test_a_refusal_names_the_holder(self):
        for reason in ("LOCK_ALREADY_HELD", "MAX_RETRIES_EXCEEDED"):
            world = World()
            call, operation = waiting(world, wait=0)
            world.answer(failed(operation, reason, metadata={"owner": "crew 3"}))
            self.assertIn('k: held by "crew 3"', str(call.error))
            self.assertEqual(("crew 3", None), (call.error.holder, call.error.held_for))

    def refused(self, reason, metadata):
        world = World()
        call, operation = waiting(world, wait=0)
        world.answer(failed(operation, reason, metadata=metadata))
        return call.error

    def test_a_refusal_says_for_how_long_the_lock_has_been_held(self):
        for reason, text in (("LOCK_ALREADY_HELD", 'k: held by "crew 3" for 12.045 s'),
                             ("MAX_RETRIES_EXCEEDED", 'k: held by "crew 3" for 12.045 s; the retries are used up')):
            error = self.refused(reason, {"owner": "crew 3", "held_for": "12.045"})
            self.assertEqual((text, 12.045), (str(error), error.held_for))
            error = pickle.loads(pickle.dumps(error))
            self.assertEqual((text, "crew 3", 12.045), (str(error), error.holder, error.held_for))
        error = self.refused("LOCK_ALREADY_HELD", {"held_for": "0.000"})
        self.assertEqual(("k: LOCK_ALREADY_HELD", 0), (str(error), error.held_for))

    def test_a_time_that_cannot_be_read_is_unknown(self):
        for text in ("", " ", "soon", "-1", "nan", "inf", "1e3", "1_0", "1.5 s", " 1", "1,5", "\u0661", "1\n", "9" * 400):
            error = self.refused("LOCK_ALREADY_HELD", {"owner": "crew 3", "held_for": text, "": "", "new": "x"})
            self.assertEqual(('k: held by "crew 3"', None), (str(error), error.held_for), text)

    def test_a_retry_policy_is_passed_on(self):
        world = World()
        _, operation = waiting(world, retry=RetryPolicy(3, 0.25, timedelta(seconds=0)))
        retry = operation.acquire.retry
        self.assertEqual((3, 0.25), (retry.max_retries, seconds(retry.min_delay)))
        self.assertTrue(retry.HasField("max_jitter"))

    def test_a_refusal_does_not_affect_other_locks(self):
        world = World()
        lease = world.lock()
        call, operation = waiting(world, key="bad")
        world.answer(failed(operation, "INVALID_ARGUMENT"))
        self.assertEqual("INVALID_ARGUMENT", call.reason)
        self.assertEqual([], world.losses[lease])
        self.assertEqual(1, len(world.opened))

    def test_queue_positions_are_reported(self):
        world = World()
        call, operation = waiting(world)
        for position in (2, 0):
            world.answer(positions=[pb.QueuePosition(id=operation.id, position=position)])
        world.answer(positions=[pb.QueuePosition(id=operation.id + 1, position=7)])
        self.assertEqual([2, 0], call.positions)

    def test_a_callback_that_raises_does_no_harm(self):
        world = World()
        call, operation = waiting(world)
        call.acquire.on_queued = lambda position: 1 / 0
        with self.assertLogs("redlockd"):
            world.answer(positions=[pb.QueuePosition(id=operation.id, position=1)])
        world.answer(granted(operation, 10))
        self.assertIsNotNone(call.value)

    def test_an_interrupted_acquire_is_released_first_and_sent_again_with_a_new_token(self):
        world = World()
        lease = world.lock("other")
        call, old = waiting(world)
        world.fail()
        world.connect()
        operations = world.message()
        self.assertEqual(["release", "adopt"], kinds(operations))
        self.assertEqual(old.acquire.token, operations[0].release.token)
        world.answer(done(operations[0]), granted(operations[1], 10))
        [new] = world.message()
        self.assertNotEqual(old.acquire.token, new.acquire.token)
        world.answer(granted(new, 10))
        self.assertEqual(new.acquire.token, call.value.token)
        self.assertEqual([], world.losses[lease])

    def test_it_is_sent_again_even_if_the_old_token_held_nothing(self):
        world = World()
        waiting(world)
        world.fail()
        world.connect()
        [release] = world.message()
        world.answer(failed(release, "LOCK_NOT_HELD"))
        self.assertEqual(["acquire"], kinds(world.message()))

    def test_an_acquire_that_was_not_sent_is_sent_without_a_release(self):
        world = World()
        world.acquire()
        world.fail()
        world.connect()
        self.assertEqual(["acquire"], kinds(world.message()))

    def test_draining_moves_the_acquire_to_the_next_daemon(self):
        world = World()
        call, operation = waiting(world)
        world.answer(failed(operation, "DRAINING"))
        self.assertEqual("b", world.session.endpoint)
        world.connect()
        [again] = world.message()  # the first one was answered, so there is nothing to release
        self.assertNotEqual(operation.acquire.token, again.acquire.token)
        self.assertFalse(call.over)

    def test_overloaded_is_retried_after_the_delay(self):
        world = World()
        call, operation = waiting(world)
        for delay, pause in ((0.2, 0.2), (None, 0.05)):
            world.answer(failed(operation, "OVERLOADED", retry_delay=delay))
            world.advance(pause - 0.01)
            self.assertEqual([], world.message())
            world.advance(0.02)
            [operation] = world.message()
        world.answer(granted(operation, 10))
        self.assertIsNotNone(call.value)

    def test_overloaded_fails_a_single_try(self):
        world = World()
        call, operation = waiting(world, wait=0)
        world.answer(failed(operation, "OVERLOADED", retry_delay=0.2))
        self.assertEqual("OVERLOADED", call.reason)

    def test_a_single_try_fails_if_no_endpoint_can_be_reached(self):
        world = World(endpoints="ab")
        call = world.acquire(wait=0)
        world.fail()
        self.assertFalse(call.over)
        world.fail()
        self.assertEqual("UNREACHABLE", call.reason)

    def test_other_acquires_wait_as_long_as_requested(self):
        world = World(endpoints="ab")
        forever, bounded = world.acquire("k1"), world.acquire("k2", wait=3)
        for _ in range(29):
            if world.session is not None:
                world.fail()
            world.advance(0.1)
        self.assertFalse(bounded.over)
        world.advance(0.2)
        self.assertEqual("UNREACHABLE", bounded.reason)
        self.assertFalse(forever.over)


class GivingUp(unittest.TestCase):
    def test_giving_up_before_the_acquire_was_sent_leaves_no_trace(self):
        world = World()
        call = world.acquire()
        world.machine.give_up(call.acquire, world.now)
        world.connect()
        self.assertEqual([], world.message())

    def test_giving_up_while_the_acquire_waits_to_be_written_leaves_no_trace(self):
        world = World()
        world.lock("other")
        call = world.acquire()
        world.machine.give_up(call.acquire, world.now)
        self.assertEqual([], world.message())

    def give_up(self, world):
        call, operation = waiting(world, key="mine")
        world.machine.give_up(call.acquire, world.now)
        [cancel] = world.message()
        self.assertEqual(("cancel", operation.id), (cancel.WhichOneof("operation"), cancel.id))
        return call, operation

    def test_a_cancel_is_sent(self):
        world = World()
        call, operation = self.give_up(world)
        world.answer(failed(operation, "CANCELLED"))
        world.keep(3)
        self.assertEqual(0, len(world.machine.releases))
        self.assertFalse(call.over)

    def test_a_grant_that_crosses_the_cancel_is_released(self):
        world = World()
        call, operation = self.give_up(world)
        world.answer(granted(operation, 10))
        [release] = world.message()
        self.assertEqual(operation.acquire.token, release.release.token)
        self.assertFalse(call.over)

    def test_the_token_is_released_if_no_answer_comes_within_a_second(self):
        world = World()
        _, operation = self.give_up(world)
        world.advance(0.99)
        self.assertEqual([], world.message())
        world.advance(0.02)
        [release] = world.message()
        self.assertEqual(operation.acquire.token, release.release.token)

    def test_a_grant_after_that_is_released_again(self):
        world = World()
        _, operation = self.give_up(world)
        world.advance(1.01)
        [release] = world.message()
        world.answer(failed(release, "LOCK_NOT_HELD"))
        world.answer(granted(operation, 10))
        self.assertEqual(["release"], kinds(world.message()))

    def test_the_token_is_released_at_the_next_session_if_the_session_breaks(self):
        world = World()
        _, operation = self.give_up(world)
        world.fail()
        world.connect()
        [release] = world.message()
        self.assertEqual(operation.acquire.token, release.release.token)
        world.answer(done(release))
        self.assertEqual([], world.message())

    def time_over(self, world):
        call, operation = waiting(world, wait=0.5)
        world.advance(0.51)
        self.assertEqual(["cancel"], kinds(world.message()))
        self.assertFalse(call.over)
        return call, operation

    def test_the_end_of_the_wait_reports_what_the_daemon_says(self):
        for metadata, reason, text in (
                ({}, "DEADLINE_EXCEEDED", "k: the lock was not acquired within the wait"),
                ({"last_reason": "LOCK_ALREADY_HELD", "owner": "crew 3"}, "DEADLINE_EXCEEDED", 'k: held by "crew 3"; the'),
                ({"last_reason": "LOCK_ALREADY_HELD", "owner": "crew 3", "held_for": "61"}, "DEADLINE_EXCEEDED",
                 'k: held by "crew 3" for 61.000 s; the lock was not acquired within the wait'),
                ({"last_reason": "LOCK_ALREADY_HELD", "held_for": "61"}, "DEADLINE_EXCEEDED",
                 "k: held for 61.000 s; the lock was not acquired within the wait"),
                ({"last_reason": "QUORUM_UNAVAILABLE"}, "QUORUM_UNAVAILABLE", "not acquired within the wait"),
                ({"last_reason": "NODE_SET_MISMATCH"}, "NODE_SET_MISMATCH", "not acquired within the wait")):
            world = World()
            call, operation = self.time_over(world)
            world.answer(failed(operation, "CANCELLED", metadata=metadata))
            self.assertEqual(reason, call.reason)
            self.assertIn(text, str(call.error))
            self.assertEqual(metadata.get("owner"), call.error.holder)
            self.assertEqual(61 if "held_for" in metadata else None, call.error.held_for)
            world.keep(2)
            self.assertEqual(0, len(world.machine.releases))

    def test_the_end_of_the_wait_does_not_wait_long_for_the_answer(self):
        world = World()
        call, operation = self.time_over(world)
        world.advance(0.26)
        self.assertEqual("DEADLINE_EXCEEDED", call.reason)
        self.assertEqual([], world.message())
        world.advance(1.01)
        releases = [o.release.token for o in world.message() if o.HasField("release")]
        self.assertEqual([operation.acquire.token], releases)

    def test_a_grant_after_the_end_of_the_wait_is_released(self):
        world = World()
        call, operation = self.time_over(world)
        world.answer(granted(operation, 10))
        self.assertEqual("DEADLINE_EXCEEDED", call.reason)
        self.assertEqual([operation.acquire.token], [o.release.token for o in world.message()])

    def test_a_session_that_breaks_at_the_end_of_the_wait_is_no_contention(self):
        world = World()
        call, operation = self.time_over(world)
        world.fail()
        self.assertEqual("UNREACHABLE", call.reason)
        world.connect()
        self.assertEqual([operation.acquire.token], [o.release.token for o in world.message()])

    def test_an_outage_at_the_end_of_the_wait_is_no_contention(self):
        world = World()
        call, operation = waiting(world, wait=2)
        world.advance(1)
        world.fail()
        world.advance(1.1)
        self.assertEqual("UNREACHABLE", call.reason)
        self.assertIn("broken by the test", str(call.error))

    def test_the_end_of_the_wait_reports_the_last_refusal(self):
        world = World()
        call, operation = waiting(world, wait=0.5)
        world.answer(failed(operation, "OVERLOADED", retry_delay=2))
        world.advance(0.6)
        self.assertEqual("OVERLOADED", call.reason)

    def test_giving_up_after_the_grant_is_harmless(self):
        world = World()
        call, operation = waiting(world)
        world.answer(granted(operation, 10))
        world.machine.give_up(call.acquire, world.now)
        self.assertEqual([], world.message())


if __name__ == "__main__":
    unittest.main()
