"""The Python client as a worker. ../README.md describes its output."""

import json
import os
import random
import time

import redlockd


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Worker:
    def __init__(self):
        self.name = os.environ["WORKER_NAME"]
        self.random = random.Random(int(os.environ["WORKER_SEED"]))
        self.history = open(os.environ["WORKER_HISTORY"], "a", buffering=1, encoding="ascii")
        self.shared_keys = int(os.environ["WORKER_SHARED_KEYS"])
        self.client = self.new_client()

    def new_client(self):
        endpoints = os.environ["WORKER_ENDPOINTS"].split(",")
        self.random.shuffle(endpoints)
        return redlockd.Client(endpoints, grace=float(os.environ["WORKER_GRACE"]))

    def record(self, what, **fields):
        self.history.write(json.dumps({"worker": self.name, "what": what, **fields}) + "\n")

    def run(self):
        while True:
            shared = self.random.random() < 0.7
            name = str(self.random.randrange(self.shared_keys)) if shared else self.name
            self.cycle(f"shared-{name}" if shared else f"own-{name}")

    def cycle(self, key):
        ttl = self.random.uniform(0.3, 1.0)
        wait = self.random.choice([0, 0.5, 2])
        sent = now()
        try:
            lock = self.client.acquire(key, ttl=ttl, wait=wait, owner=self.name)
        except redlockd.LockError as error:
            self.record("not acquired", key=key, sent=sent, received=now(), reason=error.reason)
            time.sleep(0.01)
            return
        self.record("acquired", key=key, sent=sent, received=now(), token=lock.token,
                    fence=lock.fencing_token)
        self.use(lock)
        fields = {"key": key, "token": lock.token}
        self.record("releases", **fields, sent=now())
        if self.random.random() < 0.1:
            self.client.close()
            self.client = self.new_client()
            return
        outcome = "OK"
        try:
            lock.release()
        except redlockd.LockError as error:
            outcome = error.reason
        self.record("released", **fields, received=now(), reason=outcome)

    def use(self, lock):
        """Records how long the client trusts the lock, until the lock is lost or some time has passed."""
        end = now() + self.random.uniform(0, 2.5)
        by = unsignalled = None
        while now() < end:
            before = now()
            validity = lock.validity
            begin = now()
            if validity > 0:
                by = before + validity
                self.record("trusts", key=lock.key, token=lock.token, begin=begin, end=by,
                            fence=lock.fencing_token)
            if lock.lost.wait(self.random.uniform(0, 0.05)):
                self.record("lost", key=lock.key, token=lock.token, received=now(), by=by,
                            unsignalled=unsignalled or before, reason=lock.loss.reason)
                return
            unsignalled = now()
            if self.random.random() < 0.02:
                try:
                    lock.extend(self.random.uniform(0.3, 1.0))
                except redlockd.LockError:
                    pass


if __name__ == "__main__":
    Worker().run()
