"""Changes the node set of real daemons and nodes while locks are in use."""

import json
import subprocess
import threading
import time
import unittest
import urllib.request

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, seconds

MAX_TTL = 2  # seconds; also the wait between two steps


class Daemon:
    def __init__(self, names, *more):
        self.address = f"127.0.0.1:{free_port()}"
        self.http = free_port()
        command = [REDLOCKD, "--listen", self.address, "--node-timeout", "1s",
                   "--metrics-listen", f"127.0.0.1:{self.http}", "--max-ttl", f"{MAX_TTL}s", *more]
        for name in names:
            command += ["--node", f"redis://{name}"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        channel = grpc.insecure_channel(self.address)
        self.locks = pb_grpc.LockServiceStub(channel)
        self.admin = admin_pb_grpc.AdminServiceStub(channel)

    def set(self):
        return self.admin.GetNodeSet(admin_pb.GetNodeSetRequest(), wait_for_ready=True,
                                     timeout=20).node_set

    def metric(self, name):
        """The sum over the labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ")))

    def members(self):
        return {member.name for member in self.set().members}

    def ctl(self, *arguments):
        return subprocess.run([REDLOCKCTL, "--server", self.address, *arguments],
                              capture_output=True, text=True, timeout=60)

    def close(self):
        self.process.kill()
        self.process.wait()


class Holder(threading.Thread):
    """Holds a lock by a stream, and notes how it ends."""

    def __init__(self, daemon, key):
        super().__init__(daemon=True)
        self.call = daemon.locks.Hold(pb.HoldRequest(key=key, ttl=seconds(MAX_TTL / 2)),
                                      wait_for_ready=True)
        self.events = []
        self.start()

    def run(self):
        try:
            for event in self.call:
                self.events.append(event.type)
        except grpc.RpcError:
            pass

    def close(self):
        self.call.cancel()
        self.join()


class NodeSetChangeTest(unittest.TestCase):
    def start(self, *arguments):
        daemon = Daemon(*arguments)
        self.addCleanup(daemon.close)
        return daemon

    def spares(self, nodes=5, daemons=1):
        """A set of the first three nodes, and daemons that are configured with all of them."""
        self.nodes = Nodes(nodes)
        self.addCleanup(self.nodes.close)
        self.names = [f"127.0.0.1:{port}" for port in self.nodes.ports]
        first = Daemon(self.names[:3])
        self.assertTrue(eventually(lambda: len(first.set().members) == 3, 20))
        first.close()
        running = [self.start(self.names) for _ in range(daemons)]
        for daemon in running:
            self.assertTrue(eventually(lambda daemon=daemon: all(
                member.state == admin_pb.NODE_STATE_UP for member in daemon.set().members)
                and len(daemon.set().members) == 3, 20))
        return running

    def change(self, daemon, **request):
        return daemon.admin.ChangeNodeSet(admin_pb.ChangeNodeSetRequest(**request), timeout=60)

    def refusal(self, daemon, **request):
        before = daemon.set().epoch
        with self.assertRaises(grpc.RpcError) as refused:
            list(self.change(daemon, **request))
        self.assertEqual(daemon.set().epoch, before)
        return refused.exception.code(), refused.exception.details()

    def test_a_node_is_replaced_while_locks_are_in_use(self):
        one, two = self.spares(daemons=2)
        holders = [Holder(one, "held-1"), Holder(two, "held-2")]
        for holder in holders:
            self.addCleanup(holder.close)
        replaced = subprocess.Popen(
            [REDLOCKCTL, "--server", one.address, "nodes", "replace", self.names[0], self.names[3]],
            stdout=subprocess.PIPE, text=True)
        number = 0
        while replaced.poll() is None:
            number += 1
            for daemon in (one, two):
                lease = daemon.locks.Acquire(
                    pb.AcquireRequest(key=f"key-{number % 7}", ttl=seconds(1)), timeout=10).lease
                daemon.locks.Release(pb.ReleaseRequest(key=lease.key, token=lease.token), timeout=10)
        self.assertEqual(replaced.returncode, 0)
        shown = replaced.communicate()[0]
        self.assertIn("step 1 of 2 done; the next one can be decided at ", shown)
        self.assertIn("done: epoch 3, members ", shown)
        for daemon in (one, two):
            self.assertTrue(eventually(
                lambda daemon=daemon: daemon.members() == set(self.names[1:4]), 10))
        time.sleep(MAX_TTL)  # both leases have been extended in the new set
        for holder in holders:
            self.assertNotIn(pb.EVENT_TYPE_LOST, holder.events)
            self.assertTrue(holder.is_alive())

    def test_another_daemon_goes_on_if_the_coordinator_dies(self):
        one, two = self.spares(daemons=2)
        progress = self.change(one, add=[self.names[3]], remove=[self.names[0]])
        while next(progress).node_set.epoch < 2:
            pass
        one.process.kill()
        self.assertTrue(eventually(lambda: two.members() == set(self.names[1:4]), 30))
        self.assertEqual(list(two.set().wanted_remove), [])

    def test_a_spare_alarms_nobody(self):
        daemon, = self.spares()
        self.assertEqual(daemon.metric("redlockd_node_set_members"), 3)
        self.assertEqual(daemon.metric("redlockd_node_connected"), 5)
        self.assertEqual(daemon.metric("redlockd_node_quarantined"), 0)
        for process in self.nodes.processes[3:]:
            process.kill()
            process.wait()
        self.assertTrue(eventually(
            lambda: [node.state for node in daemon.set().others] == [admin_pb.NODE_STATE_DOWN] * 2))
        self.assertEqual(daemon.ctl("nodes", "list").returncode, 0)

    def test_a_set_grows_an_abort_undoes_the_step_and_the_longest_ttl_changes(self):
        daemon, = self.spares()
        growing = self.change(daemon, add=self.names[3:5])
        while next(growing).node_set.epoch < 2:
            pass
        listed = json.loads(daemon.ctl("nodes", "list", "--output", "json").stdout)["node_set"]
        self.assertEqual(listed["wanted_add"], [self.names[4]])
        self.assertEqual(daemon.metric("redlockd_node_set_steps_wanted"), 1)
        aborted = daemon.ctl("nodes", "abort")
        self.assertEqual((aborted.returncode, aborted.stderr), (0, ""))
        self.assertEqual(daemon.members(), set(self.names[:3]))
        with self.assertRaises(grpc.RpcError) as ended:
            list(growing)
        self.assertEqual(ended.exception.code(), grpc.StatusCode.ABORTED)

        changed = daemon.ctl("nodes", "max-ttl", "4s")
        self.assertEqual(changed.returncode, 0, changed.stderr)
        self.assertEqual(daemon.set().max_ttl.seconds, 4)
        lease = daemon.locks.Acquire(pb.AcquireRequest(key="k", ttl=seconds(4)), timeout=10).lease
        self.assertGreater(lease.validity.ToNanoseconds(), 3e9)

    def test_bad_requests_are_refused_with_the_reason(self):
        daemon, = self.spares(4)
        bad, state = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
        for request, code, words in [
                ({}, bad, "must ask for"),
                ({"add": self.names[3:], "abort": True}, bad, "must ask for"),
                ({"add": [""]}, bad, "empty name"),
                ({"add": [self.names[3]] * 2}, bad, "twice"),
                ({"max_ttl": seconds(0.01)}, bad, "max_ttl"),
                ({"add": ["127.0.0.1:1"]}, state, "is not configured at this daemon"),
                ({"add": self.names[:1]}, state, "is a member already"),
                ({"remove": self.names[3:]}, state, "is not a member"),
                ({"remove": self.names[:3]}, state, "at least one member"),
                ({"abort": True}, state, "no change of the node set is under way")]:
            with self.subTest(request=request):
                refused = self.refusal(daemon, **request)
                self.assertEqual(refused[0], code)
                self.assertIn(words, refused[1])
        self.nodes.processes[3].kill()
        self.nodes.processes[3].wait()
        self.assertTrue(eventually(
            lambda: "not connected" in self.refusal(daemon, add=self.names[3:])[1]))

    def test_an_operator_can_create_the_set(self):
        self.nodes = Nodes()
        self.addCleanup(self.nodes.close)
        names = [f"127.0.0.1:{port}" for port in self.nodes.ports]
        daemon = self.start(names, "--create-node-set", "manual")
        self.assertTrue(eventually(lambda: "redlockctl nodes init" in daemon.set().trouble, 20))
        self.assertEqual(daemon.ctl("acquire", "k", "--ttl", "1s", "--try").returncode, 5)
        created = daemon.ctl("nodes", "init")
        self.assertEqual(created.returncode, 0, created.stderr)
        self.assertIn("done: epoch 1, members ", created.stdout)
        self.assertEqual(daemon.members(), set(names))
        self.assertEqual(daemon.ctl("nodes", "init").returncode, 0)
        self.assertTrue(eventually(
            lambda: daemon.ctl("acquire", "k", "--ttl", "1s", "--try").returncode == 0))


if __name__ == "__main__":
    unittest.main()
