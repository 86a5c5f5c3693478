"""Tests the HTTP listener for metrics and the status page against clients that idle, dawdle or send anything."""

import http.client
import os
import resource
import socket
import subprocess
import threading
import unittest
import urllib.request

from test_service import REDLOCKD, eventually, free_port

PATIENCE = 5


def has_ipv6():
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 9)) != 99  # EADDRNOTAVAIL


class Listener(unittest.TestCase):
    """A daemon whose node is not up: the listener does not need it."""

    def start(self, metrics_listen, **more):
        command = [REDLOCKD, "--listen", f"127.0.0.1:{free_port()}", "--log-level", "warning",
                   "--node", f"redis://127.0.0.1:{free_port()}", "--metrics-listen", metrics_listen]
        daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def setUp(self):
        self.port = free_port()
        self.daemon = self.start(f"127.0.0.1:{self.port}")
        self.assertTrue(eventually(self.serves, 20))

    def scrape(self, host="127.0.0.1"):
        with urllib.request.urlopen(f"http://{host}:{self.port}/metrics", timeout=PATIENCE) as response:
            return response.read().decode()

    def serves(self, host="127.0.0.1"):
        try:
            return "redlockd_" in self.scrape(host)
        except OSError:
            return False

    def connect(self, request=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.sendall(request)
        return connection

    def answer(self, request):
        connection = self.connect(request)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def test_a_scrape_is_served_beside_idle_slow_and_silent_clients(self):
        ended = threading.Event()

        def drip():
            slow = []
            while not ended.wait(0.2):
                for connection in list(slow):
                    try:
                        connection.send(b"a")
                    except OSError:  # the daemon has closed it
                        slow.remove(connection)
                slow += [self.connect(b"GET /metrics HTTP/1.1\r\nX: ") for _ in range(50 - len(slow))]

        thread = threading.Thread(target=drip)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(ended.set)
        idle = [self.connect() for _ in range(300)]
        deaf = [self.connect(b"GET /status.json HTTP/1.0\r\n\r\n") for _ in range(20)]
        for _ in range(10):
            self.assertIn("redlockd_", self.scrape())
            idle += [self.connect() for _ in range(100)]
        self.assertIn('"nodes"', self.answer(b"GET /status.json HTTP/1.0\r\n\r\n"))
        self.assertEqual(len(deaf), 20)
        self.assertLess(len(os.listdir(f"/proc/{self.daemon.pid}/fd")), 150)

    def test_every_scrape_of_a_burst_is_served(self):
        scrapes = [self.connect(b"GET /metrics HTTP/1.0\r\n\r\n") for _ in range(200)]
        for connection in scrapes:
            received = b"".join(iter(lambda: connection.recv(65536), b""))
            self.assertTrue(received.startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_invalid_requests_are_refused(self):
        host = b"\r\nHost: a\r\n\r\n"
        for request, status in {
                b"GET / HTTP/1.1" + host: 200,
                b"GET /metrics?a=b HTTP/1.1" + host: 200,
                b"GET /metrics/ HTTP/1.1" + host: 404,
                b"GET /%6detrics HTTP/1.1" + host: 404,
                b"GET /../etc/passwd HTTP/1.1" + host: 404,
                b"POST /metrics HTTP/1.1" + host + b"body": 405,
                b"DELETE / HTTP/1.1" + host: 405,
                b"GET / HTTP/1.1\r\n\r\n": 400,
                b"GET /\r\n\r\n": 400,
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": 400,  # TLS
                b"GET /" + b"x" * 10_000 + b" HTTP/1.1" + host: 431,
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + host: 431,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505}.items():
            answer = self.answer(request)
            self.assertTrue(answer.startswith(f"HTTP/1.1 {status} "), (request[:60], answer[:60]))
            self.assertIn("\r\nX-Content-Type-Options: nosniff\r\n", answer)
            self.assertIn("\r\nContent-Security-Policy: default-src 'self'; ", answer)
            self.assertEqual("\r\nAllow: GET, HEAD\r\n" in answer, status == 405)

    def test_head_has_no_body(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("HEAD", "/metrics")
        response = connection.getresponse()
        self.assertEqual((response.status, response.read()), (200, b""))
        self.assertGreater(int(response.headers["Content-Length"]), 1000)

    def test_it_serves_again_after_descriptors_ran_out(self):
        used = max(int(fd) for fd in os.listdir(f"/proc/{self.daemon.pid}/fd")) + 1
        limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        connections = [self.connect() for _ in range(100)]
        # If it has any descriptor, an idle connection makes way.
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (used + 4, limits[1]))
        self.assertTrue(eventually(self.serves, 20))
        for connection in connections:
            connection.close()
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, limits)
        self.assertIn("redlockd_", self.scrape())
        self.daemon.terminate()  # not kill(): the log is written by another thread
        self.assertIn("cannot accept a connection, retrying: Too many open files", self.daemon.stderr.read())

    @unittest.skipUnless(has_ipv6(), "no IPv6 on this machine")
    def test_it_listens_on_ipv6(self):
        self.port = free_port()
        daemon = self.start(f"[::1]:{self.port}")
        self.assertTrue(eventually(lambda: self.serves("[::1]"), 20))
        self.assertFalse(self.serves("127.0.0.1"))
        daemon.kill()
        daemon.wait()
        self.start(f"[::]:{self.port}")
        self.assertTrue(eventually(lambda: self.serves("[::1]"), 20))
        self.assertTrue(self.serves("127.0.0.1"))

    def test_an_address_that_it_cannot_serve_is_named(self):
        for address, fault in {
                f"127.0.0.1:{self.port}": "cannot listen: Address already in use",
                "192.0.2.1:9475": "cannot listen: Cannot assign requested address"}.items():
            daemon = self.start(address)
            self.assertEqual(daemon.wait(20), 1)
            self.assertIn(f"--metrics-listen {address}: ", error := daemon.stderr.read())
            self.assertIn(fault, error)


if __name__ == "__main__":
    unittest.main()
