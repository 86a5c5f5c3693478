"""Runs ../conformance/scenarios.json with threads or with asyncio:  conformance.py [aio]"""

import asyncio
import concurrent.futures
import inspect
import json
import os
import random
import sys
import time

import redlockd

PATIENCE = 20  # seconds that a step waits for something to happen
OPTIONS = ("ttl", "wait", "owner", "token", "margin", "shared", "max_holders", "lock_delay")


class Failed(Exception):
    """A step has failed. The message begins with the step."""


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


async def until(what, condition, step):
    over = time.monotonic() + step.get("within", PATIENCE)
    while not condition():
        expect(time.monotonic() < over, what)
        await asyncio.sleep(0.01)


def value_of(step):
    return step["value"].replace("VALUE_OF_4097_BYTES", "x" * 4097)


class Observed:
    """An observer that is read in the background."""

    def __init__(self, style, observer):
        self.observer = observer
        self.heard = []
        self.found = 0  # how many of the states a step has found or passed over
        self.reading = asyncio.ensure_future(style.read(observer, self.heard.append))
        self.reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # a step may fail before

    def check(self):
        if self.reading.done():
            self.reading.result()
        facts = [(state.state, state.holders, state.owner, state.value, state.fencing_token, state.kept_for is None)
                 for state in self.heard]
        expect(all(a != b for a, b in zip(facts, facts[1:])), f"repeats a state: {facts}")
        fences = [state.fencing_token for state in self.heard if state.state == "HELD"]
        expect(fences == sorted(fences), f"a fencing token went backwards: {fences}")

    def sees(self, step):
        """Whether a state that no step has found yet is the one of the step."""
        self.check()
        for index in range(self.found, len(self.heard)):
            state = self.heard[index]
            if all(getattr(state, field) == step[field] for field in ("state", "value", "owner") if field in step):
                self.found = index + 1
                return True
        return False


def noting(heard, raises):
    """A callback that appends its arguments to `heard`."""

    def callback(*arguments):
        heard.append(arguments)
        if raises:
            raise RuntimeError("a callback that raises")

    return callback


class Aio:
    """How the steps use redlockd.aio.Client."""

    name = "py-aio"
    make = redlockd.aio.Client

    @staticmethod
    async def call(method, *arguments, **options):
        return await method(*arguments, **options)

    @staticmethod
    def begin(method, *arguments, **options):
        task = asyncio.ensure_future(method(*arguments, **options))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # a step may fail before it asks
        return task

    @staticmethod
    async def give_up(waiter):
        """Returns the lock if it was granted nevertheless."""
        waiter.cancel()
        try:
            return await waiter
        except asyncio.CancelledError:
            return None

    @staticmethod
    async def result(waiter):
        return await waiter

    @staticmethod
    async def read(observer, note):
        async for state in observer:
            note(state)

    @classmethod
    async def within(cls, moment, method, *arguments, **options):
        """Gives up the call after `moment`. Returns its result if it was granted by then."""
        waiter = cls.begin(method, *arguments, **options)
        await asyncio.sleep(moment)
        return await cls.give_up(waiter)


class Threads:
    """How the steps use redlockd.Client."""

    name = "py-threads"
    make = redlockd.Client
    pool = concurrent.futures.ThreadPoolExecutor(32)

    @classmethod
    async def call(cls, method, *arguments, **options):
        return await asyncio.get_running_loop().run_in_executor(
            cls.pool, lambda: method(*arguments, **options))

    @staticmethod
    def begin(method, *arguments, **options):
        futures = getattr(method.__self__, method.__name__ + "_future")
        return futures(*arguments, **options)

    @classmethod
    async def give_up(cls, waiter):
        return None if waiter.cancel() else await cls.result(waiter)

    @staticmethod
    async def result(waiter):
        return await asyncio.wrap_future(waiter)

    @classmethod
    async def read(cls, observer, note):
        def read():
            for state in observer:
                note(state)

        await cls.call(read)

    @classmethod
    async def within(cls, moment, method, *arguments, **options):
        if hasattr(method.__self__, method.__name__ + "_future"):
            return await Aio.within.__func__(cls, moment, method, *arguments, **options)
        try:
            return await cls.call(method, *arguments, wait=moment, **options)
        except (redlockd.LockTimeout, redlockd.Unreachable):
            return None


class Runner:
    def __init__(self, style, scenario, prefix):
        self.style, self.prefix = style, prefix
        self.options = {name: scenario[name] for name in ("grace", "owner") if name in scenario}
        self.made = None
        self.storms = 0
        self.locks, self.waiters, self.queued, self.watches, self.observers = {}, {}, {}, {}, {}

    @property
    def client(self):
        if self.made is None:
            self.made = self.style.make(os.environ["ENDPOINTS"].split(","), **self.options)
        return self.made

    async def carry_out(self, scenario):
        try:
            for step in scenario["steps"]:
                await self.step(step)
        finally:
            await self.do_close({})
            await self.do_shell({"command": "control restore"})

    async def step(self, step):
        began, reason, message, held_for = time.monotonic(), None, "", None

        def require(condition, what):
            if not condition:
                raise Failed(f"{step}: {what}")

        try:
            result = await getattr(self, "do_" + step["do"])(step)
            if "as" in step and result is not None:
                self.locks[step["as"]] = result
        except redlockd.LockError as error:
            reason, message, held_for = error.reason, str(error), error.held_for
        except (TypeError, ValueError) as error:
            reason, message = "INVALID_ARGUMENT", str(error)
        except Failed:  # of a step in `together`
            raise
        except Exception as error:
            raise Failed(f"{step}: {type(error).__name__}: {error}") from error
        took = time.monotonic() - began
        if step.get("may_fail") not in ("*", reason or "none"):
            require(reason == step.get("fails"), f"{reason}: {message}")
            require(step.get("message", "") in message, message)
            if "held_for" in step:
                require(held_for is not None and step["held_for"] <= held_for < step["held_for"] + 60, f"{held_for}: {message}")
                require(f" for {held_for:.3f} s" in message, message)
        require(step.get("after", 0) - 0.02 <= took <= step.get("within", 1e9), f"took {took:.2f} s: {message}")

    def key(self, step):
        if "keys" in step:
            return [self.prefix + key for key in step["keys"]]
        return step["whole_key"] if "whole_key" in step else self.prefix + step["key"]

    def token(self, step):
        return self.locks[step["of"]].token if "of" in step else step["token"]

    def claim(self, step):
        """How the token of the step holds its key, for calls by token."""
        return {name: step[name] for name in ("shared", "max_holders") if name in step}

    def slot(self, step):
        """Names the slot that the call expects. Other calls by token find it."""
        return {"slot": self.locks[step["of"]].slot} if "max_holders" in step and "of" in step else {}

    def acquisition(self, step):
        options = {name: step[name] for name in OPTIONS if name in step}
        if "retry" in step:
            options["retry"] = redlockd.RetryPolicy(**step["retry"])
        if "value" in step:
            options["value"] = value_of(step)
        return options

    def keeping(self, step):
        return {"keep_for": step["keep_for"]} if "keep_for" in step else {}

    async def do_acquire(self, step):
        options = self.acquisition(step)
        if step.get("raises"):
            options["on_queued"] = noting([], True)
        return await self.style.call(self.client.acquire, self.key(step), **options)

    async def do_begin(self, step):
        queued = self.queued[step["as"]] = []
        self.waiters[step["as"]] = self.style.begin(
            self.client.acquire, self.key(step), on_queued=noting(queued, step.get("raises")),
            **self.acquisition(step))

    async def do_try(self, step):
        lock = await self.style.call(self.client.try_acquire, self.key(step), **self.acquisition(step))
        expect((lock is not None) == step["gets"], f"got {lock}")
        return lock

    async def do_acquire_or_extend(self, step):
        options = self.acquisition(step)
        return await self.style.call(
            self.client.acquire_or_extend, self.key(step), options.pop("token"), **options)

    async def do_acquire_detached(self, step):
        return await self.style.call(
            self.client.acquire_detached, self.key(step), **self.acquisition(step))

    async def do_adopt(self, step):
        options = {name: step[name] for name in ("ttl", "wait") if name in step}
        return await self.style.call(
            self.client.adopt, self.key(step), self.token(step), **options, **self.claim(step))

    async def do_extend_by_token(self, step):
        return await self.style.call(self.client.extend, self.key(step), self.token(step), step["ttl"],
                                     **self.claim(step), **self.slot(step))

    async def do_try_extend_by_token(self, step):
        return await self.style.call(self.client.try_extend, self.key(step), self.token(step), step["ttl"],
                                     **self.claim(step), **self.slot(step))

    async def do_release_by_token(self, step):
        await self.style.call(self.client.release, self.key(step), self.token(step), **self.keeping(step))

    async def do_queued(self, step):
        await until("not queued", lambda: self.queued[step["waiter"]], step)

    async def do_await(self, step):
        self.locks[step["waiter"]] = await asyncio.wait_for(
            self.style.result(self.waiters.pop(step["waiter"])), step.get("within", PATIENCE))

    async def do_ended(self, step):
        await asyncio.wait_for(
            self.style.result(self.waiters.pop(step["waiter"])), step.get("within", PATIENCE))

    async def do_give_up(self, step):
        lock = await self.style.give_up(self.waiters.pop(step["waiter"]))
        expect(lock is None, "got the lock")

    async def do_release(self, step):
        await self.style.call(self.locks[step["lock"]].release, **self.keeping(step))

    async def do_proclaim(self, step):
        await self.style.call(self.locks[step["lock"]].proclaim, value_of(step))

    async def do_extend(self, step):
        await self.style.call(self.locks[step["lock"]].extend, step["ttl"])

    async def do_downgrade(self, step):
        return await self.style.call(self.locks[step["lock"]].downgrade)

    async def do_try_extend(self, step):
        await self.style.call(self.locks[step["lock"]].try_extend, step["ttl"])

    async def do_held(self, step):
        lock = self.locks[step["lock"]]
        expect(lock.held == step["is"], f"validity {lock.validity:.2f}, loss: {lock.loss}")

    async def do_lost(self, step):
        lock = self.locks[step["lock"]]
        expect(lock.lost.is_set() == step["is"], f"loss: {lock.loss}")

    async def do_await_lost(self, step):
        await until("the loss was not signalled", self.locks[step["lock"]].lost.is_set, step)

    async def do_validity(self, step):
        validity = self.locks[step["lock"]].validity
        expect(step["at_least"] <= validity <= step["at_most"], f"{validity:.2f}")

    async def do_fences_grow(self, step):
        fences = [self.locks[name].fencing_token for name in step["locks"]]
        expect(all(a < b for a, b in zip(fences, fences[1:])), fences)

    async def do_slots(self, step):
        slots = [self.locks[name].slot for name in step["locks"]]
        expect(all(slots) and len(set(slots)) == (len(slots) if step["differ"] else 1), slots)

    async def do_hides_token(self, step):
        lock = self.locks[step["lock"]]
        shown = [repr(lock), str(lock), f"{lock}", json.dumps(lock, default=str)]
        expect(not any(lock.token in text for text in shown), "shows the token")

    async def do_watch(self, step):
        heard = []
        items = [redlockd.WatchItem(self.key(item), self.token(item), item["ttl"], item.get("interval"),
                                    **self.claim(item))
                 for item in step["items"]]
        watch = self.client.watch(items, noting(heard, step.get("raises")),
                                  keep_watching_after_loss=step.get("keep_watching", False))
        self.watches[step["as"]] = (await watch if inspect.isawaitable(watch) else watch), heard, []

    async def do_watch_hears(self, step):
        _, heard, found = self.watches[step["watch"]]
        about = None
        if "keys" in step:
            about = tuple(sorted(self.key(step)))
        elif "key" in step:
            about = (self.key(step),)

        def matches(index, event):
            return (index not in found and step["what"] in (event.kind, event.error and event.error.reason) and
                    (about is None or event.keys == about))

        def find():
            index = next((i for i, (event,) in enumerate(heard) if matches(i, event)), None)
            if index is not None:
                found.append(index)
            return index is not None

        await until("not heard", find, step)

    async def do_watch_close(self, step):
        watch, heard, _ = self.watches[step["watch"]]
        await self.style.call(watch.close)
        cancelled = lambda: [event for (event,) in heard if event.kind == "CANCELLED"]
        await until("no cancellation", cancelled, step)
        await asyncio.sleep(0.2)
        expect(cancelled() == [heard[-1][0]], [event.kind for (event,) in heard])

    async def do_observe(self, step):
        self.observers[step["as"]] = Observed(self.style, self.client.observe(self.key(step)))

    async def do_sees(self, step):
        observed = self.observers[step["observer"]]
        await until(observed.heard, lambda: observed.sees(step), step)

    async def do_unobserve(self, step):
        observed = self.observers[step["observer"]]
        await self.style.call(observed.observer.close)
        await asyncio.wait_for(observed.reading, PATIENCE)
        observed.check()

    async def do_campaign(self, step):
        options = {name: step[name] for name in ("ttl", "wait") if name in step}
        election = self.client.election(self.key(step))
        return await self.style.call(election.campaign, value_of(step), **options)

    async def do_leads(self, step):
        state = await self.style.call(self.client.election(self.key(step)).leader)
        expect((state.state, state.value) == (("HELD", step["value"]) if "value" in step else ("VACANT", "")), state)

    async def do_storm(self, step):
        chance = random.Random(1)
        call = self.client.acquire_detached if step.get("detached") else self.client.acquire

        async def release(lock, key):
            if step.get("detached"):
                await self.style.call(self.client.release, key, lock.token)
            else:
                await self.style.call(lock.release)

        async def one(key, moment):
            lock = await self.style.within(moment, call, key, ttl=step["ttl"])
            if lock is not None:
                await release(lock, key)

        async def again(key):
            await release(await self.style.call(call, key, ttl=step["ttl"], wait=5), key)

        self.storms += 1
        keys = [f"{self.prefix}storm {self.storms}/{number}" for number in range(step["count"])]
        await asyncio.gather(*(one(key, chance.uniform(0, step["most"])) for key in keys))
        await asyncio.gather(*(again(key) for key in keys))

    async def do_together(self, step):
        done = await asyncio.gather(*(self.step(one) for one in step["steps"]), return_exceptions=True)
        for problem in done:
            if problem is not None:
                raise problem

    async def do_block(self, step):
        time.sleep(step["time"])

    async def do_sleep(self, step):
        await asyncio.sleep(step["time"])

    async def do_shell(self, step):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", step["command"], env=dict(os.environ, PREFIX=self.prefix))
        status = await process.wait()
        expect(status == 0, f"status {status}")

    async def do_close(self, step):
        client, self.made = self.made, None
        if client is not None:
            await self.style.call(client.close)


async def main():
    with open(os.environ["SCENARIOS"]) as file:
        scenarios = json.load(file)["scenarios"]
    style = Aio if "aio" in sys.argv else Threads
    failed = 0
    for number, scenario in enumerate(scenarios):
        runner = Runner(style, scenario, f"{os.environ['PREFIX']}{style.name}/{number}/")
        try:
            await runner.carry_out(scenario)
            print(f"ok      {scenario['name']}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {scenario['name']}: {error or repr(error)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
