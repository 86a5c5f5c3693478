"""Three nodes, two daemons and a proxy before each, which the command `control` of the scenarios changes.

Daemons and nodes listen on Unix sockets in a private directory, and proxies on ports that the kernel chooses.
"""

import os
import signal
import subprocess
import threading
import time

from .proxy import Proxy

_AWAY = 0.5  # seconds that a daemon which has ended stays away: the other one has to serve meanwhile
_START = 60.0  # seconds that a process may take to start or to end


def _until(what, condition):
    over = time.monotonic() + _START
    while not condition():
        if time.monotonic() > over:
            raise AssertionError(f"{what}: not within {_START:g} s")
        time.sleep(0.02)


class Node:
    def __init__(self, directory, name):
        self.path = os.path.join(directory, f"{name}.sock")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL)

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        self.process.kill()
        self.process.wait()


class Daemon:
    """A thread starts the process again when it has ended, unless it has to stay away."""

    def __init__(self, directory, name, nodes):
        self.address = "unix:" + os.path.join(directory, f"{name}.sock")
        self.command = [
            os.environ["REDLOCKD"], "--listen", self.address, "--log-level", "error", "--node-timeout", "1s",
            *(word for node in nodes for word in ("--node", f"unix://{node.path}"))]
        self.proxy = Proxy(self.address.removeprefix("unix:"))
        self.process = None
        self.starting = threading.Lock()
        self.away = False  # no process may be started; guarded by `starting`
        self.over = threading.Event()
        self.supervisor = threading.Thread(target=self._supervise)
        self.supervisor.start()

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.proxy.port}"

    def signal(self, number):
        self.process.send_signal(number)

    def stay_away(self, away):
        with self.starting:
            self.away = away

    def end(self, number):
        """Ends the process, waits for its end, and returns it."""
        process = self.process
        process.send_signal(number)
        process.wait(_START)
        return process

    def ask(self, *arguments):
        return subprocess.run(
            [os.environ["REDLOCKCTL"], "--timeout", "2s", "--server", self.address, *arguments],
            capture_output=True, text=True)

    def serves(self):
        return self._is_running() and self.ask("health").returncode == 0

    def wait_until_serves(self):
        _until(f"{self.address} serves", lambda: self.proxy.is_open and self.serves())

    def close(self):
        self.over.set()
        self.supervisor.join()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.proxy.close()

    def _is_running(self):
        return self.process is not None and self.process.poll() is None

    def _supervise(self):
        while not self.over.is_set():
            if self._is_running():
                if not self.proxy.is_open and self.serves():
                    self.proxy.open()
            else:
                self.proxy.shut()
                if self.process is not None:
                    self.over.wait(_AWAY)
                with self.starting:
                    if not self.away and not self.over.is_set():
                        self.process = subprocess.Popen(self.command)
            self.over.wait(0.02)


class World:
    def __init__(self, directory):
        self.nodes = [Node(directory, f"node{i}") for i in range(3)]
        _until("the nodes listen", lambda: all(os.path.exists(node.path) for node in self.nodes))
        self.daemons = [Daemon(directory, f"daemon{i}", self.nodes) for i in range(2)]
        self.changed = True

    def wait_until_serves(self):
        for daemon in self.daemons:
            daemon.wait_until_serves()

    def close(self):
        self._continue()
        for part in (*self.daemons, *self.nodes):
            part.close()

    def obey(self, prefix, command, arguments):
        """Carries out a command of the scenario whose keys begin with `prefix`."""
        if command == "restore" and not self.changed:
            return
        self.changed = command != "restore"
        holder = None
        if "holder" in arguments:
            holder = self.holder(prefix)
            assert holder, "no daemon keeps a lock of the scenario alive"
        elif command in ("kill", "drain"):
            holder = self.holder(prefix) or self.daemons[0]
        getattr(self, f"do_{command}")(holder, *arguments)

    def holder(self, prefix):
        """The daemon that keeps a lock of the scenario alive, or None."""
        return next((daemon for daemon in self.daemons if prefix in daemon.ask("leases").stdout), None)

    def do_kill(self, holder):
        holder.end(signal.SIGKILL)

    def do_drain(self, holder):
        holder.signal(signal.SIGTERM)

    def do_rolling(self, _):
        for daemon in self.daemons:
            ended = daemon.end(signal.SIGTERM)
            _until("another process", lambda: daemon.process is not ended)
            daemon.wait_until_serves()

    def do_stop(self, _):
        for daemon in self.daemons:
            daemon.stay_away(True)
        for daemon in self.daemons:
            daemon.end(signal.SIGKILL)
        _until("all ports are shut", lambda: not any(daemon.proxy.is_open for daemon in self.daemons))

    def do_start(self, _):
        for daemon in self.daemons:
            daemon.stay_away(False)
        self.wait_until_serves()

    def do_pause(self, holder, *_):
        for daemon in [holder] if holder else self.daemons:
            daemon.signal(signal.SIGSTOP)

    def do_resume(self, _):
        for daemon in self.daemons:
            daemon.signal(signal.SIGCONT)

    def do_nodes_down(self, _):
        for node in self.nodes[1:]:
            node.signal(signal.SIGSTOP)

    def do_nodes_up(self, _):
        for node in self.nodes:
            node.signal(signal.SIGCONT)

    def do_delay(self, holder, seconds, *_):
        for daemon in [holder] if holder else self.daemons:
            daemon.proxy.delay(float(seconds))

    def do_cut(self, holder, which, way="both"):
        for daemon in [holder] if which == "holder" else self.daemons:
            daemon.proxy.cut(up=way != "down", down=way != "up")

    def do_reset(self, _):
        for daemon in self.daemons:
            daemon.proxy.reset()

    def do_mend(self, _):
        for daemon in self.daemons:
            daemon.proxy.mend()

    def do_restore(self, _):
        self._continue()
        self.do_mend(None)
        self.do_start(None)

    def _continue(self):
        for part in (*self.nodes, *self.daemons):
            part.signal(signal.SIGCONT)
