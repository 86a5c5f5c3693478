"""Acquires and releases locks with one library:  load.py threads|asyncio SUBJECT DAEMON NODE...

Carries out the orders on standard input and answers each with one line of JSON.
  run OUTSTANDING SECONDS   that many threads or tasks acquire and release, each a new key every time
  hold COUNT                acquires that many locks and keeps them
With threads:
  contend WORKERS HOLD PAUSE SECONDS   that many threads want one key, hold it for HOLD s, and pause for PAUSE s
  wait COUNT                holds a key for which that many threads begin to wait
  pass                      releases that key, and answers when each of them has had it
"""

import asyncio
import itertools
import json
import os
import sys
import threading
import time

import asyncio_subjects
import thread_subjects

AT_ONCE = 100  # acquisitions at the same time of `hold`


def keys(kind, number, worker):
    return (f"{kind}-{os.getpid()}-{number}-{worker}-{i}" for i in itertools.count())


def figures(took, begin):
    seconds, took = time.perf_counter() - begin, sorted(took)
    return {"cycles": len(took) / seconds, "p50_ms": took[len(took) // 2] * 1000,
            "p99_ms": took[len(took) * 99 // 100] * 1000, "count": len(took)}


class Threads:
    def __init__(self, subject, daemon, nodes):
        self._acquire = thread_subjects.SUBJECTS[subject](daemon, nodes)  # returns a function that releases
        self._held = []  # a reference to each lock, as its holder has one

    def serve(self):
        for number, line in enumerate(sys.stdin):
            answer(getattr(self, "_" + line.split()[0])(number, *map(float, line.split()[1:])))

    def _run(self, number, outstanding, seconds):
        took, begin = [], time.perf_counter()

        def work(worker):
            for key in keys("run", number, worker):
                start = time.perf_counter()
                self._acquire(key)()
                end = time.perf_counter()
                took.append(end - start)
                if end - begin >= seconds:
                    return

        in_threads(work, outstanding)
        return figures(took, begin)

    def _hold(self, number, count):
        def work(worker):
            for key in itertools.islice(keys("held", number, worker), int(count) // AT_ONCE):
                self._held.append(self._acquire(key))

        in_threads(work, AT_ONCE)
        return {}

    def _contend(self, number, workers, hold, pause, seconds):
        """Returns the turns: worker, and when it requested, acquired and released, in seconds."""
        key, turns, begin = f"contended-{os.getpid()}-{number}", [], time.perf_counter()

        def now():
            return time.perf_counter() - begin

        def work(worker):
            while now() < seconds:
                requested = now()
                release = self._acquire(key)
                acquired = now()
                time.sleep(hold)
                turns.append((worker, requested, acquired, now()))
                release()
                time.sleep(pause)

        in_threads(work, workers)
        return {"turns": turns}

    def _wait(self, number, count):
        key = f"awaited-{os.getpid()}-{number}"
        self._release = self._acquire(key)
        self._waiters = started(lambda _: self._acquire(key)(), count)
        return {}

    def _pass(self, _):
        self._release()
        for waiter in self._waiters:
            waiter.join()
        return {}


def started(work, count):
    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(int(count))]
    for thread in threads:
        thread.start()
    return threads


def in_threads(work, count):
    for thread in started(work, count):
        thread.join()


class Tasks:
    def __init__(self, subject, daemon, nodes):
        self._make = lambda: asyncio_subjects.SUBJECTS[subject](daemon, nodes)
        self._held = []

    def serve(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self._acquire = await self._make()  # returns an asynchronous function that releases
        for number in itertools.count():
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                os._exit(0)  # what is held or connected would delay the exit
            answer(await getattr(self, "_" + line.split()[0])(number, *map(float, line.split()[1:])))

    async def _run(self, number, outstanding, seconds):
        took, begin = [], time.perf_counter()

        async def work(worker):
            for key in keys("run", number, worker):
                start = time.perf_counter()
                release = await self._acquire(key)
                await release()
                end = time.perf_counter()
                took.append(end - start)
                if end - begin >= seconds:
                    return

        await asyncio.gather(*(work(worker) for worker in range(int(outstanding))))
        return figures(took, begin)

    async def _hold(self, number, count):
        async def work(worker):
            for key in itertools.islice(keys("held", number, worker), int(count) // AT_ONCE):
                self._held.append(await self._acquire(key))

        await asyncio.gather(*(work(worker) for worker in range(AT_ONCE)))
        return {}


def answer(what):
    print(json.dumps(what), flush=True)


def end_with_error(failed):
    threading.__excepthook__(failed)
    os._exit(1)


def main(style, subject, daemon, *nodes):
    threading.excepthook = end_with_error
    {"threads": Threads, "asyncio": Tasks}[style](subject, daemon, nodes).serve()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
