"""Replaces two daemons by those of another version, one after the other, and then back, while clients hold locks and
compete for others:  upgrade.py OLD_REDLOCKD NEW_REDLOCKD

No lock may be lost, no key may have two holders, and fencing tokens must ascend. PYTHONPATH selects the client library.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import redlockd

OLD, NEW = sys.argv[1:]
CONTESTED = [f"contested {number}" for number in range(4)]
COMPETITORS = 12
CYCLES = 20  # of all competitors for each key, before the next step
STEP_SECONDS = 60  # how long a step may take
TTL = 5


def start(command, log):
    return subprocess.Popen(command, stdout=log, stderr=log)


class Daemons:
    """Two daemons over three nodes, at addresses that stay the same."""

    def __init__(self, directory, log):
        self.log = log
        self.sockets = [f"{directory}/node{number}" for number in range(3)]
        self.nodes = [start(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory], log)
                      for socket in self.sockets]
        self.addresses = [f"unix:{directory}/daemon{number}" for number in range(2)]
        self.running = [self.start(number, OLD) for number in range(2)]

    def start(self, number, program):
        address = self.addresses[number]
        daemon = start([program, "--listen", address, "--log-level", "warning", "--node-timeout", "2s",
                        *(f"--node=unix://{socket}" for socket in self.sockets)], self.log)
        give_up = time.monotonic() + STEP_SECONDS
        while not serves(address):
            if daemon.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{program} does not serve: {daemon.poll()}")
            time.sleep(0.1)
        return daemon

    def replace(self, number, program):
        self.running[number].send_signal(signal.SIGTERM)
        self.running[number].wait(STEP_SECONDS)
        self.running[number] = self.start(number, program)

    def close(self):
        for process in self.running + self.nodes:
            process.kill()
            process.wait()


def serves(address):
    with redlockd.Client([address]) as client:
        try:
            client.acquire("probe", ttl=1, wait=1).release()
            return True
        except redlockd.LockError:
            return False


class Storage:
    """What the contested locks protect. Refuses a fencing token that is not higher than all before."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.inside = {key: 0 for key in CONTESTED}
        self.fences = {key: 0 for key in CONTESTED}
        self.cycles = {key: 0 for key in CONTESTED}
        self.wrong = []

    def enter(self, key, fence):
        with self.mutex:
            if self.inside[key] > 0:
                self.wrong.append(f"{key} has two holders")
            if fence <= self.fences[key]:
                self.wrong.append(f"{key}: the fencing token {fence} follows {self.fences[key]}")
            self.inside[key] += 1
            self.fences[key] = max(self.fences[key], fence)

    def leave(self, key):
        with self.mutex:
            self.inside[key] -= 1
            self.cycles[key] += 1

    def fewest_cycles(self):
        with self.mutex:
            return min(self.cycles.values())


class Competitor(threading.Thread):
    """Acquires one key again and again. Its client prefers one daemon."""

    def __init__(self, number, addresses, storage, end):
        super().__init__()
        self.key = CONTESTED[number % len(CONTESTED)]
        self.addresses = addresses if number < COMPETITORS // 2 else addresses[::-1]
        self.storage, self.end = storage, end

    def run(self):
        try:
            with redlockd.Client(self.addresses) as client:
                while not self.end.is_set():
                    with client.acquire(self.key, ttl=TTL, wait=STEP_SECONDS) as lock:  # raises LockLost at the end
                        self.storage.enter(self.key, lock.fencing_token)
                        time.sleep(0.01)
                        self.storage.leave(self.key)
        except Exception as error:  # pylint: disable=broad-except
            self.storage.wrong.append(f"{self.key}: {type(error).__name__}: {error}")


def hold(client, name):
    """Locks of every kind, for the whole run."""
    return [client.acquire(f"{name} alone", ttl=TTL), client.acquire([f"{name} first", f"{name} second"], ttl=TTL),
            client.acquire("shared", shared=True, ttl=TTL), client.acquire("slots", max_holders=2, ttl=TTL)]


def check(held, client, wrong):
    """Nobody else may get what is held, and everyone who holds something must still have it."""
    for lock in held:
        if lock.lost.is_set():
            wrong.append(f"{lock.keys} was lost: {lock.loss}")
    for keys, options in (("a alone", {}), ("b first", {}), (["a second", "free"], {}), ("shared", {}),
                          ("slots", {"max_holders": 2})):
        if client.try_acquire(keys, ttl=TTL, **options) is not None:
            wrong.append(f"{keys} was granted although it is held")


def roll(daemons, storage, clients, held):
    """Upgrades and downgrades the daemons until something is wrong."""
    for program, name in ((NEW, "upgrade"), (OLD, "downgrade")):
        for number in range(2):
            daemons.replace(number, program)
            wanted, give_up = storage.fewest_cycles() + CYCLES, time.monotonic() + STEP_SECONDS
            while storage.fewest_cycles() < wanted and time.monotonic() < give_up and not storage.wrong:
                time.sleep(0.05)
            if storage.fewest_cycles() < wanted:
                storage.wrong.append(f"too few locks were acquired after the {name} of daemon {number + 1}")
            for client in clients:
                check(held, client, storage.wrong)
            if storage.wrong:
                return
            print(f"{name} of daemon {number + 1}: {sum(storage.cycles.values())} locks so far", flush=True)


def main():
    storage, end = Storage(), threading.Event()
    with tempfile.TemporaryDirectory() as directory, open(os.path.join(directory, "log"), "w+") as log:
        daemons = Daemons(directory, log)
        competitors = [Competitor(number, daemons.addresses, storage, end) for number in range(COMPETITORS)]
        try:
            with redlockd.Client(daemons.addresses) as a, redlockd.Client(daemons.addresses[::-1]) as b:
                held = hold(a, "a") + hold(b, "b")
                for competitor in competitors:
                    competitor.start()
                roll(daemons, storage, (a, b), held)
                end.set()
                for competitor in competitors:
                    competitor.join()
        finally:
            end.set()
            daemons.close()
        if storage.wrong:
            log.seek(0)
            print(log.read())
    for line in storage.wrong:
        print(f"wrong: {line}")
    sys.exit(1 if storage.wrong else 0)


main()
