"""Whole programs: forks, green threads, and what a program prints when it ends."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import unittest

from redlockd.testing import Server

_PATIENCE = 60  # seconds
_NO_FORK = b"Waiting for thread pool to idle before forking"  # what such a gRPC prints every 3 s


@unittest.skipUnless("REDLOCKD" in os.environ, "REDLOCKD does not name a daemon")
class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def run_program(self, text):
        """Returns what the program printed to standard output; it must print nothing else and succeed."""
        head = f"import os, sys, time\nADDRESS = {self.server.address!r}\n"
        environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore::DeprecationWarning", "-c", head + textwrap.dedent(text)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, env=environment)
        except subprocess.TimeoutExpired as late:
            if _NO_FORK in (late.stderr or b""):
                self.skipTest("this gRPC hangs in fork() while a channel is open (Debian 13's python3-grpcio does)")
            raise
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        return done.stdout.split()


class Ends(Programs):
    def test_a_program_that_ends_with_an_open_client_prints_nothing_and_does_not_hang(self):
        self.run_program("""
            import redlockd
            client = redlockd.Client([ADDRESS])
            lock = client.acquire("open", ttl=10)
            waiting = client.acquire_future("open", ttl=10)
            watch = client.watch([redlockd.WatchItem("other", "token", 1)], print)
            """)

    def test_so_does_one_whose_event_loop_ends_first(self):
        self.run_program("""
            import asyncio, redlockd

            async def main():
                global client, lock
                client = redlockd.aio.Client([ADDRESS])
                lock = await client.acquire("aio", ttl=10)
                asyncio.ensure_future(client.acquire("aio", ttl=10))
                client.watch([redlockd.WatchItem("other", "token", 1)], lambda event: None)
                await asyncio.sleep(0.1)

            asyncio.run(main())
            """)

    def test_losses_and_outages_are_logged_and_not_printed(self):
        self.run_program("""
            import logging, redlockd
            heard = []
            client = redlockd.Client([ADDRESS], grace=0.5)
            lock = client.acquire("logged", ttl=10)
            handler = logging.Handler()
            handler.emit = lambda record: heard.append(record.getMessage())
            client._driver.machine.session._grace  # the client is connected
            client.release("logged", lock.token)
            assert lock.lost.wait(10)
            try:
                redlockd.Client(["127.0.0.1:1"]).acquire("k", wait=0)
            except redlockd.Unreachable:
                pass
            logging.getLogger("redlockd").addHandler(handler)
            try:
                redlockd.Client(["127.0.0.1:1"]).acquire("k", wait=0)
            except redlockd.Unreachable:
                pass
            assert any("disconnected" in text for text in heard), heard
            """)


class Forks(Programs):
    def test_a_client_that_was_not_used_may_be_used_after_a_fork(self):
        self.assertEqual(["child", "parent"], self.run_program("""
            import redlockd
            client = redlockd.Client([ADDRESS])
            child = os.fork()
            name = "parent" if child else "child"
            with client.lock(f"fork-{name}", ttl=10):
                if child:
                    os.waitpid(child, 0)
                print(name, flush=True)
            client.close()
            """))

    def test_the_parent_keeps_its_locks_and_the_child_gets_clear_errors(self):
        self.assertEqual(["refused", "refused"] * 4 + ["kept"], self.run_program("""
            import multiprocessing, redlockd
            client = redlockd.Client([ADDRESS], grace=1)
            lock = client.acquire("kept", ttl=2)

            def in_child():
                for other in (client, redlockd.Client([ADDRESS])):
                    try:
                        other.acquire("x")
                    except RuntimeError as error:
                        assert "fork" in str(error), error
                        print("refused", flush=True)

            for _ in range(2):
                child = os.fork()
                if child == 0:
                    in_child()
                    sys.exit(0)
                assert os.waitpid(child, 0)[1] == 0
                process = multiprocessing.get_context("fork").Process(target=in_child)
                process.start()
                process.join()
                assert process.exitcode == 0
            time.sleep(1.5)
            assert lock.held and not lock.lost.is_set() and client._driver.machine.failures == 0
            print("kept")
            client.close()
            """))

    def test_spawned_processes_have_clients_of_their_own(self):
        self.run_program("""
            import subprocess, redlockd
            with redlockd.Client([ADDRESS]) as client, client.lock("spawn", ttl=10):
                subprocess.run([sys.executable, "-c", f'''
            import redlockd
            with redlockd.Client(["{ADDRESS}"]) as client:
                assert client.try_acquire("spawn") is None
            '''.replace(chr(10) + " " * 12, chr(10))], check=True)
            """)


@unittest.skipUnless(importlib.util.find_spec("gevent"), "gevent is not installed")
class GreenThreads(Programs):
    def test_monkey_patched_threads_are_refused(self):
        self.assertEqual(["refused", "refused"], self.run_program("""
            from gevent import monkey
            monkey.patch_all()
            import asyncio, redlockd

            def refused(error):
                assert "gevent" in str(error), error
                print("refused")

            try:
                redlockd.Client([ADDRESS]).acquire("x")
            except RuntimeError as error:
                refused(error)

            async def main():
                try:
                    await redlockd.aio.Client([ADDRESS]).acquire("x")
                except RuntimeError as error:
                    refused(error)

            asyncio.run(main())
            """))


if __name__ == "__main__":
    unittest.main()
