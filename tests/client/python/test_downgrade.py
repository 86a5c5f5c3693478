"""An exclusive lock is downgraded to a share. See "Shared keys" in client/PROTOCOL.md."""

import unittest

from redlockd._arguments import check_key
from redlockd._attempts import Way
from redlockd._lease import State
from redlockd._proto import pb
from redlockd._state import LockState
from redlockd._wire import seconds
from world import Call, World, done, failed, granted, kinds


class Downgraded(World):
    def lock(self, key="k", validity=10, fence=100, **options):
        call = self.acquire(key, **options)
        if self.machine.ready is None:
            self.connect()
        [acquire] = [operation for operation in self.message() if operation.HasField("acquire")]
        self.answer(granted(acquire, validity, fence=fence))
        self.losses[call.value] = []
        call.value.on_lost.append(lambda: self.losses[call.value].append(self.now))
        return call.value

    def downgrade(self, lease):
        """Returns a Call whose value will be the share."""
        call = Call()
        call.acquire = self.machine.downgrade(lease, call.on_granted, self.now)
        return call

    def downgrading(self, lease):
        """Returns a Call, and the extension that it sends."""
        call = self.downgrade(lease)
        [extend] = self.message()
        return call, extend

    def move(self):
        self.fail()
        if self.session is None:
            self.advance(1)  # a pause
        self.connect()

    def adopted(self):
        """Answers the extension that was sent, then the adoption. Returns the adoption."""
        [extend] = self.message()
        self.answer(granted(extend, 10))
        [adopt] = self.message()
        self.answer(granted(adopt, 10))
        return adopt

    def named(self, kind):
        """The keys and tokens of the operations of this kind that the client sends now."""
        return [(asked.key, asked.token) for operation in self.message() if operation.HasField(kind)
                for asked in [getattr(operation, kind)]]


class Downgrading(unittest.TestCase):
    def test_trust_ends_before_the_downgrade_is_sent(self):
        world = Downgraded()
        writer = world.lock(["b", "a"])
        call = world.downgrade(writer)
        self.assertEqual((0, State.DOWNGRADED), (writer.validity(world.now), writer.state))
        [extend] = world.message()
        world.answer(granted(extend, 10))
        self.assertFalse(call.over)  # an extension alone is not kept alive
        [adopt] = world.message()
        world.answer(granted(adopt, 10))
        for asked in (extend.extend, adopt.adopt):
            self.assertEqual((["a", "b"], pb.LOCK_MODE_SHARED, writer.token, 100),
                             (asked.keys, asked.mode, asked.token, asked.downgrade_from))
            self.assertEqual(10, seconds(asked.ttl))
        self.assertEqual(0, extend.extend.retry.max_retries)
        share = call.value
        self.assertGreater(share.validity(world.now), 0)
        self.assertEqual((check_key(["a", "b"], True), writer.token, writer.ttl, writer.margin, False),
                         (share.key, share.token, share.ttl, share.margin, share.callers_token))

    def test_the_old_lock_has_been_released(self):
        world = Downgraded()
        writer = world.lock()
        call = world.downgrade(writer)
        world.adopted()
        self.assertRegex(repr(LockState(writer)), "'k' downgraded fencing_token=100>$")
        self.assertEqual([], world.losses[writer])
        self.assertEqual("LOCK_NOT_HELD", world.extend(writer).reason)
        self.assertEqual("LOCK_NOT_HELD", world.downgrade(writer).reason)
        released = world.release(writer)
        self.assertTrue(released.over)
        self.assertIsNone(released.error)
        self.assertEqual([], world.message())  # the share is still held
        world.release(call.value)
        self.assertEqual([("k", writer.token)], world.named("release"))

    def test_the_share_of_an_extended_lock_is_released_for_as_long_as_it_may_be_held(self):
        world = Downgraded(endpoints=["a"])
        writer = world.lock()
        world.extend(writer, 60)
        world.answer(granted(world.message()[0], 60))
        call = world.downgrade(writer)
        world.adopted()
        world.fail()
        world.release(call.value)
        world.advance(50)
        while world.session is None or not world.session.has_message:
            world.advance(0.1)
        world.connect()
        self.assertEqual([("k", writer.token)], world.named("release"))

    def test_it_is_adopted_once_on_each_session(self):
        world = Downgraded(endpoints=["a"])
        writer = world.lock()
        world.keep(1.5)
        call = world.downgrade(writer)
        [extend] = world.message()
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        world.answer(failed(adopt, "QUORUM_UNAVAILABLE"))
        world.fail()  # another Session is opened at once
        [ping] = world.message()
        world.sleep(0.2)  # the pause after the refusal ends before anything is written
        world.answer(done(ping))
        world.wake()
        [adopt] = world.message()
        world.answer(granted(adopt, 10))
        self.assertIs(State.HELD, call.value.state)
        self.assertEqual([], world.message())

    def test_another_call_must_not_be_requesting_the_key_with_its_token(self):
        for shared in (False, True):
            world = Downgraded()
            call = world.acquire(token="mine")
            waiting = world.acquire(token="mine", shared=shared)
            world.connect()
            first, second = world.message()
            world.answer(granted(first, 10, fence=100))
            writer = call.value
            self.assertEqual("INVALID_ARGUMENT", world.downgrade(writer).reason)
            self.assertEqual((State.HELD, []), (writer.state, world.message()))
            world.answer(failed(second, "LOCK_ALREADY_HELD"))
            self.assertEqual("LOCK_ALREADY_HELD", waiting.reason)
            world.acquire("other", token="mine")
            world.message()
            world.downgrading(writer)

    def test_a_share_is_kept_alive_and_adopted_as_one(self):
        world = Downgraded()
        call = world.downgrade(world.lock())
        first = world.adopted()
        world.move()
        [again] = world.message()
        self.assertEqual((pb.LOCK_MODE_SHARED, 0), (again.adopt.mode, again.adopt.downgrade_from))
        self.assertGreater(again.adopt.sequence, first.adopt.sequence)
        world.answer(granted(again, 10))
        world.keep(3)
        self.assertIs(State.HELD, call.value.state)

    def test_a_downgrade_continues_at_another_daemon(self):
        world = Downgraded()
        writer = world.lock()
        call, first = world.downgrading(writer)
        world.move()
        [extend] = world.message()  # the exclusive lock is not adopted
        self.assertEqual((first.extend.key, first.extend.mode, first.extend.token, 100),
                         (extend.extend.key, extend.extend.mode, extend.extend.token, extend.extend.downgrade_from))
        world.answer(granted(extend, 10))
        [lost] = world.message()
        world.move()
        [adopt] = world.message()
        self.assertEqual(100, adopt.adopt.downgrade_from)
        self.assertGreater(adopt.adopt.sequence, lost.adopt.sequence)
        world.answer(granted(adopt, 10))
        self.assertIs(State.HELD, call.value.state)

    def test_an_adoption_under_way_does_not_release_the_share(self):
        world = Downgraded()
        writer = world.lock()
        for _ in range(3):  # until the sequence is higher than what follows from the fencing token
            world.move()
            [adoption] = world.message()
        call, extend = world.downgrading(writer)
        world.answer(granted(adoption, 10))
        self.assertEqual([], world.message())
        self.assertEqual(0, writer.validity(world.now))
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        self.assertGreater(adopt.adopt.sequence, adoption.adopt.sequence)
        world.answer(granted(adopt, 10))
        self.assertGreater(call.value.validity(world.now), 0)

    def test_an_adoption_that_was_not_sent_is_not_sent(self):
        world = Downgraded()
        writer = world.lock()
        world.fail()
        world.connect()
        world.downgrade(writer)
        self.assertEqual(["extend"], kinds(world.message()))

    def test_pending_extensions_end_with_the_exclusive_lock(self):
        world = Downgraded()
        writer = world.lock()
        extension = world.extend(writer)
        [late] = world.message()
        world.downgrade(writer)
        self.assertEqual("LOCK_NOT_HELD", extension.reason)
        world.answer(granted(late, 60))
        self.assertEqual(0, writer.validity(world.now))

    def test_a_failure_releases_the_token_whoever_made_it(self):
        for token in (None, "mine"):
            world = Downgraded()
            writer = world.lock(token=token)
            call, extend = world.downgrading(writer)
            released = []
            while not released:
                if extend is not None:
                    world.answer(failed(extend, "QUORUM_UNAVAILABLE"))
                world.advance(0.1)
                self.assertLess(world.now, 1011, "the trust bounds the call")
                operations, extend = world.message(), None
                for operation in operations:
                    if operation.HasField("ping"):
                        world.answer(done(operation))
                    elif operation.HasField("extend"):
                        extend = operation
                    else:
                        self.assertEqual(["release"], kinds([operation]))  # and not give_up
                        released.append(operation.release.token)
            self.assertEqual([writer.token], released)
            self.assertEqual("QUORUM_UNAVAILABLE", call.reason)
            self.assertIn("; the lock is being released", str(call.error))
            self.assertEqual(token is not None, str(call.error).endswith(", and its token must not be used again"))

    def test_a_share_that_comes_too_late_is_released(self):
        world = Downgraded()
        call = world.downgrade(world.lock(token="mine"))
        [extend] = world.message()
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        world.answer(granted(adopt, 0.4))  # less than the margin
        self.assertEqual("VALIDITY_EXPIRED", call.reason)
        self.assertIn("must not be used again", str(call.error))
        self.assertEqual([("k", "mine")], world.named("release"))

    def test_giving_up_releases_the_token(self):
        for answered in (False, True):
            world = Downgraded()
            call = world.downgrade(world.lock(token="mine"))
            [operation] = world.message()
            if answered:
                world.answer(granted(operation, 10))
                [operation] = world.message()
            world.machine.give_up(call.acquire, world.now)
            self.assertFalse(call.over)
            self.assertEqual([("k", "mine")], world.named("release"))
            world.answer(granted(operation, 10))  # late; a Session would keep an adopted lock alive
            self.assertEqual([("k", "mine")] * answered, world.named("release"))

    def test_giving_up_without_a_session_releases_the_token_on_the_next_one(self):
        world = Downgraded()
        call, _ = world.downgrading(world.lock(token="mine"))
        world.fail()
        world.machine.give_up(call.acquire, world.now)
        world.connect()
        self.assertEqual([("k", "mine")], world.named("release"))

    def test_a_lock_that_is_no_longer_held_is_not_released(self):
        for answered in (False, True):
            world = Downgraded()
            call = world.downgrade(world.lock(token="mine"))
            [operation] = world.message()
            if answered:
                world.answer(granted(operation, 10))
                [operation] = world.message()
            world.answer(failed(operation, "LOCK_NOT_HELD"))
            self.assertEqual(("LOCK_NOT_HELD", "k: LOCK_NOT_HELD"), (call.reason, str(call.error)))
            world.keep(2)
            again = world.acquire(token="mine")  # the caller may use its token again
            self.assertEqual(["acquire"], kinds(world.message()))
            self.assertFalse(again.over)

    def test_its_token_is_refused_until_it_has_ended(self):
        world = Downgraded()
        call, extend = world.downgrading(world.lock(token="mine"))
        for way in Way:
            for shared in (False, True):
                other = world.acquire(token="mine", way=way, shared=shared)
                world.advance(0)
                self.assertEqual("INVALID_ARGUMENT", other.reason)
                self.assertRegex(str(other.error), "^token: .*downgrading k")
        world.acquire("other", token="mine")
        world.acquire("k", token="yours")
        self.assertEqual(["other", "k"], [operation.acquire.key for operation in world.message()])
        world.answer(granted(extend, 10))
        [adopt] = world.message()
        world.answer(granted(adopt, 10))
        self.assertIsNotNone(call.value)
        self.assertFalse(world.acquire(token="mine", way=Way.ADOPT).over)
        self.assertEqual(["extend"], kinds(world.message()))

    def test_the_token_waits_for_the_release_of_a_failed_downgrade(self):
        world = Downgraded()
        call, _ = world.downgrading(world.lock(token="mine"))
        world.machine.give_up(call.acquire, world.now)
        for shared in (False, True):
            world.acquire(token="mine", shared=shared)
        [release] = world.message()
        self.assertTrue(release.HasField("release"))
        world.answer(done(release))
        self.assertEqual(["acquire"] * 2, kinds(world.message()))

    def test_only_a_held_exclusive_lock_is_downgraded(self):
        world = Downgraded()
        writer = world.lock()
        world.release(writer)
        self.assertEqual("LOCK_NOT_HELD", world.downgrade(writer).reason)
        for options in ({"shared": True}, {"max_holders": 3}):
            lease = world.lock("other" + "".join(options), **options)
            self.assertEqual("INVALID_ARGUMENT", world.downgrade(lease).reason)
            self.assertIs(State.HELD, lease.state)
        lost = world.lock("lost")
        world.machine.leases.lose(lost, "taken")
        self.assertIs(lost.loss, world.downgrade(lost).error)
        self.assertNotIn("extend", kinds(world.message()))

    def test_close_releases_the_lock(self):
        world = Downgraded()
        call, _ = world.downgrading(world.lock(token="mine"))
        closed = world.close()
        self.assertEqual("CANCELLED", call.reason)
        [release] = world.message()
        self.assertEqual("mine", release.release.token)
        world.answer(done(release))
        self.assertEqual(["close"], kinds(world.message()))
        self.assertFalse(closed.over)


if __name__ == "__main__":
    unittest.main()
