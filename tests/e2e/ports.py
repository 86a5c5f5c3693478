"""Ports for the processes that tests start."""

import random
import socket

_reserved = []


def free_port():
    """Returns a port of 127.0.0.1 that nothing uses, and reserves it until this process ends.

    Suites run side by side, and a daemon that restarts must find its port still free. So the port
    is outside the range from which the kernel chooses, and no other test gets it: a reservation is
    an abstract Unix socket, which the kernel removes with the process. FreePort() in
    tests/support/process.cc does the same.
    """
    for _ in range(10_000):
        port = random.randrange(10_000, 32_000)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0redlock-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port
    raise RuntimeError("no free port from 10000 to 31999")
