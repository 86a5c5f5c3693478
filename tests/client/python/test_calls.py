"""Connections of calls that need no Session."""

import asyncio
import time
import unittest
from unittest import mock

import grpc
import redlockd

from redlockd import _requests
from redlockd._attempts import Way
from redlockd._calls import Calls, Round
from redlockd._detached import Detached
from redlockd.errors import make_error


class ReadyChannel:
    """A channel that is connected at once."""

    def get_state(self, try_to_connect):
        return grpc.ChannelConnectivity.READY

    def unary_stream(self, *arguments, **more):
        return lambda *arguments, **more: "a call"

    async def close(self):
        pass


class ReadyConnector:
    asks = False

    async def metadata(self):
        return []

    def channel(self, endpoint, more=()):
        return ReadyChannel()


class CallsTest(unittest.IsolatedAsyncioTestCase):
    async def test_a_call_that_is_cancelled_while_it_connects_ends(self):
        for turns in range(6):  # of the loop, before the call is cancelled
            calls = Calls(["a"], ReadyConnector())
            task = asyncio.ensure_future(calls.open_stream("a", "Watch", None, "k"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                self.assertEqual("a call", task.result())
                continue
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
        self.assertTrue(task.done())

    async def test_a_token_function_that_waits_is_part_of_the_time_of_a_call(self):
        class Asking(ReadyConnector):
            asks = True

            async def metadata(self):
                await asyncio.sleep(60)

        with self.assertRaisesRegex(redlockd.Unreachable, "the token function did not return in time"):
            await asyncio.wait_for(Calls(["a"], Asking()).unary("a", "Release", None, "k", 0.01), 30)


class Refused(unittest.IsolatedAsyncioTestCase):
    """Why daemons refuse a call for now is what its caller hears when its time is over."""

    def detached(self, *answers):
        """The last answer is repeated. A number: how long the daemon is silent at most."""
        self.called = []

        async def unary(endpoint, name, message, key, timeout, on_sent=None, late="UNREACHABLE"):
            self.called.append(name)
            answer = answers[min(len(self.called), len(answers)) - 1]
            if isinstance(answer, float):
                await asyncio.sleep(min(answer, timeout))
                raise make_error(late, "silent")
            raise make_error(answer, answer, retry_after=self.retry_after)

        calls = mock.Mock(unary=unary, endpoints=2, round=lambda: Round(["a", "b"], 0))
        return Detached(calls)

    async def ends(self, reason, timeout, detached, which=slice(4)):
        request = _requests.checked(Way.ACQUIRE, 5, "", "k", wait=timeout)
        calls = [lambda: detached.acquire(request), lambda: detached.release("k", "t", None, timeout),
                 lambda: detached.extend("k", None, "t", 9.0, None, timeout),
                 lambda: detached.proclaim("k", "t", "v", timeout)][which]
        began = time.monotonic()
        for result in await asyncio.gather(*(call() for call in calls), return_exceptions=True):
            self.assertEqual(reason, getattr(result, "reason", result))
        passed = time.monotonic() - began
        self.assertTrue(timeout - 0.01 <= passed < timeout + 2, passed)

    async def test_an_overloaded_daemon_is_named(self):
        for self.retry_after in (0.02, 60, None):
            await self.ends("OVERLOADED", 0.3, self.detached("OVERLOADED"))
            self.assertLess(len(self.called), 30)

    async def test_a_last_attempt_that_is_too_short_does_not_hide_it(self):
        self.retry_after = 0.25
        for call in range(4):
            await self.ends("OVERLOADED", 0.3, self.detached("OVERLOADED", 9.0), slice(call, call + 1))

    async def test_a_daemon_that_falls_silent_afterwards_is(self):
        self.retry_after = 0.05
        await self.ends("UNREACHABLE", 0.4, self.detached("OVERLOADED", 9.0), slice(1, 2))

    async def test_a_proclaim_is_repeated_while_too_few_nodes_answer(self):
        self.retry_after = None
        for reason in ("QUORUM_UNAVAILABLE", "NODE_SET_MISMATCH"):
            await self.ends(reason, 0.3, self.detached(reason), slice(3, 4))
            self.assertGreater(len(self.called), 2)

    async def test_a_release_that_overtakes_the_cancellation_of_its_acquire_is_repeated_after_a_second(self):
        times = []

        async def unary(endpoint, name, message, key, timeout, on_sent=None, late="UNREACHABLE"):
            if name == "Acquire":
                on_sent()
                await asyncio.sleep(60)
            times.append(time.monotonic())
            if len(times) == 1:
                raise make_error("LOCK_NOT_HELD", "not held")

        tasks = []
        calls = mock.Mock(unary=unary, endpoints=1, round=lambda: Round(["a"], 0),
                          start=lambda coroutine: tasks.append(asyncio.ensure_future(coroutine)))
        task = asyncio.ensure_future(Detached(calls).acquire(_requests.checked(Way.ACQUIRE, 5, "", "k")))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.gather(*tasks)
        self.assertTrue(task.cancelled())
        first, second = times
        self.assertGreater(second - first, 0.99)


if __name__ == "__main__":
    unittest.main()
