"""Observers: what they report while streams break, daemons fall silent and readers are slow."""

import asyncio
import gc
import threading
import unittest
from unittest import mock

import grpc
import redlockd
from fake_daemon import observed
from redlockd import _observing
from redlockd._calls import Round
from redlockd._key_state import KeyState, key_state
from redlockd._observing import Latest, Observing
from redlockd.errors import make_error
from test_streams import GRACE, Streams, eventually

PATIENCE = 0.3  # in these tests


def held(fence, value="", remaining=60.0, **fields):
    return observed("HELD", remaining, holders=1, fencing_token=fence, value=value, **fields)


def facts(state):
    return state.state, state.fencing_token, state.value


class Values(unittest.TestCase):
    def test_all_fields_arrive(self):
        message = observed("HELD", 12.5, holders=2, owner="crew", value="v", fencing_token=7, mode=2, max_holders=3)
        message.held_for.seconds = 4
        by = message.held_by.add(owner="o", identity="i", peer="p", daemon="d", fencing_token=6, slot=2, value="w")
        by.held_for.seconds, by.remaining.seconds = 3, 9
        message.held_by.add()
        self.assertEqual(KeyState(
            "HELD", 2, "crew", "v", 7, 4.0, 12.5,
            (redlockd.Holder("o", "i", "p", "d", 6, 2, 3.0, 9.0, "w"), redlockd.Holder()), True, 3), key_state(message))
        vacant = observed("VACANT")
        vacant.kept_for.seconds = 5
        self.assertEqual(KeyState("VACANT", kept_for=5.0), key_state(vacant))
        self.assertEqual(KeyState("UNDECIDED", message="why"), key_state(observed("UNDECIDED", message="why")))

    def test_an_unknown_state_is_undecided(self):
        message = observed("VACANT")
        message.state = 99
        self.assertEqual("UNDECIDED", key_state(message).state)


class TheLatest(unittest.TestCase):
    def setUp(self):
        self.latest = Latest()

    def offer(self, message):
        return self.latest.offer(key_state(message))

    def taken(self):
        state = self.latest.take()
        return None if state is None else facts(state)

    def test_a_slow_reader_gets_the_latest_state(self):
        for message in (observed("VACANT"), held(1), held(2, "v"), held(2, "w")):
            self.assertTrue(self.offer(message))
        self.assertEqual(("HELD", 2, "w"), self.taken())
        self.assertIsNone(self.taken())

    def test_a_state_that_the_reader_knows_is_no_news(self):
        self.offer(held(1))
        self.taken()
        self.assertTrue(self.offer(held(1, remaining=30.0)))
        self.assertIsNone(self.taken())
        self.offer(observed("UNDECIDED"))
        self.offer(held(1))  # before the reader has seen that it was undecided
        self.assertIsNone(self.taken())

    def test_each_fact_is_news(self):
        self.offer(observed("VACANT"))
        kept = observed("VACANT")
        kept.kept_for.seconds = 1
        sharing = held(2, mode=2)
        sharing.held_by.add(fencing_token=2, value="x")
        for message in (kept, held(1), held(1, "v"), held(1, "v", owner="o"), held(2, "v", owner="o"),
                        held(2, mode=2), sharing, held(2, max_holders=2), observed("UNDECIDED"), observed("VACANT")):
            self.taken()
            self.offer(message)
            self.assertIsNotNone(self.taken(), message)

    def test_fencing_tokens_never_go_backwards(self):
        self.offer(held(5))
        self.offer(observed("VACANT"))
        self.taken()
        self.assertFalse(self.offer(held(4)))
        self.assertIsNone(self.taken())
        self.assertTrue(self.offer(held(5, "again")))
        self.assertEqual(("HELD", 5, "again"), self.taken())

    def offer_together(self, *fences, **fields):
        message = held(fences[-1], **fields)
        for fence in fences:
            message.held_by.add(fencing_token=fence)
        return self.offer(message)

    def test_the_youngest_of_several_holders_may_leave(self):
        for fields in ({"mode": 2}, {"max_holders": 3}):
            self.latest = Latest()
            self.offer(held(3))
            self.assertTrue(self.offer_together(4, 7, **fields))
            self.assertEqual(("HELD", 7, ""), self.taken())
            self.assertTrue(self.offer_together(4, **fields))
            self.assertEqual(("HELD", 7, ""), self.taken())  # so that it does not go backwards
            self.assertFalse(self.offer_together(2, 8, **fields))  # before the exclusive holder
            self.assertFalse(self.offer(held(6)))
            self.assertTrue(self.offer(held(9)))


class ScriptedCall:
    def __init__(self):
        self.messages = asyncio.Queue()
        self.cancelled = False

    async def read(self):
        message = await self.messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    def cancel(self):
        self.cancelled = True


class ScriptedCalls:
    """Calls without gRPC. The test plays the daemons."""

    def __init__(self, endpoints=("a", "b")):
        self.streams = []  # (endpoint, call)
        self.refusal = None  # what open_stream() raises
        self._endpoints = endpoints

    def round(self):
        return Round(self._endpoints, 0)

    async def open_stream(self, endpoint, name, request, key):
        if self.refusal is not None:
            raise self.refusal
        assert (name, request.key) == ("Observe", key)
        self.streams.append((endpoint, ScriptedCall()))
        return self.streams[-1][1]

    def error(self, endpoint, error, key):
        return make_error(error.args[0], f"{key}: {endpoint}: refused by the test")


class Machine(unittest.IsolatedAsyncioTestCase):
    """One Observing, with streams that the test plays."""

    async def asyncSetUp(self):
        self.patch(_PATIENCE=PATIENCE)
        self.begin()

    def begin(self, refusal=None):
        """Begins to observe. refusal: how each attempt to open a stream fails."""
        self.calls = ScriptedCalls()
        if refusal is not None:
            self.calls.refusal = make_error(*refusal)
        self.observing = Observing(self.calls, "k")
        self.addAsyncCleanup(self.observing.close)

    def patch(self, **values):
        patch = mock.patch.multiple(_observing, **values)
        patch.start()
        self.addCleanup(patch.stop)

    async def call(self, number=0):
        """The stream of this number, once it is open."""
        while len(self.calls.streams) <= number:
            await asyncio.sleep(0.001)
        return self.calls.streams[number][1]

    async def send(self, *messages, stream=0):
        call = await self.call(stream)
        for message in messages:
            call.messages.put_nowait(message)

    async def next(self):
        return await asyncio.wait_for(self.observing.next(), 5)

    async def silence(self, seconds):
        """Nothing is reported for this long."""
        reader = asyncio.ensure_future(self.observing.next())
        await asyncio.sleep(seconds)
        self.assertFalse(reader.done(), reader)
        reader.cancel()

    async def test_it_moves_to_the_next_daemon_and_repeats_nothing(self):
        await self.send(held(1, "v"))
        self.assertEqual(("HELD", 1, "v"), facts(await self.next()))
        for number, failure in enumerate((grpc.aio.EOF, grpc.RpcError("DRAINING"), grpc.RpcError("UNREACHABLE"),
                                          grpc.RpcError("OVERLOADED"), grpc.RpcError("QUORUM_UNAVAILABLE"))):
            await self.send(failure, stream=number)
            await self.send(held(1, "v"), stream=number + 1)
            await self.silence(0.02)
        self.assertEqual(list("ababab"), [endpoint for endpoint, _ in self.calls.streams])
        self.assertEqual([True] * 5 + [False], [call.cancelled for _, call in self.calls.streams])
        await self.send(held(2, "w"), stream=5)
        self.assertEqual(("HELD", 2, "w"), facts(await self.next()))

    async def test_an_older_holder_is_not_reported_after_a_reconnect(self):
        await self.send(held(7))
        await self.next()
        await self.send(grpc.aio.EOF)
        await self.send(held(6), held(8), stream=1)
        self.assertEqual(8, (await self.next()).fencing_token)

    async def test_a_daemon_that_is_behind_does_not_confirm_the_state(self):
        await self.send(held(7, remaining=0.1))
        await self.next()
        await self.send(grpc.aio.EOF)
        await self.send(held(6), stream=1)
        state = await self.next()
        self.assertEqual(("UNDECIDED", "k: no daemon has reported its present state"), (state.state, state.message))

    async def test_a_refusal_ends_it(self):
        for reason in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED"):
            self.begin((reason, "k: refused by the test"))
            for _ in range(2):
                with self.assertRaises(redlockd.LockError) as refused:
                    await self.next()
                self.assertEqual(reason, refused.exception.reason)
            self.assertTrue(self.observing.ended)

    async def test_a_refusal_comes_after_the_last_state(self):
        await self.send(held(1), grpc.RpcError("PERMISSION_DENIED"))
        while not self.observing.ended:
            await asyncio.sleep(0.001)
        self.assertEqual("HELD", (await self.next()).state)
        with self.assertRaises(redlockd.PermissionDenied):
            await self.next()

    async def test_it_is_undecided_if_no_daemon_is_there_at_first(self):
        self.begin(("UNREACHABLE", "k: a: nobody is there"))
        self.assertEqual(KeyState("UNDECIDED", message="k: a: nobody is there"), await self.next())
        await self.silence(2 * PATIENCE)  # once
        self.calls.refusal = None
        await self.send(observed("VACANT"))
        self.assertEqual("VACANT", (await self.next()).state)

    async def test_it_is_undecided_if_the_daemon_says_nothing_at_first(self):
        await self.call()
        self.assertEqual("UNDECIDED", (await self.next()).state)

    async def test_it_is_undecided_some_time_after_a_break(self):
        for message in (observed("VACANT"), held(1, remaining=0.05)):
            await self.send(message, stream=len(self.calls.streams) - 1 if self.calls.streams else 0)
            await self.next()
            self.calls.refusal = make_error("UNREACHABLE", "k: a: gone")
            await self.send(grpc.aio.EOF, stream=len(self.calls.streams) - 1)
            await self.silence(PATIENCE / 2)
            self.assertEqual("UNDECIDED", (await self.next()).state)
            self.calls.refusal = None
            await self.call(len(self.calls.streams))

    async def test_a_holder_stands_until_its_lock_expires(self):
        await self.send(held(1, remaining=3 * PATIENCE))
        await self.next()
        self.calls.refusal = make_error("UNREACHABLE", "k: a: gone")
        await self.send(grpc.aio.EOF)
        await self.silence(1.5 * PATIENCE)
        self.assertEqual("UNDECIDED", (await self.next()).state)

    async def test_streams_that_bring_nothing_do_not_prolong_a_state(self):
        await self.send(observed("VACANT"))
        await self.next()
        await self.send(grpc.aio.EOF)

        async def break_all():
            number = 1
            while True:
                await self.send(grpc.aio.EOF, stream=number)
                number += 1

        with mock.patch.object(Round, "pause", lambda *arguments: asyncio.sleep(PATIENCE / 10)):
            breaking = asyncio.ensure_future(break_all())
            try:
                self.assertEqual("UNDECIDED", (await self.next()).state)
            finally:
                breaking.cancel()
        self.assertGreater(len(self.calls.streams), 2)

    async def test_it_is_not_undecided_if_a_daemon_confirms_the_state_in_time(self):
        self.patch(_PATIENCE=1.0)  # enough for a busy machine, too
        self.begin()
        await self.send(observed("VACANT"))
        await self.next()
        await self.send(grpc.aio.EOF)
        await self.send(observed("VACANT"), stream=1)
        await self.silence(1.2)

    async def test_the_daemon_reports_that_it_is_undecided(self):
        await self.send(held(1), observed("UNDECIDED", message="nodes 1 and 2 do not answer"))
        while (state := await self.next()).state == "HELD":
            pass
        self.assertEqual("nodes 1 and 2 do not answer", state.message)
        await self.send(grpc.aio.EOF)
        await self.silence(2 * PATIENCE)  # it is known already
        await self.send(held(1), stream=1)
        self.assertEqual("HELD", (await self.next()).state)

    async def test_it_pauses_once_all_daemons_have_failed(self):
        pauses = []
        pause = Round.pause

        async def noting(round, deadline, least=0.0):
            pauses.append((round.failed_in_turn, least))
            await pause(round, deadline, least)

        with mock.patch.object(Round, "pause", noting):
            self.begin(("OVERLOADED", "k: full", 0.02))
            await self.next()
        self.assertEqual([(1, 0.02), (2, 0.02), (3, 0.02)], pauses[:3])
        self.assertLess(len(pauses), 20)

    async def test_closing_ends_the_call_and_reports_nothing_more(self):
        await self.send(held(1))
        call = await self.call()
        while self.observing._latest._pending is None:
            await asyncio.sleep(0.001)
        await self.observing.close()
        self.assertIsNone(await self.next())
        self.assertTrue(call.cancelled and self.observing.ended)
        self.assertIsNone(self.observing._timer)

    async def test_closing_while_it_connects_pauses_or_is_undecided(self):
        connecting = asyncio.Event()

        async def connect(*arguments):
            connecting.set()
            await asyncio.sleep(60)

        async def close():
            await asyncio.wait_for(self.observing.close(), 5)
            self.assertIsNone(await self.next())
            self.assertIsNone(self.observing._timer)

        with mock.patch.object(ScriptedCalls, "open_stream", connect):
            self.begin()
            await connecting.wait()
            await close()
        self.begin(("UNREACHABLE", "k: gone", 60.0))
        await close()
        self.begin(("UNREACHABLE", "k: gone", 60.0))
        await self.next()
        await close()

    async def test_close_succeeds_if_the_read_swallows_the_cancellation(self):
        call = await self.call()
        read, instead = call.read, [held(2), grpc.aio.EOF]

        async def stubborn():
            try:
                return await read()
            except asyncio.CancelledError:
                return instead.pop(0)

        call.read = stubborn
        await self.send(held(1))
        await self.next()
        await asyncio.sleep(0)
        await asyncio.wait_for(self.observing.close(), 5)
        self.assertIsNone(await self.next())
        self.assertEqual(([], 1), (instead, len(self.calls.streams)))

    async def test_the_first_decided_state(self):
        await self.send(observed("UNDECIDED", message="nodes"), held(1, "v"))
        state = await self.observing.first_decided(5)
        self.assertEqual(("HELD", 1, "v"), facts(state))
        self.assertTrue(self.observing.ended)

    async def test_why_it_is_not_decided(self):
        await self.send(observed("UNDECIDED", message="nodes 1 and 2 do not answer"))
        with self.assertRaisesRegex(redlockd.QuorumUnavailable, "^k: it is not known within 0.1 s who holds it: "
                                                                "nodes 1 and 2 do not answer$"):
            await self.observing.first_decided(0.1)
        for reason, expected in (("UNREACHABLE", "UNREACHABLE"), ("DRAINING", "UNREACHABLE"),
                                 ("OVERLOADED", "OVERLOADED")):
            self.begin((reason, "k: a: gone"))
            with self.assertRaisesRegex(redlockd.LockError, "who holds it: k: a: gone$") as failed:
                await self.observing.first_decided(0.1)
            self.assertEqual(expected, failed.exception.reason)
        for timeout in (0.0, 2 * PATIENCE):
            self.begin()
            with self.assertRaises(redlockd.Unreachable):
                await self.observing.first_decided(timeout)
        self.begin(("PERMISSION_DENIED", "k: not for you"))
        with self.assertRaisesRegex(redlockd.PermissionDenied, "^k: not for you$"):
            await self.observing.first_decided(5)

    async def test_a_caller_that_gives_up_ends_it(self):
        task = asyncio.ensure_future(self.observing.first_decided(60))
        call = await self.call()
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertTrue(call.cancelled and self.observing.ended)


class Observers:
    """The tests, over gRPC; `observe(key)` makes an observer, and `next(observer)` reads from it. until(condition)
    lets the client run."""

    def no_observers(self):
        self.until(lambda: not any(daemon.observers for daemon in self.daemons))

    def test_it_reports_the_present_state_and_each_change(self):
        self.daemons[0].report(state="VACANT")
        observer = self.observe("k")
        self.assertEqual("VACANT", self.next(observer).state)
        self.daemons[0].report(state="HELD", holders=1, fencing_token=3, value="v", owner="o", remaining=5)
        state = self.next(observer)
        self.assertEqual(("HELD", 3, "v"), facts(state))
        self.assertEqual(("o", 5.0), (state.owner, state.remaining))
        self.close(observer)
        self.assertIsNone(self.next(observer))
        self.no_observers()
        self.assertEqual(["k"], [request.key for request in self.daemons[0].called("Observe")])

    def test_it_moves_to_the_other_daemon(self):
        self.daemons[0].report(state="VACANT")
        self.daemons[1].report(state="HELD", holders=1, fencing_token=3)
        observer = self.observe("k")
        self.next(observer)
        self.daemons[0].fails["Observe"] = grpc.StatusCode.UNAVAILABLE, "DRAINING"
        self.daemons[0].end_observers()
        self.assertEqual(("HELD", 3, ""), facts(self.next(observer)))

    def test_it_ends_with_the_client(self):
        observer = self.observe("k")
        self.until(lambda: self.daemons[0].observers)
        self.close(self.used)
        self.assertIsNone(self.next(observer))
        self.no_observers()
        with self.assertRaises(redlockd.Cancelled):
            self.observe("k")

    def test_it_ends_with_the_client_also_between_two_streams(self):
        for daemon in self.daemons:
            daemon.fails["Observe"] = grpc.StatusCode.UNAVAILABLE, "DRAINING"
        observer = self.observe("k")
        self.until(lambda: self.daemons[1].called("Observe"))
        self.close(self.used)
        self.assertIsNone(self.next(observer))

    def test_a_refusal_is_raised(self):
        for code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT"):
            self.daemons[0].fails["Observe"] = grpc.StatusCode[code], code
            with self.assertRaises(redlockd.LockError) as refused:
                self.next(self.observe("k"))
            self.assertEqual(code, refused.exception.reason)
        self.daemons[0].fails["Observe"] = grpc.StatusCode.UNIMPLEMENTED, ""
        with self.assertRaises(redlockd.LockError) as refused:
            self.next(self.observe("k"))
        self.assertEqual("UNIMPLEMENTED", refused.exception.reason)

    def test_an_observer_that_nobody_has_any_more_ends(self):
        observer = self.observe("k")
        self.until(lambda: self.daemons[0].observers)
        del observer
        gc.collect()
        self.no_observers()

    def test_one_key_at_a_time(self):
        for key in ("", 5, ["a", "b"], "redlockd:x"):
            for call in (self.observe, self.used.election):
                with self.assertRaisesRegex(redlockd.InvalidArgument, "^key: "):
                    call(key)
        self.daemons[0].report(state="VACANT")
        self.assertEqual("VACANT", self.next(self.observe(["k"])).state)


class Threads(Observers, Streams):
    def setUp(self):
        super().setUp()
        self.used = self.client()

    def observe(self, key):
        return self.used.observe(key)

    def next(self, observer):
        """Returns the next state; None at the end."""
        return next(observer, None)

    def close(self, closed):
        closed.close()

    def until(self, condition):
        self.assertTrue(eventually(condition))

    def test_closing_wakes_a_reader_in_another_thread(self):
        heard = []
        with self.used.observe("k") as observer:
            reader = threading.Thread(target=lambda: heard.append(list(observer)))
            reader.start()
            self.assertTrue(eventually(lambda: self.daemons[0].observers))
        reader.join(5)
        self.assertEqual([[]], heard)

    def test_a_loop_may_be_left(self):
        self.daemons[0].report(state="VACANT")
        for state in self.used.observe("k"):
            self.assertEqual("VACANT", state.state)
            break
        self.no_observers()

    def test_it_is_not_read_in_a_callback(self):
        observer = self.observe("k")
        raised = []

        def read():
            try:
                next(observer)
            except RuntimeError as error:
                raised.append(error)

        redlockd._background.loop().call_soon_threadsafe(read)
        self.assertTrue(eventually(lambda: raised))


class Aio(Observers, Streams):
    def setUp(self):
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.used = redlockd.aio.Client(self.endpoints, grace=GRACE)
        self.addCleanup(lambda: self.loop.run_until_complete(self.used.close()))

    def run_async(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, 10))

    def observe(self, key):
        async def run():
            return self.used.observe(key)

        return self.run_async(run())

    def next(self, observer):
        """Returns the next state; None at the end."""
        async def run():
            async for state in observer:
                return state

        return self.run_async(run())

    def close(self, closed):
        self.run_async(closed.close())

    def until(self, condition):
        def runs():
            self.run_async(asyncio.sleep(0.01))
            return condition()

        self.assertTrue(eventually(runs))

    def test_a_block_ends_it_also_if_the_task_is_cancelled(self):
        async def run():
            inside = asyncio.Event()

            async def read():
                async with self.used.observe("k") as observer:
                    inside.set()
                    async for _ in observer:
                        pass

            task = asyncio.ensure_future(read())
            await inside.wait()
            while not self.daemons[0].observers:
                await asyncio.sleep(0.001)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        self.run_async(run())
        self.no_observers()


if __name__ == "__main__":
    unittest.main()
