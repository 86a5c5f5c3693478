"""Faults of nodes and processes. Each fault begins, records what it impairs and until when, and returns the
function that undoes it.

The faults stay within the limits that the project's README states: no daemon starts soon after a clock step or
a loss of data, the nodes do not all lose their data together, and the wall clocks of the daemons differ by less
than the longest TTL.
"""

import signal
import time

import limits
from cluster import now
from network_faults import NetworkFaults

# The longest time until a daemon has reconnected to a node after silence (1 s, noticed 0.1 s later, 0.5 s between
# attempts).
RECONNECT = 1.8
# The longest time until a client holds its locks at another daemon.
MOVE = limits.GRACE / 3 + 2


class Faults(NetworkFaults):
    def __init__(self, cluster, random, packet_filter):
        self.cluster = cluster
        self.random = random
        self.packet_filter = packet_filter
        self.impaired = []  # (who, begin, end)
        self.suspended = []  # the same for processes that were stopped
        self.counts = {}
        self.busy = set()
        self.last_clock_step = self.last_daemon_start = self.last_loss = -1e9
        self.members_are_up = lambda: True
        self.wishes = []  # faults to begin next, appended by other threads

    def kinds(self):
        nodes = [self.node_killed, self.node_stopped, self.node_flushed, self.node_clock_stepped]
        daemons = [
            self.daemon_killed, self.daemon_stopped, self.daemons_drained, self.daemon_clock_stepped
        ]
        return nodes + daemons + [self.worker_killed, self.worker_stopped] + self.network()

    def begin(self):
        """Returns (duration, undo), or None if this fault is not possible now."""
        wish = self.wishes.pop(0) if self.wishes else None
        kind = wish or self.random.choice(self.kinds())
        fault = kind()
        if fault is not None:
            name = "coordinator killed" if wish else kind.__name__.replace("_", " ")
            self.counts[name] = self.counts.get(name, 0) + 1
        return fault

    def pick(self, what, count):
        """Picks one that no other fault affects."""
        free = [i for i in range(count) if (what, i) not in self.busy]
        return self.random.choice(free) if free else None

    def hold(self, what, index, undo):
        self.busy.add((what, index))

        def release():
            self.busy.discard((what, index))
            undo()

        return release

    def impair(self, who, seconds):
        """To be called before the fault: calls can fail at once."""
        self.impaired.append((who, now(), now() + seconds))

    def fault_time(self):
        return self.random.uniform(0.1, limits.LONGEST_FAULT)

    # Nodes

    def may_lose(self):
        # A majority must not lose its data while only that majority knows of a change of the node set.
        return (
            now() - self.last_loss > limits.MAX_TTL + 1
            and self.daemons_know()
            and self.members_are_up()
        )

    def daemons_know(self):
        return now() - self.last_daemon_start > 2 * RECONNECT

    def node_killed(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.may_lose():
            return None
        node = self.cluster.nodes[index]
        if not node.durable:
            self.last_loss = now()
        down = self.random.uniform(0, 2)
        after = RECONNECT + (0 if node.durable else limits.MAX_TTL + 1)
        self.impair(f"node {index}", down + after)
        node.kill()
        return down, self.hold("node", index, node.start)

    def node_stopped(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None:
            return None
        node = self.cluster.nodes[index]
        stopped = self.fault_time()
        self.impair(f"node {index}", stopped + RECONNECT)
        node.process.send_signal(signal.SIGSTOP)
        return stopped, self.hold(
            "node", index, lambda: node.process.send_signal(signal.SIGCONT)
        )

    def node_flushed(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.may_lose():
            return None
        self.last_loss = now()
        self.impair(f"node {index}", 2 * limits.MAX_TTL + 2)
        self.cluster.nodes[index].redis("FLUSHALL")
        return 0, lambda: None

    def node_clock_stepped(self):
        index = self.pick("node", len(self.cluster.nodes))
        if index is None or not self.daemons_know():
            return None
        clock = self.cluster.nodes[index].clock
        self.last_clock_step = now()
        self.impair(f"node {index}", limits.MAX_TTL + 2)
        clock.set(clock.shift + self.random.choice([-1, 1]) * self.random.uniform(0.02, 3))
        return 0, lambda: None

    # Daemons

    def settled(self):
        return now() - max(self.last_clock_step, self.last_loss) > limits.MAX_TTL + 1

    def starting(self, index, down):
        """Returns the function that ends the fault of a daemon that is down for `down` seconds."""
        daemon = self.cluster.daemons[index]
        self.last_daemon_start = max(self.last_daemon_start, now() + down)
        self.impair(f"daemon {index}", down + RECONNECT)

        def start():
            daemon.kill()  # if it is still draining
            daemon.start()
            self.last_daemon_start = max(self.last_daemon_start, now())

        return self.hold("daemon", index, start)

    def daemon_killed(self, index=None):
        if index is None:
            index = self.pick("daemon", len(self.cluster.daemons))
        if index is None or ("daemon", index) in self.busy or not self.settled():
            return None
        down = self.random.uniform(0, 2)
        start = self.starting(index, down)
        self.cluster.daemons[index].kill()
        return down, start

    def daemons_drained(self):
        """Drains one daemon, or several in quick succession."""
        free = [i for i in range(len(self.cluster.daemons)) if ("daemon", i) not in self.busy]
        if not free or not self.settled():
            return None
        down = self.random.uniform(0, 2)
        starts = []
        for index in self.random.sample(free, self.random.randint(1, len(free))):
            if starts:
                time.sleep(self.random.uniform(0.02, 0.2))
            starts.append(self.starting(index, down))
            self.cluster.daemons[index].drain()
        return down, lambda: [start() for start in starts]

    def daemon_stopped(self):
        index = self.pick("daemon", len(self.cluster.daemons))
        if index is None:
            return None
        stopped = self.fault_time()
        self.impair(f"daemon {index}", stopped + RECONNECT)
        return self.stop("daemon", index, f"daemon {index}", stopped)

    def daemon_clock_stepped(self):
        clock = self.random.choice(self.cluster.daemons).clock
        clock.set(self.random.uniform(-limits.CLOCK_SKEW, limits.CLOCK_SKEW))
        return 0, lambda: None

    # Workers

    def stop(self, what, index, who, seconds):
        process = getattr(self.cluster, what + "s")[index].process
        self.suspended.append((who, now(), now() + seconds + 0.2))
        process.send_signal(signal.SIGSTOP)
        return seconds, self.hold(what, index, lambda: process.send_signal(signal.SIGCONT))

    def worker_killed(self):
        index = self.pick("worker", len(self.cluster.workers))
        if index is None:
            return None
        worker = self.cluster.workers[index]
        down = self.random.uniform(0, 1)
        self.impair(f"worker {worker.name}", down)
        worker.kill()
        return down, self.hold("worker", index, worker.start)

    def worker_stopped(self):
        index = self.pick("worker", len(self.cluster.workers))
        if index is None:
            return None
        who = f"worker {self.cluster.workers[index].name}"
        stopped = self.fault_time()
        self.impair(who, stopped + MOVE)
        return self.stop("worker", index, who, stopped)
