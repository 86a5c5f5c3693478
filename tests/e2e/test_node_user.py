"""The permissions of the daemon's user on the nodes: the documented rule suffices, and what lacks is named."""

import os
import re
import subprocess
import tempfile
import threading
import unittest

import grpc

import test_service
from redlock.v1 import lock_service_pb2 as pb
from redlock.v1 import lock_service_pb2_grpc as pb_grpc
from test_observe import HELD, VACANT, Observer
from test_service import REDLOCKD, Nodes, eventually, redlockctl, seconds

SERVER = os.path.join(os.path.dirname(__file__), "../../server")


def text_of(path):
    with open(os.path.join(SERVER, path), encoding="utf-8") as file:
        return file.read()


# The words of the rule that server/CONFIGURATION.md gives, after the name of the user.
RULE = re.search(r"^ *ACL SETUSER redlockd (.*)$", text_of("CONFIGURATION.md"), re.M)[1].replace(
    "PASSWORD", "secret").split()
PERMISSIONS = [word[1:] for word in RULE if word[0] == "+"]


class Daemon:
    """A daemon whose user on the nodes is `user`, with database 1."""

    def __init__(self, nodes, user):
        self.directory = tempfile.TemporaryDirectory()
        self.address = f"unix:{self.directory.name}/socket"
        command = [REDLOCKD, "--listen", self.address, "--shards", "1", "--node-timeout", "2s"]
        for port in nodes.ports:
            command += ["--node", f"redis://{user}:secret@127.0.0.1:{port}/1"]
        with open(f"{self.directory.name}/log", "w") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def log(self):
        with open(f"{self.directory.name}/log", encoding="utf-8") as log:
            return log.read()

    def status(self):
        return redlockctl(self.address, "status").stdout

    def close(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


class NodeUserTest(unittest.TestCase):
    def nodes(self, count):
        nodes = Nodes(count)
        self.addCleanup(nodes.close)
        for number in range(count):
            self.assertTrue(eventually(lambda: nodes.cli(number, "PING") == "PONG", 20))
            self.assertEqual(nodes.cli(number, "ACL", "SETUSER", "redlockd", *RULE), "OK")
        return nodes

    def start(self, nodes, user="redlockd"):
        daemon = Daemon(nodes, user)
        self.addCleanup(daemon.close)
        return daemon

    def assert_healthy(self, daemon):
        self.assertTrue(eventually(lambda: redlockctl(daemon.address, "health").returncode == 0, 30), daemon.log())


class TheDocumentedRule(NodeUserTest):
    def stub(self, daemon):
        channel = grpc.insecure_channel(daemon.address)
        self.addCleanup(channel.close)
        return pb_grpc.LockServiceStub(channel)

    def acquire(self, stub, key="", max_retries=0, **more):
        return stub.Acquire(pb.AcquireRequest(
            key=key, ttl=seconds(10), retry=pb.RetryPolicy(max_retries=max_retries), **more), timeout=30).lease

    def release(self, stub, lease, **more):
        name = {"keys": lease.keys} if lease.keys else {"key": lease.key}
        stub.Release(pb.ReleaseRequest(token=lease.token, **name, **more), timeout=30)

    def extend(self, stub, lease, **more):
        name = {"keys": lease.keys} if lease.keys else {"key": lease.key}
        stub.Extend(pb.ExtendRequest(token=lease.token, ttl=seconds(20), **name, **more), timeout=30)

    def waits(self, stub, key):
        """Returns a function that returns the lease once it has been acquired."""
        leases = []
        thread = threading.Thread(target=lambda: leases.append(self.acquire(stub, key, max_retries=-1)))
        waiters = stub.Inspect(pb.InspectRequest(key=key), timeout=30).waiters
        thread.start()
        self.assertTrue(eventually(
            lambda: stub.Inspect(pb.InspectRequest(key=key), timeout=30).waiters > waiters, 20))

        def lease():
            thread.join(30)
            return leases[0]

        return lease

    def test_locks_of_every_kind_need_no_other_permission(self):
        nodes = self.nodes(3)
        daemons = [self.start(nodes), self.start(nodes)]
        for daemon in daemons:
            self.assert_healthy(daemon)
        here, there = (self.stub(daemon) for daemon in daemons)

        observer = Observer(there, "observed")
        self.assertTrue(eventually(lambda: observer.is_told(VACANT), 20))
        lease = self.acquire(here, "observed", value="one")
        here.Proclaim(pb.ProclaimRequest(key="observed", token=lease.token, value="two"), timeout=30)
        self.assertTrue(eventually(lambda: observer.is_told(HELD, value="two"), 20))
        self.extend(here, lease)
        waiting_here, waiting_there = self.waits(here, "observed"), self.waits(there, "observed")
        self.release(here, lease)
        self.release(here, waiting_here())
        self.release(there, waiting_there())
        self.assertTrue(eventually(lambda: observer.is_told(VACANT), 20))
        observer.call.cancel()

        shares = [self.acquire(stub, "shared", mode=pb.LOCK_MODE_SHARED) for stub in (here, there)]
        self.extend(here, shares[0], mode=pb.LOCK_MODE_SHARED)
        writer = self.waits(there, "shared")
        self.release(here, shares[0], keep_for=seconds(0.5))
        self.release(there, shares[1])
        self.release(there, writer())

        slots = [self.acquire(stub, "semaphore", max_holders=2) for stub in (here, there)]
        self.extend(here, slots[0], max_holders=2, slot=slots[0].slot)
        for stub, slot in zip((here, there), slots):
            self.release(stub, slot)

        several = self.acquire(here, keys=["a", "b", "c"])
        self.extend(here, several)
        self.release(here, several)
        self.release(here, self.acquire(here, "cron", lock_delay=seconds(1)), keep_for=seconds(1))
        self.assertEqual(redlockctl(daemons[0].address, "nodes", "max-ttl", "100s").returncode, 0)

        for number in range(3):
            self.assertEqual(nodes.cli(number, "ACL", "LOG"), "", "commands that were refused")
        for daemon in daemons:
            self.assertNotRegex(daemon.log(), r"(warning|error|critical) node 127|NOPERM|permission|forbids")

    def test_the_rule_names_what_the_scripts_use(self):
        used = {name.lower() for path in ("redis/steps.lua", "redis/node_set.lua")
                for name in re.findall(r"(?:call\(|try\(|\{)'([A-Z]+)'", text_of(path))}
        sent = {"select", "info", "time", "config|get", "script|load", "eval", "evalsha", "exists", "get", "subscribe",
                "unsubscribe"}  # by server/redis/*.cc
        self.assertGreater(len(used), 20)
        self.assertEqual(set(PERMISSIONS), used | sent)


class WhatLacks(NodeUserTest):
    def setUp(self):
        self.node = self.nodes(1)
        if self.node.version().startswith("6."):
            self.skipTest("Redis 6 does not say which permissions lack")
        daemon = self.start(self.node)  # creates the node set
        self.assert_healthy(daemon)
        self.assertNotIn("missing:", daemon.status())

    def start_without(self, word, number):
        user = f"user{number}"
        self.assertEqual(self.node.cli(0, "ACL", "SETUSER", user, *(w for w in RULE if w != word)), "OK")
        return self.start(self.node, user)

    def assert_named(self, daemon, word):
        # redlockd names what lacks as a word of the rule, and Redis names a command in quotes.
        names = re.compile(rf"node 127\.0\.0\.1:{self.node.ports[0]}\b.*([+']{re.escape(word[1:])}['\s)]|{re.escape(word)})")
        self.assertTrue(eventually(lambda: names.search(daemon.log()), 20), daemon.log())
        in_status = re.compile(rf"[+']{re.escape(word[1:])}['\s)]|{re.escape(word)}")
        self.assertTrue(eventually(lambda: in_status.search(daemon.status()), 20), daemon.status())

    def test_the_log_and_the_status_name_each_permission_that_lacks(self):
        wanted = [word for word in RULE if word[0] in "+&"]
        self.assertGreater(len(wanted), 20)
        batch = 8  # daemons at a time
        for first in range(0, len(wanted), batch):
            words = wanted[first:first + batch]
            daemons = [self.start_without(word, first + i) for i, word in enumerate(words)]
            for word, daemon in zip(words, daemons):
                with self.subTest(word):
                    self.assert_named(daemon, word)
                daemon.process.kill()

    def test_a_node_without_announcements_is_up_and_recovers(self):
        daemon = self.start_without("+subscribe", 0)
        self.assert_named(daemon, "+subscribe")
        self.assert_healthy(daemon)
        self.assertIn("1 of 1 nodes are up", daemon.status())
        self.assertIn("+subscribe", redlockctl(daemon.address, "nodes", "list").stdout)
        self.node.cli(0, "ACL", "SETUSER", "user0", "+subscribe")
        self.assertTrue(eventually(lambda: "+subscribe" not in daemon.status(), 20), daemon.status())
        self.assertTrue(eventually(lambda: "has all permissions again" in daemon.log(), 20), daemon.log())


if __name__ == "__main__":
    unittest.main()
