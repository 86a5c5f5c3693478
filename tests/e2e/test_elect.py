"""Tests elections, observers, values, and keys that are kept, from the shell."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
import unittest

from test_run import CommandTest
from test_service import REDLOCKCTL, Nodes, eventually, free_port


class Output:
    """The lines that a process writes to its standard output, as they come."""

    def __init__(self, process):
        self.process = process
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def line(self):
        return self.lines.get(timeout=20)

    def line_with(self, words):
        """Skips states in between: an observer that is slow misses some of them anyway."""
        give_up = time.monotonic() + 20
        seen = []
        while time.monotonic() < give_up:
            seen.append(self.line())
            if words in seen[-1]:
                return seen[-1]
        raise AssertionError((words, seen))


class ElectTest(CommandTest):
    def start(self, *arguments, server=None, **more):
        """redlockctl in the background. It is dead after the test."""
        process = subprocess.Popen(
            [REDLOCKCTL, "--server", server or self.daemon.address, *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=self.directory, **more)

        def close():
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
        self.addCleanup(close)
        return process

    def observe(self, *options, **more):
        process = self.start("observe", self.key, *options, **more)
        return process, Output(process)

    def acquire(self, *options):
        done = self.ctl("acquire", self.key, "--output", "json", *options)
        self.assertEqual(done.returncode, 0, done.stdout)
        return json.loads(done.stdout)["lease"]["token"]

    # --- Elections

    def test_the_command_runs_while_its_candidate_leads(self):
        done = self.ctl("elect", self.key, "--value", "10.0.0.1:80", "--owner", "one", "--", "sh", "-c",
                        f"echo $REDLOCK_KEY $REDLOCK_VALUE; {REDLOCKCTL} inspect $REDLOCK_KEY; exit 7")
        self.assertEqual((done.returncode, done.stderr), (7, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[:2], [f"{self.key} 10.0.0.1:80", f"{self.key} is held"])
        self.assertIn("    value          10.0.0.1:80", lines)
        self.assertIn("is free", self.ctl("inspect", self.key).stdout)

    def test_the_next_candidate_leads_when_the_leader_ends(self):
        first = self.start("elect", self.key, "--value", "one", "-c", "echo $REDLOCK_FENCING_TOKEN; exec sleep 60")
        fence = int(first.stdout.readline())
        second = self.start("elect", self.key, "--value", "two", "-c", "echo $REDLOCK_FENCING_TOKEN")
        self.assertTrue(eventually(lambda: "waiting here   1" in self.ctl("inspect", self.key).stdout))
        self.assertEqual(self.ctl("elect", "--try", self.key, "--value", "three", "true").returncode, 123)
        first.terminate()
        self.assertEqual(first.wait(10), 143)
        self.assertGreater(int(second.stdout.readline()), fence)
        self.assertEqual(second.wait(10), 0)

    def test_a_leader_that_loses_the_election_is_ended(self):
        leader = self.start("elect", self.key, "--value", "one", "--ttl", "2s", "-c", "echo ready; exec sleep 60")
        self.assertEqual(leader.stdout.readline(), "ready\n")
        self.assertEqual(self.ctl("force-release", self.key, "--why", "a test").returncode, 0)
        self.assertEqual(leader.wait(10), 122)
        self.assertRegex(leader.stderr.read(), "^redlockctl: the lock was lost; the command was ended")

    def test_bad_input_is_named(self):
        long = "x" * 4097
        for arguments, words in (
                (["elect", "k", "true"], "--value is required"),
                (["elect", "k", "--value", "v"], "COMMAND or -c is required"),
                (["elect", "k", "--value", long, "true"], "value: has 4097 bytes; use at most 4096"),
                (["run", "k", "--value", long, "true"], "value: has 4097 bytes; use at most 4096"),
                (["run", "--lock-delay", "-1s", "k", "true"], "--lock-delay: expected a duration"),
                (["run", "--lock-delay", "1h", "k", "true"], "lock_delay"),
                (["run", "--keep-for", "0", "k", "true"], "--keep-for: must be from 1ms to 24h"),
                (["release", "k", "--token", "t", "--keep-for", "25h"], "--keep-for: must be from 1ms to 24h"),
                (["acquire", "k", "--value", long], "value"),
                (["acquire", "k", "--lock-delay", "1h"], "lock_delay"),
                (["proclaim", "k", "--token", "t", long], "value"),
                (["proclaim", "k", "--token", "t"], "VALUE is required"),
                (["proclaim", "k", "v"], "--token is required"),
                (["observe", "redlockd:x"], "key: must not begin with"),
                (["observe"], "KEY is required")):
            done = self.ctl(*arguments)
            self.assertEqual(done.returncode, 2, (arguments[:3], done.stderr))
            self.assertRegex(done.stderr, "^redlockctl: .*" + words, arguments[:3])
        self.assertIn("is free", self.ctl("inspect", "k").stdout)

    # --- Values and observers

    def test_a_value_is_shown_and_replaced(self):
        token = self.acquire("--value", "one\n\x1b[31m", "--owner", "me")
        for command in ("inspect", "who"):
            self.assertIn("    value          one\\n\\x1b[31m\n", self.ctl(command, self.key).stdout)
        self.assertEqual(json.loads(self.ctl("inspect", self.key, "--output", "json").stdout)["value"], "one\n\x1b[31m")
        self.assertIn("    held for  ", self.ctl("who", self.key).stdout)
        done = self.ctl("proclaim", self.key, "two", "--token", token)
        self.assertEqual((done.returncode, done.stdout), (0, f"proclaimed the value of {self.key}\n"), done.stderr)
        self.assertIn("    value          two\n", self.ctl("inspect", self.key).stdout)
        done = self.ctl("proclaim", self.key, "--", "--three", env={"REDLOCK_TOKEN": token})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("    value          --three\n", self.ctl("inspect", self.key).stdout)
        self.assertEqual(self.ctl("proclaim", self.key, "", "--token", token).returncode, 0)
        self.assertNotIn("    value ", self.ctl("inspect", self.key).stdout)
        self.assertEqual(self.ctl("proclaim", self.key, "x", "--token", "other").returncode, 4)

    def test_a_lock_of_several_keys_has_one_value(self):
        keys = [f"{self.key}-{name}" for name in "ab"]
        self.assertEqual(self.ctl("acquire", *keys, "--token", "t", "--value", "one").returncode, 0)
        self.assertEqual(self.ctl("proclaim", keys[0], "--and", keys[1], "two", "--token", "t").returncode, 0)
        for key in keys:
            self.assertIn("    value          two\n", self.ctl("inspect", key).stdout)

    def test_an_observer_prints_every_change(self):
        process, out = self.observe()
        self.assertEqual(out.line(), f"{self.key} is free")
        token = self.acquire("--value", "10.0.0.1:80", "--owner", "one")
        self.assertRegex(out.line(), rf"^{self.key} is held by one, ipv4:127\.0\.0\.1:\d+, value 10\.0\.0\.1:80, fencing token \d+$")
        self.assertEqual(self.ctl("proclaim", self.key, "two\n", "--token", token).returncode, 0)
        self.assertIn(", value two\\n, fencing token ", out.line())
        self.assertEqual(self.ctl("release", self.key, "--token", token, "--keep-for", "60s").returncode, 0)
        self.assertRegex(out.line(), rf"^{self.key} is kept for another 5\d\.\d+ s$")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), 0)
        self.assertEqual(process.stderr.read(), "")

    def test_an_observer_prints_json(self):
        process, out = self.observe("--output", "json")
        self.assertEqual(json.loads(out.line())["state"], "HOLDER_STATE_VACANT")
        self.acquire("--value", "one", "--owner", "me", "--token", "t", "--ttl", "60s")
        state = json.loads(out.line())
        self.assertEqual((state["state"], state["value"], state["owner"], state["holders"]),
                         ("HOLDER_STATE_HELD", "one", "me", 1))
        self.assertEqual(state["held_by"][0]["fencing_token"], state["fencing_token"])
        self.assertGreater(float(state["remaining"].rstrip("s")), 30)
        self.assertIn("held_for", state)
        process.terminate()
        self.assertEqual(process.wait(10), 0)

    def test_shares_and_slots_are_observed(self):
        process, out = self.observe()
        out.line_with("is free")
        self.acquire("--shared", "--token", "one")
        out.line_with("is shared by 1, fencing token ")
        self.acquire("--shared", "--token", "two")
        out.line_with("is shared by 2, fencing token ")
        for token in ("one", "two"):
            self.assertEqual(self.ctl("release", self.key, "--token", token).returncode, 0)
        out.line_with("is free")
        self.acquire("--max-holders", "3", "--token", "slot")
        out.line_with("is a semaphore, 1 of 3 slots taken, fencing token ")

    def test_once_ends_with_the_first_decided_state(self):
        done = self.ctl("observe", "--once", self.key)
        self.assertEqual((done.returncode, done.stdout), (0, f"{self.key} is free\n"))
        self.acquire("--value", "one")
        done = self.ctl("observe", self.key, "--once", "--output", "json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["value"]), (0, "one"))

    def test_the_time_to_observe_is_bounded(self):
        done = self.ctl("observe", self.key, "--timeout", "500ms")
        self.assertEqual((done.returncode, done.stdout), (0, f"{self.key} is free\n"))
        nobody = f"127.0.0.1:{free_port()}"
        done = self.ctl("--server", nobody, "observe", self.key, "--once", "--timeout", "2s")
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertIn("may be held (undecided): ", done.stdout)
        self.assertIn(nobody, done.stderr)

    def test_an_outage_of_the_nodes_is_undecided(self):
        nodes = Nodes()
        self.addCleanup(nodes.close)
        daemon = self.start_daemon(nodes)
        process, out = self.observe(server=daemon.address)
        self.assertEqual(out.line(), f"{self.key} is free")
        for node in nodes.processes[1:]:
            node.send_signal(signal.SIGSTOP)
        self.assertIn("may be held (undecided): ", out.line())
        done = daemon.ctl("observe", "--once", self.key, "--timeout", "2500ms")
        self.assertEqual(done.returncode, 5, done.stderr)
        for node in nodes.processes[1:]:
            node.send_signal(signal.SIGCONT)
        self.assertEqual(out.line(), f"{self.key} is free")
        process.terminate()
        self.assertEqual(process.wait(10), 0)

    def test_an_observer_survives_its_daemon(self):
        other = self.start_daemon(self.nodes)
        first = self.start_daemon(self.nodes)
        process, out = self.observe(server=f"{first.address},{other.address}")
        self.assertEqual(out.line(), f"{self.key} is free")
        first.process.kill()
        self.acquire("--value", "one")
        out.line_with(", value one, ")
        process.terminate()
        self.assertEqual(process.wait(10), 0)

    # --- Keys that are kept

    def test_a_lost_lock_stays_taken_for_its_delay(self):
        self.acquire("--ttl", "300ms", "--lock-delay", "20s")
        self.assertTrue(eventually(lambda: "is held" not in self.ctl("inspect", self.key).stdout))
        self.assertIn("is kept: nobody holds it, and nobody gets it for another 1", self.ctl("inspect", self.key).stdout)
        self.assertIn("is kept: ", self.ctl("who", self.key).stdout)
        self.assertEqual(self.ctl("acquire", "--try", self.key).returncode, 3)
        self.assertEqual(self.ctl("acquire", "--wait", "300ms", self.key).returncode, 3)

    def test_the_delay_of_a_released_lock_does_not_matter(self):
        for _ in range(2):
            self.assertEqual(self.ctl("run", "--try", "--lock-delay", "20s", self.key, "true").returncode, 0)

    def test_a_killed_holder_leaves_its_delay(self):
        run = self.start("run", "--ttl", "1s", "--lock-delay", "20s", self.key, "--", "sh", "-c", "echo ready; exec sleep 60")
        self.assertEqual(run.stdout.readline(), "ready\n")
        run.kill()  # the keeper ends the command, and releases the lock
        self.assertTrue(eventually(lambda: self.ctl("run", "--try", self.key, "true").returncode == 0, 10))
        run = self.start("run", "--ttl", "1s", "--lock-delay", "20s", self.key, "--", "sh", "-c", "echo ready; exec sleep 60")
        self.assertEqual(run.stdout.readline(), "ready\n")
        with open(f"/proc/{run.pid}/task/{run.pid}/children") as children:
            os.kill(int(children.read()), signal.SIGKILL)
        self.assertEqual(run.wait(10), 125)
        self.assertTrue(eventually(lambda: "is held" not in self.ctl("inspect", self.key).stdout, 20))
        self.assertIn("is kept: ", self.ctl("inspect", self.key).stdout)

    def test_a_command_that_cannot_be_run_does_not_keep_the_key(self):
        self.assertEqual(self.ctl("run", "--keep-for", "60s", self.key, "/no/such/command").returncode, 127)
        self.assertIn("is free", self.ctl("inspect", self.key).stdout)
        self.assertEqual(self.ctl("run", "--keep-for", "60s", self.key, "false").returncode, 1)
        self.assertIn("is kept: ", self.ctl("inspect", self.key).stdout)

    def test_a_time_to_keep_that_the_daemon_refuses_is_reported(self):
        self.assertEqual(self.ctl("run", "--keep-for", "10h", self.key, "sh", "-c", "exit 7").returncode, 7)
        done = self.ctl("run", "--keep-for", "10h", self.key, "true")
        self.assertEqual(done.returncode, 125)
        self.assertRegex(done.stderr, "^redlockctl: the lock is released, but --keep-for does not keep the key taken: .*keep_for")
        self.assertIn("is free", self.ctl("inspect", self.key).stdout)

    def runs_of_a_job_on_two_machines(self, *options):
        """Runs the job at several ticks, on two machines whose clocks differ. Returns how often it ran at each."""
        runs = []
        for _ in range(3):
            self.assertTrue(eventually(lambda: "is free" in self.ctl("inspect", self.key).stdout, 20))
            job = ["run", "--try", *options, self.key, "-c", "echo ran >>runs"]
            before = self.text("runs").count("ran")
            first = self.start(*job)
            self.assertEqual(first.wait(10), 0)
            time.sleep(0.2)
            second = self.start(*job)
            second.wait(10)
            runs.append(self.text("runs").count("ran") - before)
        return runs

    def test_a_job_that_keeps_its_key_runs_once_at_each_tick(self):
        self.assertEqual(self.runs_of_a_job_on_two_machines("--keep-for", "4s"), [1, 1, 1])

    def test_a_job_that_does_not_keep_its_key_runs_twice_at_each_tick(self):
        self.assertEqual(self.runs_of_a_job_on_two_machines(), [2, 2, 2])


if __name__ == "__main__":
    unittest.main()
