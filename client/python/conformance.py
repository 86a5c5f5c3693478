"""Runs ../conformance/scenarios.json with threads or with asyncio:  conformance.py [aio]"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import redlockd


class Failed(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Failed(what)


def check(reason, step):
    expect(reason == step.get("fails"), f"{step}: {reason}")


def shell(command, prefix):
    done = subprocess.run(["sh", "-c", command], env=dict(os.environ, PREFIX=prefix))
    expect(done.returncode == 0, f"{command}: status {done.returncode}")


class Threads:
    """The steps with redlockd.Client."""

    def __init__(self, endpoints, prefix):
        self.endpoints, self.prefix = endpoints, prefix
        self.client, self.locks, self.waiters = None, {}, {}

    def options(self, step):
        if self.client is None:
            self.client = redlockd.Client(self.endpoints)
        options = {"ttl": step["ttl"], "wait": step.get("wait")}
        return (self.prefix + step["key"] if step["key"] and ":" not in step["key"] else step["key"]), options

    def acquire(self, step):
        key, options = self.options(step)
        try:
            lock = self.client.acquire(key, **options)
        except redlockd.LockError as error:
            return check(error.reason, step)
        check(None, step)
        self.locks[step.get("as")] = lock

    def begin(self, step):
        key, options = self.options(step)
        queued = threading.Event()
        self.waiters[step["as"]] = queued, self.client.acquire_future(
            key, on_queued=lambda position: queued.set(), **options)

    def queued(self, step):
        expect(self.waiters[step["waiter"]][0].wait(10), f"{step}: not queued")

    def await_(self, step):
        self.locks[step["waiter"]] = self.waiters.pop(step["waiter"])[1].result(20)

    def give_up(self, step):
        expect(self.waiters.pop(step["waiter"])[1].cancel(), f"{step}: got the lock")

    def release(self, step):
        try:
            self.locks[step["lock"]].release()
        except redlockd.LockError as error:
            return check(error.reason, step)
        check(None, step)

    def extend(self, step):
        self.locks[step["lock"]].extend(step["ttl"])

    def held(self, step):
        expect(self.locks[step["lock"]].held == step["is"], f"{step}: {self.locks[step['lock']].loss}")

    def lost(self, step):
        expect(self.locks[step["lock"]].lost.is_set() == step["is"], str(step))

    def await_lost(self, step):
        expect(self.locks[step["lock"]].lost.wait(step["within"]), f"{step}: not signalled")

    def fences_grow(self, step):
        fences = [self.locks[name].fencing_token for name in step["locks"]]
        expect(all(a < b for a, b in zip(fences, fences[1:])), f"{step}: {fences}")

    def shell(self, step):
        shell(step["command"], self.prefix)

    def sleep(self, step):
        time.sleep(step["time"])

    def close(self, step=None):
        if self.client is not None:
            self.client.close()
        self.client = None

    def run_all(self, steps):
        try:
            for step in steps:
                getattr(self, "await_" if step["do"] == "await" else step["do"])(step)
        finally:
            self.close()


class Aio(Threads):
    """The steps with redlockd.aio.Client."""

    async def run_all(self, steps):
        try:
            for step in steps:
                await getattr(self, "aio_" + step["do"])(step)
        finally:
            if self.client is not None:
                await self.client.close()

    def options(self, step):
        if self.client is None:
            self.client = redlockd.aio.Client(self.endpoints)
        return super().options(step)

    async def aio_acquire(self, step):
        key, options = self.options(step)
        try:
            lock = await self.client.acquire(key, **options)
        except redlockd.LockError as error:
            return check(error.reason, step)
        check(None, step)
        self.locks[step.get("as")] = lock

    async def aio_begin(self, step):
        key, options = self.options(step)
        queued = asyncio.Event()
        self.waiters[step["as"]] = queued, asyncio.ensure_future(
            self.client.acquire(key, on_queued=lambda position: queued.set(), **options))

    async def aio_queued(self, step):
        await asyncio.wait_for(self.waiters[step["waiter"]][0].wait(), 10)

    async def aio_await(self, step):
        self.locks[step["waiter"]] = await asyncio.wait_for(self.waiters.pop(step["waiter"])[1], 20)

    async def aio_give_up(self, step):
        task = self.waiters.pop(step["waiter"])[1]
        task.cancel()
        try:
            await task
            raise Failed(f"{step}: got the lock")
        except asyncio.CancelledError:
            pass

    async def aio_release(self, step):
        try:
            await self.locks[step["lock"]].release()
        except redlockd.LockError as error:
            return check(error.reason, step)
        check(None, step)

    async def aio_extend(self, step):
        await self.locks[step["lock"]].extend(step["ttl"])

    async def aio_held(self, step):
        self.held(step)

    async def aio_lost(self, step):
        self.lost(step)

    async def aio_await_lost(self, step):
        await asyncio.wait_for(self.locks[step["lock"]].lost.wait(), step["within"])

    async def aio_fences_grow(self, step):
        self.fences_grow(step)

    async def aio_shell(self, step):
        await asyncio.get_running_loop().run_in_executor(None, self.shell, step)

    async def aio_sleep(self, step):
        await asyncio.sleep(step["time"])

    async def aio_close(self, step):
        await self.client.close()
        self.client = None


def main():
    with open(os.environ["SCENARIOS"]) as file:
        scenarios = json.load(file)["scenarios"]
    style = "aio" if "aio" in sys.argv else "threads"
    failed = 0
    for number, scenario in enumerate(scenarios):
        prefix = f"{os.environ['PREFIX']}py-{style}/{number}/"
        endpoints = os.environ["ENDPOINTS"].split(",")
        runner = (Aio if style == "aio" else Threads)(endpoints, prefix)
        try:
            if style == "aio":
                asyncio.run(runner.run_all(scenario["steps"]))
            else:
                runner.run_all(scenario["steps"])
            print(f"ok      {scenario['name']}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {scenario['name']}: {type(error).__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
