"""Finds, starts and ends daemons."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, List, Optional

import grpc

from .._proto import pb

_PATIENCE = 60.0  # seconds, for a daemon on a busy machine to start or to end
_POLL = 0.02


def find_binary(binary: Optional[str]) -> str:
    """The daemon's program. Raises FileNotFoundError, which says where it was looked for."""
    for source, path in (("the argument `binary`", binary), ("the environment variable REDLOCKD",
                                                             os.environ.get("REDLOCKD"))):
        if path:
            found = shutil.which(path)
            if found is None:
                raise FileNotFoundError(f"redlockd.testing: {source} names {path!r}, which is not a program")
            break
    else:
        found = shutil.which("redlockd")
        if found is None:
            raise FileNotFoundError("redlockd.testing: redlockd was not found: not given as `binary`, not in the "
                                    "environment variable REDLOCKD, not in PATH")
    if shutil.which("redis-server") is None:
        raise FileNotFoundError("redlockd.testing: redis-server was not found in PATH; redlockd needs it for the nodes "
                                "(Debian: redis-server)")
    return found


class Daemon:
    """One redlockd on a Unix socket."""

    def __init__(self, binary: str, socket: str, log: str, arguments: List[str]) -> None:
        self._command = [binary, "--listen", f"unix:{socket}", "--log-level", "warning", *arguments]
        self._socket = socket
        self._log = log
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self.start()

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.end)

    def wait_until_ready(self) -> List[str]:
        """Returns the names of the nodes once all of them take part."""
        end = time.monotonic() + _PATIENCE
        trouble = "it does not answer"
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"redlockd.testing: redlockd has ended:\n{self._tail()}")
            try:
                nodes = self.call("ListNodes", pb.ListNodesRequest()).nodes
                if nodes and all(node.state == pb.NODE_STATE_UP for node in nodes):
                    return [node.name for node in nodes]
                trouble = "; ".join(f"{node.name}: {node.message}" for node in nodes)
            except grpc.RpcError as error:
                trouble = str(error.details())
            time.sleep(_POLL)
        raise RuntimeError(f"redlockd.testing: redlockd was not ready within {_PATIENCE:g} s: {trouble}\n{self._tail()}")

    def call(self, name: str, request: object, service: str = "AdminService") -> Any:
        with grpc.insecure_channel(f"unix:{self._socket}") as channel:
            method = channel.unary_unary(
                f"/redlock.v1.{service}/{name}", request_serializer=getattr(pb, name + "Request").SerializeToString,
                response_deserializer=getattr(pb, name + "Response").FromString)
            return method(request, timeout=5)

    def end(self, kill: bool = False) -> None:
        process, self._process = self._process, None
        atexit.unregister(self.end)
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tail(self) -> str:
        with open(self._log, errors="replace") as log:
            return log.read()[-2000:]


class Directory:
    """A private temporary directory, with a path that is short enough for Unix sockets."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="redlockd-test-", dir="/tmp")

    def path(self, name: str) -> str:
        return os.path.join(self._directory.name, name)

    def remove(self) -> None:
        self._directory.cleanup()
