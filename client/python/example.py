"""example.py [HOST:PORT]: acquires a lock, works while it is held, and releases it."""

import os
import sys
import time

import redlockd

with redlockd.Client(sys.argv[1:] or [os.environ.get("REDLOCK_SERVER", "127.0.0.1:50051")]) as client:
    with client.lock("reports", ttl=30, wait=10) as lock:
        print("fencing token", lock.fencing_token)
        for page in range(1, 4):
            if lock.lost.is_set():
                break
            print("page", page)
            time.sleep(0.1)
