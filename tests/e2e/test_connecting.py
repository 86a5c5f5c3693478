"""Connecting: slow servers, proxies in the environment, and the words for each way to fail."""

import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from test_access import make_certificates
from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, listens

PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


class Server:
    """Accepts connections on a free port, and handles each in its own thread."""

    def __init__(self, handle):
        self.accepted = 0
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._closed.is_set():
                connection.close()
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._guard, args=(connection,)))
            self._threads[-1].start()

    def _guard(self, connection):
        with connection:
            try:
                self._handle(connection, self._closed)
            except OSError:
                pass  # the client hung up

    def close(self):
        self._closed.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes accept()
        for thread in self._threads:
            thread.join()
        self._listener.close()


def delayed(port, pauses):
    """Forwards to the port. Before the first messages of the daemon, pauses as long as the list says."""
    def handle(client, _):
        with socket.create_connection(("127.0.0.1", port)) as daemon:
            forward = threading.Thread(target=pump, args=(client, daemon, []))
            forward.start()
            pump(daemon, client, list(pauses))
            forward.join()

    def pump(source, sink, left):
        try:
            while data := source.recv(65536):
                if left:
                    threading.Event().wait(left.pop(0))
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    return handle


def silent(_, closed):
    closed.wait()


def speaks_http1(connection, _):
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def speaks_plain_http2(connection, closed):
    connection.sendall(b"\0\0\0\x04\0\0\0\0\0")  # SETTINGS
    closed.wait()


def speaks_tls(certificate, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate + ".crt", certificate + ".key")
    context.set_alpn_protocols(["h2"])
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    def handle(connection, closed):
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(100)
            closed.wait()
    return handle


class Connecting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        make_certificates(cls.directory.name, "localhost", "elsewhere")
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout other.key -out other.crt"
            " && openssl x509 -req -in localhost.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days -1"
            " -extfile localhost.ext -out expired.crt && cp localhost.key expired.key",
            shell=True, check=True, cwd=cls.directory.name, capture_output=True)
        cls.nodes = Nodes()
        cls.addClassCleanup(cls.nodes.close)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def daemon(self, *arguments):
        port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--log-level", "warning", "--node-timeout", "2s",
                   *arguments]
        for node in self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(eventually(lambda: listens(port), 20))
        self.assertTrue(eventually(
            lambda: self.ctl("--server", f"localhost:{port}", *self.tls(arguments), "health").returncode == 0, 20))
        return port

    def tls(self, wanted=True):
        return ["--tls-ca", self.path("ca.crt")] if wanted else []

    def server(self, handle):
        server = Server(handle)
        self.addCleanup(server.close)
        return server

    def ctl(self, *arguments, env=None):
        return subprocess.run([REDLOCKCTL, *arguments], env={**os.environ, **(env or {})}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)

    def assert_works(self, *arguments, env=None):
        for command in (["status"], ["run", "--try", "key", "--", "true"]):
            done = self.ctl(*arguments, *command, env=env)
            self.assertEqual(done.returncode, 0, (arguments, done.stdout))

    def assert_fails(self, words, address, *arguments):
        for command, status in ((["status"], 6), (["run", "--try", "key", "--", "true"], 120)):
            done = self.ctl("--server", address, *arguments, *command)
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn(f"no redlockd answers: {address}: ", done.stdout)
            self.assertIn(words, done.stdout)

    def test_a_far_daemon_is_reached_and_no_proxy_is_used(self):
        port = self.daemon()
        for env in (None, PROXY):
            self.assert_works("--server", f"127.0.0.1:{port}", env=env)
        far = self.server(delayed(port, [1.2]))
        self.assert_works("--server", far.address)
        self.assertEqual(far.accepted, 2, "one connection for each command")
        # A server that refuses connections costs no time, however long connecting may take.
        self.assert_works("--connect-timeout", "1m", "--server", f"127.0.0.1:{free_port()},{far.address}")

    def test_a_far_daemon_is_reached_by_tls(self):
        port = self.daemon("--tls-cert", self.path("localhost.crt"), "--tls-key", self.path("localhost.key"))
        far = self.server(delayed(port, [0.4] * 4))
        address = far.address.replace("127.0.0.1", "localhost")
        self.assert_works(*self.tls(), "--server", address)
        self.assertEqual(far.accepted, 2)
        self.assert_fails("the server speaks TLS, but the client is configured without TLS", f"localhost:{port}")

    def test_the_error_says_why_the_connection_failed(self):
        self.assert_fails("the connection was refused", f"127.0.0.1:{free_port()}")
        self.assert_fails("does not resolve", "nowhere.invalid:50051")
        self.assert_fails("the socket does not exist", "unix:" + self.path("none"))
        self.assert_fails("speaks HTTP/1", self.server(speaks_http1).address)
        hanging = self.server(silent).address
        self.assert_fails("no answer within 200 ms", hanging, "--connect-timeout", "200ms")
        self.assert_fails("no answer to the TLS handshake within 200 ms", hanging,
                          *self.tls(), "--connect-timeout", "200ms")

    def test_a_command_ends_in_order_while_grpc_begins_a_tls_handshake(self):
        """gRPC connects again while the process exits. One in a hundred crashed when OpenSSL freed its state first."""
        hanging = self.server(silent).address
        with ThreadPoolExecutor(16) as threads:
            ended = list(threads.map(lambda _: self.ctl("--server", hanging, *self.tls(), "--connect-timeout", "200ms",
                                                        "status"), range(256)))
        self.assertEqual({each.returncode for each in ended}, {6}, [each.stdout for each in ended if each.returncode != 6])

    def test_the_error_says_what_is_wrong_with_tls(self):
        def address(handle):
            return self.server(handle).address.replace("127.0.0.1", "localhost")

        self.assert_fails("the server does not speak TLS", address(speaks_plain_http2), *self.tls())
        self.assert_fails("certificate expired on 20", address(speaks_tls(self.path("expired"))), *self.tls())
        good = address(speaks_tls(self.path("localhost")))
        self.assert_fails("a CA that the client does not trust issued the server's TLS certificate (issuer: /CN=ca)",
                          good, "--tls-ca", self.path("other.crt"))
        self.assert_fails("not valid for this name", address(speaks_tls(self.path("elsewhere"))), *self.tls())
        strict = address(speaks_tls(self.path("localhost"), self.path("ca.crt")))
        self.assert_fails("requires a client certificate", strict, *self.tls())
        self.assert_fails("refused the client certificate", strict, *self.tls(),
                          "--tls-cert", self.path("other.crt"), "--tls-key", self.path("other.key"))

    def test_the_error_names_every_server(self):
        refused = f"127.0.0.1:{free_port()}"
        http = self.server(speaks_http1).address
        for command in (["status"], ["run", "--try", "key", "--", "true"]):
            output = self.ctl("--server", f"{refused},{http}", *command).stdout
            self.assertIn(f"{refused}: the connection was refused", output)
            self.assertIn(f"{http}: the server speaks HTTP/1", output)

    def test_wrong_arguments_are_named_before_anything_is_sent(self):
        nobody = ["--server", f"127.0.0.1:{free_port()}"]
        for arguments, words in (
                (["bogus"], "there is no subcommand bogus"),
                (["--bogus"], "there is no option --bogus"),
                (["nodes", "bogus"], "there is no subcommand bogus"),
                (["--server", "", "status"], "expected host:port or unix:/path, not an empty text"),
                (["--server", "localhost", "status"], "expected host:port or unix:/path, not localhost"),
                (["--server", "http://localhost:1", "status"], "expected host:port or unix:/path"),
                ([*nobody, "acquire", "a", "b", "--max-holders", "2"], "a semaphore has a single KEY, not 2"),
                ([*nobody, "acquire", "a", "--extend-if-held"], "--extend-if-held requires --token"),
                ([*nobody, "acquire", "a", "--token", ""], "--token: must not be empty"),
                ([*nobody, "acquire", "a", "--try", "--wait", "5"], "--try excludes --wait"),
                ([*nobody, "extend", "a", "--token", "t", "--try", "--max-retries", "5"], "--max-retries excludes --try"),
                ([*nobody, "run", "--try", "--wait", "5", "a", "true"], "--try excludes --wait"),
                ([*nobody, "bench", "--duration", "0"], "--duration: must be longer than 0"),
                ([*nobody, "who", b"\xff"], "KEY: is not valid UTF-8")):
            done = self.ctl(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done.stdout))
            self.assertIn(words, done.stdout)
            self.assertNotIn("protobuf", done.stdout)

    def test_a_call_that_a_signal_ends_says_so(self):
        silence = ["--server", self.server(silent).address, "--connect-timeout", "1m"]
        call = subprocess.Popen([REDLOCKCTL, *silence, "acquire", "k"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True)
        time.sleep(0.5)
        call.terminate()
        _, err = call.communicate(timeout=60)
        self.assertEqual(call.returncode, 1, err)
        self.assertIn("interrupted by a signal before the daemon answered", err)

    def test_output_that_cannot_be_written_is_an_error(self):
        server = ["--server", f"127.0.0.1:{self.daemon()}"]
        with open("/dev/full", "w") as full:
            done = subprocess.run([REDLOCKCTL, *server, "acquire", "k"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write to standard output: No space left on device", done.stderr)

    def test_a_time_limit_also_bounds_connecting(self):
        servers = ",".join(self.server(silent).address for _ in range(3))
        common = ["--connect-timeout", "1h", "--server", servers]
        for command, status in ((["--timeout", "200ms", "status"], 6),
                                (["acquire", "key", "--wait", "200ms"], 6),
                                (["run", "--wait", "200ms", "key", "--", "true"], 120)):
            done = self.ctl(*common, *command)
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn("no redlockd answers", done.stdout)
            self.assertIn(servers.split(",")[0], done.stdout)

    def test_a_token_file_that_no_header_can_carry_is_refused(self):
        with open(self.path("token"), "w") as file:
            file.write("two\nlines\n")
        for command in (["status"], ["run", "key", "--", "true"]):
            done = self.ctl("--auth-token-file", self.path("token"), *command)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(self.path("token"), done.stdout)
            self.assertNotIn("two", done.stdout)


if __name__ == "__main__":
    unittest.main()
