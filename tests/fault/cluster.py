"""Real processes, and the faults that can befall them. Every fault ends, and says what it impairs."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time

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


class Node:
    """redis-server with a clock that can be shifted."""

    def __init__(self, directory, index, durable):
        self.port = free_port()
        self.shift_file = os.path.join(directory, f"clock-{index}")
        self.shift = 0.0
        self.set_clock(0.0)
        self.directory = os.path.join(directory, f"node-{index}")
        os.mkdir(self.directory)
        self.log = open(os.path.join(self.directory, "log"), "ab")
        self.durable = durable
        self.start()

    def start(self):
        keep = ("yes", "always") if self.durable else ("no", "everysec")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", keep[0], "--appendfsync", keep[1], "--dir", self.directory],
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "LD_PRELOAD": CLOCK_SHIFT, "CLOCK_SHIFT_FILE": self.shift_file},
        )
        wait_until(lambda: listens(self.port))

    def set_clock(self, seconds):
        self.shift = seconds
        with open(self.shift_file, "r+b" if os.path.exists(self.shift_file) else "wb") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def command(self, *words):
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=False
        ).stdout.strip()


class Link:
    """The proxy between one daemon and one node."""

    def __init__(self, node_port):
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "proxy.py"), str(self.port), str(node_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()


class Daemon:
    def __init__(self, directory, index, ports, max_ttl):
        self.port = free_port()
        self.log = open(os.path.join(directory, f"daemon-{index}.log"), "ab")
        self.command = [
            REDLOCKD, "--listen", f"127.0.0.1:{self.port}", "--max-ttl", f"{int(max_ttl * 1e3)}ms"
        ]
        for port in ports:
            self.command += ["--node", f"redis://127.0.0.1:{port}"]
        self.start()

    def start(self):
        self.started = now()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        wait_until(lambda: listens(self.port))

    def kill(self):
        self.process.kill()
        self.process.wait()


class Worker:
    def __init__(self, index, seed, directory, storage, ports):
        self.history = os.path.join(directory, f"worker-{index}.jsonl")
        self.command = [
            sys.executable, os.path.join(HERE, "worker.py"), f"w{index}", str(seed), self.history,
            storage, *map(str, ports),
        ]
        self.log = open(os.path.join(directory, f"worker-{index}.log"), "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Cluster:
    def __init__(self, directory, nodes, daemons, workers, max_ttl, seed):
        self.directory = directory
        self.max_ttl = max_ttl
        # The last node writes everything at once: its data outlives it.
        self.nodes = [Node(directory, i, durable=i == nodes - 1) for i in range(nodes)]
        self.links = [[Link(node.port) for node in self.nodes] for _ in range(daemons)]
        self.daemons = [
            Daemon(directory, i, [link.port for link in links], max_ttl)
            for i, links in enumerate(self.links)
        ]
        storage = os.path.join(directory, "storage")
        os.mkdir(storage)
        ports = [daemon.port for daemon in self.daemons]
        self.workers = [
            Worker(i, seed * 1000 + i, directory, storage, ports) for i in range(workers)
        ]

    def end(self):
        for node in self.nodes:
            node.process.send_signal(signal.SIGCONT)
        links = [link for row in self.links for link in row]
        for part in (self.workers, self.daemons, links, self.nodes):
            for member in part:
                member.process.send_signal(signal.SIGCONT)
                member.process.kill()
                member.process.wait()
