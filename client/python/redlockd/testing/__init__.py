"""Real daemons for tests of programs that use locks.

    with redlockd.testing.Server() as server, redlockd.Client([server.address]) as client:
        with client.lock("reports") as lock:
            server.lose("reports")
            lock.lost.wait(1)          # what does the program do now?

Needs the programs redlockd and redis-server. With pytest, the fixture `redlockd_server` is a Server.
"""

from typing import Any, Optional, Sequence

from .._proto import pb
from ._processes import Daemon, Directory, find_binary
from ._proxy import Proxy

__all__ = ["Server"]


class Server:
    """A daemon over three Redis nodes without persistence, on this machine. Nothing has a fixed port.

    Its methods may be called from any thread. Several servers can run at the same time; they share nothing.

    binary: the path of redlockd. Default: the environment variable REDLOCKD, or else `redlockd` in PATH.
    options: further arguments of the daemon that clients talk to, for example ["--max-ttl", "1m"].

    address: for clients, "127.0.0.1:PORT". It stays the same in a restart.
    """

    def __init__(self, binary: Optional[str] = None, *, options: Sequence[str] = ()) -> None:
        program = find_binary(binary)
        self._directory = Directory()
        self._parts: Any = [self._directory.remove]
        try:
            log = self._directory.path("log")
            nodes = Daemon(program, self._directory.path("nodes"), log, ["--dev", "--node-timeout", "1s"])
            self._parts.append(nodes.end)
            names = nodes.wait_until_ready()
            arguments = ["--node-timeout", "1s", "--drain-timeout", "2s",
                         *(f"--node={_url(name)}" for name in names), *options]
            self._daemon = Daemon(program, self._directory.path("daemon"), log, arguments)
            self._parts.append(self._daemon.end)
            self._daemon.wait_until_ready()
            self._proxy = Proxy(self._directory.path("daemon"))
            self._parts.append(self._proxy.close)
        except BaseException:
            self.close()
            raise
        self.address = f"127.0.0.1:{self._proxy.port}"

    def lose(self, key: str, why: str = "redlockd.testing") -> bool:
        """Takes the lock away from its holder, or from all that share it or have a slot, who hear of the loss within
        milliseconds. Returns whether there was a holder. key: any key of a lock of several. why: for the daemon's
        log."""
        response = self._daemon.call("ForceRelease", pb.ForceReleaseRequest(key=key, why=why))
        return bool(response.released)

    def held(self, key: str) -> bool:
        """Whether any holder has the lock."""
        return bool(self._daemon.call("Inspect", pb.InspectRequest(key=key), "LockService").held)

    def delay(self, seconds: float) -> None:
        """Holds back what clients and the daemon send to each other for `seconds`, in each direction."""
        self._proxy.delay(seconds)

    def cut(self) -> None:
        """From now on nothing passes, in either direction. Connections stay open, and new ones are accepted."""
        self._proxy.cut()

    def mend(self) -> None:
        """Undoes delay() and cut(); what was held back passes."""
        self._proxy.mend()

    def reset(self) -> None:
        """Closes all connections of clients with a reset."""
        self._proxy.reset()

    def stop(self, kill: bool = False) -> None:
        """Ends the daemon: with SIGTERM, after which it moves its clients away, or with SIGKILL. The locks stay on
        the nodes until they expire."""
        self._daemon.end(kill)

    def start(self) -> None:
        """Starts the daemon again after stop(). Returns once it serves."""
        self._daemon.start()
        self._daemon.wait_until_ready()

    def restart(self, kill: bool = False) -> None:
        """stop() and start(): clients reconnect and keep their locks."""
        self.stop(kill)
        self.start()

    def close(self) -> None:
        """Ends everything that this object has started."""
        while self._parts:
            self._parts.pop()()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def _url(name: str) -> str:
    """The address of a node, for the option --node: unix:/path becomes unix:///path, which stays as it is."""
    return "unix:///" + name[len("unix:"):].lstrip("/")
