"""The configuration of real daemons: --check-config, the log at startup, and Unix sockets."""

import os
import signal
import socket
import subprocess
import tempfile
import unittest

from test_access import make_certificates
from test_service import REDLOCKCTL, REDLOCKD, eventually, free_port

NODE = "redis://app:topsecret@127.0.0.1:1"  # no server is needed


class ConfigTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", newline="") as file:
            file.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def check(self, *arguments, **variables):
        """The exit status, and everything that was printed."""
        done = subprocess.run([REDLOCKD, "--check-config", *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=20,
                              env={**os.environ, **variables})
        return done.returncode, done.stdout

    def start(self, *arguments, **variables):
        log = open(self.path(f"log-{free_port()}"), "w+")
        self.addCleanup(log.close)
        daemon = subprocess.Popen([REDLOCKD, "--drain-timeout", "0ms", *arguments], stderr=log,
                                  env={**os.environ, **variables})
        daemon.log = lambda: self.read(log.name)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def serves(self, daemon):
        self.assertTrue(eventually(lambda: "serving gRPC" in daemon.log(), 20), daemon.log())

    def test_check_config_prints_the_settings_without_secrets(self):
        status, text = self.check("--node", NODE, REDLOCKD_SHARDS="2")
        self.assertEqual(status, 0, text)
        self.assertIn('node = ["redis://app:***@127.0.0.1:1"]  # flag\n', text)
        self.assertIn("shards = 2  # environment\n", text)
        self.assertNotIn("topsecret", text)

    def test_check_config_reads_every_file_that_a_start_would_read(self):
        make_certificates(self.directory, "server", "other")
        good = {"token-file": self.write("tokens", ""), "access-list": self.write("rules", ""),
                "tls-cert": self.path("server.crt"), "tls-key": self.path("server.key"),
                "tls-client-ca": self.path("ca.crt"), "redis-tls-ca": self.path("ca.crt"),
                "redis-tls-cert": self.path("server.crt"), "redis-tls-key": self.path("server.key"),
                "node": f"rediss://app@h?password_file={self.write('password', 'topsecret')}"}
        config = self.write("good.toml", "".join(f'{k} = "{v}"\r\n' for k, v in good.items()))
        status, text = self.check("--config", config)
        self.assertEqual(status, 0, text)
        self.assertNotIn("topsecret", text)
        bad = self.write("bad", "topsecret\n")
        for option in good:
            if option == "node":
                value = f"rediss://app@h?password_file={self.path('missing')}"
            else:
                value = self.path("other.key") if option.endswith("tls-key") else bad
            status, text = self.check("--config", config, f"--{option}", value)
            self.assertEqual(status, 2, f"{option}: {text}")
            self.assertNotIn("topsecret", text)
        status, text = self.check("--config", config, "--unix-socket-owner", "no-such-user")
        self.assertEqual(status, 2, text)

    def test_the_file_of_the_environment_and_its_errors(self):
        config = self.write("redlockd.toml", 'node = "redis://h"\nnode-timeuot = "1s"\n')
        status, text = self.check(REDLOCKD_CONFIG=config)
        self.assertEqual(status, 2)
        self.assertIn(f"{config}:2: node-timeuot: unknown option; did you mean node-timeout?", text)

    def test_a_start_logs_the_version_the_settings_and_warnings(self):
        daemon = self.start("--node", NODE, "--listen", "0.0.0.0:0", "--token-file",
                            self.write("tokens", ""), REDLOCKD_IMAGE="x",
                            REDLOCKD_SERVICE_HOST="10.0.0.1", REDLOCKD_PORT="tcp://10.0.0.1:50051")
        self.serves(daemon)
        log = daemon.log()
        self.assertRegex(log, r"redlockd \d+\.\d+\.\d+ starts")
        self.assertIn('node=["redis://app:***@127.0.0.1:1"]', log)
        self.assertIn('node-timeout="50ms"', log)
        self.assertRegex(log, "warning.*bearer tokens cross the network unencrypted")
        self.assertRegex(log, "warning.*REDLOCKD_IMAGE")
        self.assertNotIn("REDLOCKD_SERVICE_HOST", log)
        self.assertNotIn("topsecret", log)

    def accepts(self, path):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(path) == 0

    def socket_files(self):
        return sorted(name for name in os.listdir(self.directory) if "sock" in name)

    def test_a_second_daemon_on_a_unix_socket_is_refused(self):
        path = self.path("a.sock")
        first = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.serves(first)
        second = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.assertEqual(second.wait(20), 1, second.log())
        self.assertIn(f"unix:{path}: another process listens there", second.log())
        # A daemon that does not answer still has the socket.
        first.send_signal(signal.SIGSTOP)
        third = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.assertEqual(third.wait(20), 1, third.log())
        first.send_signal(signal.SIGCONT)
        self.assertTrue(self.accepts(path))
        health = subprocess.run([REDLOCKCTL, "--server", f"unix:{path}", "health"],
                                capture_output=True, text=True, timeout=20)
        self.assertIn("no quorum of nodes", health.stdout + health.stderr)  # the first answers
        self.assertEqual(self.socket_files(), ["a.sock"])
        first.terminate()
        self.assertEqual(first.wait(20), 0)
        self.assertEqual(self.socket_files(), [])

    def test_several_daemons_that_start_at_once(self):
        path = self.path("a.sock")
        daemons = [self.start("--node", NODE, "--listen", f"unix:{path}") for _ in range(4)]
        self.assertTrue(eventually(lambda: sum(d.poll() == 1 for d in daemons) == 3, 20))
        self.assertTrue(eventually(lambda: self.accepts(path)))
        self.assertEqual(self.socket_files(), ["a.sock"])

    def test_the_socket_of_a_crashed_daemon_is_replaced(self):
        path = self.path("a.sock")
        first = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.serves(first)
        first.kill()
        first.wait()
        self.assertTrue(os.path.exists(path))
        second = self.start("--node", NODE, "--listen", f"unix:{path}",
                            "--listen", f"unix:{self.path('b.sock')}")
        self.serves(second)
        self.assertTrue(self.accepts(path))
        self.assertTrue(self.accepts(self.path("b.sock")))

    def test_the_end_of_a_daemon_leaves_the_socket_of_another(self):
        path = self.path("a.sock")
        old = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.serves(old)
        os.unlink(path)  # as an operator might do who finds the path in use
        new = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.serves(new)
        old.terminate()
        self.assertEqual(old.wait(20), 0)
        self.assertTrue(self.accepts(path))
        self.assertEqual(self.socket_files(), ["a.sock"])

    def test_a_file_that_is_no_socket_is_kept(self):
        path = self.write("a.sock", "precious")
        daemon = self.start("--node", NODE, "--listen", f"unix:{path}")
        self.assertEqual(daemon.wait(20), 2)
        self.assertIn(f"unix:{path}: the file exists and is not a socket", daemon.log())
        self.assertEqual(self.read(path), "precious")
        missing = self.start("--node", NODE, "--listen", f"unix:{self.path('no/a.sock')}")
        self.assertEqual(missing.wait(20), 2)
        self.assertIn("No such file or directory", missing.log())


if __name__ == "__main__":
    unittest.main()
