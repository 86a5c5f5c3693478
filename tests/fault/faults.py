"""What can go wrong. A fault begins, says what it impairs until when, and is undone by what it returns.

The limits that README.md gives are kept here: a daemon that starts cannot know of a clock that stepped
before, nor of a loss of all nodes' data together.
"""

import itertools
import signal
import subprocess

from cluster import now

# How long a daemon may take to be connected to a node again after a silence (1 s, noticed 0.1 s later,
# 0.5 s between attempts).
RECONNECT = 1.8


class Faults:
    def __init__(self, cluster, random, packet_filter):
        self.cluster = cluster
        self.random = random
        self.packet_filter = packet_filter
        self.impaired = []  # (who, begin, end)
        self.suspended = []  # likewise, of processes that were stopped
        self.killed = []  # (worker, when)
        self.counts = {}
        self.busy = set()
        self.last_clock_step = self.last_daemon_start = self.last_loss = -1e9

    def kinds(self):
        kinds = [
            self.node_killed, self.node_stopped, self.node_flushed, self.clock_stepped,
            self.daemon_killed, self.daemon_stopped, self.worker_killed, self.worker_stopped,
            self.link_delayed, self.link_frozen, self.link_reset, self.link_one_way,
        ]
        return kinds + ([self.link_filtered] if self.packet_filter else [])

    def begin(self):
        """Returns (how long, undo), or None where this fault cannot be now."""
        kind = self.random.choice(self.kinds())
        begun = kind()
        if begun is not None:
            name = kind.__name__.replace("_", " ")
            self.counts[name] = self.counts.get(name, 0) + 1
        return begun

    # Nodes

    def pick(self, what, count):
        """One that nothing else happens to."""
        free = [i for i in range(count) if (what, i) not in self.busy]
        return self.random.choice(free) if free else None

    def hold(self, what, index, undo):
        self.busy.add((what, index))

        def release():
            self.busy.discard((what, index))
            undo()

        return release

    def impair(self, who, seconds):
        self.impaired.append((who, now(), now() + seconds))

    def may_lose(self):
        return now() - self.last_loss > self.cluster.max_ttl + 1 and self.daemons_know()

    def daemons_know(self):
        return now() - self.last_daemon_start > 2 * RECONNECT

    def node_killed(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.may_lose():
            return None
        node = self.cluster.nodes[index]
        if not node.durable:
            self.last_loss = now()
        node.kill()
        down = self.random.uniform(0, 2)
        after = RECONNECT + (0 if node.durable else self.cluster.max_ttl + 1)
        self.impair(f"node {index}", down + after)
        return down, self.hold("node", index, node.start)

    def node_stopped(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None:
            return None
        node = self.cluster.nodes[index]
        node.process.send_signal(signal.SIGSTOP)
        stopped = self.random.uniform(0.1, 3)
        self.impair(f"node {index}", stopped + RECONNECT)
        return stopped, self.hold(
            "node", index, lambda: node.process.send_signal(signal.SIGCONT)
        )

    def node_flushed(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.may_lose():
            return None
        self.last_loss = now()
        self.impair(f"node {index}", 2 * self.cluster.max_ttl + 2)
        self.cluster.nodes[index].command("FLUSHALL")
        return 0, lambda: None

    def clock_stepped(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.daemons_know():
            return None
        node = self.cluster.nodes[index]
        self.last_clock_step = now()
        self.impair(f"node {index}", self.cluster.max_ttl + 2)
        node.set_clock(node.shift + self.random.choice([-1, 1]) * self.random.uniform(0.02, 3))
        return 0, lambda: None

    # Processes

    def daemon_killed(self):
        index = self.pick("daemon", len(self.cluster.daemons))
        settled = now() - max(self.last_clock_step, self.last_loss) > self.cluster.max_ttl + 1
        if index is None or not settled:
            return None
        daemon = self.cluster.daemons[index]
        daemon.kill()
        down = self.random.uniform(0, 2)
        self.last_daemon_start = now() + down
        self.impair(f"daemon {index}", down + RECONNECT)

        def start():
            daemon.start()
            self.last_daemon_start = now()

        return down, self.hold("daemon", index, start)

    def stop(self, what, index, process, seconds):
        process.send_signal(signal.SIGSTOP)
        self.suspended.append((f"{what} {index}", now(), now() + seconds + 0.2))
        return seconds, self.hold(what, index, lambda: process.send_signal(signal.SIGCONT))

    def daemon_stopped(self):
        index = self.pick("daemon", len(self.cluster.daemons))
        if index is None:
            return None
        stopped = self.random.uniform(0.1, 3)
        self.impair(f"daemon {index}", stopped + RECONNECT)
        return self.stop("daemon", index, self.cluster.daemons[index].process, stopped)

    def worker_killed(self):
        index = self.pick("worker", len(self.cluster.workers))
        if index is None:
            return None
        self.kill_worker(index)
        start = self.cluster.workers[index].start
        return self.random.uniform(0, 1), self.hold("worker", index, start)

    def kill_worker(self, index):
        self.killed.append((f"w{index}", now()))
        self.cluster.workers[index].kill()

    def worker_stopped(self):
        index = self.pick("worker", len(self.cluster.workers))
        if index is None:
            return None
        process = self.cluster.workers[index].process
        begun = self.stop("worker", index, process, self.random.uniform(0.1, 3))
        who, begin, end = self.suspended[-1]
        self.suspended[-1] = (who.replace("worker ", "worker w"), begin, end)
        return begun

    # Network

    def any_link(self):
        pairs = itertools.product(range(len(self.cluster.daemons)), range(len(self.cluster.nodes)))
        free = [pair for pair in pairs if ("link", pair) not in self.busy]
        return self.random.choice(free) if free else None

    def disturb(self, command, seconds, after=RECONNECT):
        pair = self.any_link()
        if pair is None:
            return None
        link = self.cluster.links[pair[0]][pair[1]]
        link.tell(command)
        self.impair(f"link {pair[0]} {pair[1]}", seconds + after)
        return seconds, self.hold("link", pair, lambda: link.tell("pass"))

    def link_delayed(self):
        delay = self.random.uniform(0.001, 0.1)
        return self.disturb(f"delay {delay}", self.random.uniform(0.1, 3))

    def link_frozen(self):
        return self.disturb("freeze", self.random.uniform(0.1, 3))

    def link_reset(self):
        return self.disturb("reset", 0)

    def link_one_way(self):
        lost = self.random.choice(["requests", "replies"])
        return self.disturb(lost, self.random.uniform(0.1, 3))

    def link_filtered(self):
        """The packet filter drops what goes one way or both: nobody is told."""
        pair = self.any_link()
        if pair is None:
            return None
        port = str(self.cluster.links[pair[0]][pair[1]].port)
        rules = self.random.choice([["--dport"], ["--sport"], ["--dport", "--sport"]])
        rules = [["INPUT", "-i", "lo", "-p", "tcp", rule, port, "-j", "DROP"] for rule in rules]
        for rule in rules:
            subprocess.run(["iptables", "-A", *rule], check=True)

        def undo():
            for rule in rules:
                subprocess.run(["iptables", "-D", *rule], check=True)

        seconds = self.random.uniform(0.1, 3)
        # The kernel sends again what was lost after ever longer pauses.
        self.impair(f"link {pair[0]} {pair[1]}", seconds + RECONNECT + 2)
        return seconds, self.hold("link", pair, undo)
