"""What held locks add to the memory of the client and of the daemon."""

from loads import CLIENT
from tables import head, heading, line


def measure(world_of, _, options):
    """Returns the KiB per held lock: resident in the client, in its heap (None if unknown), resident in the daemon."""
    with world_of([CLIENT]) as made:
        load = made.loads[CLIENT]
        load.ask("run", 1, 1)
        load.ask("hold", 100)  # the first locks load code, and start threads
        before = made.resident_mib()
        heap = load.ask("hold", options.held)
        client, daemon = ((b - a) * 1024 / options.held for a, b in zip(before, made.resident_mib()))
        return {"client": client, "daemon": daemon,
                "heap": (heap["heap"] - heap["heap_before"]) / 1024 / options.held if heap else None}


def report(results):
    heading("KiB for each lock that redlockd's clients hold")
    head("", "resident in the client", "in its heap", "resident in the daemon")
    for language, kib in results.items():
        line(language, f"{kib['client']:.2f}", "" if kib["heap"] is None else f"{kib['heap']:.2f}",
             f"{kib['daemon']:.2f}")
