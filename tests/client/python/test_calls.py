"""Connections of calls that need no Session."""

import asyncio
import unittest

import grpc
import redlockd

from redlockd._calls import Calls


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


if __name__ == "__main__":
    unittest.main()
