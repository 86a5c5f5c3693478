"""Sessions: which messages are sent when, and which daemon is used. See client/PROTOCOL.md."""

import unittest

from redlockd._wire import seconds
from world import World, done, failed, granted, kinds


class Opening(unittest.TestCase):
    def test_the_first_message_contains_only_the_grace_and_a_ping(self):
        world = World(grace=3.0)
        world.acquire()
        request = world.request()
        self.assertEqual(3.0, seconds(request.disconnect_grace))
        self.assertEqual(["ping"], kinds(request.operations))
        world.acquire("other")
        self.assertEqual([], world.message())

    def test_the_answer_to_the_ping_makes_the_session_ready(self):
        world = World()
        world.acquire("one")
        world.acquire("two")
        world.connect()
        request = world.request()
        self.assertEqual(["acquire", "acquire"], kinds(request.operations))
        self.assertFalse(request.HasField("disconnect_grace"))

    def test_connecting_takes_at_most_two_seconds(self):
        world = World(endpoints=["a"])
        world.acquire()
        world.advance(1.99)
        self.assertEqual(1, len(world.opened))
        world.advance(0.02)
        self.assertEqual([world.opened[0]], world.cancelled)

    def test_connecting_takes_less_if_many_endpoints_share_half_the_grace(self):
        world = World(endpoints="abcde", grace=5.0)
        world.acquire()
        world.advance(0.49)
        self.assertEqual(1, len(world.opened))
        world.advance(0.02)
        self.assertEqual(["a", "b"], [session.endpoint for session in world.opened])

    def test_a_stalled_process_waits_once_more_for_the_connection(self):
        world = World(endpoints=["a"])
        world.acquire()
        world.message()
        world.sleep(3)
        world.wake()
        world.advance(1.99)
        self.assertEqual([], world.cancelled)
        world.advance(0.02)
        self.assertEqual(1, len(world.cancelled))

    def test_all_endpoints_are_tried_before_the_first_pause(self):
        world = World(endpoints="abc")
        world.acquire()
        for endpoint in "abc":
            self.assertEqual(endpoint, world.session.endpoint)
            world.fail()
        self.assertIsNone(world.session)

    def test_pauses_double_up_to_a_second(self):
        world = World(endpoints=["a"])
        world.acquire()
        pauses = []
        for _ in range(7):
            world.fail()
            began = world.now
            while world.session is None:
                world.now = world.machine.due
                world.machine.poll(world.now)
            pauses.append(round(world.now - began, 6))
        self.assertEqual([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], pauses)

    def test_a_session_that_lasted_is_followed_by_another_at_once(self):
        world = World(endpoints=["a"])
        world.lock()
        world.keep(2)
        world.fail()
        self.assertEqual(2, len(world.opened))

    def test_daemons_that_always_drain_are_not_retried_without_a_pause(self):
        world = World(endpoints=["a"])
        world.acquire(ttl=60)
        for _ in range(5):
            world.connect()
            [acquire] = [o for o in world.message() if o.HasField("acquire")]
            world.answer(failed(acquire, "DRAINING"))
            self.assertIsNone(world.session)
            world.advance(1)

    def test_a_refused_stream_fails_waiting_calls(self):
        for reason in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT"):
            world = World()
            call = world.acquire()
            world.fail(reason)
            self.assertEqual(reason, call.reason)

    def test_an_outage_after_a_refusal_is_waited_through(self):
        world = World(endpoints=["a"])
        world.acquire("other")
        world.fail("UNAUTHENTICATED")
        call = world.acquire()
        for _ in range(3):
            world.advance(1)
            world.fail()
        self.assertFalse(call.over)
        world.advance(1)
        world.connect()
        self.assertEqual(["acquire"], kinds(world.message()))


class Sending(unittest.TestCase):
    def test_operations_issued_during_a_write_share_the_next_message(self):
        world = World()
        lease = world.lock()
        world.acquire("first")
        written = world.session.next_message(world.now)
        self.assertEqual(["acquire"], kinds(written.operations))
        world.acquire("second")
        world.extend(lease)
        world.release(lease)
        self.assertIsNone(world.session.next_message(world.now))
        world.session.on_written()
        self.assertEqual(["acquire", "release"], kinds(world.message()))  # the extension is done

    def test_a_message_has_at_most_a_thousand_operations(self):
        world = World()
        for i in range(1500):
            world.acquire(f"k{i}")
        world.connect()
        self.assertEqual([1000, 500, 0], [len(world.message()) for _ in range(3)])

    def test_a_message_stays_below_the_daemons_limit_of_bytes(self):
        world = World()
        for i in range(300):
            world.acquire([f"{i:03}/{j:02}/".ljust(128, "x") for j in range(64)])
        world.connect()
        requests = [world.request() for _ in range(7)]
        self.assertEqual(300, sum(len(request.operations) for request in requests))
        self.assertLess(max(request.ByteSize() for request in requests), 2**20 * 0.6)
        self.assertEqual([], world.message())

    def test_an_id_is_never_used_twice(self):
        world = World()
        seen = []
        for i in range(5):
            world.acquire(f"k{i}")
            pings = world.message()
            world.answer(*[done(o) for o in pings])
            seen += [o.id for o in pings + world.message()]
            world.fail()
            world.advance(1)
        self.assertGreater(len(seen), 10)
        self.assertEqual(len(seen), len(set(seen)))

    def test_an_answer_with_an_unknown_id_is_ignored(self):
        world = World()
        lease = world.lock()
        call = world.release(lease)
        [release] = world.message()
        release.id += 100
        world.answer(done(release))
        self.assertFalse(call.over)

    def test_an_abandoned_session_is_ignored(self):
        world = World()
        call = world.acquire()
        world.connect()
        [acquire] = world.message()
        old = world.session
        world.fail()
        world.answer(granted(acquire, 10), session=old)
        self.assertFalse(call.over)
        self.assertIsNone(old.next_message(world.now))


class Pings(unittest.TestCase):
    def test_a_ping_is_sent_after_a_quarter_of_the_grace(self):
        world = World(grace=4.0)
        world.lock()
        world.advance(0.99)
        self.assertEqual([], world.message())
        world.advance(0.02)
        self.assertEqual(["ping"], kinds(world.message()))

    def test_any_answered_message_postpones_the_ping(self):
        world = World(grace=4.0)
        lease = world.lock()
        world.advance(0.9)
        world.extend(lease)
        [extend] = world.message()
        world.answer(granted(extend, 10))
        world.advance(0.9)
        self.assertEqual([], world.message())

    def test_unanswered_messages_do_not_postpone_the_ping(self):
        """Waiting acquisitions are answered late, but trust needs answers, and silence must be noticed."""
        world = World(grace=4.0)
        world.lock()
        sent = []
        for i in range(5):
            world.acquire(f"waits-{i}")
            world.advance(0.3)
            sent += kinds(world.message())
        self.assertIn("ping", sent)
        world.advance(1.34)
        self.assertEqual(1, len(world.cancelled))

    def test_a_daemon_is_silent_after_a_third_of_the_grace(self):
        world = World(grace=3.0)
        world.lock()
        world.advance(0.75)
        self.assertEqual(["ping"], kinds(world.message()))
        world.advance(0.99)
        self.assertEqual([], world.cancelled)
        world.advance(0.02)
        self.assertEqual([world.opened[0]], world.cancelled)
        self.assertEqual("b", world.session.endpoint)

    def test_a_daemon_is_silent_after_at_most_two_seconds(self):
        world = World(grace=60.0)
        world.lock(ttl=100.0)
        world.advance(15)
        self.assertEqual(["ping"], kinds(world.message()))
        world.advance(2.01)
        self.assertEqual(1, len(world.cancelled))

    def test_a_message_that_cannot_be_written_counts_as_silence(self):
        world = World(grace=3.0)
        lease = world.lock()
        world.release(lease)
        self.assertIsNotNone(world.session.next_message(world.now))
        world.advance(1.01)
        self.assertEqual(1, len(world.cancelled))

    def test_a_stalled_process_reads_first_and_waits_once_more(self):
        world = World(grace=3.0)
        world.lock(margin=0.1)
        world.advance(0.75)
        [ping] = world.message()
        world.sleep(1.9)
        world.wake()
        self.assertEqual([], world.cancelled)
        world.answer(done(ping))
        world.wake()
        self.assertEqual([], world.cancelled)

    def test_a_stalled_process_waits_only_once_more(self):
        world = World(grace=3.0)
        world.lock()
        world.advance(0.75)
        world.message()
        world.sleep(1.9)
        world.wake()
        world.advance(1.01)
        self.assertEqual(1, len(world.cancelled))


if __name__ == "__main__":
    unittest.main()
