"""A daemon over three nodes for the benches, and what its process uses."""

import contextlib
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from test_service import Nodes, REDLOCKD, eventually, free_port, listens  # noqa: E402

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE / 2**20


@contextlib.contextmanager
def service(*arguments):
    """Yields the nodes, the daemon's process and its port; ends them all."""
    nodes = Nodes()
    port = free_port()
    command = [REDLOCKD, "--listen", f"127.0.0.1:{port}", "--log-level", "warning", *arguments]
    for node in nodes.ports:
        command += ["--node", f"redis://127.0.0.1:{node}"]
    daemon = subprocess.Popen(command)
    try:
        assert eventually(lambda: listens(port), 20)
        time.sleep(0.3)
        yield nodes, daemon, port
    finally:
        daemon.kill()
        daemon.wait()
        nodes.close()
