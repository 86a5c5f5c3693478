"""The test kit: each of its faults, seen by a client."""

import os
import shutil
import threading
import time
import unittest
from unittest import mock

import redlockd
from redlockd.testing import Server, _url
from redlockd.testing._processes import find_binary


class Names(unittest.TestCase):
    def test_both_forms_of_a_node_name_become_its_address(self):
        for name in ("unix:/tmp/node.sock", "unix:///tmp/node.sock"):
            self.assertEqual("unix:///tmp/node.sock", _url(name))


@unittest.skipUnless("REDLOCKD" in os.environ, "REDLOCKD does not name a daemon")
class Kit(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        self.client = redlockd.Client([self.server.address])
        self.addCleanup(self.client.close)

    def test_a_loss_is_heard(self):
        lock = self.client.acquire("k", ttl=60)
        self.assertTrue(self.server.lose("k", "the test wants it"))
        self.assertTrue(lock.lost.wait(10))
        self.assertFalse(self.server.held("k"))
        self.assertFalse(self.server.lose("k"))

    def test_locks_survive_restarts_and_resets(self):
        lock = self.client.acquire("k", ttl=60)
        for fault in (self.server.restart, lambda: self.server.restart(kill=True), self.server.reset):
            fault()
            lock.extend(60)  # waits for the next Session
            self.assertFalse(lock.lost.is_set())
        lock.release()

    def test_a_delay_holds_both_directions_back(self):
        self.client.acquire("first").release()
        self.server.delay(0.3)
        began = time.monotonic()
        lock = self.client.acquire("k")
        self.assertGreaterEqual(time.monotonic() - began, 0.6)
        self.server.mend()
        lock.release()

    def test_a_cut_ends_in_a_loss_unless_it_is_mended(self):
        lock = self.client.acquire("k", ttl=60)
        self.server.cut()
        with self.assertRaises(redlockd.Unreachable):
            redlockd.Client([self.server.address]).acquire("other", wait=0.5)
        self.assertTrue(lock.lost.wait(10))
        self.server.mend()
        self.client.acquire("k", wait=30).release()

    def test_servers_share_nothing_and_leave_nothing(self):
        with Server() as other:
            self.client.acquire("k")
            self.assertFalse(other.held("k"))
            directory = os.path.dirname(other._directory.path("x"))
        self.assertFalse(os.path.exists(directory))
        self.assertLessEqual(sum(thread.name == "redlockd.testing" for thread in threading.enumerate()), 1)

    def test_a_daemon_that_does_not_start_says_why(self):
        with self.assertRaises(RuntimeError) as failed:
            Server(options=["--no-such-option"])
        self.assertIn("--no-such-option", str(failed.exception))


class Programs(unittest.TestCase):
    def test_the_error_says_where_it_looked(self):
        with self.assertRaisesRegex(FileNotFoundError, "argument `binary` names '/no/such'"):
            find_binary("/no/such")
        with mock.patch.dict(os.environ, REDLOCKD="/no/such"):
            with self.assertRaisesRegex(FileNotFoundError, "environment variable REDLOCKD names"):
                find_binary(None)
        with mock.patch.dict(os.environ, PATH="/no/such"):
            os.environ.pop("REDLOCKD", None)
            with self.assertRaisesRegex(FileNotFoundError, "not in PATH"):
                find_binary(None)
            with self.assertRaisesRegex(FileNotFoundError, "redis-server was not found"):
                find_binary(shutil.which("sh", path="/bin"))


if __name__ == "__main__":
    unittest.main()
