"""Tests that a daemon is healthy only while its nodes can grant, and that it says why they cannot."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import grpc

from redlock.v1 import admin_service_pb2 as admin_pb
from redlock.v1 import admin_service_pb2_grpc as admin_pb_grpc
import test_service
from test_node_user import RULE
from test_service import REDLOCKD, eventually, free_port, listens, redlockctl

PROXY = os.path.join(os.path.dirname(__file__), "../fault/proxy.py")
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class HealthTest(unittest.TestCase):
    metrics, metric = test_service.ServiceTest.metrics, test_service.ServiceTest.metric

    def start(self, credentials="", nodes=3, node_timeout="2s", options=()):
        self.nodes = test_service.Nodes(nodes)
        self.addCleanup(self.nodes.close)
        for number in range(len(self.nodes.ports)):
            self.assertTrue(eventually(lambda: self.nodes.cli(number, "PING") == "PONG", 20))
            self.prepare(number)
        port = free_port()
        self.metrics_port = free_port()
        command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--node-timeout", node_timeout,
                   "--metrics-listen", f"127.0.0.1:{self.metrics_port}", *options]
        for node in self.reached_at():
            command += ["--node", f"redis://{credentials}127.0.0.1:{node}"]
        self.log = tempfile.NamedTemporaryFile(mode="w+")
        self.addCleanup(self.log.close)
        self.daemon = subprocess.Popen(command, stderr=self.log)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.assertTrue(eventually(lambda: listens(port), 20))
        self.address = f"127.0.0.1:{port}"
        channel = grpc.insecure_channel(self.address)
        self.addCleanup(channel.close)
        self.admin = admin_pb_grpc.AdminServiceStub(channel)
        self.check = channel.unary_unary("/grpc.health.v1.Health/Check")

    def prepare(self, number):
        """Prepares the node before the daemon starts."""

    def reached_at(self):
        """The ports at which the daemon reaches the nodes."""
        return self.nodes.ports

    def health(self):
        return self.check(b"", timeout=5)

    def node(self, number):
        return self.admin.ListNodes(admin_pb.ListNodesRequest(), timeout=5).nodes[number]

    def log_text(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def assert_down(self, number, words):
        down = lambda: (self.node(number).state == admin_pb.NODE_STATE_DOWN
                        and words in self.node(number).message)
        self.assertTrue(eventually(down, 10), self.node(number))
        self.assertTrue(eventually(lambda: words in self.log_text(), 10), self.log_text())

    def assert_recovers(self):
        self.assertTrue(eventually(lambda: self.health() == SERVING, 20))
        count = len(self.nodes.ports)
        self.assertTrue(eventually(lambda: self.metric("redlockd_node_can_grant") == count, 10))
        self.assertTrue(all(self.node(i).state == admin_pb.NODE_STATE_UP for i in range(count)))


class NodesThatCannotGrant(HealthTest):
    def test_the_cause_and_the_remedy_are_named(self):
        self.start()
        self.assert_recovers()
        with self.subTest("maxmemory"):
            for number in (0, 1):
                self.nodes.cli(number, "CONFIG", "SET", "maxmemory", "1")
            self.assertTrue(eventually(lambda: self.health() == NOT_SERVING, 10))
            self.assertTrue(eventually(lambda: "error no quorum: " in self.log_text(), 10))
            self.assertIn("1 of 3", self.log_text())
            self.assertEqual(self.metric("redlockd_node_can_grant"), 1)
            self.assertEqual(self.metric("redlockd_node_connected"), 3)
            self.assert_down(0, "raise maxmemory")
            for number in (0, 1):
                self.nodes.cli(number, "CONFIG", "SET", "maxmemory", "0")
            self.assert_recovers()
            self.assertTrue(eventually(lambda: "can grant locks again" in self.log_text(), 10))
            self.assertTrue(eventually(lambda: self.log_text().count(" quorum: enough nodes") == 2, 10), self.log_text())
        with self.subTest("the disk"):
            directory = self.nodes.directory.name
            shutil.rmtree(directory)
            self.addCleanup(os.makedirs, directory)
            for number in (0, 1):
                self.nodes.cli(number, "CONFIG", "SET", "save", "3600 1")
                self.nodes.cli(number, "BGSAVE")
            self.assertTrue(eventually(lambda: self.health() == NOT_SERVING, 10))
            self.assert_down(0, "cannot save its data to disk")
            for number in (0, 1):
                self.nodes.cli(number, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
            self.assert_recovers()


class AccessListOfTheNodes(HealthTest):
    def prepare(self, number):
        self.nodes.cli(number, "ACL", "SETUSER", "redlockd", *RULE)

    def test_the_documented_rule_suffices_and_a_tighter_one_is_told(self):
        self.start(credentials="redlockd:secret@")
        self.assert_recovers()
        for number in (0, 1):
            self.nodes.cli(number, "ACL", "SETUSER", "redlockd", "resetkeys", "~app:*")
        self.assertTrue(eventually(lambda: self.health() == NOT_SERVING, 10))
        self.assert_down(0, "access list")
        self.assertNotIn("another server's data", self.log_text())
        self.assertEqual(self.metric("redlockd_node_quarantined"), 0)
        for number in (0, 1):
            self.nodes.cli(number, "ACL", "SETUSER", "redlockd", "~*")
        self.assert_recovers()


class FarNode(HealthTest):
    """The third node is behind a proxy that delays each message, so that its answers take 80 ms."""

    def reached_at(self):
        port = free_port()
        self.proxy = subprocess.Popen([sys.executable, PROXY, str(port), str(self.nodes.ports[2])], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.proxy.stdout.close)
        self.addCleanup(self.proxy.wait)
        self.addCleanup(self.proxy.stdin.close)  # ends it
        self.assertEqual(self.proxy.stdout.readline(), "ready\n")
        return [*self.nodes.ports[:2], port]

    def move_away(self):
        self.proxy.stdin.write("delay 0.04\n")
        self.proxy.stdin.flush()

    def test_a_node_that_is_too_far_for_the_timeout_is_down(self):
        self.start(node_timeout="60ms")
        self.assert_recovers()
        self.move_away()
        self.assert_down(2, "more than --node-timeout 60 ms: use a node that is nearer, or raise --node-timeout")

    def test_a_far_node_has_a_vote_with_a_longer_timeout(self):
        self.start(node_timeout="400ms")
        self.assert_recovers()
        self.move_away()
        self.nodes.processes[0].kill()
        self.assertTrue(eventually(lambda: self.node(0).state == admin_pb.NODE_STATE_DOWN, 10))
        self.assertEqual(self.node(2).state, admin_pb.NODE_STATE_UP)
        acquired = redlockctl(self.address, "acquire", "far", "--ttl", "10s")  # needs the far node's vote
        self.assertEqual(acquired.returncode, 0, acquired)


class Control:
    """A connection to a node. It lasts, so it works while the node accepts no other one."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rwb")

    def __call__(self, command):
        self.file.write(command.encode() + b"\r\n")
        self.file.flush()
        answer = self.file.readline().decode().strip()
        return self.file.read(int(answer[1:]) + 2).decode() if answer.startswith("$") else answer

    def close(self):
        self.file.close()
        self.socket.close()


class Shards(HealthTest):
    def daemon_connections(self):
        """The ids of the connections that send commands: one of each shard."""
        return {re.search(r"\bid=(\d+)", line)[1] for line in self.control("CLIENT LIST").splitlines()
                if line and "cmd=client" not in line and "cmd=subscribe" not in line}

    def test_a_daemon_is_healthy_only_while_every_shard_reaches_the_nodes(self):
        self.start(nodes=1, options=("--shards", "2"))
        self.assert_recovers()
        self.control = Control(self.nodes.ports[0])
        self.addCleanup(self.control.close)
        connections = self.daemon_connections()
        self.assertEqual(len(connections), 2)
        for connection in connections:
            self.assertEqual(self.control("CONFIG SET maxclients 1"), "+OK")  # the shard cannot come back
            self.assertEqual(self.control(f"CLIENT KILL ID {connection}"), ":1")
            self.assertTrue(eventually(lambda: self.health() == NOT_SERVING, 10))
            self.assertEqual(redlockctl(self.address, "health").returncode, 5)
            self.assertEqual(self.node(0).state, admin_pb.NODE_STATE_DOWN)
            self.assertIn("not connected", self.node(0).message)
            for command in (["status"], ["nodes", "list"]):
                shown = redlockctl(self.address, *command)
                self.assertEqual(shown.returncode, 5, shown)
                self.assertIn("not connected", shown.stdout)
            self.assertEqual(self.metric("redlockd_node_connected"), 0)
            self.assertEqual(self.metric("redlockd_node_can_grant"), 0)
            self.assertEqual(len(self.daemon_connections() - {connection}), 1)
            self.assertEqual(self.control("CONFIG SET maxclients 10000"), "+OK")
            self.assert_recovers()


if __name__ == "__main__":
    unittest.main()
