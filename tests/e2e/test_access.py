"""Authentication and authorization: TLS, client certificates, bearer tokens and the access list."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc

from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, listens, seconds

RULES = """
[[rule]]
identity = "ops"
verbs = ["admin", "inspect"]
[[rule]]
identity = "billing"
keys = ["billing/*"]
verbs = ["acquire", "extend", "release"]
"""


def make_certificates(directory, *names):
    """A throw-away CA that issues a certificate for each name as subject alternative name."""
    commands = ["openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt"]
    for name in names:
        commands += [
            f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=some -keyout {name}.key -out {name}.csr",
            f"printf subjectAltName=DNS:{name} > {name}.ext",
            f"openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
            f"-extfile {name}.ext -out {name}.crt"]
    subprocess.run(" && ".join(commands), shell=True, check=True, cwd=directory, capture_output=True)


class AccessCase(unittest.TestCase):
    """A daemon with token files and access lists in a directory, and a token of the identity `ops`."""

    NODE_PASSWORD = ""  # of the nodes; empty: none

    def setUp(self):
        self.nodes = Nodes(options=("--requirepass", self.NODE_PASSWORD) if self.NODE_PASSWORD else ())
        self.addCleanup(self.nodes.close)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        made = json.loads(self.run_ctl("token", "ops", "--output", "json").stdout)
        self.ops = made["token"]
        self.write("ops.token", made["token"] + "\n")
        self.write("tokens", made["line"] + "\n")
        self.write("rules", RULES)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)

    def start(self, *arguments):
        self.port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{self.port}", "--log-level", "warning",
                   "--node-timeout", "2s", *arguments]
        for node in self.nodes.ports:
            password = f":{self.NODE_PASSWORD}@" if self.NODE_PASSWORD else ""
            command += ["--node", f"redis://{password}127.0.0.1:{node}"]
        self.daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.daemon.stderr.close)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(self.port), 20))

    def run_ctl(self, *arguments):
        return subprocess.run([REDLOCKCTL, *arguments], capture_output=True, text=True)

    def result_of(self, *arguments):
        """Runs redlockctl and returns "ok", the reason of the error, or None if the answer is not an error."""
        done = self.run_ctl("--timeout", "5s", "--output", "json", *arguments)
        if done.returncode == 0:
            return "ok"
        return json.loads(done.stdout).get("error", {}).get("reason")


class AccessTest(AccessCase):
    def test_the_status_page_shows_no_keys_if_authentication_is_required(self):
        http = free_port()
        self.start("--token-file", self.path("tokens"), "--metrics-listen", f"127.0.0.1:{http}")
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.addCleanup(channel.close)
        held = pb_grpc.LockServiceStub(channel).Hold(
            pb.HoldRequest(key="secret-key", ttl=seconds(10)),
            metadata=[("authorization", f"Bearer {self.ops}")])
        while next(held).type != pb.EVENT_TYPE_ACQUIRED:
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/status.json", timeout=5) as response:
            status = json.loads(response.read())
        self.assertEqual(status["watched"], 1)
        self.assertFalse(status["keys_shown"])
        self.assertNotIn("secret-key", json.dumps(status))

    def test_redlockctl_run_sends_its_bearer_token(self):
        self.start("--token-file", self.path("tokens"))
        server = f"127.0.0.1:{self.port}"
        self.assertEqual(self.run_ctl("--server", server, "run", "key", "--", "true").returncode, 125)
        run = self.run_ctl("--server", f"127.0.0.1:1,{server}", "--auth-token-file",
                           self.path("ops.token"), "run", "key", "--", "echo", "done")
        self.assertEqual((run.returncode, run.stdout), (0, "done\n"), run.stderr)

    def test_a_holder_is_known_by_its_identity(self):
        self.start("--token-file", self.path("tokens"))
        as_ops = ("--server", f"127.0.0.1:{self.port}", "--auth-token-file", self.path("ops.token"))
        self.assertTrue(eventually(lambda: self.result_of(*as_ops, "status") == "ok", 10))
        self.run_ctl(*as_ops, "acquire", "k")
        self.assertRegex(self.run_ctl(*as_ops, "who", "k").stdout,
                         r"held by        ops at ipv4:127\.0\.0\.1:\d+, through ")
        refused = self.run_ctl(*as_ops, "acquire", "k", "--try")
        self.assertRegex(refused.stderr, r"another holder has the lock, ops at ipv4:\S+, for \d+\.\d+ s")

    def test_tokens_and_rules(self):
        self.start("--token-file", self.path("tokens"), "--access-list", self.path("rules"))
        server = ("--server", f"127.0.0.1:{self.port}")
        as_ops = (*server, "--auth-token-file", self.path("ops.token"))
        self.assertTrue(eventually(lambda: self.result_of(*as_ops, "status") == "ok", 10))
        for command in (("inspect", "k"), ("status",), ("acquire", "k", "--try"), ("hold", "k"),
                        ("watch", "k", "--token", "t"), ("release", "k", "--token", "t"),
                        ("nodes", "abort")):
            self.assertEqual(self.result_of(*server, *command), "UNAUTHENTICATED", command)
        self.assertEqual(self.result_of(*as_ops, "inspect", "k"), "ok")
        self.assertEqual(self.result_of(*as_ops, "nodes", "init"), "ok")
        for command in (("acquire", "k", "--try"), ("hold", "k"), ("watch", "k", "--token", "t"),
                        ("extend", "k", "--token", "t"), ("release", "k", "--token", "t")):
            self.assertEqual(self.result_of(*as_ops, *command), "PERMISSION_DENIED", command)
        self.assertEqual(self.nodes.cli(0, "EXISTS", "k"), "0")
        self.write("ops.token", self.ops[:-1] + ("0" if self.ops[-1] != "0" else "1"))
        self.assertEqual(self.result_of(*as_ops, "inspect", "k"), "UNAUTHENTICATED")

    def test_a_session_is_authenticated_once_and_each_operation_is_authorized(self):
        self.start("--token-file", self.path("tokens"), "--access-list", self.path("rules"))
        stub = pb_grpc.LockServiceStub(grpc.insecure_channel(f"127.0.0.1:{self.port}"))
        acquire = pb.SessionOperation(
            id=1, acquire=pb.AcquireRequest(key="k", ttl=seconds(5)))
        with self.assertRaises(grpc.RpcError) as refused:
            next(stub.Session(iter([pb.SessionRequest(operations=[acquire])]), timeout=5))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        answer = next(stub.Session(iter([pb.SessionRequest(operations=[acquire])]), timeout=5,
                                   metadata=[("authorization", f"Bearer {self.ops}")]))
        self.assertEqual(answer.results[0].status.reason, "PERMISSION_DENIED")

    def test_client_certificates_are_identities(self):
        make_certificates(self.directory, "localhost", "billing", "stranger")
        self.start("--access-list", self.path("rules"), "--tls-cert", self.path("localhost.crt"),
                   "--tls-key", self.path("localhost.key"), "--tls-client-ca", self.path("ca.crt"))
        server = ("--server", f"localhost:{self.port}", "--tls-ca", self.path("ca.crt"))

        def as_(name):
            return (*server, "--tls-cert", self.path(f"{name}.crt"), "--tls-key", self.path(f"{name}.key"))

        self.assertTrue(eventually(
            lambda: self.result_of(*as_("billing"), "acquire", "billing/1", "--try", "--ttl", "1s") == "ok", 10))
        self.assertEqual(self.result_of(*as_("billing"), "acquire", "other", "--try"), "PERMISSION_DENIED")
        for command in (("status",), ("nodes", "abort"), ("nodes", "init")):
            self.assertEqual(self.result_of(*as_("billing"), *command), "PERMISSION_DENIED", command)
        self.assertEqual(self.result_of(*as_("stranger"), "acquire", "billing/2", "--try"), "PERMISSION_DENIED")
        self.assertNotEqual(self.run_ctl(*server, "--timeout", "2s", "inspect", "k").returncode, 0)
        plain = ("--server", f"127.0.0.1:{self.port}", "--timeout", "2s")
        self.assertNotEqual(self.run_ctl(*plain, "inspect", "k").returncode, 0)

    def test_a_file_without_a_certificate_is_reported_by_name(self):
        for command in (("inspect", "k"), ("run", "k", "--", "true")):
            refused = self.run_ctl("--tls-ca", self.path("rules"), "--timeout", "2s", *command)
            self.assertEqual(refused.returncode, 2, command)
            self.assertEqual(refused.stderr.strip(),
                             f"redlockctl: {self.path('rules')}: contains no CERTIFICATE in PEM format")
        make_certificates(self.directory, "billing")
        swapped = self.run_ctl("--tls-ca", self.path("ca.crt"), "--tls-cert", self.path("billing.crt"),
                               "--tls-key", self.path("billing.crt"), "inspect", "k")
        self.assertIn("billing.crt: contains no PRIVATE KEY in PEM format", swapped.stderr)

    def test_a_renewed_certificate_is_used_without_a_restart(self):
        make_certificates(self.directory, "localhost")
        self.start("--tls-cert", self.path("localhost.crt"), "--tls-key", self.path("localhost.key"))
        shutil.copy(self.path("ca.crt"), self.path("old.crt"))
        server = ("--server", f"localhost:{self.port}", "--timeout", "2s", "inspect", "k")
        self.assertTrue(eventually(
            lambda: self.run_ctl("--tls-ca", self.path("old.crt"), *server).returncode == 0, 10))
        make_certificates(self.directory, "localhost")  # issued by another CA
        self.assertTrue(eventually(
            lambda: self.run_ctl("--tls-ca", self.path("ca.crt"), *server).returncode == 0, 40))
        self.assertNotEqual(self.run_ctl("--tls-ca", self.path("old.crt"), *server).returncode, 0)

    def test_sighup_reloads_files_and_rejects_invalid_ones(self):
        self.start("--token-file", self.path("tokens"), "--access-list", self.path("rules"))
        as_ops = ("--server", f"127.0.0.1:{self.port}", "--auth-token-file", self.path("ops.token"))
        self.assertTrue(eventually(lambda: self.result_of(*as_ops, "status") == "ok", 10))
        self.write("rules", RULES + "[[rule]]\nidentity = 1\n")
        self.daemon.send_signal(signal.SIGHUP)
        # After warnings about nodes that were not connected yet.
        self.assertTrue(any("line 10: identity must be a string" in line for line in self.daemon.stderr))
        self.assertEqual(self.result_of(*as_ops, "status"), "ok")
        self.write("rules", "")
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: self.result_of(*as_ops, "status") == "PERMISSION_DENIED", 10))

    def test_the_unix_socket_has_the_configured_mode(self):
        socket = self.path("redlockd.sock")
        self.start("--listen", f"unix:{socket}", "--unix-socket-mode", "0600")
        give_up = time.monotonic() + 10
        while not os.path.exists(socket):  # no pause, because the mode must never be wider, even briefly
            self.assertLess(time.monotonic(), give_up)
        self.assertEqual(stat.S_IMODE(os.stat(socket).st_mode), 0o600)
        self.assertTrue(eventually(lambda: self.result_of("--server", f"unix:{socket}", "status") == "ok", 10))


if __name__ == "__main__":
    sys.exit(unittest.main())
