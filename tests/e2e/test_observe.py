"""Tests observers of a key, from Python, with only the stubs generated from the proto."""

import re
import signal
import subprocess
import threading
import time
import unittest

import grpc

import test_service
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKD, Failure, eventually, free_port, listens, seconds

HELD, VACANT, UNDECIDED = pb.HOLDER_STATE_HELD, pb.HOLDER_STATE_VACANT, pb.HOLDER_STATE_UNDECIDED


class Observer:
    """An open Observe stream: the states that it has received, and how it ended."""

    def __init__(self, stub, key="k", **more):
        self.states, self.end = [], None
        self.call = stub.Observe(pb.ObserveRequest(key=key), **more)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for state in self.call:
                self.states.append(state)
        except grpc.RpcError as error:
            self.end = Failure(error)

    def is_told(self, state, **fields):
        """Whether the last state is this one."""
        last = self.states[-1] if self.states else None
        return last is not None and last.state == state and all(
            getattr(last, name) == value for name, value in fields.items())


class ObserveTest(unittest.TestCase):
    OPTIONS = ("--shards", "2")
    all_nodes_are_up = test_service.ServiceTest.all_nodes_are_up
    metric = test_service.ServiceTest.metric
    metrics = test_service.ServiceTest.metrics
    failure = test_service.ServiceTest.failure

    def setUp(self):
        test_service.ServiceTest.setUp(self)
        self.other_daemon, self.other = self.start_another_daemon()

    def start_another_daemon(self):
        port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--log-level", "warning", "--node-timeout", "2s"]
        for node in self.nodes.ports:
            command += ["--node", f"redis://127.0.0.1:{node}"]
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        self.assertTrue(eventually(lambda: listens(port), 20))
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.addCleanup(channel.close)
        stub = pb_grpc.LockServiceStub(channel)
        # It has found its nodes.
        self.assertTrue(eventually(lambda: not stub.Inspect(pb.InspectRequest(key="k"), timeout=10).undecided, 20))
        return daemon, stub

    def acquire(self, key="k", ttl=10.0, **more):
        return self.stub.Acquire(
            pb.AcquireRequest(key=key, ttl=seconds(ttl), retry=pb.RetryPolicy(max_retries=0), **more),
            timeout=10).lease

    def release(self, lease):
        self.stub.Release(pb.ReleaseRequest(key=lease.key, token=lease.token), timeout=10)

    def wait_for(self, condition, patience=10):
        self.assertTrue(eventually(condition, patience))

    def test_observers_at_every_daemon_see_the_holder_and_its_end(self):
        observers = [Observer(self.stub), Observer(self.other)]
        for observer in observers:
            self.wait_for(lambda: observer.is_told(VACANT))
        lease = self.acquire(owner="host-1")
        for observer in observers:
            self.wait_for(lambda: observer.is_told(HELD, fencing_token=lease.fencing_token, owner="host-1"))
            told = observer.states[-1]
            self.assertEqual((told.holders, told.mode, told.message), (1, pb.LOCK_MODE_UNSPECIFIED, ""))
            self.assertGreater(told.remaining.ToSeconds(), 5)
            self.assertTrue(told.HasField("held_for"))
            self.assertEqual(told.held_by[0].owner, "host-1")
            self.assertEqual(told.held_by[0].fencing_token, lease.fencing_token)
        self.release(lease)
        for observer in observers:
            self.wait_for(lambda: observer.is_told(VACANT))
        # A holder that dies is gone after its TTL, which no node announces.
        hold = self.stub.Hold(pb.HoldRequest(key="k", ttl=seconds(1)), timeout=30)
        fence = next(hold).lease.fencing_token
        for observer in observers:
            self.wait_for(lambda: observer.is_told(HELD, fencing_token=fence))
        hold.cancel()
        for observer in observers:
            self.wait_for(lambda: observer.is_told(VACANT))
            fences = [state.fencing_token for state in observer.states if state.state == HELD]
            self.assertEqual(fences, sorted(set(fences)))
        self.assertEqual(self.metric("redlockd_observers"), 1)
        observers[0].call.cancel()
        self.wait_for(lambda: self.metric("redlockd_observers") == 0)
        self.wait_for(lambda: self.metric("redlockd_streams") == 0)

    def test_values_and_kept_keys_are_reported(self):
        lease = self.acquire(value="10.0.0.1:80")
        observer = Observer(self.other)
        self.wait_for(lambda: observer.is_told(HELD, value="10.0.0.1:80"))
        self.stub.Proclaim(pb.ProclaimRequest(key="k", token=lease.token, value="10.0.0.2:80"), timeout=10)
        self.wait_for(lambda: observer.is_told(HELD, value="10.0.0.2:80"))
        told = observer.states[-1]
        self.assertEqual((told.fencing_token, told.held_by[0].value), (lease.fencing_token, "10.0.0.2:80"))
        self.stub.Release(pb.ReleaseRequest(key="k", token=lease.token, keep_for=seconds(8)), timeout=10)
        self.wait_for(lambda: observer.is_told(VACANT))
        self.assertGreater(observer.states[-1].kept_for.ToMilliseconds(), 0)
        self.wait_for(lambda: not observer.states[-1].HasField("kept_for"), 20)
        self.assertTrue(observer.is_told(VACANT))

    def test_those_who_share_a_key_are_listed(self):
        shares = [self.acquire(mode=pb.LOCK_MODE_SHARED, owner=f"reader {i}") for i in range(2)]
        observer = Observer(self.other)
        self.wait_for(lambda: observer.is_told(HELD, holders=2, mode=pb.LOCK_MODE_SHARED))
        self.assertEqual([holder.owner for holder in observer.states[-1].held_by], ["reader 0", "reader 1"])
        self.release(shares[1])
        self.wait_for(lambda: observer.is_told(HELD, holders=1))
        self.assertEqual(observer.states[-1].fencing_token, shares[1].fencing_token)
        self.release(shares[0])
        self.wait_for(lambda: observer.is_told(VACANT))

    def test_nodes_that_do_not_answer_are_never_reported_as_no_holder(self):
        lease = self.acquire(ttl=5)
        observer = Observer(self.other)
        self.wait_for(lambda: observer.is_told(HELD))
        for process in self.nodes.processes[:2]:
            process.send_signal(signal.SIGSTOP)
        late = Observer(self.other)
        self.wait_for(lambda: observer.is_told(UNDECIDED), 20)
        self.wait_for(lambda: late.is_told(UNDECIDED), 20)
        for one in observer, late:
            self.assertIn("too few nodes answered to decide who holds the key", one.states[-1].message)
            for port in self.nodes.ports[:2]:
                self.assertIn(f"127.0.0.1:{port}", one.states[-1].message)
            self.assertNotIn(f"127.0.0.1:{self.nodes.ports[2]} ", one.states[-1].message)
        for process in self.nodes.processes[:2]:
            process.send_signal(signal.SIGCONT)
        self.wait_for(lambda: observer.is_told(VACANT), 20)
        self.assertEqual([state.state for state in observer.states], [HELD, UNDECIDED, VACANT])
        again = self.acquire()
        self.wait_for(lambda: observer.is_told(HELD, fencing_token=again.fencing_token))
        self.assertGreater(again.fencing_token, lease.fencing_token)

    def test_a_connection_of_announcements_that_breaks_is_replaced(self):
        observer = Observer(self.stub)
        self.wait_for(lambda: observer.is_told(VACANT))
        for number in range(3):
            self.nodes.cli(number, "CLIENT", "KILL", "TYPE", "pubsub")
        lease = self.acquire()
        self.wait_for(lambda: observer.is_told(HELD, fencing_token=lease.fencing_token))
        for number in range(3):
            self.wait_for(lambda: self.nodes.cli(number, "PUBSUB", "CHANNELS") == "redlockd:changed:k")
        observer.call.cancel()
        for number in range(3):
            self.wait_for(lambda: self.nodes.cli(number, "PUBSUB", "CHANNELS") == "")

    def test_a_daemon_can_wait_for_a_key_that_it_observes(self):
        observer = Observer(self.other)
        lease = self.acquire()
        waiting = self.other.Hold(pb.HoldRequest(key="k", ttl=seconds(5)), timeout=30)
        self.assertEqual(next(waiting).type, pb.EVENT_TYPE_QUEUED)
        self.release(lease)
        acquired = next(waiting)
        self.assertEqual(acquired.type, pb.EVENT_TYPE_ACQUIRED)
        self.wait_for(lambda: observer.is_told(HELD, fencing_token=acquired.lease.fencing_token))

    def evaluations(self):
        """How many times a node has run a script."""
        stats = self.nodes.cli(0, "INFO", "commandstats")
        return sum(int(calls) for calls in re.findall(r"cmdstat_evalsha:calls=(\d+)", stats))

    def test_many_observers_cost_the_nodes_no_more_than_one(self):
        def in_four_seconds():
            before = self.evaluations()
            time.sleep(4)
            return self.evaluations() - before

        observers = [Observer(self.stub)]
        self.wait_for(lambda: observers[0].is_told(VACANT))
        of_one = in_four_seconds()
        observers += [Observer(self.stub) for _ in range(60)]
        for observer in observers:
            self.wait_for(lambda: observer.is_told(VACANT))
        # A busy machine can make a read fail, which is then repeated soon.
        self.assertLess(min(in_four_seconds() for _ in range(3)), of_one + 10)
        self.assertEqual(self.metric("redlockd_observers"), 61)
        lease = self.acquire()
        for observer in observers:
            self.wait_for(lambda: observer.is_told(HELD, fencing_token=lease.fencing_token))

    def test_a_client_that_reads_slowly_gets_the_latest_state(self):
        # With little space for what it has not read yet.
        channel = grpc.insecure_channel(self.address, options=[
            ("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)])
        self.addCleanup(channel.close)
        call = pb_grpc.LockServiceStub(channel).Observe(pb.ObserveRequest(key="k"), timeout=60)
        self.assertEqual(next(call).state, VACANT)
        quick = Observer(self.stub)
        for i in range(100):
            lease = self.acquire(value=f"{i:04000}")
            self.wait_for(lambda: quick.is_told(HELD, fencing_token=lease.fencing_token))
            if i < 99:
                self.release(lease)
        states = [next(call)]
        while states[-1].fencing_token != lease.fencing_token:
            states.append(next(call))
        self.assertLess(len(states), len(quick.states) / 2)
        self.release(lease)
        self.assertEqual(next(call).state, VACANT)

    def test_a_daemon_that_shuts_down_ends_the_stream(self):
        observer = Observer(self.stub)
        self.wait_for(lambda: observer.is_told(VACANT))
        self.daemon.send_signal(signal.SIGTERM)
        self.wait_for(lambda: observer.end)
        self.assertEqual((observer.end.code, observer.end.reason), (grpc.StatusCode.UNAVAILABLE, "DRAINING"))
        self.assertGreater(observer.end.retry, 0)
        self.assertIn("observe the key at another daemon", observer.end.message)
        self.assertEqual(self.daemon.wait(10), 0)
        moved = Observer(self.other)
        self.wait_for(lambda: moved.is_told(VACANT))

    def test_an_invalid_key_is_refused(self):
        for key, fault in ("", "must not be empty"), ("redlockd:x", 'keys beginning with "redlockd:" are reserved'):
            failure = self.failure(lambda: next(self.stub.Observe(pb.ObserveRequest(key=key))))
            self.assertEqual(failure.code, grpc.StatusCode.INVALID_ARGUMENT)
            self.assertEqual(failure.fields, {"key": fault})


if __name__ == "__main__":
    unittest.main()
