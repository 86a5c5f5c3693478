"""What no caller can do: use up descriptors or memory, keep others from being served, or cost them a lease."""

import resource
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import grpc

import hostile
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKD, Failure, Nodes, eventually, free_port, listens, seconds

MIB = 1 << 20


class Events(threading.Thread):
    """Reads a stream of events to its end."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.names, self.error = call, [], None
        self.start()

    def run(self):
        try:
            for event in self.call:
                self.names.append(pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_"))
        except grpc.RpcError as error:
            self.error = error


# Calls, which would cost 1,500 MiB. The daemon looks every 100 ms, and on a busy machine later; 30,000 calls can
# arrive in between.
FLOOD = 120_000
MOST_MIB = 600


class LimitsTest(unittest.TestCase):

    def setUp(self):
        self.nodes = Nodes()
        self.addCleanup(self.nodes.close)

    def start(self, *arguments, descriptors=None, nodes=None):
        self.port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{self.port}", "--log-level", "warning", "--node-timeout", "2s",
                   *arguments]
        for node in nodes or self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        limit = None if descriptors is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
        self.log = tempfile.TemporaryFile("w+")
        self.addCleanup(self.log.close)
        self.daemon = subprocess.Popen(command, stderr=self.log, preexec_fn=limit)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(self.port), 20))
        self.channel = self.connect()
        self.stub = pb_grpc.LockServiceStub(self.channel)
        if nodes is None:
            self.assertTrue(eventually(lambda: self.serves(self.stub), 20))

    def connect(self):
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return channel

    @staticmethod
    def serves(stub, timeout=5):
        try:
            lease = stub.Acquire(pb.AcquireRequest(key="probe", ttl=seconds(10)), timeout=timeout).lease
            stub.Release(pb.ReleaseRequest(key="probe", token=lease.token), timeout=timeout)
            return True
        except grpc.RpcError:
            return False

    def hold(self, key="held"):
        events = Events(self.stub.Hold(pb.HoldRequest(key=key, ttl=seconds(3))))
        self.assertTrue(eventually(lambda: "ACQUIRED" in events.names, 10))
        return events

    def peak(self):
        """The highest resident memory so far, in MiB."""
        with open(f"/proc/{self.daemon.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

    def assert_still_held(self, events):
        extensions = events.names.count("EXTENDED")
        self.assertTrue(eventually(lambda: events.names.count("EXTENDED") > extensions, 10), events.error)
        self.assertNotIn("LOST", events.names)

    def test_accepting_survives_a_lack_of_descriptors(self):
        self.start(descriptors=(64, 64))
        held = self.hold()
        idle = []
        for _ in range(100):
            peer = socket.socket()
            peer.settimeout(1)
            peer.connect(("127.0.0.1", self.port))
            idle.append(peer)
        # The connections beyond the limit are closed, not left without an answer.
        idle[-1].settimeout(10)
        closed = 0
        time.sleep(0.5)
        for peer in idle:
            peer.setblocking(False)
            try:
                while data := peer.recv(4096):
                    del data
                closed += 1
            except BlockingIOError:
                pass
            except ConnectionResetError:
                closed += 1
        self.assertGreater(closed, 70)
        self.assertTrue(self.serves(self.stub))
        # Those without a caller make way for a caller.
        time.sleep(1)
        self.assertTrue(self.serves(pb_grpc.LockServiceStub(self.connect()), 10))
        self.assert_still_held(held)
        for peer in idle:
            peer.close()
        self.assertTrue(self.serves(pb_grpc.LockServiceStub(self.connect()), 10))

    def test_the_limit_of_descriptors_is_raised(self):
        soft, hard = 32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.start(descriptors=(soft, hard))
        with open(f"/proc/{self.daemon.pid}/limits") as limits:
            line = next(line for line in limits if line.startswith("Max open files"))
        self.assertEqual(line.split()[3], line.split()[4])

    def test_cancelled_calls_cost_little_memory_and_no_lease(self):
        self.start()
        held = self.hold()
        before = self.peak()
        flood = threading.Thread(target=hostile.rapid_reset, args=(self.port, FLOOD))
        flood.start()
        while flood.is_alive():
            self.assertTrue(self.serves(self.stub, 10))
            time.sleep(0.1)
        flood.join()
        self.assertLess(self.peak() - before, MOST_MIB)
        self.assert_still_held(held)

    def test_calls_that_never_get_a_message_are_bounded(self):
        self.start()
        held = self.hold()
        before = self.peak()
        peer = hostile.Connection(self.port)
        self.addCleanup(peer.close)
        for _ in range(FLOOD // 100):
            frames = b"".join(peer.open(hostile.ACQUIRE)[0] for _ in range(100))
            if not peer.send(frames):
                break
        self.assertTrue(peer.closed.wait(10))
        self.assertLess(self.peak() - before, MOST_MIB)
        self.assertTrue(self.serves(self.stub))
        self.assert_still_held(held)

    def test_a_flood_of_frames_keeps_no_caller_waiting(self):
        self.start()
        held = self.hold()
        before = self.peak()
        frames = hostile.frame(hostile.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000
        flood = threading.Thread(target=hostile.flood, args=(self.port, frames, 4, False))
        flood.start()
        while flood.is_alive():
            self.assertTrue(self.serves(self.stub, 5))
            time.sleep(0.1)
        flood.join()
        self.assertLess(self.peak() - before, 60)
        self.assert_still_held(held)

    def test_health_streams_are_bounded(self):
        self.start()
        before = self.peak()
        peer = hostile.Connection(self.port)
        self.addCleanup(peer.close)
        for _ in range(5):
            frames = b""
            for _ in range(100):
                opened, stream = peer.open(hostile.HEALTH_WATCH)
                frames += opened + hostile.frame(hostile.DATA, 0, stream, hostile.EMPTY_MESSAGE)
            peer.send(frames)
        watch = self.connect().unary_stream("/grpc.health.v1.Health/Watch")
        opened, refused = [], []
        for call in [watch(b"") for _ in range(20)]:
            try:
                self.assertEqual(next(call), b"\x08\x01")
                opened.append(call)
            except grpc.RpcError as error:
                refused.append(error.code())
        self.assertEqual(len(opened), 16)
        self.assertEqual(refused, [grpc.StatusCode.RESOURCE_EXHAUSTED] * 4)
        opened[0].cancel()
        self.assertTrue(eventually(lambda: self.can_watch(watch)))
        self.assertLess(self.peak() - before, 20)

    @staticmethod
    def can_watch(watch):
        try:
            next(watch(b""))
            return True
        except grpc.RpcError:
            return False

    def test_gzip_is_unpacked_within_the_limit(self):
        self.start()
        before = self.peak()
        acquire = self.channel.unary_unary("/redlock.v1.LockService/Acquire")
        token = bytes(96 * MIB)
        with self.assertRaises(grpc.RpcError) as caught:
            acquire(b"\x1a\x80\x80\x80\x30" + token, timeout=20, compression=grpc.Compression.Gzip)
        self.assertEqual(Failure(caught.exception).reason, "INVALID_ARGUMENT")
        self.assertLess(self.peak() - before, 20)
        request = pb.AcquireRequest(key="k" * 500, ttl=seconds(10))
        self.assertTrue(self.stub.Acquire(request, timeout=5, compression=grpc.Compression.Gzip).lease.token)
        with self.assertRaises(grpc.RpcError) as caught:
            self.stub.Acquire(request, timeout=5, compression=grpc.Compression.Deflate)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        # A stream, too.
        hold = self.stub.Hold(pb.HoldRequest(key="h" * 500, ttl=seconds(3)), compression=grpc.Compression.Gzip)
        self.assertEqual(next(hold).type, pb.EVENT_TYPE_ACQUIRED)

    def test_a_call_with_too_much_metadata_fails_alone(self):
        self.start()
        held = self.hold()
        for size in (20_000, 500_000):
            with self.assertRaises(grpc.RpcError) as caught:
                self.stub.Acquire(pb.AcquireRequest(key="key", ttl=seconds(10)), timeout=5,
                                  metadata=[("x-much", "m" * size)])
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assert_still_held(held)

    def test_a_session_that_reads_late_gets_all_answers_in_messages_that_clients_accept(self):
        self.start()
        count = 12_000
        sent = threading.Event()
        done = threading.Event()

        def requests():
            for first in range(0, count, 100):
                yield pb.SessionRequest(operations=[
                    pb.SessionOperation(id=i + 1, acquire=pb.AcquireRequest(
                        key=f"{i:06d}" + "k" * 500, ttl=seconds(60), token=f"{i}" + "t" * 110))
                    for i in range(first, first + 100)])
            sent.set()
            done.wait(30)

        session = self.stub.Session(requests())
        self.addCleanup(session.cancel)
        self.addCleanup(done.set)
        self.assertTrue(sent.wait(30))
        time.sleep(2)
        answers, largest = 0, 0
        for message in session:
            answers += len(message.results)
            self.assertTrue(all(result.HasField("lease") for result in message.results))
            largest = max(largest, message.ByteSize())
            if answers == count:
                break
        self.assertLess(largest, 2 * MIB)


if __name__ == "__main__":
    unittest.main()
