"""Values, proclaim, elections, keep_for and lock_delay: what is sent, and what the caller hears."""

import asyncio
import datetime
import unittest

import grpc
import redlockd
from redlockd import _detached
from redlockd._attempts import Way
from redlockd._wire import seconds
from test_api import Blocking
from test_streams import GRACE, Streams, eventually
from world import World, done, event, failed, granted, kinds

TOO_LONG = "x" * 4097


class Acquiring(unittest.TestCase):
    """The machine."""

    def test_the_value_and_the_delay_are_sent(self):
        world = World()
        world.acquire(value="10.0.0.1:80", lock_delay=2.5)
        world.connect()
        [operation] = world.message()
        self.assertEqual(("10.0.0.1:80", 2.5), (operation.acquire.value, seconds(operation.acquire.lock_delay)))

    def test_without_them_the_fields_stay_unset(self):
        world = World()
        world.acquire()
        world.acquire("j", lock_delay=datetime.timedelta(0))
        world.connect()
        for operation in world.message():
            self.assertEqual(("", False), (operation.acquire.value, operation.acquire.HasField("lock_delay")))

    def test_acquire_or_extend_sends_them_once_the_token_holds_nothing(self):
        world = World()
        world.acquire(way=Way.ACQUIRE_OR_EXTEND, token="mine", value="v", lock_delay=3)
        world.connect()
        [extend] = world.message()
        self.assertTrue(extend.HasField("extend"))
        world.answer(failed(extend, "LOCK_NOT_HELD"))
        [acquire] = world.message()
        self.assertEqual(("v", 3), (acquire.acquire.value, seconds(acquire.acquire.lock_delay)))

    def test_a_retry_on_the_next_session_sends_them_again(self):
        world = World()
        world.acquire(token="mine", value="v", lock_delay=3)
        world.connect()
        world.message()
        world.fail()
        world.connect()
        [acquire] = world.message()
        self.assertEqual((True, "v", 3), (acquire.acquire.extend_if_held, acquire.acquire.value,
                                          seconds(acquire.acquire.lock_delay)))


class Delaying(unittest.TestCase):
    """A lost lock stays taken for its lock_delay."""

    def lose(self, **options):
        """Returns a world in which a lock was lost by the clock, just now, with its lease."""
        world = World()
        call = world.acquire(ttl=2, margin=0.1, lock_delay=3, **options)
        world.connect()
        [acquire] = [operation for operation in world.message() if operation.HasField("acquire")]
        world.answer(granted(acquire, 2))
        while call.value.loss is None:
            world.keep(0.1)
        return world, call.value

    def sent(self, world, time):
        """Answers pings for this time. Returns the other operations that were sent."""
        sent = []
        for _ in range(round(time / 0.1)):
            world.advance(0.1)
            for operation in world.message():
                if not operation.HasField("ping"):
                    sent.append(operation)
                world.answer(done(operation))
        return kinds(sent)

    def test_it_is_released_after_the_delay(self):
        for options, kind in (({}, "release"), ({"token": "mine"}, "give_up")):
            world, _ = self.lose(**options)
            self.assertEqual([], self.sent(world, 2.8))
            self.assertEqual([kind], self.sent(world, 0.6))

    def test_a_release_by_the_caller_does_not_shorten_it(self):
        world, lease = self.lose()
        self.assertIs(lease.loss, world.release(lease).error)
        self.assertEqual([], self.sent(world, 2.8))
        self.assertEqual(["release"], self.sent(world, 0.6))

    def test_nor_does_the_end_of_the_client(self):
        world, _ = self.lose()
        session = world.session
        closed = world.close()
        self.assertEqual((True, [session]), (closed.over, world.cancelled))

    def test_a_close_releases_the_other_locks_one_by_one(self):
        world, _ = self.lose()
        lock = world.lock("other")
        waiting = [world.acquire("a"), world.acquire("b", token="mine")]
        granting = world.message()[0]
        session = world.session
        closed = world.close()
        self.assertEqual(["CANCELLED"] * 2, [call.reason for call in waiting])
        release, *given = world.message()
        self.assertEqual(lock.token, release.release.token)
        self.assertEqual(["cancel", "release", "cancel", "give_up"], kinds(given))
        world.advance(1.5)  # a close is sent after 1 s
        self.assertEqual(["ping"], kinds(world.message()))
        world.answer(granted(granting, 10))
        again = world.message()
        self.assertEqual(["release"], kinds(again))
        world.answer(*map(done, (release, given[1], again[0])))
        self.assertFalse(closed.over)
        world.answer(done(given[3]))
        self.assertEqual((True, [session]), (closed.over, world.cancelled))

    def test_a_late_adoption_does_not_end_it_during_a_close(self):
        world = World(endpoints=["a"])
        call = world.acquire(ttl=4, margin=0.1, lock_delay=3)
        world.connect()
        world.answer(granted(world.message()[0], 4))
        other = world.lock("other")
        world.fail()
        world.advance(0.1)
        world.connect()
        adopt = next(o for o in world.message() if o.adopt.key == "k")
        while call.value.loss is None:
            world.keep(0.1)
        closed = world.close()
        world.answer(granted(adopt, 4))
        [release] = world.message()
        self.assertEqual(other.token, release.release.token)
        world.answer(done(release))
        self.assertTrue(closed.over)

    def test_it_is_not_ended_by_a_release_after_the_daemon_has_reported_the_loss(self):
        for options in ({}, {"token": "mine"}):
            world = World()
            call = world.acquire(lock_delay=3, **options)
            world.connect()
            world.answer(granted(world.message()[0], 10))
            world.answer(events=[event("LOST", call.value)])
            self.assertIs(call.value.loss, world.release(call.value).error)
            self.assertEqual([], self.sent(world, 4))

    def test_answers_after_the_end_of_the_client_are_ignored(self):
        world, _ = self.lose()
        world.lock("other")
        closed = world.close()
        [release] = world.message()
        world.advance(1.3)
        [ping] = world.message()
        session = world.session
        world.answer(done(release), done(ping), events=[event("DRAINING")])
        self.assertTrue(closed.over)
        world.answer(done(ping), session=session)
        self.assertEqual(1, len(world.cancelled))

    def test_an_unanswered_release_goes_on_until_the_delay_is_over(self):
        for delay, sent in ((0, []), (30, ["release"])):
            world = World(endpoints=["a"])
            call = world.acquire(ttl=3, lock_delay=delay)
            world.connect()
            world.answer(granted(world.message()[0], 3))
            world.fail()
            world.release(call.value)
            world.advance(20)
            while world.session is None or not world.session.has_message:
                world.advance(0.1)
            world.connect()
            self.assertEqual(sent, kinds(world.message()))

    def test_so_does_the_release_of_a_lock_that_nobody_gets(self):
        for delay, sent in ((0, []), (30, ["release"])):
            world = World(endpoints=["a"])
            call = world.acquire(ttl=3, lock_delay=delay)
            world.connect()
            world.message()
            world.fail()
            world.machine.give_up(call.acquire, world.now)
            world.advance(20)
            while world.session is None or not world.session.has_message:
                world.advance(0.1)
            world.connect()
            self.assertEqual(sent, kinds(world.message()))

    def test_a_share_keeps_the_delay_of_the_lock(self):
        world = World()
        call = world.acquire(lock_delay=3)
        world.connect()
        world.answer(granted(world.message()[0], 10))
        shares = []
        world.machine.downgrade(call.value, lambda lease, error: shares.append(lease), world.now)
        for _ in range(2):  # extend, adopt
            world.answer(granted(world.message()[0], 10))
        self.assertEqual(3, shares[0].lock_delay)


class Keeping(unittest.TestCase):
    """keep_for in the machine."""

    def release(self, world, lease, keep_for):
        calls = []
        world.machine.release(lease, calls.append, world.now, keep_for)
        return calls

    def test_it_is_sent_with_the_release(self):
        world = World()
        lease = world.lock()
        self.release(world, lease, 60.0)
        [release] = world.message()
        self.assertEqual(60, seconds(release.release.keep_for))
        world.release(world.lock("other"))
        self.assertFalse(world.message()[0].release.HasField("keep_for"))

    def test_the_background_keeps_naming_it(self):
        world = World()
        calls = self.release(world, world.lock(), 60.0)
        world.answer(failed(world.message()[0], "QUORUM_UNAVAILABLE"))
        self.assertEqual(["QUORUM_UNAVAILABLE"], [error.reason for error in calls])
        world.advance(0.2)
        [release] = world.message()
        self.assertEqual(60, seconds(release.release.keep_for))
        world.fail()
        world.connect()
        [release] = world.message()
        self.assertEqual(60, seconds(release.release.keep_for))

    def test_not_held_is_no_success_while_the_key_would_be_kept(self):
        """A release that was carried out is answered with OK again for that long."""
        for keep_for, reason in ((60.0, "LOCK_NOT_HELD"), (1.0, None)):
            world = World()
            lease = world.lock()
            world.keep(1.0)
            calls = self.release(world, lease, keep_for)
            world.message()
            world.fail()
            world.connect()
            world.answer(failed(world.message()[0], "LOCK_NOT_HELD"))
            self.assertEqual([reason], [error and error.reason for error in calls])

    def test_a_lock_is_released_although_the_daemon_refuses_keep_for(self):
        world = World()
        calls = self.release(world, world.lock(), 600.0)
        world.answer(failed(world.message()[0], "INVALID_ARGUMENT"))
        self.assertEqual(["INVALID_ARGUMENT"], [error.reason for error in calls])
        [again] = world.message()
        self.assertFalse(again.release.HasField("keep_for"))
        world.answer(failed(again, "INVALID_ARGUMENT"))
        self.assertEqual([], world.message())
        self.assertEqual(0, len(world.machine.releases))


class Api:
    """The tests of both APIs; `self.used` is a client whose calls block."""

    def test_a_value_of_4096_bytes_is_sent(self):
        self.used.acquire("k", value="é" * 2048, lock_delay=datetime.timedelta(seconds=2)).release()
        [acquire] = self.daemons[0].seen("acquire")
        self.assertEqual(("é" * 2048, 2), (acquire.value, seconds(acquire.lock_delay)))

    def test_all_that_acquires_takes_them(self):
        options = {"value": "v", "lock_delay": 2}
        self.used.acquire("a", **options)
        self.used.try_acquire("b", **options)
        self.used.acquire_or_extend("c", "mine", **options)
        self.used.lock("d", **options).acquire()
        self.assertEqual({"a", "b", "c", "d"}, {acquire.key for acquire in self.daemons[0].seen("acquire")
                                                if (acquire.value, seconds(acquire.lock_delay)) == ("v", 2)})
        self.used.acquire_detached("e", **options)
        [acquire] = self.daemons[0].called("Acquire")
        self.assertEqual(("e", "v", 2), (acquire.key, acquire.value, seconds(acquire.lock_delay)))

    def test_bad_arguments_fail_their_call_only(self):
        lock = self.used.acquire("k")
        used, election = self.used, self.used.election("e")
        acquisitions = (lambda **bad: used.acquire("j", **bad), lambda **bad: used.try_acquire("j", **bad),
                        lambda **bad: used.acquire_or_extend("j", "t", **bad),
                        lambda **bad: used.acquire_detached("j", **bad), lambda **bad: used.lock("j", **bad).acquire(),
                        lambda **bad: election.campaign(**{"value": "v", **bad}))
        bad = [("value", call, value) for value in (TOO_LONG, "é" * 2049, None, 5, b"v", "\ud800")
               for call in (*acquisitions, lambda value: lock.proclaim(value),
                            lambda value: used.proclaim("j", "t", value))]
        bad += [("lock_delay", call, delay) for delay in (-1, "1", float("nan"), float("inf"), None, True)
                for call in acquisitions]
        bad += [("keep_for", call, time) for time in (0, -1, 0.0005, "1", float("nan"), True)
                for call in (lambda keep_for: lock.release(keep_for),
                             lambda keep_for: used.lock("j", keep_for=keep_for),
                             lambda keep_for: used.release("j", "t", keep_for=keep_for))]
        bad += [("timeout", call, -1) for call in (lambda timeout: election.leader(timeout),
                                                   lambda timeout: used.proclaim("j", "t", "v", timeout=timeout))]
        bad += [("token", lambda token: used.proclaim("j", token, "v"), ""),
                ("key", lambda key: used.proclaim(key, "t", "v"), "")]
        for field, call, value in bad:
            with self.subTest(field, value=str(value)[:9]), self.assertRaisesRegex(
                    redlockd.InvalidArgument, f"^{field}: ") as refused:
                call(**{field: value})
            self.assertNotIn("x" * 10, str(refused.exception))
        self.assertTrue(lock.held)
        self.assertEqual((1, []), (len(self.daemons[0].operations) - len(self.daemons[0].seen("ping")),
                                   self.daemons[0].calls))
        lock.release()
        self.assertEqual({}, self.locks)

    def test_the_smallest_keep_for(self):
        self.used.acquire("k").release(0.001)
        [release] = self.daemons[0].seen("release")
        self.assertEqual(0.001, seconds(release.keep_for))

    def test_a_release_by_key_and_token_names_keep_for(self):
        self.used.release("k", "t", keep_for=60)
        self.used.release("k", "t")
        first, second = self.daemons[0].called("Release")
        self.assertEqual((60, False), (seconds(first.keep_for), second.HasField("keep_for")))

    def test_a_named_lock_is_released_with_its_keep_for(self):
        lock = self.used.lock("k", keep_for=60)
        lock.acquire()
        lock.release()
        [release] = self.daemons[0].seen("release")
        self.assertEqual(60, seconds(release.keep_for))

    def test_proclaim_is_sent(self):
        lock, pair = self.used.acquire("k"), self.used.acquire(["a", "b"])
        lock.proclaim("v")
        pair.proclaim("")
        named = self.used.lock("n")
        named.acquire()
        named.proclaim("w")
        self.used.proclaim(["c", "d"], "t", "x")
        self.assertEqual(
            [("k", [], lock.token, "v"), ("", ["a", "b"], pair.token, ""), ("n", [], named.token, "w"),
             ("", ["c", "d"], "t", "x")],
            [(asked.key, list(asked.keys), asked.token, asked.value) for asked in self.daemons[0].called("Proclaim")])

    def test_proclaim_on_a_lock_that_is_not_held(self):
        lost, released = self.used.acquire("k"), self.used.acquire("j")
        released.release()
        self.daemons[0].send_event("LOST", "k")
        self.until(lambda: lost.loss is not None)
        for lock, other in ((lost, "lost"), (released, "released")):
            with self.assertRaisesRegex(redlockd.LockLost, other):
                lock.proclaim("v")
        self.assertEqual([], self.daemons[0].calls)

    def test_a_daemon_that_does_not_know_the_token_ends_no_trust(self):
        lock = self.used.acquire("k")
        self.daemons[0].fails["Proclaim"] = grpc.StatusCode.FAILED_PRECONDITION, "LOCK_NOT_HELD"
        for call in (lambda: lock.proclaim("v"), lambda: self.used.proclaim("k", lock.token, "v")):
            with self.assertRaises(redlockd.LockLost) as failed:
                call()
            self.assertEqual("LOCK_NOT_HELD", failed.exception.reason)
        self.assertTrue(lock.held)
        self.assertIsNone(lock.loss)
        self.assertEqual([], self.daemons[1].calls)

    def test_proclaim_tries_the_other_daemon(self):
        lock = self.used.acquire("k")
        for calls, reason in enumerate(("QUORUM_UNAVAILABLE", "NODE_SET_MISMATCH", "DRAINING", ""), 1):
            self.daemons[0].fails["Proclaim"] = grpc.StatusCode.UNAVAILABLE, reason
            lock.proclaim("v")
            self.used.proclaim("k", lock.token, "v")
            self.assertEqual(2 * calls, len(self.daemons[1].called("Proclaim")))
            self.assertGreaterEqual(len(self.daemons[0].called("Proclaim")), 1)

    def test_proclaim_by_token_ends_with_its_timeout(self):
        for daemon in self.daemons:
            daemon.fails["Proclaim"] = grpc.StatusCode.UNAVAILABLE, "QUORUM_UNAVAILABLE"
        with self.assertRaises((redlockd.QuorumUnavailable, redlockd.Unreachable)):  # the latter if it ends an attempt
            self.used.proclaim("k", "t", "v", timeout=1)
        self.assertGreater(len(self.daemons[0].called("Proclaim")), 1)

    def test_proclaim_ends_with_the_lock(self):
        for daemon in self.daemons:
            daemon.fails["Proclaim"] = grpc.StatusCode.UNAVAILABLE, "QUORUM_UNAVAILABLE"
        lock = self.used.acquire("k")
        for daemon in self.daemons:
            daemon.silent = True  # so that the lock is lost when the grace ends
        with self.assertRaises(redlockd.LockLost):
            lock.proclaim("v")
        self.assertEqual("LOCK_NOT_HELD", lock.loss.reason)
        self.assertGreater(len(self.daemons[1].called("Proclaim")), 1)
        for daemon in self.daemons:
            daemon.silent = False  # so that the client can close

    def test_a_campaign_ends_with_a_lock(self):
        first, second = self.used.election("e"), self.used.election("e")
        lock = first.campaign("one", ttl=20, owner="crew", lock_delay=3)
        self.assertTrue(lock.held and not lock.lost.is_set())
        [acquire] = self.daemons[0].seen("acquire")
        self.assertEqual(("e", "one", 20, "crew", 3), (acquire.key, acquire.value, seconds(acquire.ttl), acquire.owner,
                                                       seconds(acquire.lock_delay)))
        with self.assertRaises(redlockd.LockAlreadyHeld):
            second.campaign("two", wait=0)
        with self.assertRaisesRegex(RuntimeError, "leads already"):
            first.campaign("again")
        first.resign()
        self.assertGreater(second.campaign("two").fencing_token, lock.fencing_token)

    def test_proclaim_and_resign_act_on_the_leadership(self):
        election = self.used.election("e")
        lock = election.campaign("one")
        election.proclaim("two")
        [proclaim] = self.daemons[0].called("Proclaim")
        self.assertEqual(("e", lock.token, "two"), (proclaim.key, proclaim.token, proclaim.value))
        election.resign()
        self.assertFalse(lock.held)
        self.assertEqual({}, self.locks)
        self.used.election("e").campaign()  # is free again

    def test_without_a_leadership_they_raise(self):
        election = self.used.election("e")

        def refused(message):
            for call in (lambda: election.proclaim("v"), election.resign):
                with self.assertRaisesRegex(redlockd.LockLost, message):
                    call()

        refused("campaign first")
        election.campaign("one")
        election.resign()
        refused("campaign first")
        election.campaign("one").release()
        refused("campaign first")
        lock = election.campaign("one")
        self.daemons[0].send_event("LOST", "e")
        self.until(lambda: lock.loss is not None)
        refused("was lost")
        self.locks.clear()
        self.assertTrue(election.campaign("again").held)

    def test_the_leader(self):
        election = self.used.election("e")
        self.daemons[0].report(state="HELD", holders=1, value="one", fencing_token=4)
        self.assertEqual(("HELD", "one", 4), (election.leader().state, election.leader().value,
                                              election.leader().fencing_token))
        self.daemons[0].report(state="VACANT")
        self.assertEqual("VACANT", election.leader().state)
        self.daemons[0].report(state="UNDECIDED", message="nodes 1 and 2 do not answer")
        with self.assertRaisesRegex(redlockd.QuorumUnavailable, "^e: .*nodes 1 and 2 do not answer"):
            election.leader(timeout=0.2)
        for daemon in self.daemons:
            daemon.fails["Observe"] = grpc.StatusCode.UNAVAILABLE, "DRAINING"
        with self.assertRaises(redlockd.Unreachable):
            election.leader(timeout=0.2)
        self.assertTrue(eventually(lambda: not any(daemon.observers for daemon in self.daemons)))
        self.assertEqual({"e"}, {request.key for request in self.daemons[0].called("Observe")})
        self.used.close()
        with self.assertRaises(redlockd.Cancelled):
            election.leader()


class Threads(Api, Streams):
    def setUp(self):
        super().setUp()
        self.used = self.client()

    def until(self, condition):
        self.assertTrue(eventually(condition))

    def test_the_end_of_a_block_names_keep_for(self):
        with self.used.lock("k", keep_for=60):
            pass
        with self.assertRaises(ZeroDivisionError), self.used.lock("k", keep_for=60):
            1 / 0
        with self.used.lock("k"):
            pass
        self.assertEqual([60, 60, 0], [seconds(release.keep_for) for release in self.daemons[0].seen("release")])

    def test_the_end_of_a_block_keeps_no_key_that_was_lost(self):
        with self.assertRaises(redlockd.LockLost), self.used.lock("k", keep_for=60) as lock:
            self.daemons[0].send_event("LOST", "k")
            self.assertTrue(lock.lost.wait(5))
        self.assertEqual([], self.daemons[0].seen("release"))

    def test_the_observer_of_an_election(self):
        self.daemons[0].report(state="VACANT")
        with self.used.election("e").observe() as states:
            self.assertEqual("VACANT", next(states).state)
        self.assertEqual(["e"], [request.key for request in self.daemons[0].called("Observe")])


class Aio(Api, Streams):
    def setUp(self):
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.used = Blocking(self.loop, redlockd.aio.Client(self.endpoints, grace=GRACE))
        self.addCleanup(self.used.close)

    def until(self, condition):
        def runs():
            self.loop.run_until_complete(asyncio.sleep(0.01))
            return condition()

        self.assertTrue(eventually(runs))

    def run_async(self, body):
        return self.loop.run_until_complete(asyncio.wait_for(body(self.used._inner), 10))

    def test_the_end_of_a_block_names_keep_for(self):
        async def body(client):
            async with client.lock("k", keep_for=60):
                pass
            with self.assertRaises(ZeroDivisionError):
                async with client.lock("k", keep_for=60):
                    1 / 0
            async with client.lock("k"):
                pass

        self.run_async(body)
        self.assertEqual([60, 60, 0], [seconds(release.keep_for) for release in self.daemons[0].seen("release")])

    def test_the_end_of_a_block_keeps_no_key_that_was_lost(self):
        async def body(client):
            with self.assertRaises(redlockd.LockLost):
                async with client.lock("k", keep_for=60):
                    self.daemons[0].send_event("LOST", "k")
                    await asyncio.sleep(5)

        self.run_async(body)
        self.assertEqual([], self.daemons[0].seen("release"))

    def test_the_observer_of_an_election(self):
        async def body(client):
            self.daemons[0].report(state="VACANT")
            async with client.election("e").observe() as states:
                self.assertEqual("VACANT", (await states.__anext__()).state)

        self.run_async(body)
        self.assertEqual(["e"], [request.key for request in self.daemons[0].called("Observe")])


if __name__ == "__main__":
    unittest.main()
