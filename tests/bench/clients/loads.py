"""The processes of a comparison: load programs, which use one library each, and what they lock with: a daemon over
three Redis nodes, and three members of etcd."""

import collections
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import builds
from measured import cpu_seconds, eventually, free_port, resident_mib, service

CLIENT, STUBS, ETCD = "redlockd", "stubs", "etcd"
# By language: the styles, with the arguments of the load program and the libraries that users have today.
STYLES = {
    "go": {"goroutines": ([], ["redsync-go-redis", "redsync-redigo", ETCD])},
    "node": {"promises": ([], ["node-redlock", "node-redlock-pipelined"])},
    "python": {"threads": (["threads"], ["pottery", "redis-py"]),
               "asyncio": (["asyncio"], ["pottery", "redis-py"])},
    "java": {"threads": (["threads"], ["RLock", "RedissonRedLock"]),
             "futures": (["futures"], ["RLock", "RedissonRedLock"])},
}
# These lock one node, without a quorum.
ONE_NODE = {"redis-py", "RLock", "MultiLock", "RReadWriteLock", "RPermitExpirableSemaphore"}
LIMIT = 120  # s until an answer is given up


class Failed(SystemExit):
    """A load program ended, or did not answer in time."""


class Log:
    """What a process writes to its standard error. It is shown only if the process fails, because some libraries report
    each refused connection to a dead node."""

    def __init__(self):
        self.file = tempfile.TemporaryFile("w+")

    def tail(self):
        self.file.seek(0)
        return "".join(collections.deque(self.file, maxlen=20))


class Load:
    """A load program that runs until the bench ends, so that start-up and warm-up are not measured."""

    def __init__(self, command, subject, daemon_port, ports):
        self._log = Log()
        self._process = subprocess.Popen(
            [*command, subject, f"127.0.0.1:{daemon_port}", *(f"127.0.0.1:{port}" for port in ports)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log.file, text=True,
            env={**os.environ, "PROTO": os.path.join(builds.ROOT, "proto")})
        self.pid, self._subject = self._process.pid, subject

    def ask(self, *order, limit=LIMIT):
        """Sends an order and returns its answer. The limit is in seconds."""
        with contextlib.suppress(BrokenPipeError):
            print(*order, file=self._process.stdin, flush=True)
        if not select.select([self._process.stdout], [], [], limit)[0]:
            raise Failed(f"{self._subject}: no answer to {order} within {limit} s\n{self._log.tail()}")
        answer = self._process.stdout.readline()
        if not answer:
            raise Failed(f"{self._subject}: the load program ended: {self._process.wait()}\n{self._log.tail()}")
        return json.loads(answer)

    def close(self):
        self._process.kill()
        self._process.communicate()


def memory_directory():
    """Returns where new files are kept in memory if there is room for those of etcd (a container may have 64 MB)."""
    return "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 2**30 else None


class Etcd:
    """Three members of etcd. Their data are in memory, like those of the Redis nodes, if memory_directory() exists."""

    def __init__(self, binary):
        self._directory = tempfile.mkdtemp(dir=memory_directory())
        self.ports = [free_port() for _ in range(3)]
        peers = [f"http://127.0.0.1:{free_port()}" for _ in self.ports]
        self._log = Log()
        cluster = ",".join(f"member{i}={peer}" for i, peer in enumerate(peers))
        self.processes = [subprocess.Popen(
            [binary, "--name", f"member{i}", "--data-dir", f"{self._directory}/{i}", "--log-level", "error",
             "--listen-client-urls", f"http://127.0.0.1:{port}", "--advertise-client-urls", f"http://127.0.0.1:{port}",
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster],
            stderr=self._log.file) for i, (port, peer) in enumerate(zip(self.ports, peers))]

    def await_start(self):
        if not eventually(lambda: all(map(self._healthy, self.ports)), 30):
            raise Failed(f"etcd did not start\n{self._log.tail()}")

    @staticmethod
    def _healthy(port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                return json.load(answer)["health"] == "true"
        except OSError:
            return False

    def leader(self):
        """Returns the leader's process."""
        for process, port in zip(self.processes, self.ports):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}") as answer:
                status = json.load(answer)
            if status["leader"] == status["header"]["member_id"]:
                return process
        raise Failed("etcd has no leader")

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self._directory)


class World:
    """The load programs by subject, and what they lock with."""

    def __init__(self, nodes, daemon, etcd):
        self.loads = {}  # by subject
        self._nodes, self._daemon, self._etcd = nodes, daemon, etcd

    def ports(self, subject):
        return self._store(subject).ports

    def _store(self, subject):
        return self._etcd if subject == ETCD else self._nodes

    def cpu(self, subject):
        """The CPU seconds that the load program, the daemon and the nodes have used."""
        return [cpu_seconds(self.loads[subject].pid), cpu_seconds(self._daemon.pid),
                sum(cpu_seconds(node.pid) for node in self._store(subject).processes)]

    def resident_mib(self):
        """The resident memory of redlockd's load program and of the daemon."""
        return resident_mib(self.loads[CLIENT].pid), resident_mib(self._daemon.pid)

    def commands(self, subject):
        """The commands that all Redis nodes have run, including those that scripts call. None for etcd."""
        if subject == ETCD:
            return None
        answers = (self._nodes.cli(number, "INFO", "commandstats") for number in range(len(self._nodes.ports)))
        return sum(int(calls) for answer in answers
                   for calls in re.findall(r"^cmdstat_(?!info)\S+:calls=(\d+)", answer, re.MULTILINE))

    def strike(self, number):
        """Sends a signal to the first node, and to the leader of etcd."""
        self._nodes.processes[0].send_signal(number)
        if self._etcd is not None:
            self._etcd.leader().send_signal(number)

    def give_up(self, subject):
        self.loads.pop(subject).close()


@contextlib.contextmanager
def world(command, subjects):
    """Yields a World with a load program for each subject."""
    with service() as (nodes, daemon, port), contextlib.ExitStack() as stack:
        etcd = None
        if ETCD in subjects:
            etcd = stack.enter_context(contextlib.closing(Etcd(builds.etcd())))
            etcd.await_start()
        made = World(nodes, daemon, etcd)
        for subject in subjects:
            made.loads[subject] = Load(command, subject, port, made.ports(subject))
            stack.callback(made.loads[subject].close)
        yield made


class Usage:
    """What a subject uses from now on: CPU seconds of its load program, the daemon and the nodes, and commands."""

    def __init__(self, made, subject):
        self._made, self._subject = made, subject
        self._commands = made.commands(subject)
        self._begin, self._cpu = time.monotonic(), made.cpu(subject)

    def each(self, count):
        """Returns the CPU µs and the commands for each of so many."""
        cpu = [(after - before) * 1e6 / count for before, after in zip(self._cpu, self._made.cpu(self._subject))]
        return {"cpu_us": cpu, "commands": self._difference(count)}

    def a_second(self):
        """Returns the CPU in % of a core and the commands in each second."""
        seconds = time.monotonic() - self._begin
        cpu = [(after - before) * 100 / seconds for before, after in zip(self._cpu, self._made.cpu(self._subject))]
        return {"cpu_percent": cpu, "commands": self._difference(seconds)}

    def _difference(self, by):
        return None if self._commands is None else (self._made.commands(self._subject) - self._commands) / by
