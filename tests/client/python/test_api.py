"""The API with real daemons, for threads and for asyncio. The conformance scenarios check the rest."""

import asyncio
import contextlib
import inspect
import os
import pickle
import threading
import time
import unittest
from datetime import timedelta

import redlockd
from redlockd import errors
from redlockd.testing import Server


class Blocking:
    """A view of an object of redlockd.aio that blocks: its coroutines run on the loop of the test."""

    def __init__(self, loop, inner):
        self._loop, self._inner = loop, inner

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        return self._wrap(value) if callable(value) else value

    def _wrap(self, function):
        def call(*arguments, **options):
            async def run():
                result = function(*arguments, **options)
                return await result if inspect.isawaitable(result) else result

            result = self._loop.run_until_complete(run())
            own = type(result).__module__.startswith("redlockd.aio")
            return Blocking(self._loop, result) if own else result

        return call

    def __repr__(self):
        return repr(self._inner)


class Api:
    """The tests; `client()` makes a client of the API."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.used = self.client(owner="crew 3")
        self.addCleanup(self.used.close)
        self.key = self.id()

    def test_try_acquire(self):
        lock = self.used.try_acquire(self.key, ttl=timedelta(seconds=5))
        self.assertTrue(lock.held)
        self.assertIsNone(self.used.try_acquire(self.key))
        lock.try_extend(timedelta(seconds=20))
        lock.release()

    def test_a_lock_does_not_show_its_token(self):
        lock = self.used.acquire(self.key, token="secret-of-mine")
        lease = self.used.acquire_detached(self.key + "detached", token="secret-of-mine")
        named = self.used.lock(self.key + "named")
        named.acquire(token="secret-of-mine")
        item = redlockd.WatchItem("k", "secret-of-mine")
        for shown in (lock, lease, named, item):
            self.assertNotIn("secret", f"{shown!r} {shown}")
        with self.assertRaises(redlockd.InvalidArgument) as refused:
            self.used.acquire(self.key, token="secret" * 100)
        self.assertNotIn("secret", str(refused.exception))

    def test_a_detached_lock_is_handed_over_and_adopted(self):
        lease = pickle.loads(pickle.dumps(self.used.acquire_detached(self.key, ttl=30)))
        self.assertTrue(15 < lease.validity < 30)
        longer = self.used.extend(lease.key, lease.token, timedelta(seconds=60))
        self.assertGreater(longer.validity, lease.validity)
        self.used.try_extend(lease.key, lease.token, 60)
        lock = self.used.adopt(lease.key, lease.token, ttl=10)
        self.assertEqual(lease.token, lock.token)
        self.used.close()
        self.assertFalse(self.server.held(self.key))

    def test_by_key_and_token(self):
        lease = self.used.acquire_detached(self.key, ttl=30)
        self.used.release(self.key, lease.token)
        for call in (lambda: self.used.release(self.key, lease.token),
                     lambda: self.used.extend(self.key, lease.token, 5),
                     lambda: self.used.adopt(self.key, lease.token)):
            with self.assertRaises(redlockd.LockLost) as refused:
                call()
            self.assertEqual("LOCK_NOT_HELD", refused.exception.reason)

    def test_acquire_or_extend(self):
        first = self.used.acquire_or_extend(self.key, "mine", ttl=5)
        again = self.used.acquire_or_extend(self.key, "mine", ttl=5)
        self.assertTrue(first.held and again.held)
        again.release()
        self.assertFalse(self.server.held(self.key))

    def test_a_retry_policy(self):
        self.used.acquire(self.key)
        policy = redlockd.RetryPolicy(max_retries=1, min_delay=0.01, max_jitter=timedelta(0))
        with self.assertRaises(redlockd.MaxRetriesExceeded):
            self.used.acquire(self.key, retry=policy)

    def test_several_keys_are_locked_together(self):
        a, b = self.key + "a", self.key + "b"
        with self.assertRaises(redlockd.InvalidArgument):
            self.used.lock([a, a])
        lock, named = self.used.acquire([b, a], ttl=60), self.used.lock((a, b), blocking=False)
        self.assertEqual((f"{a}, {b}", (a, b)), (lock.key, lock.keys))
        self.assertTrue(self.server.held(a) and self.server.held(b) and named.locked())
        self.assertIsNone(self.used.try_acquire(b))
        self.assertIsNone(self.used.try_acquire([b, self.key + "c"]))
        with self.assertRaisesRegex(redlockd.LockAlreadyHeld, rf'^{a}, {b}: held by "crew 3" for \d+\.\d\d\d s$'):
            self.used.acquire([a, b], wait=0)
        lock.extend(60)
        lock.release()
        self.assertFalse(self.server.held(a) or self.server.held(b) or named.locked())
        self.assertTrue(named.acquire())
        single = self.used.acquire(self.key + "c")
        self.assertTrue(self.used.lock([a + "d", self.key + "c"]).locked())  # one of them
        single.release()
        self.server.lose(b)
        self.until(named.lost.is_set)
        self.assertIn(f"{a}, {b}: ", str(named.loss))

    def test_a_detached_lock_of_several_keys_is_handed_over(self):
        a, b = self.key + "a", self.key + "b"
        lease = pickle.loads(pickle.dumps(self.used.acquire_detached([b, a], ttl=30)))
        self.assertEqual((f"{a}, {b}", (a, b)), (lease.key, lease.keys))
        self.assertGreater(self.used.extend([b, a], lease.token, 60).validity, 40)
        self.assertEqual((a, b), self.used.try_extend(lease.keys, lease.token, 60).keys)
        with self.assertRaisesRegex(redlockd.LockLost, f"^{a}, {b}: "):
            self.used.extend(lease.keys, "other", 60)
        self.assertEqual((a, b), self.used.adopt(lease.keys, lease.token).keys)
        self.assertTrue(self.used.acquire_or_extend([b, a], lease.token).held)
        self.used.release([b, a], lease.token)
        self.assertFalse(self.server.held(a) or self.server.held(b))

    def test_a_watch_of_several_keys_loses_them_together(self):
        a, b = self.key + "a", self.key + "b"
        lease, heard = self.used.acquire_detached([a, b], ttl=2), []
        watch = self.used.watch([redlockd.WatchItem([b, a], lease.token, 2, 0.1)], heard.append)
        self.until(lambda: [event for event in heard if event.kind == "EXTENDED"])
        self.server.lose(a)
        self.until(lambda: heard[-1].kind == "CANCELLED")  # no lease is left
        watch.close()
        self.assertEqual({(f"{a}, {b}", (a, b))}, {(event.key, event.keys) for event in heard[:-1]})
        [lost] = [event for event in heard if event.kind == "LOST"]
        self.assertTrue(str(lost.error).startswith(f"{a}, {b}: "), lost.error)
        self.assertEqual(("", ()), (heard[-1].key, heard[-1].keys))

    def test_readers_share_a_key_and_exclude_a_writer(self):
        first, second = self.used.acquire(self.key, wait=10, shared=True), self.used.lock(self.key, shared=True)
        self.assertTrue(second.acquire(blocking=False))
        third = self.used.try_acquire([self.key + "b", self.key], shared=True)
        fourth = self.used.acquire_or_extend(self.key, "mine", wait=10, shared=True)
        self.assertEqual({True}, {lock.shared for lock in (first, second, third, fourth)})
        self.assertEqual([self.key, (self.key, self.key + "b")], [first.key, third.keys])
        self.assertIsNone(self.used.try_acquire(self.key))
        for lock in (first, second, third):
            lock.release()
        self.assertIsNone(self.used.try_acquire(self.key))
        self.assertTrue(second.locked())
        self.assertTrue(self.used.acquire_or_extend(self.key, "mine", wait=10, shared=True).held)
        fourth.release()
        writer = self.used.try_acquire(self.key)
        self.assertFalse(writer.shared)
        self.assertFalse(second.acquire(blocking=False))
        writer.release()

    def test_a_detached_share_is_handed_over(self):
        other = self.used.acquire_detached(self.key, ttl=30, wait=10, shared=True)
        lease = pickle.loads(pickle.dumps(self.used.acquire_detached(self.key, ttl=30, wait=10, shared=True)))
        self.assertTrue(lease.shared)
        for call in (self.used.extend, self.used.try_extend):
            with self.assertRaisesRegex(redlockd.LockLost, f"^{self.key}: "):
                call(lease.key, lease.token, 60)
            longer = call(lease.key, lease.token, 60, shared=True)
            self.assertGreater(longer.validity, lease.validity)
            self.assertTrue(longer.shared)
        with self.assertRaises(redlockd.LockLost):
            self.used.adopt(lease.key, lease.token)
        lock = self.used.adopt(lease.keys, lease.token, ttl=10, shared=lease.shared)
        self.assertTrue(lock.shared)
        lock.release()
        self.used.release(self.key, other.token)
        self.assertFalse(self.server.held(self.key))

    def test_a_watch_of_a_share(self):
        lease, heard = self.used.acquire_detached(self.key, ttl=2, wait=10, shared=True), []
        other = self.used.acquire(self.key, wait=10, shared=True)
        watch = self.used.watch([redlockd.WatchItem(self.key, lease.token, 2, 0.1, shared=True)], heard.append)
        self.until(lambda: [event for event in heard if event.kind == "EXTENDED"])
        self.server.lose(self.key)
        self.until(lambda: heard[-1].kind == "CANCELLED")  # no lease is left
        watch.close()
        self.until(other.lost.is_set)  # server.lose() is about all that share the key
        self.assertEqual({(self.key, True)}, {(event.key, event.shared) for event in heard[:-1]})
        self.assertFalse(heard[-1].shared)

    def test_an_exclusive_lock_is_downgraded(self):
        writer = self.used.acquire([self.key + "b", self.key], ttl=60, token="mine")
        share = writer.downgrade()
        self.assertEqual([True, "mine", writer.keys], [share.shared, share.token, share.keys])
        self.assertEqual([True, False, False, None], [share.held, writer.held, writer.lost.is_set(), writer.loss])
        reader = self.used.acquire(self.key, wait=10, shared=True)
        self.assertIsNone(self.used.try_acquire(self.key))
        with self.assertRaisesRegex(redlockd.InvalidArgument, "only an exclusive lock can be downgraded"):
            share.downgrade()
        for call in (writer.downgrade, lambda: writer.extend(5)):
            with self.assertRaisesRegex(redlockd.LockLost, "released or downgraded"):
                call()
        writer.release()
        share.extend(60)
        share.release()
        reader.release()
        self.assertFalse(self.server.held(self.key))

    def test_a_named_lock_holds_the_share_after_a_downgrade(self):
        named = self.used.lock(self.key, ttl=60)
        with self.assertRaises(redlockd.LockLost):
            named.downgrade()
        for _ in range(2):  # it is acquired exclusively again
            named.acquire()
            self.assertFalse(named.shared)
            token, share = named.token, named.downgrade()
            self.assertEqual([True, token, token], [named.shared, named.token, share.token])
            self.assertTrue(named.held and share.held)
            self.assertIn("shared=True", repr(named))
            self.used.acquire(self.key, wait=10, shared=True).release()
            named.release()
            self.assertFalse(share.held)
            self.assertFalse(self.server.held(self.key))

    def test_a_semaphore_has_a_limit_of_holders(self):
        first, second = self.used.acquire(self.key, wait=10, max_holders=2), self.used.lock(self.key, max_holders=2)
        self.assertTrue(second.acquire(blocking=False))
        self.assertEqual([2, 2, {1, 2}], [first.max_holders, second.max_holders, {first.slot, second.slot}])
        self.assertIsNone(self.used.try_acquire(self.key, max_holders=2))
        self.assertFalse(self.used.lock(self.key, max_holders=2).acquire(blocking=False))
        for options in ({"max_holders": 3}, {}, {"shared": True}):
            with self.assertRaisesRegex(redlockd.KindMismatch, f"^{self.key}: .*a semaphore of 2") as refused:
                self.used.acquire(self.key, wait=10, **options)
            self.assertEqual("a semaphore of 2", refused.exception.in_use_as)
        slot = first.slot
        first.release()
        third = self.used.acquire_or_extend(self.key, "mine", wait=10, max_holders=2)
        again = self.used.acquire_or_extend(self.key, "mine", wait=10, max_holders=2)
        self.assertEqual([slot, slot], [third.slot, again.slot])
        self.assertGreater(third.fencing_token, first.fencing_token)
        third.extend(60)
        third.release()
        self.assertTrue(second.locked())
        second.release()
        self.assertFalse(second.locked())
        lock = self.used.acquire(self.key, wait=10)
        with self.assertRaises(redlockd.KindMismatch) as refused:
            self.used.acquire_detached(self.key, wait=10, max_holders=2)
        self.assertEqual("a lock", refused.exception.in_use_as)
        lock.release()

    def test_a_detached_slot_is_handed_over(self):
        other = self.used.acquire_detached(self.key, ttl=30, wait=10, max_holders=3)
        lease = pickle.loads(pickle.dumps(self.used.acquire_detached(self.key, ttl=30, wait=10, max_holders=3)))
        self.assertEqual(3, lease.max_holders)
        self.assertNotEqual(other.slot, lease.slot)
        for call in (self.used.extend, self.used.try_extend):
            for options in ({}, {"max_holders": 3, "slot": other.slot}, {"max_holders": 4, "slot": lease.slot}):
                with self.assertRaisesRegex(redlockd.LockLost, f"^{self.key}: "):
                    call(lease.key, lease.token, 60, **options)
            for options in ({}, {"slot": lease.slot}):
                longer = call(lease.key, lease.token, 60, max_holders=3, **options)
                self.assertGreater(longer.validity, lease.validity)
                self.assertEqual((3, lease.slot), (longer.max_holders, longer.slot))
        for options in ({}, {"max_holders": 3, "slot": other.slot}):
            with self.assertRaises(redlockd.LockLost):
                self.used.adopt(lease.key, lease.token, **options)
        self.assertEqual(lease.slot, self.used.acquire_or_extend(self.key, lease.token, wait=10, max_holders=3).slot)
        self.assertEqual(lease.slot, self.used.adopt(lease.key, lease.token, max_holders=3, slot=lease.slot).slot)
        lock = self.used.adopt(lease.keys, lease.token, ttl=10, max_holders=3)
        self.assertEqual((3, lease.slot), (lock.max_holders, lock.slot))
        lock.release()
        self.used.release(self.key, other.token)
        self.assertFalse(self.server.held(self.key))

    def test_a_watch_of_a_slot(self):
        lease, heard = self.used.acquire_detached(self.key, ttl=2, wait=10, max_holders=2), []
        other = self.used.acquire(self.key, wait=10, max_holders=2)
        item = redlockd.WatchItem(self.key, lease.token, 2, 0.1, max_holders=2)
        watch = self.used.watch([item], heard.append)
        self.until(lambda: [event for event in heard if event.kind == "EXTENDED"])
        self.server.lose(self.key)
        self.until(lambda: heard[-1].kind == "CANCELLED")  # no lease is left
        watch.close()
        self.until(other.lost.is_set)  # server.lose() is about all that have a slot
        self.assertEqual({(self.key, 2, lease.slot)},
                         {(event.key, event.max_holders, event.slot) for event in heard[:-1]})
        self.assertIsNone(heard[-1].max_holders)

    def test_a_slot_is_named_together_with_max_holders(self):
        for call in (lambda: self.used.adopt(self.key, "t", slot=1),
                     lambda: self.used.extend(self.key, "t", 5, slot=1),
                     lambda: self.used.try_extend(self.key, "t", 5, max_holders=3, slot=4),
                     lambda: self.used.watch([redlockd.WatchItem(self.key, "t", 5, slot=1)], print)):
            with self.assertRaisesRegex(redlockd.InvalidArgument, "^slot: "):
                call()

    def test_max_holders_is_an_int_from_2_to_64(self):
        for value in (1, 65, 2.0):
            options = {"max_holders": value}
            for call in (lambda: self.used.acquire(self.key, **options),
                         lambda: self.used.try_acquire(self.key, **options),
                         lambda: self.used.acquire_or_extend(self.key, "t", **options),
                         lambda: self.used.acquire_detached(self.key, **options),
                         lambda: self.used.lock(self.key, **options), lambda: self.used.adopt(self.key, "t", **options),
                         lambda: self.used.extend(self.key, "t", 5, **options),
                         lambda: self.used.try_extend(self.key, "t", 5, **options),
                         lambda: self.used.watch([redlockd.WatchItem(self.key, "t", 5, **options)], print)):
                with self.assertRaisesRegex(redlockd.InvalidArgument, "^max_holders: "):
                    call()

    def until_state(self, observer, condition):
        """Reads until a state meets the condition, and returns it."""
        for _ in range(20):
            state = self.next(observer)
            if condition(state):
                return state
        self.fail("no state met the condition")

    def test_a_detached_lock_publishes_a_value(self):
        lease = self.used.acquire_detached(self.key, ttl=30, value="one")
        observer = self.used.observe(self.key)
        state = self.until_state(observer, lambda state: state.value == "one")
        self.assertEqual(("HELD", 1, "crew 3", lease.fencing_token), (state.state, state.holders, state.owner,
                                                                       state.fencing_token))
        self.assertTrue(0 < state.remaining <= 30)
        self.used.proclaim(self.key, lease.token, "two")
        self.until_state(observer, lambda state: state.value == "two")
        self.used.release(self.key, lease.token)
        self.until_state(observer, lambda state: state.state == "VACANT")
        with self.assertRaises(redlockd.LockLost):
            self.used.proclaim(self.key, lease.token, "three")
        observer.close()

    def test_each_holder_of_a_slot_publishes_a_value(self):
        one = self.used.acquire(self.key, wait=10, max_holders=3, value="one")
        two = self.used.acquire(self.key, wait=10, max_holders=3, value="two")
        observer = self.used.observe(self.key)
        state = self.until_state(observer, lambda state: state.holders == 2)
        self.assertEqual([("one", one.slot, one.fencing_token), ("two", two.slot, two.fencing_token)],
                         [(by.value, by.slot, by.fencing_token) for by in state.held_by])
        self.assertEqual(3, state.max_holders)
        one.proclaim("new")
        self.until_state(observer, lambda state: [by.value for by in state.held_by] == ["new", "two"])
        two.release()
        self.until_state(observer, lambda state: [by.value for by in state.held_by] == ["new"])
        one.release()
        self.until_state(observer, lambda state: state.state == "VACANT")
        observer.close()

    def test_a_kept_key(self):
        lease = self.used.acquire_detached(self.key, ttl=30)
        observer = self.used.observe(self.key)
        self.until_state(observer, lambda state: state.state == "HELD")
        self.used.release(self.key, lease.token, keep_for=30)
        self.used.release(self.key, lease.token, keep_for=30)  # the same again
        state = self.until_state(observer, lambda state: state.state == "VACANT")
        self.assertTrue(0 < state.kept_for <= 30)
        self.assertIsNone(self.used.try_acquire(self.key))
        observer.close()

    def test_a_refused_keep_for_fails_the_release_but_the_lock_is_released(self):
        with self.assertRaises(redlockd.InvalidArgument):
            self.used.acquire(self.key).release(keep_for=3600)
        lock = self.used.lock(self.key, keep_for=3600)
        lock.acquire()
        with self.assertRaises(redlockd.InvalidArgument):
            lock.release()
        self.until(lambda: not self.server.held(self.key))

    def test_an_election(self):
        election = self.used.election(self.key)
        self.assertEqual("VACANT", election.leader().state)
        lock = election.campaign("one", ttl=10)
        self.assertEqual(("HELD", "one", lock.fencing_token), (
            election.leader().state, election.leader().value, election.leader().fencing_token))
        election.proclaim("two")
        self.assertEqual("two", election.leader().value)
        election.resign()
        self.assertEqual("VACANT", election.leader().state)

    def test_the_mode_is_a_bool(self):
        for call in (lambda: self.used.acquire(self.key, shared=1), lambda: self.used.try_acquire(self.key, shared=1),
                     lambda: self.used.acquire_or_extend(self.key, "t", shared=1),
                     lambda: self.used.acquire_detached(self.key, shared=1),
                     lambda: self.used.adopt(self.key, "t", shared=1), lambda: self.used.lock(self.key, shared=1),
                     lambda: self.used.extend(self.key, "t", 5, shared=1),
                     lambda: self.used.try_extend(self.key, "t", 5, shared=1),
                     lambda: self.used.watch([redlockd.WatchItem(self.key, "t", 5, shared=1)], print)):
            with self.assertRaisesRegex(redlockd.InvalidArgument, "^shared: must be a bool, not int$"):
                call()

    def test_bad_arguments_are_refused(self):
        item = redlockd.WatchItem(self.key, "t", 5)
        for call in (lambda: self.used.acquire(self.key, token=""), lambda: self.used.acquire(self.key, retry=3),
                     lambda: self.used.acquire(self.key, retry=redlockd.RetryPolicy(max_retries=-2)),
                     lambda: self.used.acquire_or_extend(self.key, None), lambda: self.used.adopt(self.key, "redlockd:x"),
                     lambda: self.used.extend(self.key, "t", 0), lambda: self.used.release("", "t"),
                     lambda: self.used.lock(self.key, ttl=1, timeout=1), lambda: self.used.lock(self.key, ttl=-1),
                     lambda: self.used.lock(self.key, wait=1, blocking=False),
                     lambda: self.used.watch([], print), lambda: self.used.watch([item, item], print),
                     lambda: self.used.watch([item], None if False else 5),
                     lambda: self.used.watch([redlockd.WatchItem(self.key, "t", 5, 5)], print)):
            with self.assertRaises(redlockd.InvalidArgument):
                call()

    def test_a_lock_in_the_way_of_redis_py(self):
        lock, other = self.used.lock(self.key, timeout=5), self.used.lock(self.key, timeout=5, blocking=False)
        self.assertTrue(lock.acquire(blocking=True, blocking_timeout=5))
        self.assertFalse(other.acquire())
        self.assertFalse(other.acquire(blocking=True, blocking_timeout=0.1))
        self.assertTrue(lock.owned() and lock.locked() and other.locked())
        self.assertFalse(other.owned())
        for options in ({"wait": 0.1}, {"blocking_timeout": 0.1}, {"blocking_timeout": 0.1, "blocking": False}):
            self.assertFalse(self.used.lock(self.key, **options).acquire(blocking=True))
        with self.assertRaises(RuntimeError):
            lock.acquire()
        self.assertTrue(lock.extend(5))
        self.assertTrue(8 < lock.validity or lock.validity <= 5)  # the grace bounds it
        self.assertTrue(lock.extend(5, replace_ttl=True) and lock.reacquire())
        self.assertGreater(lock.fencing_token, 0)
        lock.release()
        with self.assertRaises(redlockd.LockError):
            lock.release()
        self.assertFalse(lock.locked())
        self.assertTrue(lock.acquire(token="mine"))
        self.assertEqual("mine", lock.token)
        lock.release()

    def test_a_watch_hears_of_a_loss_and_of_its_end(self):
        lease = self.used.acquire_detached(self.key, ttl=2)
        heard = []

        def on_event(event):
            heard.append(event)
            raise SystemExit("a callback must not end the client")

        watch = self.used.watch([redlockd.WatchItem(self.key, lease.token, 2, 0.1)], on_event,
                                keep_watching_after_loss=True)
        self.until(lambda: [event for event in heard if event.kind == "EXTENDED" and event.validity > 1])
        self.server.reset()
        self.until(lambda: [event for event in heard if event.kind == "FAILED"])
        self.server.lose(self.key)
        self.until(lambda: [event for event in heard if event.kind == "LOST" and event.key == self.key])
        watch.close()
        self.assertEqual([len(heard) - 1], [i for i, event in enumerate(heard) if event.kind == "CANCELLED"])

    def test_closing_the_client_ends_a_watch(self):
        heard = []
        self.used.watch([redlockd.WatchItem(self.key, "t", 2)], heard.append, keep_watching_after_loss=True)
        self.used.close()
        self.assertEqual("CANCELLED", heard[-1].kind)
        with self.assertRaises(redlockd.Cancelled):
            self.used.acquire(self.key)
        with self.assertRaises(redlockd.Cancelled):
            self.used.acquire_detached(self.key)

    def until(self, condition):
        end = time.monotonic() + 60  # also on a busy machine
        while not condition():
            self.assertLess(time.monotonic(), end)
            self.wait(0.01)


@unittest.skipUnless("REDLOCKD" in os.environ, "REDLOCKD does not name a daemon")
class Threads(Api, unittest.TestCase):
    def client(self, **options):
        return redlockd.Client([self.server.address], **options)

    wait = staticmethod(time.sleep)

    def next(self, observer):
        giving_up = threading.Timer(60, observer.close)
        giving_up.start()
        try:
            return next(observer)
        finally:
            giving_up.cancel()

    def test_a_named_lock_of_a_block(self):
        with self.assertRaises(redlockd.LockLost), self.used.lock(self.key, 5) as lock:
            self.assertTrue(lock.held)
            self.assertIn(" acquired>", repr(lock))
            self.server.lose(self.key)
            self.assertTrue(lock.lost.wait(10))
            self.assertIn(" lost>", repr(lock))
        with self.used.lock(self.key, 5) as lock:
            lock.release()
        self.assertFalse(self.server.held(self.key))

    def test_a_block_releases_what_it_has_downgraded(self):
        with self.used.lock(self.key, 5) as lock, lock.downgrade() as share:
            self.assertTrue(share.held)
            self.assertIsNone(self.used.try_acquire(self.key))
        self.assertFalse(self.server.held(self.key))
        with self.used.lock(self.key, 5) as lock:
            lock.downgrade()
        self.assertFalse(self.server.held(self.key))
        with self.assertRaises(redlockd.LockLost), self.used.lock(self.key, 5) as lock:
            lock.downgrade()
            self.server.lose(self.key)
            self.assertTrue(lock.lost.wait(10))

    def test_a_block_raises_that_its_keep_for_was_refused(self):
        with self.assertRaises(redlockd.InvalidArgument), self.used.lock(self.key, keep_for=3600):
            pass
        with self.assertRaises(ZeroDivisionError), self.used.lock(self.key, keep_for=3600, wait=5):
            raise ZeroDivisionError
        self.until(lambda: not self.server.held(self.key))

    def test_detached_futures_that_are_cancelled_leave_no_lock(self):
        for i in range(60):
            future = self.used.acquire_detached_future(f"{self.key}{i}", ttl=300)
            time.sleep(0.0001 * i)
            if not future.cancel():
                self.used.release(f"{self.key}{i}", future.result().token)
        self.until(lambda: not any(self.server.held(f"{self.key}{i}") for i in range(60)))

    def test_closing_the_client_ends_calls_that_need_no_session(self):
        other = self.client()
        self.addCleanup(other.close)
        lock = other.acquire(self.key)
        future = self.used.acquire_detached_future(self.key)
        time.sleep(0.2)
        self.used.close()
        with self.assertRaises(redlockd.Cancelled):
            future.result(10)
        lock.release()
        self.until(lambda: not self.server.held(self.key))

    def test_all_clients_share_one_thread(self):
        clients = [self.client() for _ in range(5)]
        for i, client in enumerate(clients):
            client.acquire(f"{self.key}{i}")
        self.assertEqual(1, sum(thread.name == "redlockd" for thread in threading.enumerate()))
        for client in clients:
            client.close()


@unittest.skipUnless("REDLOCKD" in os.environ, "REDLOCKD does not name a daemon")
class Aio(Api, unittest.TestCase):
    def setUp(self):
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        super().setUp()

    def client(self, **options):
        return Blocking(self.loop, redlockd.aio.Client([self.server.address], **options))

    def wait(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def next(self, observer):
        return self.loop.run_until_complete(asyncio.wait_for(observer._inner.__anext__(), 60))

    def test_a_block_releases_what_it_has_downgraded(self):
        async def run(client):
            async with client.lock(self.key, 5) as lock, await lock.downgrade() as share:
                self.assertTrue(share.held)
                self.assertIsNone(await client.try_acquire(self.key))
            self.assertFalse(self.server.held(self.key))
            async with client.lock(self.key, 5) as lock:
                await lock.downgrade()
            self.assertFalse(self.server.held(self.key))
            with self.assertRaises(redlockd.LockLost):
                async with client.lock(self.key, 5) as lock:
                    await lock.downgrade()
                    self.server.lose(self.key)
                    await asyncio.sleep(60)  # cancelled

        self.loop.run_until_complete(asyncio.wait_for(run(self.used._inner), 30))

    def test_a_block_raises_that_its_keep_for_was_refused(self):
        async def run(client):
            async with client.lock(self.key, keep_for=3600):
                pass

        with self.assertRaises(redlockd.InvalidArgument):
            self.loop.run_until_complete(run(self.used._inner))
        self.until(lambda: not self.server.held(self.key))

    def test_detached_tasks_that_are_cancelled_leave_no_lock(self):
        async def run():
            for i in range(60):
                task = asyncio.ensure_future(self.used._inner.acquire_detached(f"{self.key}{i}", ttl=300))
                await asyncio.sleep(0.0001 * i)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self.used._inner.release(f"{self.key}{i}", (await task).token)

        self.loop.run_until_complete(run())
        self.until(lambda: not any(self.server.held(f"{self.key}{i}") for i in range(60)))

    def test_another_event_loop_is_refused(self):
        self.used.acquire(self.key)
        client = self.used._inner
        with self.assertRaises(RuntimeError):
            asyncio.run(client.acquire(self.key))

    def test_another_event_loop_cannot_use_a_lock_or_close_its_client(self):
        async def call(function, *arguments):
            await asyncio.wait_for(function(*arguments), 10)

        lock, client = self.used.acquire(self.key)._inner, self.used._inner
        for function, *arguments in ((lock.extend, 5), (lock.proclaim, "v"), (lock.downgrade,), (lock.release,),
                                     (client.close,)):
            with self.subTest(function), self.assertRaisesRegex(RuntimeError, "another event loop"):
                asyncio.run(call(function, *arguments))
        self.assertTrue(lock.held)

    def test_closing_the_client_ends_calls_that_need_no_session(self):
        async def run(client):
            lock = await client.acquire(self.key)
            own = [redlockd.aio.Client([address]) for address in (self.server.address, "127.0.0.1:1")]
            calls = [asyncio.ensure_future(own[0].acquire_detached(self.key)),
                     asyncio.ensure_future(own[1].acquire_detached(self.key)),
                     asyncio.ensure_future(own[1].extend(self.key, "t", 5, timeout=60))]
            await asyncio.sleep(0.2)
            await asyncio.gather(*(each.close() for each in own))
            await lock.release()
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)

        for error in self.loop.run_until_complete(run(self.used._inner)):
            self.assertIsInstance(error, redlockd.Cancelled)
        self.until(lambda: not self.server.held(self.key))

    def test_a_close_that_is_cancelled_ends_a_watch(self):
        async def run(client):
            lease = await client.acquire_detached(self.key, ttl=2)
            heard = []
            client.watch([redlockd.WatchItem(self.key, lease.token, 2, 0.2)], heard.append)
            with self.assertRaises(redlockd.LockLost):
                async with client.lock(self.key + "-block"):
                    await client.close()  # the loss of the lock cancels the block
            await client.close()
            return heard

        self.assertEqual("CANCELLED", self.loop.run_until_complete(run(self.used._inner))[-1].kind)


class Errors(unittest.TestCase):
    def test_all_can_be_pickled(self):
        for name in errors.__all__:
            error = getattr(errors, name)("REASON", "what failed", 1.5, "crew 3")
            copy = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(error), "REASON", "what failed", 1.5, "crew 3"),
                             (type(copy), copy.reason, str(copy), copy.retry_after, copy.holder))


if __name__ == "__main__":
    unittest.main()
