"""Acquisitions that are cancelled at any moment leave no lock behind. Runs against a real daemon."""

import asyncio
import concurrent.futures
import contextlib
import os
import random
import threading
import time
import unittest

import redlockd
from redlockd.testing import Server

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = 400
LEFT_BY = 1.5  # a release may run in the background; a leaked lock would have a TTL of 60 s


@unittest.skipUnless("REDLOCKD" in os.environ, "REDLOCKD does not name a daemon")
class Cancelling(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Server()
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self):
        self.random = random.Random(SEED)

    def left_behind(self, keys):
        end = time.monotonic() + LEFT_BY
        while time.monotonic() < end:
            keys = [key for key in keys if self.cluster.held(key)]
            if not keys:
                break
            time.sleep(0.05)
        return keys

    def test_tasks(self):
        async def run():
            client = redlockd.aio.Client([self.cluster.address])
            for i in range(ROUNDS):
                task = asyncio.ensure_future(client.acquire(f"task-{i}", ttl=60))
                for _ in range(self.random.randrange(8)):
                    await asyncio.sleep(0)
                await asyncio.sleep(self.random.uniform(0, 0.006))
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await task).release()
            left = await asyncio.get_running_loop().run_in_executor(
                None, self.left_behind, [f"task-{i}" for i in range(ROUNDS)])
            await client.close()
            return left

        self.assertEqual([], asyncio.run(run()))

    def test_tasks_that_downgrade(self):
        async def run():
            client = redlockd.aio.Client([self.cluster.address])
            for i in range(ROUNDS // 4):
                lock = await client.acquire(f"downgrade-{i}", ttl=60)
                task = asyncio.ensure_future(lock.downgrade())
                await asyncio.sleep(self.random.uniform(0, 0.006))
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await task).release()
            left = await asyncio.get_running_loop().run_in_executor(
                None, self.left_behind, [f"downgrade-{i}" for i in range(ROUNDS // 4)])
            await client.close()
            return left

        self.assertEqual([], asyncio.run(run()))

    def test_tasks_whose_token_is_used_again(self):
        async def use(client, i):
            key, token = f"again-{i}", f"mine-{i}"
            for _ in range(4):
                with contextlib.suppress(asyncio.TimeoutError):
                    lock = await asyncio.wait_for(
                        client.acquire(key, ttl=60, token=token), self.random.uniform(0, 0.03))
                    await lock.release()
                lock = await client.acquire_or_extend(key, token, ttl=60)
                await asyncio.sleep(0.05)
                self.assertTrue(lock.held)
                await lock.release()

        async def run():
            client = redlockd.aio.Client([self.cluster.address])
            await asyncio.gather(*(use(client, i) for i in range(ROUNDS // 8)))
            await client.close()

        asyncio.run(run())
        self.assertEqual([], self.left_behind([f"again-{i}" for i in range(ROUNDS // 8)]))

    def test_wait_for(self):
        async def run():
            client = redlockd.aio.Client([self.cluster.address])
            for i in range(ROUNDS):
                with contextlib.suppress(asyncio.TimeoutError):
                    lock = await asyncio.wait_for(
                        client.acquire(f"wait-for-{i}", ttl=60), self.random.uniform(0, 0.006))
                    await lock.release()
            left = await asyncio.get_running_loop().run_in_executor(
                None, self.left_behind, [f"wait-for-{i}" for i in range(ROUNDS)])
            await client.close()
            return left

        self.assertEqual([], asyncio.run(run()))

    def test_waits_that_time_out(self):
        with redlockd.Client([self.cluster.address]) as client:
            for i in range(ROUNDS):
                with contextlib.suppress(redlockd.LockTimeout, redlockd.Unreachable):
                    client.acquire(f"wait-{i}", ttl=60, wait=self.random.uniform(0.0001, 0.006)).release()
            self.assertEqual([], self.left_behind([f"wait-{i}" for i in range(ROUNDS)]))

    def test_futures(self):
        with redlockd.Client([self.cluster.address]) as client:
            for i in range(ROUNDS):
                future = client.acquire_future(f"future-{i}", ttl=60)
                time.sleep(self.random.uniform(0, 0.006))
                if not future.cancel():
                    future.result(5).release()
                else:
                    concurrent.futures.wait([future], 5)
            self.assertEqual([], self.left_behind([f"future-{i}" for i in range(ROUNDS)]))

    def test_waiters_that_give_up_just_as_they_get_the_lock(self):
        with redlockd.Client([self.cluster.address]) as client:
            keys = [f"turn-{i}" for i in range(ROUNDS // 4)]
            for key in keys:
                lock = client.acquire(key, ttl=60)
                queued = threading.Event()
                future = client.acquire_future(key, ttl=60, on_queued=lambda position: queued.set())
                self.assertTrue(queued.wait(5))
                releasing = threading.Thread(target=lock.release)
                releasing.start()
                time.sleep(self.random.uniform(0, 0.004))
                if not future.cancel():
                    future.result(5).release()
                releasing.join()
            self.assertEqual([], self.left_behind(keys))

    def test_an_interrupted_thread(self):
        """Simulates KeyboardInterrupt by an exception that is raised in the waiting thread."""
        import ctypes
        with redlockd.Client([self.cluster.address]) as client:
            client.acquire("first").release()  # starts the library's thread, which could get the exception as it starts
            for i in range(ROUNDS // 4):
                began = threading.Event()

                def work(key=f"interrupted-{i}", began=began):
                    # This function must handle exceptions that arrive after a call has returned.
                    lock = None
                    try:
                        began.set()
                        lock = client.acquire(key, ttl=60)
                        lock = lock.downgrade()
                        time.sleep(0.05)
                    except KeyboardInterrupt:
                        pass
                    if lock is not None:
                        lock.release()

                thread = threading.Thread(target=work)
                thread.start()
                began.wait()
                time.sleep(self.random.uniform(0, 0.008))
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
                thread.join()
            self.assertEqual([], self.left_behind([f"interrupted-{i}" for i in range(ROUNDS // 4)]))


if __name__ == "__main__":
    unittest.main()
