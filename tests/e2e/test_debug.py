"""`redlockctl debug`: what the file for a bug report has, and that no secret is in it."""

import hashlib
import http.server
import json
import os
import stat
import subprocess
import threading
import time

import grpc

from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_access import AccessCase, make_certificates
from test_service import REDLOCKCTL, eventually, free_port, seconds

OWNER_TOKEN, OTHER_TOKEN, VALUE, LABEL = "planted-token", "planted-other-token", "planted-value", "planted-label"
KEY, LOST_KEY = "planted-key", "planted-lost-key"
RULES = """
[[rule]]
identity = "ops"
verbs = ["acquire", "extend", "release", "inspect", "admin"]
"""


def redacted(key):
    return "key-" + hashlib.sha256(key.encode()).hexdigest()[:16]


class DebugTest(AccessCase):
    NODE_PASSWORD = "planted-node-password"

    def debug(self, *arguments, environment=None):
        """Returns the bundle, and what redlockctl wrote to standard error."""
        file = self.path(f"bundle{time.monotonic_ns()}.json")
        done = subprocess.run([REDLOCKCTL, "debug", "--file", file, *arguments], capture_output=True, text=True,
                              timeout=60, env={**os.environ, **(environment or {})})
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
        with open(file) as bundle:
            return bundle.read(), done.stderr

    def start_secured(self):
        """A daemon with TLS and bearer tokens, a holder and a waiter."""
        make_certificates(self.directory, "localhost")
        self.write("rules", RULES)
        self.start_debugged("--token-file", self.path("tokens"), "--access-list", self.path("rules"),
                            "--tls-cert", self.path("localhost.crt"), "--tls-key", self.path("localhost.key"),
                            "--key-group", f"{KEY}*")
        self.as_ops = ("--server", f"localhost:{self.port}", "--tls-ca", self.path("ca.crt"),
                       "--auth-token-file", self.path("ops.token"))
        self.assertTrue(eventually(lambda: self.result_of(*self.as_ops, "status") == "ok", 20))
        with open(self.path("ca.crt"), "rb") as ca:
            self.connect(grpc.secure_channel(f"localhost:{self.port}", grpc.ssl_channel_credentials(ca.read())),
                         [("authorization", f"Bearer {self.ops}")])
        self.hold(KEY, OWNER_TOKEN, value=VALUE)
        waiter = self.stub.Acquire.future(
            pb.AcquireRequest(key=KEY, token=OTHER_TOKEN, ttl=seconds(5), owner=LABEL,
                              retry=pb.RetryPolicy(max_retries=-1)), metadata=self.metadata, timeout=60)
        self.addCleanup(waiter.cancel)
        shows_waiter = lambda: "waiting" in self.run_ctl(*self.as_ops, "leases").stdout
        self.assertTrue(eventually(shows_waiter, 10))

    def start_debugged(self, *options):
        self.http = f"127.0.0.1:{free_port()}"
        self.start("--metrics-listen", self.http, *options)

    def connect(self, channel, metadata):
        self.addCleanup(channel.close)
        self.stub, self.metadata = pb_grpc.LockServiceStub(channel), metadata

    def hold(self, key, token, **more):
        held = self.stub.Hold(pb.HoldRequest(key=key, token=token, ttl=seconds(1), owner=LABEL, **more),
                              metadata=self.metadata, timeout=60)
        self.addCleanup(held.cancel)
        self.assertEqual(next(held).type, pb.EVENT_TYPE_ACQUIRED)
        return held

    def lose(self, key, *command):
        held = self.hold(key, OTHER_TOKEN)
        for number in range(3):
            self.nodes.cli(number, "--no-auth-warning", "-a", self.NODE_PASSWORD, *command)
        self.assertTrue(any(event.type == pb.EVENT_TYPE_LOST for event in held))

    def secrets(self):
        with open(self.path("localhost.key")) as key, open(self.path("tokens")) as tokens:
            lines = [line for line in key.read().split("\n") if line and not line.startswith("---")]
            lines += tokens.read().split()[1:]  # salt and hash
        return [self.NODE_PASSWORD, self.ops, self.ops.split(".")[1], OWNER_TOKEN, OTHER_TOKEN, VALUE, LABEL, *lines]

    def assert_none_in(self, text, *texts):
        for each in texts:
            self.assertFalse(each in text, each)

    def test_no_secret_is_in_the_bundle(self):
        self.start_secured()
        text, notice = self.debug(*self.as_ops, environment={"REDLOCK_TOKEN": "planted-in-environment"})
        self.assert_none_in(text, *self.secrets(), "planted-in-environment", "ipv4:127.0.0.1:")
        self.assertIn("left out: tokens, passwords", notice)
        bundle = json.loads(text)
        self.assertEqual(bundle["errors"], [])
        [daemon] = bundle["daemons"]
        self.assertEqual(daemon["health"]["status"], "SERVING")
        self.assertEqual(daemon["versions"]["redlockd"], bundle["redlockctl"]["version"])
        for library in "grpc", "hiredis", "libc":
            self.assertRegex(daemon["versions"][library], r"^\d+\.\d+")
        nodes = daemon["settings"]["Redis nodes"]["node"]
        self.assertEqual(nodes.count("***@127.0.0.1:"), 3, nodes)
        self.assertEqual([node["state"] for node in daemon["nodes"]["nodes"]], ["NODE_STATE_UP"] * 3)
        self.assertEqual(len(daemon["node_set"]["members"]), 3)
        self.assertEqual(daemon["leases"], {"totals": {"watched": 1, "lost": 0, "waiting": 1},
                                            "by_key": {KEY: {"watched": 1, "waiting": 1}}})
        [page] = bundle["status_pages"]
        self.assertEqual(page["address"], self.http)
        self.assertIn("redlockd_waiters 1", page["metrics"])

    def test_names_of_keys_are_replaced_by_hashes(self):
        self.start_secured()
        text, _ = self.debug(*self.as_ops, "--redact-keys")
        self.assert_none_in(text, *self.secrets(), KEY)
        bundle = json.loads(text)
        self.assertEqual(list(bundle["daemons"][0]["leases"]["by_key"]), [redacted(KEY)])
        [page] = bundle["status_pages"]
        group = redacted(KEY + "*")
        self.assertTrue(any(line.startswith(f'redlockd_wait_seconds_count{{group="{group}"}}')
                            for line in page["metrics"]))

    def test_recent_losses_are_in_the_bundle(self):
        self.start_debugged()
        address = f"127.0.0.1:{self.port}"
        self.connect(grpc.insecure_channel(address), [])
        self.assertTrue(eventually(lambda: self.result_of("--server", address, "status") == "ok", 20))
        self.lose(LOST_KEY, "DEL", LOST_KEY)
        text, _ = self.debug("--server", address)
        self.assert_none_in(text, self.NODE_PASSWORD, OTHER_TOKEN, LABEL)
        [page] = json.loads(text)["status_pages"]
        [loss] = page["losses"]
        self.assertEqual(loss["key"], LOST_KEY)
        self.assertTrue(loss["message"])
        text, _ = self.debug("--server", address, "--redact-keys")
        self.assert_none_in(text, LOST_KEY)
        self.assertEqual(json.loads(text)["status_pages"][0]["losses"], [{**loss, "key": redacted(LOST_KEY)}])

    def test_what_a_caller_may_not_see_is_an_error_in_the_bundle(self):
        self.start_secured()
        text, notice = self.debug(*self.as_ops[:4], "--metrics", self.http)  # without the bearer token
        bundle = json.loads(text)
        self.assertEqual(bundle["daemons"], [{"server": f"localhost:{self.port}", "health": {"status": "SERVING"}}])
        self.assertEqual(len(bundle["errors"]), 4)
        for error in bundle["errors"]:
            self.assertRegex(error, f"^(configuration|nodes|node set|leases) of localhost:{self.port}: ")
            self.assertIn(f"not collected: {error}", notice)
        self.assertEqual(len(bundle["status_pages"]), 1)

    def test_a_bundle_without_a_daemon_has_the_reason(self):
        unused = free_port()
        text, notice = self.debug("--server", f"127.0.0.1:{unused}", "--metrics", f"127.0.0.1:{unused}")
        bundle = json.loads(text)
        self.assertEqual((bundle["daemons"], bundle["status_pages"]), ([{"server": f"127.0.0.1:{unused}"}], []))
        unreachable, metrics = bundle["errors"]
        self.assertRegex(unreachable, f"^health of 127.0.0.1:{unused}: no redlockd answers: .*refused")
        self.assertRegex(metrics, f"^metrics at 127.0.0.1:{unused}: Connection refused")
        self.assertIn(f"not collected: {unreachable}", notice)
        self.assertRegex(bundle["redlockctl"]["version"], r"^\d+\.\d+\.\d+$")
        self.assertTrue(bundle["redlockctl"]["os"])

    def test_what_another_server_answers_is_not_taken_over(self):
        class Other(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"planted-answer")

            def log_message(self, *_):
                pass

        other = http.server.HTTPServer(("127.0.0.1", 0), Other)
        self.addCleanup(other.server_close)
        threading.Thread(target=other.serve_forever).start()
        self.addCleanup(other.shutdown)
        address = f"127.0.0.1:{other.server_port}"
        text, notice = self.debug("--server", f"127.0.0.1:{free_port()}", "--metrics", address)
        self.assert_none_in(text + notice, "planted-answer")
        self.assertEqual(json.loads(text)["errors"][1],
                         f"metrics at {address}: its /status.json is not that of redlockd")

    def test_a_file_is_never_replaced(self):
        self.write("kept", "text")
        done = self.run_ctl("--server", f"127.0.0.1:{free_port()}", "debug", "--file", self.path("kept"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("File exists", done.stderr)
        with open(self.path("kept")) as kept:
            self.assertEqual(kept.read(), "text")
