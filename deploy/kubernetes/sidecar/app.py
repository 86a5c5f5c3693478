"""An application with redlockd as its sidecar: of all replicas, one at a time works on the reports."""

import os
import signal
import threading

import redlockd


POD = os.environ.get("HOSTNAME", "?")


def work(lock, stop):
    """Works until the lock is lost or the pod is to end. Every write carries the fencing token."""
    for page in range(1, 4):
        if lock.lost.is_set() or stop.is_set():
            return
        print(f"{POD} begin page={page} fencing_token={lock.fencing_token}", flush=True)
        stop.wait(0.2)
        print(f"{POD} end page={page} fencing_token={lock.fencing_token}", flush=True)


def main():
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with redlockd.Client([os.environ["REDLOCK_SERVER"]]) as client:
        while not stop.is_set():
            try:
                with client.lock("reports", ttl=10, wait=2) as lock:
                    work(lock, stop)
            except redlockd.LockTimeout:
                continue  # another replica has the lock
            except redlockd.LockError as error:
                print(f"{POD} not locked: {error}", flush=True)
            stop.wait(0.5)


if __name__ == "__main__":
    main()
