"""How long a lock is trusted. See client/PROTOCOL.md."""

import unittest

from redlockd._lease import State
from redlockd._proto import pb
from world import World, done, event, failed, granted, kinds

GRACE = 5.0
SESSION_TRUST = GRACE - (GRACE * 0.01 + 0.002)


class Trust(unittest.TestCase):
    def test_trust_counts_from_the_send_time_of_the_last_answered_message(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=60)
        sent = world.now
        world.release(world.lock("other"))
        [release] = world.message()
        world.advance(1.0)
        self.assertAlmostEqual(sent + SESSION_TRUST, lease.trusted_until)
        world.advance(0.2)
        world.answer(done(release))
        self.assertAlmostEqual(sent + SESSION_TRUST, lease.trusted_until)
        sent = world.now
        world.extend(lease)
        [extend] = [o for o in world.message() if o.HasField("extend")]
        world.sleep(0.3)
        world.answer(failed(extend, "QUORUM_UNAVAILABLE"))
        self.assertAlmostEqual(sent + SESSION_TRUST, lease.trusted_until)

    def test_an_answer_to_an_old_message_does_not_lower_it(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=60)
        world.acquire("waits")
        [waiting] = world.message()
        world.keep(2.0)
        trust = lease.trusted_until
        world.answer(failed(waiting, "QUORUM_UNAVAILABLE"))
        self.assertEqual(trust, lease.trusted_until)

    def test_a_lock_is_trusted_for_its_own_validity_if_that_is_earlier(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2.0, validity=1.97)
        self.assertAlmostEqual(world.now + 1.97, lease.trusted_until)
        self.assertAlmostEqual(1.97, lease.validity(world.now))

    def test_a_validity_counts_from_the_creation_of_the_message(self):
        world = World(grace=60)
        lease = world.lock(ttl=10)
        at = world.now
        world.sleep(4)
        world.answer(events=[event("EXTENDED", lease, validity=10)], made=at + 3)
        self.assertAlmostEqual(at + 3 - 0.03 + 10, lease.trusted_until)

    def test_the_validity_of_an_acquire_that_waited_does_not_count_from_its_send_time(self):
        world = World(grace=GRACE)
        call = world.acquire(ttl=10)
        world.connect()
        [waiting] = world.message()
        world.keep(20)
        world.answer(granted(waiting, 10))
        self.assertGreater(call.value._valid_until, world.now + 9.9)

    def test_a_validity_never_decreases(self):
        world = World(grace=60)
        lease = world.lock(ttl=10)
        trust = lease.trusted_until
        world.answer(events=[event("EXTENDED", lease, validity=3)])
        self.assertEqual(trust, lease.trusted_until)

    def test_a_loss_names_the_failure_of_the_last_extension(self):
        world = World(grace=60)
        first, second = world.lock("a", ttl=3), world.lock("b", ttl=3)
        world.answer(events=[event("EXTEND_FAILED", lease, message="too few nodes") for lease in (first, second)])
        world.answer(events=[event("EXTENDED", second, validity=3)])
        world.keep(4)
        self.assertIn("no daemon extended it in time (too few nodes)", str(first.loss))
        self.assertNotIn("too few nodes", str(second.loss))

    def test_the_trust_is_frozen_when_the_session_is_abandoned(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=60)
        trust = lease.trusted_until
        world.advance(0.5)
        world.fail()
        world.connect()
        self.assertEqual(trust, lease.trusted_until)

    def test_only_an_adoption_raises_it_again(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=60)
        trust = lease.trusted_until
        call = world.extend(lease)
        world.advance(0.5)
        world.fail()
        world.connect()
        [adopt] = world.message()  # the extension waits
        world.answer(events=[event("EXTENDED", lease, validity=60)])
        self.assertEqual(trust, lease.trusted_until)
        world.answer(granted(adopt, 60))
        self.assertAlmostEqual(world.now + SESSION_TRUST, lease.trusted_until)
        self.assertEqual(["extend"], kinds(world.message()))
        self.assertFalse(call.over)

    def test_trust_ends_before_a_release_is_sent(self):
        world = World()
        lease = world.lock()
        world.release(lease)
        self.assertEqual(0, lease.validity(world.now))
        self.assertEqual(["release"], kinds(world.message()))

    def test_the_fencing_token_may_grow_and_never_decreases(self):
        world = World()
        lease = world.lock()
        world.answer(events=[event("EXTENDED", lease, validity=5, fence=107)])
        self.assertEqual(107, lease.fencing_token)
        world.answer(events=[event("EXTENDED", lease, validity=5, fence=103)])
        self.assertEqual(107, lease.fencing_token)


class Loss(unittest.TestCase):
    def test_it_is_signalled_when_only_the_margin_is_left(self):
        world = World()
        lease = world.lock(ttl=2.0, margin=0.3)
        end = lease.trusted_until
        world.keep(2.0)
        self.assertEqual(1, len(world.losses[lease]))
        self.assertAlmostEqual(end - 0.3, world.losses[lease][0], places=3)
        self.assertEqual("LOCK_NOT_HELD", lease.loss.reason)
        self.assertEqual(0, lease.validity(world.now))

    def test_it_is_signalled_once(self):
        world = World()
        lease = world.lock(ttl=2.0)
        world.answer(events=[event("LOST", lease), event("LOST", lease)])
        world.keep(3)
        self.assertEqual(1, len(world.losses[lease]))

    def test_a_loss_that_the_daemon_reports_is_signalled(self):
        world = World()
        lease = world.lock()
        world.answer(events=[event("LOST", lease, reason="LOCK_NOT_HELD")])
        self.assertEqual([world.now], world.losses[lease])
        self.assertIs(State.LOST, lease.state)

    def test_a_late_report_about_an_earlier_lock_of_the_key_is_ignored(self):
        world = World()
        earlier = world.lock("k")
        world.release(earlier)
        world.answer(done(world.message()[0]))
        lease = world.lock("k")
        world.answer(events=[event("LOST", earlier)])
        self.assertEqual([], world.losses[lease])

    def test_all_locks_are_lost_in_time_if_no_daemon_answers(self):
        world = World(grace=GRACE)
        leases = [world.lock(f"k{i}", ttl=60) for i in range(3)]
        end = leases[0].trusted_until
        world.advance(10)
        for lease in leases:
            self.assertAlmostEqual(end - 0.5, world.losses[lease][0], places=3)

    def test_after_a_suspend_an_unread_extension_that_has_ended_too_comes_too_late(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2)
        made = world.now + 1
        world.sleep(3.1)
        self.assertEqual(0, lease.validity(world.now))
        world.wake()
        world.answer(events=[event("EXTENDED", lease, validity=2)], made=made)
        self.assertEqual(0, lease.validity(world.now))
        world.advance(0.2)
        self.assertEqual(1, len(world.losses[lease]))

    def test_after_a_suspend_of_the_grace_no_unread_extension_keeps_the_lock(self):
        world = World(grace=2)
        lease = world.lock(ttl=60)
        world.sleep(2)
        world.wake()
        world.answer(events=[event("EXTENDED", lease, validity=60)])
        self.assertEqual(0, lease.validity(world.now))
        world.advance(0.2)
        self.assertEqual(1, len(world.losses[lease]))

    def test_a_loop_that_was_blocked_for_longer_than_the_validity_keeps_a_lock_that_was_extended(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2)
        made = world.now + 2
        world.sleep(2.5)
        world.wake()
        # The messages are read one by one.
        world.answer(events=[event("EXTENDED", lease, validity=2)], made=made - 1)
        world.advance(0.009)
        world.answer(events=[event("EXTENDED", lease, validity=2)], made=made)
        world.advance(0.1)
        self.assertEqual([], world.losses[lease])
        self.assertGreater(lease.validity(world.now), 1)

    def test_a_release_of_a_lock_whose_trust_has_ended_unread_asks_the_daemon(self):
        for reason in (None, "LOCK_NOT_HELD"):
            world = World(grace=GRACE)
            lease = world.lock(ttl=2)
            world.sleep(2.1)
            call = world.release(lease)
            world.message()
            world.fail()
            world.connect()
            [release] = world.message()
            world.answer(done(release) if reason is None else failed(release, reason))
            self.assertEqual(reason, call.reason)  # although the release was sent twice

    def test_a_loop_that_was_blocked_reads_before_it_applies_the_margin(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2, margin=0.5)
        made = world.now + 1
        world.sleep(1.8)
        world.wake()
        self.assertEqual([], world.losses[lease])
        world.answer(events=[event("EXTENDED", lease, validity=2)], made=made)
        world.wake()
        world.advance(0.05)
        self.assertEqual([], world.losses[lease])

    def test_a_loop_that_was_blocked_does_not_delay_the_loss_for_long(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2, margin=0.5)
        world.sleep(1.8)
        world.wake()
        world.sleep(0.05)
        world.wake()
        self.assertEqual(1, len(world.losses[lease]))

    def test_a_lock_that_is_granted_too_late_to_be_trusted_is_not_returned(self):
        world = World(grace=60)
        call = world.acquire(ttl=1, margin=0.3)
        world.connect()
        [acquire] = world.message()
        world.sleep(0.8)
        world.answer(granted(acquire, 1), made=world.now - 0.8)
        self.assertEqual("VALIDITY_EXPIRED", call.reason)
        self.assertEqual(["release"], kinds(world.message()))

    def test_a_lost_lock_is_released_once_its_trust_has_ended(self):
        """The daemon does not know of the loss and would extend the lock for as long as the Session exists."""
        world = World(grace=GRACE)
        lease = world.lock(ttl=2, margin=0.3)
        end = lease.trusted_until
        while not world.losses[lease]:
            world.keep(0.1)
        self.assertEqual([], world.message())
        world.now = end
        world.wake()
        [release] = [o for o in world.message() if o.HasField("release")]
        self.assertEqual(lease.token, release.release.token)

    def test_a_release_of_a_lost_lock_fails_with_the_loss_and_is_sent_at_once(self):
        world = World(grace=GRACE)
        lease = world.lock(ttl=2, margin=0.3)
        while not world.losses[lease]:
            world.keep(0.1)
        call = world.release(lease)
        self.assertIs(lease.loss, call.error)
        self.assertEqual(["release"], kinds(world.message()))
        world.keep(5)
        self.assertEqual([], world.message())

    def test_a_reported_loss_needs_no_release(self):
        world = World()
        lease = world.lock()
        world.answer(events=[event("LOST", lease)])
        self.assertEqual("LOCK_NOT_HELD", world.release(lease).reason)
        self.assertEqual([], world.message())

    def test_other_events_change_nothing(self):
        world = World()
        lease = world.lock()
        trust = lease.trusted_until
        failure = event("EXTEND_FAILED", reason="QUORUM_UNAVAILABLE")
        failure.key = lease.key
        world.answer(events=[failure, pb.WatchResponse(type=pb.EVENT_TYPE_UNSPECIFIED)])
        self.assertEqual(trust, lease.trusted_until)


if __name__ == "__main__":
    unittest.main()
