"""Changes the node set in a fixed order while clients hold and acquire locks. README.md describes what must hold."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import grpc

import limits
from admin import Admin, difference, is_changing
from cluster import Cluster, now, wait_until

REDLOCKCTL = os.environ["REDLOCKCTL"]
HERE = os.path.dirname(os.path.abspath(__file__))
NODES, MEMBERS, DAEMONS = 6, 3, 3
HOLD_TTL = 1.5  # of the locks that are held throughout
PATIENCE = 30  # for one change: two steps, and 6 s until another daemon takes over
RECONNECTS = 0.5  # the longest time until all channels to a daemon that has restarted are connected
SPREADS = 3  # until all daemons show a change that is complete


class Holders:
    """Clients that hold a lock from the beginning to the end, each through another kind of stream."""

    def __init__(self, cluster, directory):
        sys.path.append(os.path.join(HERE, "..", "..", "client", "python"))
        import redlockd

        self.endpoints = [f"127.0.0.1:{daemon.port}" for daemon in cluster.daemons]
        # A Session, which moves to another daemon when the first one is killed.
        self.client = redlockd.Client(self.endpoints, grace=HOLD_TTL)
        self.lock = self.client.acquire("held-by-session", ttl=HOLD_TTL, wait=5)
        lease = Admin(cluster.daemons[1].port).acquire("held-by-watch", 5, HOLD_TTL, "the-watcher")
        ttl = f"{HOLD_TTL * 1e3:.0f}ms"
        self.logs = {name: os.path.join(directory, f"{name}.log") for name in ("hold", "watch")}
        self.commands = {
            "watch": self.start("watch", 1, lease.key, "--token", lease.token, "--ttl", ttl),
            "hold": self.start("hold", 2, "held-by-hold", "--ttl", ttl),
        }
        wait_until(lambda: "acquired" in self.output("hold").lower())

    def start(self, name, daemon, *arguments):
        with open(self.logs[name], "wb") as log:
            return subprocess.Popen(
                [REDLOCKCTL, "--server", self.endpoints[daemon], name, *arguments],
                stdout=log, stderr=log,
            )

    def output(self, name):
        with open(self.logs[name], encoding="utf-8") as log:
            return log.read()

    def wrong(self):
        """Returns which locks were lost."""
        found = []
        if self.lock.lost.is_set() or self.lock.validity <= 0:
            found.append(f"the Session lost its lock: {self.lock.loss}")
        for name, command in self.commands.items():
            if command.poll() is not None:
                found.append(f"`redlockctl {name}` exited with {command.returncode}")
            for line in self.output(name).splitlines():
                if line.startswith("lost "):
                    found.append(f"`redlockctl {name}`: {line}")
        return found

    def end(self):
        for command in self.commands.values():
            command.send_signal(signal.SIGINT)
            try:
                command.wait(5)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()
        self.client.close()


class Acquirers:
    """Acquire uncontended locks all the time: with a wait and with single attempts, through each daemon, and with a
    client of all daemons."""

    def __init__(self, cluster, client):
        self.client = client
        self.longest = 0.0
        self.failed, self.refused = [], {}
        self.away = set()  # daemons that the script has killed
        self.over = threading.Event()
        admins = [Admin(daemon.port) for daemon in cluster.daemons]
        self.threads = [threading.Thread(target=self.use_client, daemon=True)]
        for daemon, admin in enumerate(admins):
            for wait in (limits.WAIT, 0):
                self.threads.append(
                    threading.Thread(target=self.use_daemon, args=(daemon, admin, wait), daemon=True)
                )
        for thread in self.threads:
            thread.start()

    def use_daemon(self, daemon, admin, wait):
        key = f"acquired-{'waiting' if wait else 'once'}-{daemon}"
        while not self.over.wait(0.02):
            was_away = daemon in self.away
            sent = now()
            try:
                lease = admin.acquire(key, wait)
                if wait:
                    self.longest = max(self.longest, now() - sent)
                self.release(admin, lease)
            except grpc.RpcError as error:
                if was_away or daemon in self.away:
                    continue
                if wait:
                    self.failed.append(
                        f"daemon {daemon}, after {now() - sent:.2f} s: {error.code().name}:"
                        f" {error.details()}"
                    )
                else:
                    why = error.details().split(":")[0]
                    self.refused[why] = self.refused.get(why, 0) + 1

    def release(self, admin, lease):
        try:
            admin.release(lease)
        except grpc.RpcError:
            pass  # its TTL ends it, or the daemon does in the background

    def use_client(self):
        import redlockd

        while not self.over.wait(0.02):
            sent = now()
            try:
                lock = self.client.acquire("acquired-by-client", ttl=1.0, wait=limits.WAIT)
            except redlockd.LockError as error:
                self.failed.append(f"the client, after {now() - sent:.2f} s: {error}")
                continue
            self.longest = max(self.longest, now() - sent)
            try:
                lock.release()
            except redlockd.LockError:
                pass

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(limits.WAIT + 5)


class Script:
    def __init__(self, cluster, holders, acquirers):
        self.cluster = cluster
        self.holders = holders
        self.acquirers = acquirers
        self.admins = [Admin(daemon.port) for daemon in cluster.daemons]
        self.members = set(range(MEMBERS))
        self.numbers = {node.name: index for index, node in enumerate(cluster.nodes)}
        self.wrong = []
        self.lost = []  # what has been reported

    def names(self, *nodes):
        return [self.cluster.nodes[node].name for node in nodes]

    def start(self, daemon, *arguments):
        server = f"127.0.0.1:{self.cluster.daemons[daemon].port}"
        return subprocess.Popen(
            [REDLOCKCTL, "--server", server, "nodes", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def expect(self, what, command, status=0, says=""):
        try:
            output = command.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            command.kill()
            output = command.communicate()[0]
            self.wrong.append(f"{what}: not complete after {PATIENCE} s")
        if command.returncode != status or says not in output:
            self.wrong.append(f"{what}: exit status {command.returncode}: {output}")

    def step(self, what, change, members):
        """Makes a change, and waits until all daemons show these members and nothing is wrong."""
        self.acquirers.longest, self.acquirers.refused = 0.0, {}
        begin = now()
        change(what)
        took = now() - begin
        self.members = members
        end = now() + SPREADS
        while problem := self.differs():
            if now() > end:
                self.wrong.append(f"{what}: {problem}")
                break
            time.sleep(0.05)
        for failure in self.acquirers.failed:
            self.wrong.append(f"{what}: not acquired: {failure}")
        self.acquirers.failed.clear()
        lost = [line for line in self.holders.wrong() if line not in self.lost]
        self.lost += lost
        self.wrong += [f"{what}: {line}" for line in lost]
        refused = ", ".join(f"{count} {why}" for why, count in self.acquirers.refused.items())
        print(f"  {what:42} {took:5.1f} s; acquired in {self.acquirers.longest:.2f} s at most;"
              f" single attempts that failed: {refused or 0}", flush=True)

    def differs(self):
        views = [admin.node_set() for admin in self.admins]
        if problem := difference(views):
            return problem
        shown = {self.numbers[member.name] for member in views[0].members}
        return None if shown == self.members else f"the members are {shown}, not {self.members}"

    def run_command(self, daemon, *arguments):
        return lambda what: self.expect(what, self.start(daemon, *arguments))

    def next_epoch(self, daemon, change):
        """Begins a change, and returns its command when another daemon shows its first step."""
        epoch = self.admins[1].node_set().epoch
        command = self.start(daemon, *change)

        def has_step():
            view = self.admins[1].node_set()
            return view is not None and view.epoch > epoch

        wait_until(has_step)
        return command

    # The changes

    def replace_dead_member(self, what):
        node = self.cluster.nodes[1]
        node.kill()
        self.run_command(0, "replace", *self.names(1, 0))(what)
        node.start()  # empty, and no member

    def add_beside_dead_member(self, what):
        """The leases are held by two of the four members then, and must be put on the new one. The dead member keeps
        its data, so that it votes as soon as it is back."""
        node = self.cluster.nodes[5]
        assert node.durable
        node.kill()
        self.run_command(0, "add", *self.names(0))(what)
        time.sleep(HOLD_TTL)
        node.start()
        self.run_command(1, "remove", *self.names(0))(what)

    def add_and_abort(self, what):
        command = self.next_epoch(0, ["add", *self.names(1, 4)])
        self.run_command(1, "abort")(what)
        self.expect(what, command, 1, "not completed")

    def kill_coordinator(self, what):
        """Kills the daemon that coordinates the change after the first step of two. Another one must go on."""
        command = self.next_epoch(0, ["add", *self.names(1, 4)])
        self.acquirers.away.add(0)
        self.cluster.daemons[0].kill()
        command.communicate(timeout=PATIENCE)

        def is_complete():
            view = self.admins[1].node_set()
            return view is not None and not is_changing(view)

        wait_until(is_complete, PATIENCE)
        self.cluster.daemons[0].start()
        wait_until(lambda: self.admins[0].node_set() is not None)
        time.sleep(RECONNECTS)
        self.acquirers.away.clear()

    def run(self):
        self.step("replace a member", self.run_command(0, "replace", *self.names(0, 3)), {1, 2, 3})
        self.step("replace a member that is down", self.replace_dead_member, {0, 2, 3})
        self.step("3 to 5 members", self.run_command(1, "add", *self.names(4, 5)), {0, 2, 3, 4, 5})
        self.step("5 to 3 members", self.run_command(2, "remove", *self.names(0, 4)), {2, 3, 5})
        self.step("add and remove beside a dead member", self.add_beside_dead_member, {2, 3, 5})
        self.step("add two members, abort after one", self.add_and_abort, {2, 3, 5})
        self.step("change max_ttl", self.run_command(1, "max-ttl", "2500ms"), {2, 3, 5})
        self.step("add two members, kill -9 the coordinator", self.kill_coordinator, {1, 2, 3, 4, 5})


def run(options):
    directory = tempfile.mkdtemp(prefix="redlock-set-")
    cluster = Cluster(directory, NODES, MEMBERS, DAEMONS, [], random.Random(options.seed))
    holders = acquirers = None
    try:
        holders = Holders(cluster, directory)
        acquirers = Acquirers(cluster, holders.client)
        script = Script(cluster, holders, acquirers)
        try:
            script.run()
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            script.wrong.append(f"{error}: the daemons show {[a.node_set() for a in script.admins]}")
        wrong = script.wrong
    finally:
        for part in (acquirers, holders, cluster):
            if part is not None:
                part.end()
    print(f"  violations    {len(wrong)}")
    for line in wrong:
        print(f"    {line}")
    if wrong or options.keep:
        print(f"  the output of all processes is in {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if wrong else 0
