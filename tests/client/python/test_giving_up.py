"""Locks that no caller gets or keeps are given back. See client/PROTOCOL.md."""

import unittest

from redlockd._attempts import Way
from redlockd._session import _ENOUGH_BYTES
from world import World, done, event, failed, granted, kinds


def session(world):
    """Makes a Session ready."""
    if world.session is None:
        world.advance(1)  # a pause
    if world.machine.ready is None:
        world.connect()


def acquired_too_late(world, token, **options):
    """A call that was given up crosses its grant."""
    call = world.acquire(token=token, **options)
    session(world)
    [acquire] = world.message()
    world.machine.give_up(call.acquire, world.now)
    world.message()
    world.answer(granted(acquire, 10))


def sent(world):
    """Returns what the client sends now except pings, which are answered."""
    operations = world.message()
    world.answer(*[done(o) for o in operations if o.HasField("ping")])
    return [o for o in operations if not o.HasField("ping")]


def given_up(world, token="mine"):
    """Returns the operation with which the client gives up a lock now, the only one that it sends."""
    [operation] = sent(world)
    assert operation.give_up.key == "k" and operation.give_up.token == token, operation
    return operation


class GivingUp(unittest.TestCase):
    def test_a_failed_acquire_or_extend_sends_nothing_on_the_next_session(self):
        world = World()
        call = world.acquire(token="mine", way=Way.ACQUIRE_OR_EXTEND, wait=1)
        world.connect()
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        [acquire] = world.message()
        world.advance(1)
        self.assertEqual(["cancel"], kinds(world.message()))
        world.answer(granted(acquire, 10))
        self.assertEqual("DEADLINE_EXCEEDED", call.reason)
        given_up(world)
        world.fail()
        session(world)
        for _ in range(20):
            self.assertEqual([], sent(world))
            world.advance(1)

    def test_neither_does_one_whose_session_ends_while_it_is_given_up(self):
        world = World()
        call = world.acquire(token="mine")
        world.connect()
        world.message()
        world.machine.give_up(call.acquire, world.now)
        world.message()
        world.fail()
        session(world)
        self.assertEqual([], sent(world))

    def test_a_token_that_the_client_made_is_released_on_the_next_session(self):
        world = World()
        acquired_too_late(world, None)
        [release] = world.message()
        world.fail()
        session(world)
        [again] = world.message()
        self.assertEqual(release.release, again.release)

    def test_a_token_of_the_caller_that_looks_made_is_given_up(self):
        world = World()
        acquired_too_late(world, "rl-" + 32 * "0")
        given_up(world, "rl-" + 32 * "0")

    def test_without_an_answer_it_is_given_up_after_a_second_and_again_if_it_was_granted_late(self):
        world = World()
        call = world.acquire(token="mine")
        world.connect()
        [acquire] = world.message()
        world.machine.give_up(call.acquire, world.now)
        world.message()
        world.advance(1)
        given_up(world)
        world.answer(granted(acquire, 10))
        given_up(world)

    def test_a_lock_that_is_granted_too_late_to_be_trusted_is_given_up(self):
        world = World(grace=60)
        call = world.acquire(token="mine", ttl=1, margin=0.3)
        world.connect()
        [acquire] = world.message()
        world.sleep(0.8)
        world.answer(granted(acquire, 1), made=world.now - 0.8)
        self.assertEqual("VALIDITY_EXPIRED", call.reason)
        given_up(world)

    def test_a_lock_whose_caller_has_gone_before_it_got_it_is_given_up(self):
        world = World()
        call = world.acquire(token="mine")
        session(world)
        world.answer(granted(world.message()[0], 10))
        world.machine.release_unseen(call.value, world.now)
        self.assertEqual(0, call.value.validity(world.now))
        given_up(world)
        lease = world.lock()  # with a token that the client made
        world.machine.release_unseen(lease, world.now)
        self.assertEqual([lease.token], [o.release.token for o in world.message()])

    def test_a_lock_that_another_caller_has_is_kept(self):
        for way in (Way.ACQUIRE_OR_EXTEND, Way.ADOPT):
            world = World()
            first = world.acquire(token="mine")
            session(world)
            world.answer(granted(world.message()[0], 10))
            second = world.acquire(token="mine", way=way)
            for _ in range(2):  # extend, adopt
                world.answer(granted(world.message()[0], 10))
            self.assertIs(first.value, second.value)
            world.machine.release_unseen(second.value, world.now)
            self.assertGreater(first.value.validity(world.now), 0)
            self.assertEqual([], world.message())
            world.machine.release_unseen(first.value, world.now)
            given_up(world)

    def test_a_lock_that_the_token_held_before_is_spared(self):
        world = World()
        call = world.acquire(token="mine", way=Way.ACQUIRE_OR_EXTEND)
        session(world)
        for _ in range(2):  # extend, adopt
            world.answer(granted(world.message()[0], 4))
        world.machine.release_unseen(call.value, world.now)
        self.assertEqual([], world.message())
        world.keep(3.9)
        world.advance(0.2)
        given_up(world)

    def test_it_is_sent_before_what_later_calls_send(self):
        world = World()
        acquired_too_late(world, "mine")
        again = world.acquire(token="mine")
        give_up, acquire = world.message()
        self.assertEqual(["give_up", "acquire"], kinds([give_up, acquire]))
        world.answer(done(give_up), granted(acquire, 10))
        self.assertIsNotNone(again.value)

    def test_a_later_call_waits_until_the_earlier_one_is_answered(self):
        def crossed(world, acquire):
            world.answer(granted(acquire, 10))
            return ["give_up"]

        def refused(world, acquire):
            world.answer(failed(acquire, "CANCELLED"))
            return []

        def silent(world, acquire):
            world.advance(1)
            return ["give_up"]

        def cut_off(world, acquire):
            world.fail()
            session(world)
            return []

        for end in (crossed, refused, silent, cut_off):
            for way in Way:
                world = World(grace=30)
                call = world.acquire(token="mine")
                session(world)
                [acquire] = world.message()
                world.machine.give_up(call.acquire, world.now)
                later = world.acquire(token="mine", way=way)
                self.assertEqual(["cancel"], kinds(world.message()))
                given = end(world, acquire)
                operations = sent(world)
                kind = "acquire" if way is Way.ACQUIRE else "extend"
                self.assertEqual([*given, kind], kinds(operations), (end, way))
                world.answer(granted(operations[-1], 10))
                if way is not Way.ACQUIRE:
                    world.answer(granted(world.message()[0], 10))
                self.assertIsNotNone(later.value)
                world.advance(2)
                self.assertEqual([], sent(world))

    def test_a_later_call_waits_for_an_adoption_that_was_given_up(self):
        world = World()
        call = world.acquire(token="mine", way=Way.ADOPT)
        session(world)
        world.answer(granted(world.message()[0], 10))
        [adopt] = world.message()
        world.machine.give_up(call.acquire, world.now)
        world.acquire(token="mine")
        self.assertEqual([], world.message())
        world.answer(granted(adopt, 10))
        self.assertEqual(["give_up", "acquire"], kinds(world.message()))

    def test_a_later_call_may_end_while_it_waits_for_the_earlier_one(self):
        world = World()
        call = world.acquire(token="mine")
        session(world)
        [acquire] = world.message()
        world.machine.give_up(call.acquire, world.now)
        later = world.acquire(token="mine", wait=0.5)
        world.message()
        world.advance(0.6)
        self.assertEqual("DEADLINE_EXCEEDED", later.reason)
        world.answer(granted(acquire, 10))
        given_up(world)

    def test_what_an_acquire_or_extend_has_acquired_after_another_lock_has_ended_is_given_up_at_once(self):
        world = World()
        call = world.acquire(token="mine", way=Way.ACQUIRE_OR_EXTEND)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
        [acquire] = world.message()
        world.machine.give_up(call.acquire, world.now)
        self.assertEqual(["cancel"], kinds(world.message()))
        world.answer(granted(acquire, 10))
        given_up(world)

    def test_it_is_postponed_while_a_call_waits_with_the_token(self):
        world = World()
        waiting = world.acquire(token="mine")
        session(world)
        [first] = world.message()
        acquired_too_late(world, "mine")
        for _ in range(5):
            self.assertEqual([], sent(world))
            world.advance(1)
        sent(world)
        world.answer(failed(first, "LOCK_ALREADY_HELD"))
        self.assertTrue(waiting.over)
        world.advance(1)
        given_up(world)

    def test_other_keys_and_tokens_do_not_postpone_it(self):
        world = World()
        world.acquire("other", token="mine")
        world.acquire(token="other")
        session(world)
        world.message()
        acquired_too_late(world, "mine")
        given_up(world)

    def test_an_overloaded_daemon_is_asked_again_unless_the_token_is_used(self):
        for used in (False, True):
            world = World(grace=60)
            acquired_too_late(world, "mine")
            world.answer(failed(given_up(world), "OVERLOADED", retry_delay=0.3))
            if used:
                lock = world.acquire(token="mine", ttl=60)
                world.answer(granted(world.message()[0], 60))
            world.advance(0.29)
            self.assertEqual([], sent(world))
            world.advance(0.02)
            if used:
                for _ in range(5):
                    self.assertEqual([], sent(world))
                    world.advance(1)
                release = world.release(lock.value)
                world.answer(done(world.message()[0]))
                self.assertTrue(release.over)
                world.advance(1)
            world.answer(failed(given_up(world), "LOCK_NOT_HELD"))
            world.advance(3)
            self.assertEqual([], sent(world))

    def test_it_waits_as_long_as_its_session_which_keeps_the_lock_alive(self):
        world = World(grace=2)
        acquired_too_late(world, "mine")
        world.answer(failed(given_up(world), "OVERLOADED"))
        lock = world.acquire(token="mine", ttl=60)
        world.answer(granted(world.message()[0], 60))
        world.keep(50)
        world.answer(events=[event("LOST", lock.value)])
        world.advance(1)
        self.assertEqual(["give_up"], kinds(sent(world)))

    def test_one_that_is_postponed_is_not_sent_on_another_session(self):
        world = World()
        waiting = world.acquire(token="mine")
        session(world)
        world.message()
        acquired_too_late(world, "mine")
        world.fail()
        session(world)
        [again] = world.message()
        self.assertTrue(again.acquire.extend_if_held)
        world.machine.give_up(waiting.acquire, world.now)
        world.answer(failed(again, "CANCELLED"))
        give_up = given_up(world)
        world.answer(done(give_up))
        world.advance(2)
        self.assertEqual([], sent(world))

    def test_other_answers_end_it(self):
        for reason in ("LOCK_NOT_HELD", "QUORUM_UNAVAILABLE", "PERMISSION_DENIED"):
            world = World()
            acquired_too_late(world, "mine")
            world.answer(failed(given_up(world), reason))
            for _ in range(20):
                world.advance(1)
                self.assertEqual([], sent(world))

    def test_close_waits_for_one_that_was_sent(self):
        world = World()
        acquired_too_late(world, "mine")
        give_up = given_up(world)
        call = world.close()
        self.assertEqual([], world.message())
        world.answer(done(give_up))
        world.answer(done(world.message()[0]))
        self.assertTrue(call.over)

    def test_close_does_not_wait_for_one_that_is_postponed(self):
        world = World()
        waiting = world.acquire(token="mine")
        session(world)
        world.message()
        acquired_too_late(world, "mine")
        world.close()
        self.assertEqual(["cancel", "close"], kinds(world.message()))
        self.assertTrue(waiting.over)

    def test_a_close_that_is_cut_off_releases_what_it_would_have_released(self):
        for token in ("mine", None):
            world = World()
            world.acquire(token=token)
            session(world)
            [acquire] = world.message()
            world.close()
            world.message()
            world.fail()
            session(world)
            self.assertEqual([acquire.acquire.token], [o.release.token for o in world.message()])

    def test_a_close_that_is_cut_off_does_not_release_a_token_that_was_in_doubt_before(self):
        world = World()
        world.acquire(token="mine")
        session(world)
        world.message()
        world.fail()
        session(world)
        self.assertEqual(["acquire"], kinds(world.message()))
        world.close()
        world.fail()
        self.assertTrue(world.machine.closed)

    def test_it_counts_towards_the_size_of_a_message(self):
        world = World()
        key = [f"{i:0128}" for i in range(64)]
        calls = [world.acquire(key, token=f"t{i}") for i in range(200)]
        session(world)
        acquires = []
        while operations := world.message():
            acquires += operations
        for call in calls:
            world.machine.give_up(call.acquire, world.now)
        while world.message():
            pass
        world.answer(*[granted(acquire, 10) for acquire in acquires])
        sizes = []
        while (request := world.request()).operations:
            self.assertEqual({"give_up"}, set(kinds(request.operations)))
            sizes.append(request.ByteSize())
        self.assertGreater(len(sizes), 1)
        self.assertLess(max(sizes), _ENOUGH_BYTES + 10_000)


class LostLocks(unittest.TestCase):
    def lose(self, world):
        call = world.acquire(token="mine", ttl=2, margin=0.3)
        session(world)
        world.answer(granted(world.message()[0], 2))
        world.advance(1.71)
        self.assertIsNotNone(call.value.loss)
        self.assertEqual([], sent(world))
        return call.value

    def test_one_is_given_up_once_its_trust_has_ended(self):
        world = World()
        self.lose(world)
        world.advance(0.25)
        self.assertEqual([], sent(world))
        world.advance(0.1)
        given_up(world)
        world.fail()
        session(world)
        self.assertEqual([], sent(world))

    def test_without_a_session_it_is_not_given_up(self):
        world = World()
        self.lose(world)
        later = world.acquire(token="mine")
        world.fail()
        world.advance(0.5)
        world.connect()
        world.answer(failed(sent(world)[0], "LOCK_ALREADY_HELD"))
        self.assertTrue(later.over)
        world.advance(2)
        self.assertEqual([], sent(world))

    def test_not_while_a_later_call_with_the_token_waits_or_holds(self):
        world = World()
        self.lose(world)
        later = world.acquire(token="mine", ttl=60)
        [acquire] = sent(world)
        world.keep(3)
        self.assertEqual([], world.message())
        world.answer(granted(acquire, 60))
        world.keep(3)
        self.assertEqual([], world.message())
        world.answer(events=[event("LOST", later.value)])
        world.advance(1)
        given_up(world)

    def test_a_release_of_it_gives_it_up_at_once(self):
        world = World()
        lease = self.lose(world)
        self.assertIs(lease.loss, world.release(lease).error)
        given_up(world)

    def test_one_that_is_adopted_after_its_loss_or_release_is_given_up(self):
        for lost in (False, True):
            world = World()
            call = world.acquire(token="mine")
            session(world)
            world.answer(granted(world.message()[0], 10))
            world.fail()
            world.connect()
            [adopt] = world.message()
            if lost:
                world.keep(5)
                self.assertIsNotNone(call.value.loss)
            else:
                world.release(call.value)
                world.answer(done(world.message()[0]))
            world.answer(granted(adopt, 10))
            given_up(world)


if __name__ == "__main__":
    unittest.main()
