"""Starts nodes and daemons, and runs a language's runner of client/conformance/scenarios.json.

    conformance.py COMMAND ...        with REDLOCKD and REDLOCKCTL set
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "conformance/"  # of all keys
SCENARIOS = os.path.join(HERE, "../../client/conformance/scenarios.json")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemons:
    """Two daemons. A daemon that has exited is restarted on the same port."""

    def __init__(self, nodes, directory):
        self.ports = [free_port() for _ in range(2)]
        self.commands = [
            [os.environ["REDLOCKD"], "--listen", f"127.0.0.1:{port}", "--log-level", "error",
             "--node-timeout", "2s",
             *(word for node in nodes for word in ("--node", f"redis://127.0.0.1:{node}"))]
            for port in self.ports]
        self.processes = [subprocess.Popen(command) for command in self.commands]
        self.over = False
        self.requests = os.path.join(directory, "control")
        os.mkfifo(self.requests)
        self.supervisor = threading.Thread(target=self.supervise)
        self.supervisor.start()
        self.control = threading.Thread(target=self.obey, daemon=True)
        self.control.start()

    def supervise(self):
        while not self.over:
            for i, process in enumerate(self.processes):
                if process.poll() is not None:
                    time.sleep(1)  # the other daemon has to serve meanwhile
                    self.processes[i] = subprocess.Popen(self.commands[i])
            time.sleep(0.02)

    def obey(self):
        while True:
            with open(self.requests) as requests:
                for request in requests:
                    # The client uses the first daemon that it reached. It does not matter here which one that is.
                    if request.strip() == "kill":
                        self.processes[0].send_signal(signal.SIGKILL)
                    elif request.strip() == "drain":
                        self.processes[0].send_signal(signal.SIGTERM)
                    elif request.strip() == "pause":
                        for process in self.processes:
                            process.send_signal(signal.SIGSTOP)
                    elif request.strip() == "pause_holder":
                        self.holder().send_signal(signal.SIGSTOP)
                    elif request.strip() == "resume":
                        for process in self.processes:
                            process.send_signal(signal.SIGCONT)

    def holder(self):
        """Returns the daemon that extends the client's lock."""
        for port, process in zip(self.ports, self.processes):
            leases = subprocess.run(
                [os.environ["REDLOCKCTL"], "--server", f"127.0.0.1:{port}", "leases"],
                capture_output=True, text=True)
            if PREFIX in leases.stdout:
                return process
        raise AssertionError("no daemon holds the lock")

    def close(self):
        self.over = True
        self.supervisor.join()
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def main():
    with tempfile.TemporaryDirectory() as directory:
        node_ports = [free_port() for _ in range(3)]
        nodes = [subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--dir", directory], stdout=subprocess.DEVNULL) for port in node_ports]
        daemons = Daemons(node_ports, directory)
        control = os.path.join(directory, "control.sh")
        with open(control, "w") as script:
            script.write(f'#!/bin/sh\necho "$1" >{daemons.requests}\nsleep 0.2\n')
        os.chmod(control, 0o755)
        endpoints = [f"127.0.0.1:{port}" for port in daemons.ports]
        environment = dict(os.environ, ENDPOINTS=",".join(endpoints), SCENARIOS=SCENARIOS,
                           CONTROL=control, PREFIX=PREFIX,
                           REDLOCK_SERVER=",".join(reversed(endpoints)))
        try:
            for endpoint in endpoints:
                while subprocess.run([os.environ["REDLOCKCTL"], "--server", endpoint, "health"],
                                     capture_output=True).returncode != 0:
                    time.sleep(0.05)
            return subprocess.run(sys.argv[1:], env=environment, timeout=240).returncode
        finally:
            daemons.close()
            for node in nodes:
                node.kill()
                node.wait()


if __name__ == "__main__":
    sys.exit(main())
