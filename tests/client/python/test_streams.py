"""Both Python clients over gRPC, with daemons that drain, fall silent or answer late."""

import asyncio
import logging
import threading
import time
import unittest

import grpc
import redlockd
from fake_daemon import FakeDaemon
from redlockd._arguments import check_endpoints, check_margin

GRACE = 2.0


def eventually(condition, within=5.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


class Streams(unittest.TestCase):
    def setUp(self):
        self.locks = {}
        self.daemons = [FakeDaemon(self.locks) for _ in range(2)]
        for daemon in self.daemons:
            self.addCleanup(daemon.close)
        self.endpoints = [daemon.endpoint for daemon in self.daemons]

    def client(self, **options):
        client = redlockd.Client(self.endpoints, **{"grace": GRACE, **options})
        self.addCleanup(client.close)
        return client


class Moves(Streams):
    def test_several_drains_in_a_row(self):
        client = self.client()
        lock = client.acquire("k", ttl=10)
        for i in range(6):
            daemon = self.daemons[i % 2]
            adopted = len(self.daemons[(i + 1) % 2].seen("adopt"))
            daemon.send_event("DRAINING")
            self.assertTrue(eventually(lambda: len(self.daemons[(i + 1) % 2].seen("adopt")) > adopted))
        sequences = [adopt.sequence for daemon in self.daemons for adopt in daemon.seen("adopt")]
        self.assertEqual(sorted(set(sequences)), list(range(102, 102 + len(sequences))))
        self.assertTrue(lock.held)
        lock.release()
        self.assertEqual({}, self.locks)

    def test_slots_move_to_another_daemon(self):
        client = self.client()
        one, two = client.acquire("k", ttl=10, max_holders=2), client.acquire("k", ttl=10, max_holders=2)
        self.assertIsNone(client.try_acquire("k", max_holders=2))
        self.daemons[0].send_event("DRAINING")
        self.assertTrue(eventually(lambda: len(self.daemons[1].seen("adopt")) == 2))
        for lock in (one, two):
            lock.extend(10)
        self.assertEqual({(1, one.token), (2, two.token)},
                         {(adopt.slot, adopt.token) for adopt in self.daemons[1].seen("adopt")})
        one.release()
        three = client.try_acquire("k", max_holders=2)
        self.assertEqual((1, 2, True), (three.slot, two.slot, two.held))
        self.assertEqual({("k", 2, 1): three.token, ("k", 2, 2): two.token}, self.locks)
        for max_holders, slot in ((2, 1), (3, 2)):
            with self.assertRaises(redlockd.LockLost):
                client.adopt("k", two.token, max_holders=max_holders, slot=slot)
        for options in ({"slot": 2}, {}):
            self.assertEqual(2, self.client().adopt("k", two.token, max_holders=2, **options).slot)
        self.assertEqual({2}, {adopt.slot for daemon in self.daemons for adopt in daemon.seen("adopt")
                               if adopt.token == two.token})

    def test_slots_with_asyncio(self):
        async def run():
            async with redlockd.aio.Client(self.endpoints, grace=GRACE) as client:
                async with client.lock("k", max_holders=2) as named:
                    other = await client.acquire_or_extend("k", "mine", max_holders=2)
                    self.assertIsNone(await client.try_acquire("k", max_holders=2))
                    self.daemons[0].send_event("DRAINING")
                    same = await client.acquire_or_extend("k", "mine", max_holders=2)
                    await named.extend(10)
                    self.assertEqual([(1, 2), (2, 2), (2, 2)],
                                     [(lock.slot, lock.max_holders) for lock in (named, other, same)])
                    await same.release()
                    self.assertFalse(other.held)
                    self.assertEqual({("k", 2, 1): named.token}, self.locks)
            self.assertEqual({}, self.locks)

        asyncio.run(asyncio.wait_for(run(), 10))

    def test_a_silent_daemon_is_abandoned_and_the_lock_is_kept(self):
        client = self.client()
        lock = client.acquire("k", ttl=10)
        self.daemons[0].silent = True
        self.assertTrue(eventually(lambda: self.daemons[1].seen("adopt"), GRACE))
        time.sleep(GRACE)
        self.assertTrue(lock.held)
        self.assertFalse(lock.lost.is_set())

    def test_the_loss_is_signalled_within_the_grace_if_all_daemons_are_silent(self):
        client = self.client()
        lock = client.acquire("k", ttl=10)
        for daemon in self.daemons:
            daemon.silent = True
        # The last ping that was answered may have been sent just now.
        self.assertTrue(lock.lost.wait(GRACE))
        self.assertFalse(lock.held)
        self.assertEqual("LOCK_NOT_HELD", lock.loss.reason)
        with self.assertRaises(redlockd.LockLost):
            lock.release()

    def test_an_acquire_whose_answer_is_lost_leaves_nothing_behind(self):
        client = self.client()
        self.daemons[0].withheld = {"acquire"}
        future = client.acquire_future("k", ttl=10)
        self.assertTrue(eventually(lambda: "k" in self.locks))
        cut_off = self.locks["k"]
        self.daemons[0].end_streams()
        lock = future.result(5)
        self.assertNotEqual(cut_off, lock.token)
        self.assertEqual({"k": lock.token}, self.locks)
        self.assertEqual([cut_off], [release.token for release in self.daemons[1].seen("release")])

    def test_giving_up_sends_a_cancel(self):
        self.daemons[0].withheld = {"acquire"}
        future = self.client().acquire_future("k", ttl=10)
        self.assertTrue(eventually(lambda: self.daemons[0].seen("acquire")))
        self.assertTrue(future.cancel())
        self.assertTrue(eventually(lambda: self.daemons[0].seen("cancel")))

        async def give_up():
            async with redlockd.aio.Client(self.endpoints, grace=GRACE) as client:
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.acquire("other", ttl=10), 0.2)
                while len(self.daemons[0].seen("cancel")) < 2:
                    await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(give_up(), 5))

    def test_a_future_that_is_cancelled_while_its_grant_is_read_leaves_no_lock(self):
        client = self.client()
        acquire, futures, known = client._driver.acquire, [], threading.Event()

        def crossing(arguments, on_done):
            def cancelled_before(lease, error):
                known.wait()
                futures[0].cancel()
                on_done(lease, error)

            return acquire(arguments, cancelled_before)

        client._driver.acquire = crossing
        futures.append(client.acquire_future("k", ttl=10))
        known.set()
        self.assertTrue(eventually(lambda: self.daemons[0].seen("release")))
        self.assertTrue(eventually(lambda: not self.locks))
        self.assertTrue(futures[0].cancelled())

    def test_a_release_while_no_daemon_answers_returns_and_continues_in_the_background(self):
        client = self.client()
        lock = client.acquire("k", ttl=10)
        for daemon in self.daemons:
            daemon.refuses = grpc.StatusCode.UNAVAILABLE
            daemon.end_streams()
        began = time.monotonic()
        with self.assertRaises(redlockd.Unreachable):
            lock.release()
        lock.release()  # a second release does nothing
        self.assertLess(time.monotonic() - began, 2.5)
        self.assertFalse(lock.held)
        for daemon in self.daemons:
            daemon.refuses = None
        self.assertTrue(eventually(lambda: not self.locks))

    def test_concurrent_release_extend_and_close_return(self):
        client = self.client()
        locks = [client.acquire(f"k{i}", ttl=10) for i in range(4)]
        for daemon in self.daemons:
            daemon.withheld = {"release", "extend", "close"}
        calls = [lambda: locks[0].release(), lambda: locks[1].extend(5), lambda: locks[1].release(),
                 lambda: locks[0].release(), lambda: locks[2].extend(5), client.close]

        def run(call):
            try:
                call()
            except redlockd.LockError:
                pass

        threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4)
            self.assertFalse(thread.is_alive())
        self.assertLess(time.monotonic() - began, 3)
        locks[3].release()

    def test_closing_leaves_nothing_locked(self):
        client = self.client()
        for i in range(10):
            client.acquire(f"k{i}", ttl=10)
        waiting = client.acquire_future("other", ttl=10)
        client.close()
        self.assertEqual({}, self.locks)
        self.assertEqual(1, len(self.daemons[0].seen("close")))
        self.assertTrue(waiting.done())
        with self.assertRaises(redlockd.LockError) as refused:
            client.acquire("k")
        self.assertEqual("CANCELLED", refused.exception.reason)

    def test_all_locks_share_one_stream_and_messages(self):
        client = self.client()
        client.acquire("first", ttl=10)
        before = len(self.daemons[0].messages)
        self.daemons[0].silent = True  # so that all calls are sent before any is answered
        futures = [client.acquire_future(f"k{i}", ttl=10) for i in range(200)]
        self.assertTrue(eventually(lambda: len(self.daemons[0].seen("acquire")) == 201))
        self.assertLess(len(self.daemons[0].messages) - before, 150)
        self.daemons[0].silent = False
        self.daemons[0].send_event("DRAINING")
        for future in futures:
            future.result(10)
        self.assertEqual(1, sum(message.HasField("disconnect_grace") for message in self.daemons[0].messages))

    def test_a_loss_that_the_daemon_reports_reaches_one_lock(self):
        client = self.client()
        lock, other = client.acquire("k", ttl=10), client.acquire("other", ttl=10)
        self.daemons[0].send_event("LOST", "k")
        self.assertTrue(lock.lost.wait(2))
        self.assertFalse(other.lost.is_set())


class Credentials(Streams):
    def test_a_token_may_be_a_function(self):
        client = self.client(token=lambda: "secret")
        client.acquire("k").release()
        self.assertEqual("Bearer secret", self.daemons[0].metadata["authorization"])

    def test_a_function_that_raises_fails_the_acquire(self):
        client = self.client(token=lambda: 1 / 0)
        with self.assertRaises(redlockd.LockError) as refused:
            client.acquire("k")
        self.assertEqual("UNAUTHENTICATED", refused.exception.reason)

    def test_a_token_that_no_header_can_carry_is_rejected(self):
        for token in ("two\nlines", "ünï", 5, b"x"):
            with self.assertRaises(redlockd.InvalidArgument):
                self.client(token=token)
            with self.assertRaises(redlockd.LockError) as refused:
                self.client(token=lambda token=token: token).acquire("k")
            self.assertEqual("UNAUTHENTICATED", refused.exception.reason)

    def test_a_refusal_is_reported_and_the_client_retries(self):
        for daemon in self.daemons:
            daemon.refuses = grpc.StatusCode.PERMISSION_DENIED
        client = self.client()
        with self.assertRaises(redlockd.LockError) as refused:
            client.acquire("k", ttl=10)
        self.assertEqual("PERMISSION_DENIED", refused.exception.reason)
        for daemon in self.daemons:
            daemon.refuses = None
        client.acquire("k", ttl=10, wait=5).release()


class Blocks(Streams):
    """`with` and `async with`."""

    def lose(self, key="k"):
        for daemon in self.daemons:
            daemon.send_event("LOST", key)

    def test_a_block_of_a_thread_that_lost_the_lock_raises_at_its_end(self):
        client = self.client()
        for block in (lambda: client.lock("k", ttl=10), lambda: client.acquire("k", ttl=10)):
            self.locks.clear()
            with self.assertRaises(redlockd.LockLost), block() as lock:
                self.lose()
                self.assertTrue(lock.lost.wait(2))

    def test_the_blocks_own_exception_takes_precedence(self):
        client = self.client()
        with self.assertRaises(ZeroDivisionError), client.lock("k", ttl=10) as lock:
            self.lose()
            lock.lost.wait(2)
            1 / 0

    def aio(self, body):
        async def run():
            async with redlockd.aio.Client(self.endpoints, grace=GRACE) as client:
                return await asyncio.wait_for(body(client), 5)

        return asyncio.run(run())

    def test_a_task_that_lost_the_lock_is_cancelled(self):
        async def body(client):
            with self.assertRaises(redlockd.LockLost):
                async with client.lock("k", ttl=10):
                    self.lose()
                    await asyncio.sleep(5)
            await asyncio.sleep(0.01)  # the task continues
            if hasattr(asyncio.Task, "cancelling"):
                self.assertEqual(0, asyncio.current_task().cancelling())

        self.aio(body)

    def test_a_task_that_swallows_the_cancellation_gets_lock_lost_at_the_end(self):
        async def body(client):
            with self.assertRaises(redlockd.LockLost):
                async with client.lock("k", ttl=10) as lock:
                    self.lose()
                    try:
                        await asyncio.sleep(5)
                    except asyncio.CancelledError:
                        pass
                    self.assertTrue(lock.lost.is_set())
            await asyncio.sleep(0.01)

        self.aio(body)

    def lose_now(self, client, lock):
        """Runs on the loop, so that the task is cancelled before it waits again."""
        client._driver.machine.leases.lose(lock.acquired._lease, "the test takes it")

    def test_a_tasks_own_exception_takes_precedence(self):
        async def body(client):
            with self.assertRaises(ZeroDivisionError):
                async with client.lock("k", ttl=10) as lock:
                    self.lose_now(client, lock)
                    1 / 0
            await asyncio.sleep(0.01)  # the cancellation has no further effect

        self.aio(body)

    def test_a_block_that_ends_just_as_the_lock_is_lost_raises(self):
        async def body(client):
            with self.assertRaises(redlockd.LockLost):
                async with client.lock("k", ttl=10) as lock:
                    self.lose_now(client, lock)
            await asyncio.sleep(0.01)

        self.aio(body)

    def test_a_task_that_lost_its_share_is_cancelled(self):
        async def body(client):
            with self.assertRaises(redlockd.LockLost):
                async with client.lock("k", ttl=10) as lock:
                    exclusive = lock.acquired._lease
                    await lock.downgrade()
                    self.lose_now(client, lock)
                    await asyncio.sleep(5)
            self.assertEqual([], exclusive.on_lost)
            await asyncio.sleep(0.01)
            if hasattr(asyncio.Task, "cancelling"):
                self.assertEqual(0, asyncio.current_task().cancelling())

        self.aio(body)

    def test_a_block_whose_downgrade_is_cancelled_leaves_no_lock(self):
        async def body(client):
            async def work():
                async with client.lock("k", ttl=10) as lock:
                    await lock.downgrade()

            for daemon in self.daemons:
                daemon.withheld = {"extend"}
            task = asyncio.ensure_future(work())
            while not self.daemons[0].seen("extend"):
                await asyncio.sleep(0.01)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            while self.locks:
                await asyncio.sleep(0.01)
            self.assertEqual([], self.daemons[0].seen("give_up"))

        self.aio(body)

    def test_a_named_lock_that_is_released_during_its_downgrade_does_not_get_the_share(self):
        async def body(client):
            lock = client.lock("k", ttl=10)
            await lock.acquire()
            task = asyncio.ensure_future(lock.downgrade())
            await asyncio.sleep(0)
            await lock.release()
            with self.assertRaisesRegex(redlockd.LockLost, "released during its downgrade"):
                await task
            self.assertEqual(({}, False), (self.locks, lock.held))

        self.aio(body)

    def test_a_threads_lock_that_is_released_during_its_downgrade_does_not_get_the_share(self):
        client = self.client()
        lock = client.lock("k", ttl=10)
        lock.acquire()
        wait = client._wait_for_lock
        client._wait_for_lock = lambda start: (wait(start), lock.release())[0]
        with self.assertRaisesRegex(redlockd.LockLost, "released during its downgrade"):
            lock.downgrade()
        self.assertEqual(({}, False), (self.locks, lock.held))

    def test_a_failed_downgrade_ends_the_block(self):
        async def body(client):
            lock = client.lock("k", ttl=10)
            with self.assertRaises(redlockd.LockLost):
                async with lock:
                    self.locks.clear()
                    await lock.downgrade()
            self.assertFalse(lock.held)

        self.aio(body)

    @unittest.skipUnless(hasattr(asyncio.Task, "uncancel"), "before Python 3.11 the two cannot be distinguished")
    def test_a_task_that_is_cancelled_by_other_code_and_loses_the_lock_stays_cancelled(self):
        async def body(client):
            with self.assertRaises(asyncio.CancelledError):
                async with client.lock("k", ttl=10) as lock:
                    self.lose_now(client, lock)
                    asyncio.current_task().cancel()
                    await asyncio.sleep(5)
            asyncio.current_task().uncancel()

        self.aio(body)

    def test_a_task_that_is_cancelled_by_other_code_stays_cancelled(self):
        async def body(client):
            inside = asyncio.Event()

            async def work():
                async with client.lock("k", ttl=10):
                    inside.set()
                    await asyncio.sleep(5)

            task = asyncio.ensure_future(work())
            await inside.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual({}, self.locks)

        self.aio(body)

    def test_a_block_that_succeeds_releases_the_lock(self):
        async def body(client):
            async with client.lock("k", ttl=10) as lock:
                self.assertTrue(lock.held)
                await lock.extend(20)
            self.assertEqual({}, self.locks)
            async with await client.acquire("k", ttl=10):
                pass
            self.assertEqual({}, self.locks)

        self.aio(body)


class Misuse(Streams):
    def test_invalid_values_fail_only_their_own_call_and_are_not_sent(self):
        client = self.client()
        lock = client.acquire("k", ttl=10)
        sent = len(self.daemons[0].seen("acquire"))
        bad = [("key", dict(key=key)) for key in ("", "x" * 513, "é" * 257, None, 5, b"k", "\ud800", "redlockd:x")]
        bad += [("key", dict(key=key)) for key in ([], {"a", "b"}, {"a": 1}, iter("ab"), [str(i) for i in range(65)])]
        bad += [("key[1]", dict(key=["a", key]))
                for key in ("", "x" * 513, None, 5, ["b"], "\ud800", "redlockd:x", "a")]
        bad += [("ttl", dict(ttl=ttl)) for ttl in (0, 0.001, -1, float("nan"), float("inf"), "5", None, True, 1e12,
                                                    10**400, -10**5000)]
        bad += [("wait", dict(wait=wait)) for wait in (-1, "1", float("nan"), True)]
        bad += [("owner", dict(owner=owner)) for owner in ("x" * 129, "\ud800", 5)]
        bad += [("margin", dict(margin=margin)) for margin in (-1, "1", float("nan"), True, GRACE / 2.9)]
        bad += [("on_queued", dict(on_queued=on_queued)) for on_queued in (5, asyncio.sleep)]
        for field, values in bad:
            with self.subTest(values), self.assertRaises(redlockd.InvalidArgument) as refused:
                client.acquire(**{"key": "other", **values})
            self.assertEqual("INVALID_ARGUMENT", refused.exception.reason)
            self.assertTrue(str(refused.exception).startswith(f"{field}: "), str(refused.exception))
        for ttl in (0, "x"):
            with self.assertRaises(redlockd.InvalidArgument):
                lock.extend(ttl)
        self.assertEqual(sent, len(self.daemons[0].seen("acquire")))
        self.assertTrue(lock.held)

    def test_invalid_values_of_a_client_are_rejected(self):
        for grace in (0, 0.09, "5", None, float("inf")):
            with self.assertRaises(redlockd.InvalidArgument):
                redlockd.Client(self.endpoints, grace=grace)
        for credentials in ("ca.pem", True, grpc.ssl_channel_credentials):
            with self.assertRaisesRegex(redlockd.InvalidArgument, "^credentials: "):
                redlockd.Client(self.endpoints, credentials=credentials)
        bad_ports = ("h:0", "h:65536", ["h:1", "[::1]:99999"])
        for endpoints in ([], [""], [5], None, "", *bad_ports):
            with self.assertRaises(redlockd.InvalidArgument) as refused:
                redlockd.Client(endpoints)
            if endpoints in bad_ports:
                self.assertIn("the port must be a number from 1 to 65535", str(refused.exception))
        for endpoint in ("h:65535", "[::1]:1", "unix:/s:0", "unix:0", "unix-abstract:s", "ipv6:[::1]:1", "dns:///h:1",
                         "::0"):
            self.assertEqual([endpoint], check_endpoints(endpoint))

    def test_an_address_without_a_port_is_rejected(self):
        for endpoint in ("localhost", "10.0.0.1", "[::1]", "h:", "http://h:1", "https://h:1", "[::1]:", ":", "h\udc80:1",
                         "a b"):
            for endpoints in (endpoint, ["h:1", endpoint]):
                for client in (redlockd.Client, redlockd.aio.Client):
                    with self.assertRaises(ValueError) as refused:
                        client(endpoints)
                    self.assertIn(f"endpoints: {endpoint!r} ", str(refused.exception))
                    self.assertIsInstance(refused.exception, redlockd.InvalidArgument)

    def test_the_list_of_endpoints_may_be_used_again(self):
        endpoints = list(self.endpoints)
        client = redlockd.Client(endpoints)
        self.addCleanup(client.close)
        endpoints[:] = ["127.0.0.1:1"]
        client.acquire("k", ttl=10, wait=5).release()

    def test_a_margin_is_at_most_a_third_of_the_ttl_and_of_the_grace(self):
        self.assertEqual(1.0, check_margin(1, ttl=3, grace=5))
        self.assertEqual(0.0, check_margin(0, ttl=3, grace=5))
        with self.assertRaises(redlockd.InvalidArgument) as refused:
            check_margin(0.5, ttl=3, grace=1.2)
        self.assertEqual("margin: is 0.5 s; use at most 0.4 s (a third of the TTL or of the client's grace, "
                         "whichever is less)", str(refused.exception))

    def test_a_blocking_call_inside_a_callback_raises(self):
        client = self.client()
        raised = []

        def on_queued(position):
            try:
                client.acquire("other", wait=0)
            except RuntimeError as error:
                raised.append(error)

        acquire = client._driver.acquire
        client._driver.acquire = lambda request, on_done: (request.on_queued(0), acquire(request, on_done))[1]
        client.acquire("k", ttl=10, on_queued=on_queued).release()
        self.assertEqual(1, len(raised))

    def test_errors_can_be_pickled(self):
        import pickle
        error = redlockd.LockAlreadyHeld("LOCK_ALREADY_HELD", "k is held", 1.5)
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(error), error.reason, str(error), error.retry_after),
                         (type(copy), copy.reason, str(copy), copy.retry_after))

    def test_classes_are_shown_as_they_are_imported(self):
        import pickle
        for module in (redlockd, redlockd.aio):
            for name in module.__all__:
                value = getattr(module, name)
                if isinstance(value, type):
                    self.assertEqual((module.__name__, name), (value.__module__, value.__qualname__))
                    self.assertIs(value, pickle.loads(pickle.dumps(value)))
        lease = redlockd.Lease("k", "t", 1, 2.0)
        self.assertEqual(lease, pickle.loads(pickle.dumps(lease)))
        error = pickle.loads(pickle.dumps(redlockd.LockTimeout("DEADLINE_EXCEEDED", "late")))
        self.assertEqual("late", str(error))

    def test_an_event_loop_that_is_blocked_briefly_loses_no_lock(self):
        async def run():
            async with redlockd.aio.Client(self.endpoints, grace=GRACE) as client:
                lock = await client.acquire("k", ttl=10)
                for _ in range(3):
                    time.sleep(GRACE * 0.6)
                    await asyncio.sleep(0.3)
                self.assertTrue(lock.held)
                self.assertFalse(lock.lost.is_set())
            self.assertEqual(0, len(self.daemons[1].messages))

        asyncio.run(run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    unittest.main()
