"""The real processes of a run: starts them, stops them and injects faults."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time

import limits

REDLOCKD = os.environ["REDLOCKD"]
CLOCK_SHIFT = os.environ["CLOCK_SHIFT"]
HERE = os.path.dirname(os.path.abspath(__file__))


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
    """One process with a proxy to each of these ports."""

    def __init__(self, targets):
        self.ports = [free_port() for _ in targets]
        pairs = [f"{port}:{target}" for port, target in zip(self.ports, targets)]
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "proxy.py"), *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def command(self, index, command):
        self.process.stdin.write(f"{index} {command}\n")
        self.process.stdin.flush()


class Daemon(Process):
    def __init__(self, directory, index, node_ports, shift):
        self.port = free_port()
        self.clock = Clock(os.path.join(directory, f"daemon-{index}.clock"))
        self.clock.set(shift)
        self.draining = False
        command = [
            REDLOCKD, "--listen", f"127.0.0.1:{self.port}",
            "--max-ttl", f"{int(limits.MAX_TTL * 1e3)}ms", "--drain-timeout", "1s",
        ]
        for port in node_ports:
            command += ["--node", f"redis://127.0.0.1:{port}"]
        log = os.path.join(directory, f"daemon-{index}.log")
        super().__init__(command, log, self.clock.environment)
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
    """`workers`: the command of each worker."""

    def __init__(self, directory, nodes, daemons, workers, random):
        self.directory = directory
        os.mkdir(os.path.join(directory, "storage"))
        # The last node writes everything to disk at once, so its data survives it.
        self.nodes = [Node(directory, i, durable=i == nodes - 1) for i in range(nodes)]
        self.node_links = [Proxies([node.port for node in self.nodes]) for _ in range(daemons)]
        self.daemons = [
            Daemon(directory, i, links.ports, random.uniform(-limits.CLOCK_SKEW, limits.CLOCK_SKEW))
            for i, links in enumerate(self.node_links)
        ]
        ports = [daemon.port for daemon in self.daemons]
        self.client_links = [Proxies(ports) for _ in workers]
        self.workers = [
            Worker(command, i, random, directory, [f"127.0.0.1:{port}" for port in links.ports])
            for i, (command, links) in enumerate(zip(workers, self.client_links))
        ]

    def end(self):
        links = self.node_links + self.client_links
        for part in (self.workers, self.daemons, links, self.nodes):
            for member in part:
                member.process.send_signal(signal.SIGCONT)
                member.process.kill()
                member.process.wait()
