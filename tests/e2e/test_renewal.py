"""Passwords of nodes and certificates are renewed while the daemon serves."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from test_access import make_certificates
from test_service import REDLOCKCTL, REDLOCKD, eventually, free_port, listens


class RenewalTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name + ".new"), "w") as file:
            file.write(text)
        os.rename(self.path(name + ".new"), self.path(name))

    def certificates(self, name, ca):
        """Makes NAME.crt and NAME.key for localhost, and CA.crt, which issued them."""
        with tempfile.TemporaryDirectory() as made:
            make_certificates(made, "localhost")
            shutil.copy(f"{made}/localhost.crt", self.path(f"{name}.crt"))
            shutil.copy(f"{made}/localhost.key", self.path(f"{name}.key"))
            shutil.copy(f"{made}/ca.crt", self.path(f"{ca}.crt"))

    def use(self, name, certificate, key):
        """Replaces a pair in use by the certificate and the key of others."""
        for source, kind in ((certificate, "crt"), (key, "key")):
            shutil.copy(self.path(f"{source}.{kind}"), self.path("new"))
            os.rename(self.path("new"), self.path(f"{name}.{kind}"))

    def start_node(self, *arguments):
        self.node_port = free_port()
        node = subprocess.Popen(["redis-server", "--save", "", "--dir", self.directory,
                                 "--unixsocket", self.path("node.sock"), *arguments],
                                stdout=subprocess.DEVNULL)
        self.addCleanup(node.wait)
        self.addCleanup(node.kill)
        self.assertTrue(eventually(lambda: os.path.exists(self.path("node.sock")), 10))

    def cli(self, *command):
        done = subprocess.run(["redis-cli", "-s", self.path("node.sock"), *command],
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start_daemon(self, *arguments):
        self.port, self.metrics_port = free_port(), free_port()
        self.log = self.path("log")
        with open(self.log, "w") as log:
            self.daemon = subprocess.Popen(
                [REDLOCKD, "--listen", f"localhost:{self.port}", "--node-timeout", "2s",
                 "--metrics-listen", f"127.0.0.1:{self.metrics_port}", *arguments], stderr=log)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(self.port), 20))

    def logged(self, text, patience=10):
        def found():
            with open(self.log) as log:
                return text in log.read()
        self.assertTrue(eventually(found, patience), text)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as page:
            for line in page.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[-1])
        return None

    def acquires(self, *arguments):
        done = subprocess.run([REDLOCKCTL, "--server", f"localhost:{self.port}", "--timeout", "2s",
                               *arguments, "acquire", "k", "--try", "--ttl", "100ms"],
                              capture_output=True, text=True)
        return done.returncode == 0

    def test_a_rotated_password_of_a_node(self):
        self.start_node("--port", "0", "--requirepass", "first")
        self.write("password", "first\n")
        node = f"unix://{self.path('node.sock')}?password_file={self.path('password')}"
        self.start_daemon("--node", node)
        self.assertTrue(eventually(self.acquires, 20))

        self.cli("--pass", "first", "--no-auth-warning", "CONFIG", "SET", "requirepass", "second")
        self.assertTrue(eventually(self.acquires), "a connection that has logged in goes on")
        self.write("password", "second\r\n")
        self.logged("node passwords reloaded, because they have changed")
        kill = ("--pass", "second", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.cli(*kill)
        self.assertTrue(eventually(self.acquires, 10))

        self.write("password", "\n")
        self.logged("the previous ones stay in use: password file " + self.path("password"))
        self.assertEqual(self.metric('redlockd_reload_ok{what="node-passwords"}'), 0)
        self.cli(*kill)
        self.assertTrue(eventually(self.acquires, 10), "the last password is kept")
        self.daemon.send_signal(signal.SIGHUP)
        self.logged("SIGHUP: node passwords not reloaded")
        self.logged("SIGHUP: tokens and access list reloaded")  # a fault of one file does not hide it
        self.assertEqual(self.metric('redlockd_reload_failures_total{what="node-passwords"}'), 2)
        self.write("password", "second\n")
        self.logged("node passwords: the files can be used again")
        self.assertEqual(self.metric('redlockd_reload_ok{what="node-passwords"}'), 1)

    def test_a_bad_pair_of_the_service_is_refused_and_the_old_one_kept(self):
        self.start_node("--port", "0")
        self.certificates("one", ca="ca1")
        self.certificates("two", ca="ca2")
        subprocess.run("openssl req -new -key two.key -subj /CN=old -out old.csr && "
                       "openssl x509 -req -in old.csr -signkey two.key -days 0 -out old.crt",
                       shell=True, cwd=self.directory, check=True, capture_output=True)
        self.use("used", "one", "one")
        self.start_daemon("--node", f"unix://{self.path('node.sock')}", "--tls-cert", self.path("used.crt"),
                          "--tls-key", self.path("used.key"))

        def serves(ca):
            return self.acquires("--tls-ca", self.path(f"{ca}.crt"))

        self.assertTrue(eventually(lambda: serves("ca1"), 20))
        expiry = self.metric('redlockd_certificate_expiry_timestamp_seconds{use="grpc"}')
        self.assertAlmostEqual(expiry, time.time() + 2 * 24 * 3600, delta=120)

        failures = 0
        for certificate, key, fault in (("two", "one", "used.key: does not match --tls-cert"),
                                        ("old", "two", "used.crt: the certificate expired on")):
            self.use("used", certificate, key)
            self.daemon.send_signal(signal.SIGHUP)
            self.logged("SIGHUP: certificates of the gRPC service not reloaded")
            self.logged(fault)
            failures += 1
            time.sleep(1.2)  # gRPC would have taken it over
            self.assertTrue(serves("ca1"), fault)
            self.assertFalse(serves("ca2"))
            self.assertEqual(
                self.metric('redlockd_reload_failures_total{what="grpc-certificates"}'), failures)
        os.remove(self.path("used.crt"))
        self.logged("used.crt: cannot read the file")
        self.assertTrue(serves("ca1"))
        self.assertEqual(self.metric('redlockd_reload_ok{what="grpc-certificates"}'), 0)

        self.use("used", "two", "two")
        self.logged("certificates of the gRPC service reloaded, because they have changed")
        self.assertTrue(eventually(lambda: serves("ca2")))
        self.assertFalse(serves("ca1"))
        self.assertEqual(self.metric('redlockd_reload_ok{what="grpc-certificates"}'), 1)
        self.use("used", "one", "one")
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: serves("ca1")))

    def test_renewed_certificates_for_the_nodes(self):
        self.certificates("one", ca="ca1")
        self.certificates("two", ca="ca2")
        port = free_port()
        self.start_node("--port", "0", "--tls-port", str(port), "--tls-cert-file", self.path("one.crt"),
                        "--tls-key-file", self.path("one.key"), "--tls-ca-cert-file", self.path("ca1.crt"))
        self.use("used", "one", "one")
        shutil.copy(self.path("ca1.crt"), self.path("ca.crt"))
        self.start_daemon("--node", f"rediss://localhost:{port}", "--redis-tls-ca", self.path("ca.crt"),
                          "--redis-tls-cert", self.path("used.crt"), "--redis-tls-key", self.path("used.key"))
        self.assertTrue(eventually(self.acquires, 20))
        for use in ("node-client", "node-ca"):
            self.assertGreater(
                self.metric(f'redlockd_certificate_expiry_timestamp_seconds{{use="{use}"}}'), time.time())

        self.cli("CONFIG", "SET", "tls-cert-file", self.path("two.crt"), "tls-key-file", self.path("two.key"),
                 "tls-ca-cert-file", self.path("ca2.crt"))
        self.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.assertTrue(eventually(lambda: not self.acquires(), 10))
        self.use("used", "two", "one")
        shutil.copy(self.path("ca2.crt"), self.path("ca.crt"))
        self.daemon.send_signal(signal.SIGHUP)
        self.logged("SIGHUP: certificates for the nodes not reloaded, the previous ones stay in use: "
                    f"--redis-tls-key {self.path('used.key')}: does not match")
        self.use("used", "two", "two")
        self.logged("certificates for the nodes reloaded, because they have changed")
        self.assertTrue(eventually(self.acquires, 10))


if __name__ == "__main__":
    sys.exit(unittest.main())
