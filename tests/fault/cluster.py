"""The real processes of a run: starts them, stops them and injects faults."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "e2e"))

import limits  # noqa: E402
from admin import Admin  # noqa: E402
from ports import free_port  # noqa: E402

REDLOCKD = os.environ["REDLOCKD"]
CLOCK_SHIFT = os.environ["CLOCK_SHIFT"]
REDIRECT_CONNECT = os.environ["REDIRECT_CONNECT"]


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, patience=20):
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("a process did not start")
        time.sleep(0.02)


class Clock:
    """A wall clock with an adjustable offset, for processes that preload clock_shift.c."""

    def __init__(self, path):
        self.path = path
        self.set(0.0)
        self.environment = {**os.environ, "LD_PRELOAD": CLOCK_SHIFT, "CLOCK_SHIFT_FILE": path}

    def set(self, seconds):
        self.shift = seconds
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))


class Process:
    """A process whose output goes to a log."""

    def __init__(self, command, log, environment=None):
        self.command = command
        self.log = open(log, "ab")
        self.environment = environment

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdout=self.log, stderr=self.log, env=self.environment
        )

    def kill(self):
        self.process.kill()
        self.process.wait()


class Node(Process):
    """redis-server with an adjustable clock."""

    def __init__(self, directory, index, durable):
        self.port = free_port()
        self.name = f"127.0.0.1:{self.port}"
        self.clock = Clock(os.path.join(directory, f"node-{index}.clock"))
        self.durable = durable
        data = os.path.join(directory, f"node-{index}")
        os.mkdir(data)
        append, sync = ("yes", "always") if durable else ("no", "everysec")
        super().__init__(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", append, "--appendfsync", sync, "--dir", data],
            os.path.join(data, "log"),
            self.clock.environment,
        )
        self.start()

    def start(self):
        super().start()
        wait_until(lambda: listens(self.port))

    def redis(self, *words):
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=False
        ).stdout.strip()


class Proxies:
    """One process with a proxy to each of these ports of 127.0.0.1, at the same ports of `host` or, without one, at
    free ports."""

    def __init__(self, targets, host=None):
        self.host = host or "127.0.0.1"
        self.ports = targets if host else [free_port() for _ in targets]
        pairs = [f"{port}:{target}" for port, target in zip(self.ports, targets)]
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "proxy.py"), self.host, *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def command(self, index, command):
        self.process.stdin.write(f"{index} {command}\n")
        self.process.stdin.flush()


class Daemon(Process):
    """Reaches the nodes through the proxies at `host`, but is configured with the nodes' own addresses, so that all
    daemons know the nodes by the same addresses."""

    def __init__(self, directory, index, nodes, host, shift):
        self.port = free_port()
        self.clock = Clock(os.path.join(directory, f"daemon-{index}.clock"))
        self.clock.set(shift)
        self.draining = False
        command = [
            REDLOCKD, "--listen", f"127.0.0.1:{self.port}",
            "--max-ttl", f"{int(limits.MAX_TTLS[0] * 1e3)}ms", "--drain-timeout", "1s",
        ]
        for node in nodes:
            command += ["--node", f"redis://{node.name}"]
        log = os.path.join(directory, f"daemon-{index}.log")
        preloaded = f"{CLOCK_SHIFT}:{REDIRECT_CONNECT}"
        environment = {**self.clock.environment, "LD_PRELOAD": preloaded, "REDIRECT_CONNECT": host}
        super().__init__(command, log, environment)
        self.start()

    def start(self):
        self.draining = False
        super().start()
        wait_until(lambda: listens(self.port))

    def drain(self):
        self.draining = True
        self.process.send_signal(signal.SIGTERM)


class Worker(Process):
    """A client process. Its environment is its only input; see README.md."""

    def __init__(self, command, index, random, directory, endpoints):
        self.name = f"w{index}"
        self.history = os.path.join(directory, f"worker-{index}.jsonl")
        environment = {
            **os.environ,
            "WORKER_NAME": self.name,
            "WORKER_SEED": str(random.randrange(1 << 30)),
            "WORKER_HISTORY": self.history,
            "WORKER_STORAGE": os.path.join(directory, "storage"),
            "WORKER_ENDPOINTS": ",".join(endpoints),
            "WORKER_GRACE": str(random.choice(limits.GRACES)),
            "WORKER_SHARED_KEYS": str(limits.SHARED_KEYS),
            "WORKER_BOOTTIME_OFFSET": repr(now() - time.monotonic()),
        }
        super().__init__(command, os.path.join(directory, f"worker-{index}.log"), environment)
        self.start()


class Cluster:
    """`members`: how many of the nodes are members of the node set at first. `workers`: the command of each
    worker. Without workers, there are no network faults and no proxies."""

    def __init__(self, directory, nodes, members, daemons, workers, random):
        self.directory = directory
        os.mkdir(os.path.join(directory, "storage"))
        self.nodes, self.node_links, self.daemons = [], [], []
        self.client_links, self.workers = [], []
        try:
            self.start(nodes, members, daemons, workers, random)
        except BaseException:
            self.end()
            raise

    def start(self, nodes, members, daemons, workers, random):
        for index in range(nodes):
            # The last node writes everything to disk at once, so its data survives it.
            self.nodes.append(Node(self.directory, index, durable=index == nodes - 1))
        self.create_node_set(self.nodes[:members])
        for index in range(daemons):
            host = f"127.0.0.{index + 2}" if workers else "127.0.0.1"
            if workers:
                self.node_links.append(Proxies([node.port for node in self.nodes], host))
            shift = random.uniform(-limits.CLOCK_SKEW, limits.CLOCK_SKEW)
            self.daemons.append(Daemon(self.directory, index, self.nodes, host, shift))
        ports = [daemon.port for daemon in self.daemons]
        for index, command in enumerate(workers):
            links = Proxies(ports)
            self.client_links.append(links)
            endpoints = [f"127.0.0.1:{port}" for port in links.ports]
            self.workers.append(Worker(command, index, random, self.directory, endpoints))

    def create_node_set(self, nodes):
        """Runs a daemon that is configured with these nodes alone, because a daemon creates a node set from all
        nodes with which it is configured."""
        daemon = Daemon(self.directory, "first", nodes, "127.0.0.1", 0.0)
        try:
            admin = Admin(daemon.port)
            wait_until(lambda: admin.node_set() is not None)
        finally:
            daemon.kill()

    def end(self):
        links = self.node_links + self.client_links
        for part in (self.workers, self.daemons, links, self.nodes):
            for member in part:
                member.process.send_signal(signal.SIGCONT)
                member.process.kill()
                member.process.wait()
