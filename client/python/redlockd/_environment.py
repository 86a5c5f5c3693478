"""What a process must offer: real threads, and no fork while gRPC is in use."""

import os
import sys

# The package imports this module before gRPC. gRPC's handlers of fork() do not work with grpc.aio: they
# abort child processes at random. Without them, a child that leaves its parent's clients alone does no
# harm, whatever it runs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Whether gRPC was in use in a process from which this one was forked. It cannot be used after that.
_grpc_lost_in_fork = False
_grpc_in_use = False


class Process:
    """The process in which a client is used."""

    def __init__(self):
        self._pid = None

    def check(self):
        """Called before a client does anything. A client that was not used before a fork may be used after it."""
        global _grpc_in_use
        pid = os.getpid()
        if self._pid == pid:
            return
        if self._pid is not None:
            raise RuntimeError("redlockd: this process was forked after the client was used, and its locks belong "
                               "to the parent; make a new client in each process")
        if _grpc_lost_in_fork:
            raise RuntimeError("redlockd: gRPC was in use before this process was forked, and does not work after "
                               "a fork; fork before the first lock is acquired, or start processes with "
                               "multiprocessing's \"spawn\" or \"forkserver\"")
        if _green_threads():
            raise RuntimeError("redlockd: gevent or eventlet has replaced the module threading, which gRPC needs; "
                               "acquire locks in a process without monkey-patching")
        self._pid = pid
        _grpc_in_use = True


def _green_threads():
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return True
    eventlet = sys.modules.get("eventlet.patcher")
    return eventlet is not None and eventlet.is_monkey_patched("thread")


def _after_fork():
    global _grpc_lost_in_fork
    _grpc_lost_in_fork = _grpc_lost_in_fork or _grpc_in_use


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
