"""Runs a language's runner of client/conformance/scenarios.json. client/conformance/README.md describes it.

    conformance.py COMMAND ...        with REDLOCKD and REDLOCKCTL set

ONLY=WORDS in the environment: only the scenarios whose names contain these words.
"""

import json
import os
import queue
import re
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

from world.daemons import World

HERE = os.path.dirname(os.path.abspath(__file__))
SCENARIOS = os.path.join(HERE, "../../client/conformance/scenarios.json")
RUNNERS = 4  # at the same time: the scenarios wait more than they compute
LONGEST = 60  # seconds that one scenario may take
TOKEN = re.compile("rl-[0-9a-f]{8}|secret")


def estimate(scenario):
    """About how many seconds a scenario takes."""
    by_step = {"await_lost": 2.5, "storm": 1.5}
    return 0.3 + sum(
        by_step.get(step["do"], 0) + step.get("time", 0) + step.get("after", 0) +
        ("control" in step.get("command", "")) * 0.5 + (estimate(step) if step["do"] == "together" else 0)
        for step in scenario["steps"])


def shares(scenarios):
    """Divides the scenarios into parts that take about the same time."""
    parts = [[] for _ in range(min(RUNNERS, len(scenarios)))]
    for scenario in sorted(scenarios, key=estimate, reverse=True):
        min(parts, key=lambda part: sum(map(estimate, part))).append(scenario)
    return parts


class Control(socketserver.ThreadingUnixStreamServer):
    """Answers the command `control` with nothing, or with what went wrong."""

    daemon_threads = True

    def __init__(self, path, world):
        super().__init__(path, self.Answer)
        self.world = world
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Answer(socketserver.StreamRequestHandler):
        def handle(self):
            prefix, command, *arguments = self.rfile.read().decode().split("\n")
            try:
                self.server.world.obey(prefix, command, arguments)
            except Exception as problem:  # the runner reports it
                self.wfile.write(f"{type(problem).__name__}: {problem}".encode())


class Part:
    """One runner with a world of its own. When `over` is set, it ends."""

    def __init__(self, command, scenarios, directory, over):
        self.scenarios = scenarios
        self.over = over
        self.lines = []
        self.problems = []
        self.world = World(directory)
        try:
            self.world.wait_until_serves()
            self.run(command, directory)
        finally:
            self.world.close()

    def run(self, command, directory):
        with open(os.path.join(directory, "scenarios.json"), "w") as file:
            json.dump({"scenarios": self.scenarios}, file)
        programs = os.path.join(directory, "bin")
        os.mkdir(programs)
        os.symlink(os.path.join(HERE, "world/control"), os.path.join(programs, "control"))
        os.symlink(os.environ["REDLOCKCTL"], os.path.join(programs, "redlockctl"))
        socket = os.path.join(directory, "control.sock")
        daemons = self.world.daemons
        environment = dict(
            os.environ, ENDPOINTS=",".join(daemon.endpoint for daemon in daemons), SCENARIOS=file.name,
            PREFIX="conformance/", PATH=f"{programs}:{os.environ['PATH']}", CONTROL_SOCKET=socket,
            REDLOCK_SERVER=",".join(daemon.address for daemon in reversed(daemons)))
        with Control(socket, self.world) as control:
            with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as runner:
                self.follow(runner)
            control.shutdown()

    def follow(self, runner):
        """Prints the runner's lines and collects what went wrong."""
        heard = queue.Queue()
        for stream in (runner.stdout, runner.stderr):
            threading.Thread(target=self.read, args=(stream, heard), daemon=True).start()
        open_streams, began = 2, time.monotonic()
        while open_streams:
            try:
                stream, line = heard.get(timeout=0.5)
            except queue.Empty:
                if self.over.is_set() or time.monotonic() > began + LONGEST:
                    runner.kill()
                    names = [scenario["name"] for scenario in self.scenarios] + ["the runner, after all scenarios"]
                    self.problems.append(f"ended by force after {LONGEST} s or SIGTERM: {names[len(self.lines)]}")
                    return
                continue
            if not line:
                open_streams -= 1
            elif stream is runner.stderr:
                self.problems.append(f"on standard error: {line}")
                if TOKEN.search(line):
                    self.problems.append("standard error shows a token")
            elif line.startswith(("ok ", "FAILED ")):
                print(line, f"({time.monotonic() - began:.1f} s)", flush=True)
                began = time.monotonic()
                self.lines.append(line)
            else:
                self.problems.append(f"on standard output: {line}")
        if runner.wait() != 0 and not any(line.startswith("FAILED") for line in self.lines):
            self.problems.append(f"the runner ended with status {runner.returncode}")
        if len(self.lines) != len(self.scenarios):
            self.problems.append(f"{len(self.lines)} of {len(self.scenarios)} scenarios were reported")

    @staticmethod
    def read(stream, heard):
        for line in stream:
            heard.put((stream, line.rstrip("\n") or " "))
        heard.put((stream, ""))


def main():
    only = os.environ.get("ONLY", "")
    with open(SCENARIOS) as file:
        scenarios = [scenario for scenario in json.load(file)["scenarios"] if only in scenario["name"]]
    if not scenarios:
        sys.exit(f"no scenario has a name with {only!r}")
    began = time.monotonic()
    parts = []
    problems = []
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())

    def run(share):
        with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
            try:
                parts.append(Part(sys.argv[1:], share, directory, over))
            except Exception as problem:
                problems.append(f"{type(problem).__name__}: {problem}")

    threads = [threading.Thread(target=run, args=(share,)) for share in shares(scenarios)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for part in parts for line in part.lines]
    problems += [problem for part in parts for problem in part.problems]
    passed = sum(line.startswith("ok ") for line in lines)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{passed} of {len(scenarios)} scenarios passed in {time.monotonic() - began:.0f} s")
    return 1 if problems or passed < len(scenarios) else 0


if __name__ == "__main__":
    sys.exit(main())
