"""The daemon reports to systemd, and writes its log as the journal reads it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import unittest

from test_logs import LoggingDaemon
from test_service import REDLOCKD, eventually, free_port


class ServiceManagerTest(LoggingDaemon):
    def setUp(self):
        super().setUp()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.settimeout(10)

    def start_managed(self, *arguments, address=None, **environment):
        self.manager.bind(address or self.path("notify"))
        address = address or self.path("notify")
        with open(self.path("log"), "w") as file:
            self.start(*arguments, stderr=file,
                       env={**os.environ, "NOTIFY_SOCKET": address.replace("\0", "@"), **environment})

    def report(self):
        return dict(line.split("=", 1) for line in self.manager.recv(4096).decode().splitlines())

    def report_with(self, name):
        """The next report of this kind, and the names of those before it."""
        before = []
        while name not in (report := self.report()):
            before += report
        return report, before

    def test_it_reports_when_it_serves_reloads_and_stops(self):
        self.start_managed("--drain-timeout", "7s")
        self.assertEqual(self.report(), {"READY": "1"})
        self.assert_grants()
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.daemon.send_signal(signal.SIGHUP)
        reloading, before = self.report_with("RELOADING")
        self.assertNotIn("READY", before)
        self.assertGreaterEqual(int(reloading["MONOTONIC_USEC"]) * 1000, start - 1000)
        self.assertLessEqual(int(reloading["MONOTONIC_USEC"]) * 1000, time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        ready, before = self.report_with("READY")
        self.assertEqual((ready, before), ({"READY": "1"}, []))
        self.stop()
        stopping, _ = self.report_with("STOPPING")
        self.assertEqual(stopping["STATUS"], "draining")
        # Longer than the drain, and for what comes after it.
        self.assertGreater(int(stopping["EXTEND_TIMEOUT_USEC"]), 7_000_000)

    def test_the_status_says_whether_it_grants_locks(self):
        self.start_managed(address="\0redlockd-test-" + os.urandom(8).hex())
        self.assertEqual(self.report(), {"READY": "1"})
        self.assertTrue(eventually(lambda: self.report_with("STATUS")[0]["STATUS"] == "serving; extends 0 leases"))
        for node in self.nodes.processes[:2]:
            node.send_signal(signal.SIGSTOP)
            self.addCleanup(node.send_signal, signal.SIGCONT)
        self.assertTrue(eventually(
            lambda: self.report_with("STATUS")[0]["STATUS"].startswith("cannot grant locks: "), 30))

    def test_a_watchdog_is_answered_again_and_again(self):
        self.start_managed(WATCHDOG_USEC="10000000")
        for _ in range(3):
            self.report_with("WATCHDOG")

    def test_the_watchdog_of_another_process_is_not_answered(self):
        self.start_managed(WATCHDOG_USEC="10000000", WATCHDOG_PID="1")
        self.assert_grants()
        self.stop()
        _, before = self.report_with("STOPPING")
        self.assertNotIn("WATCHDOG", before)

    def test_without_a_usable_socket_it_serves_and_says_so(self):
        with open(self.path("log"), "w") as file:
            self.start(stderr=file, env={**os.environ, "NOTIFY_SOCKET": self.path("missing")})
        self.assert_grants()
        self.stop()
        self.assertTrue(any(f"cannot report to the service manager at NOTIFY_SOCKET={self.path('missing')}: "
                            "No such file or directory" in line for line in self.log()))


class JournalTest(LoggingDaemon):
    def with_journal(self, file):
        status = os.fstat(file.fileno())
        return {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

    def test_lines_have_a_priority_and_no_time(self):
        with open(self.path("log"), "w") as file:
            self.start("--node", "redis://127.0.0.1:1", stderr=file, env=self.with_journal(file))
        self.assert_grants()
        self.stop()
        for line in self.log():
            self.assertRegex(line, r"^(<6>info|<4>warning) \S")
        self.assertTrue(any(line.startswith("<4>") for line in self.log()))

    def test_json_is_what_the_journal_leaves(self):
        with open(self.path("log"), "w") as file:
            self.start("--log-format", "json", stderr=file, env=self.with_journal(file))
        self.stop()
        for line in self.log():
            self.assertEqual({"<6>": "info", "<4>": "warning"}[line[:3]], json.loads(line[3:])["level"])

    def test_errors_before_the_log_have_a_priority(self):
        with open(self.path("log"), "w") as file:
            ended = subprocess.run([REDLOCKD, "--node", "nonsense://"], stderr=file, timeout=10,
                                   env=self.with_journal(file))
        self.assertEqual(ended.returncode, 2)
        self.assertEqual([line[:3] for line in self.log()], ["<3>", "<3>"])

    def test_another_standard_error_is_not_the_journal(self):
        with open(self.path("log"), "w") as file, open(self.path("journal"), "w") as journal:
            self.start(stderr=file, env=self.with_journal(journal))
        self.stop()
        for line in self.log():
            self.assertTrue(re.match(r"\d{4}-\d\d-\d\d ", line), line)


class ExitStatusTest(LoggingDaemon):
    def status(self, *arguments):
        ended = subprocess.run([REDLOCKD, "--node", "redis://127.0.0.1:1", "--listen", f"127.0.0.1:{free_port()}",
                                *arguments], capture_output=True, text=True, timeout=20)
        return ended.returncode, ended.stderr

    def test_a_file_that_cannot_be_used_is_an_error_of_the_configuration(self):
        with open(self.path("tokens"), "w") as file:
            file.write("no token\n")
        for arguments in (["--token-file", self.path("missing")], ["--token-file", self.path("tokens")],
                          ["--token-file", self.path("tokens"), "--access-list", self.path("missing")],
                          ["--tls-cert", self.path("missing"), "--tls-key", self.path("missing")],
                          ["--node", "rediss://127.0.0.1:1", "--redis-tls-ca", self.path("missing")],
                          ["--audit-log", self.path("missing/audit.log")],
                          ["--unix-socket-owner", ":no-such-group"], ["--unix-socket-owner", ":"]):
            for more in ([], ["--check-config"]):
                status, error = self.status(*arguments, *more)
                self.assertEqual(status, 2, (arguments, more, error))

    def test_an_address_in_use_may_be_free_at_the_next_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            for option in ("--listen", "--metrics-listen"):
                status, error = self.status(option, address)
                self.assertEqual(status, 1, error)
                self.assertIn(address, error)
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(self.path("socket"))
            taken.listen()
            status, error = self.status("--listen", "unix:" + self.path("socket"))
            self.assertEqual(status, 1, error)
            self.assertIn("another process listens there", error)


if __name__ == "__main__":
    sys.exit(unittest.main())
