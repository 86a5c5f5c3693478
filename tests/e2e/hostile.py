"""Peers that misuse HTTP/2 or hold on to what a daemon has few of. Raw sockets: no client library would do this."""

import contextlib
import socket
import struct
import threading
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

ACQUIRE = "/redlock.v1.LockService/Acquire"
HOLD = "/redlock.v1.LockService/Hold"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
EMPTY_MESSAGE = bytes(5)  # uncompressed, of length 0


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name, value):
    """A header that HPACK does not index."""
    def text(string):
        raw = string if isinstance(string, bytes) else string.encode()
        size = len(raw)
        if size < 127:
            return bytes([size]) + raw
        size -= 127
        prefix = bytearray([127])
        while size >= 128:
            prefix.append(size % 128 + 128)
            size //= 128
        return bytes(prefix) + bytes([size]) + raw
    return b"\0" + text(name) + text(value)


def call_headers(path, *more):
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
               ("content-type", "application/grpc"), ("te", "trailers"), *more]
    return b"".join(header(name, value) for name, value in headers)


class Connection:
    """One HTTP/2 connection. Reads and drops what the daemon sends, unless told not to read."""

    def __init__(self, port, reads=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.closed = threading.Event()  # the daemon closed the connection
        self.next_stream = 1
        self.send(PREFACE + frame(SETTINGS, 0, 0))
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            while self.socket.recv(1 << 16):
                pass
        self.closed.set()

    def send(self, data):
        """Returns whether the connection is open."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed.set()
        return not self.closed.is_set()

    def open(self, path, *more, flags=END_HEADERS):
        """The frame that opens the next stream, and its number."""
        stream = self.next_stream
        self.next_stream += 2
        return frame(HEADERS, flags, stream, call_headers(path, *more)), stream

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def rapid_reset(port, count, path=ACQUIRE, batch=100):
    """Opens calls and cancels each at once. Reconnects if the daemon closes the connection. Returns how often it did."""
    closed, sent = 0, 0
    connection = Connection(port)
    while sent < count:
        data = b""
        for _ in range(batch):
            opened, stream = connection.open(path)
            data += opened + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
        sent += batch
        if not connection.send(data):
            closed += 1
            connection.close()
            try:
                connection = Connection(port)
            except OSError:
                time.sleep(0.05)
                connection = Connection(port)
    connection.close()
    return closed


def flood(port, data, seconds, reads=True):
    """Sends the same frames on one connection as fast as the daemon takes them."""
    connection = Connection(port, reads)
    connection.socket.settimeout(0.5)
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end and connection.send(data):
        sent += len(data)
    connection.close()
    return sent
