"""Tests `redlockctl run`: what its command gets, when it is ended, its statuses, signals and terminals."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
import unittest

from test_service import REDLOCKCTL, REDLOCKD, Nodes, eventually, free_port, listens

# Has a child that leaves the process group and ignores SIGTERM. Both write the time until they are ended.
STUBBORN = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("FILE" + str(os.getpid()), "w") as out:
    while True:
        out.write(str(time.monotonic()) + "\\n")
        out.flush()
        time.sleep(0.005)
"""


def alive(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


class Daemon:
    def __init__(self, nodes):
        self.address = f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [REDLOCKD, "--listen", self.address, "--log-level", "error", "--node-timeout", "2s",
             *(f"--node=redis://127.0.0.1:{port}" for port in nodes.ports)], stderr=subprocess.DEVNULL)

    def ctl(self, *arguments, **more):
        environment = {**os.environ, "REDLOCK_SERVER": self.address, **more.pop("env", {})}
        return subprocess.run([REDLOCKCTL, *arguments], capture_output=True, text=True, timeout=30,
                              env=environment, **more)

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class CommandTest(unittest.TestCase):
    """A daemon for all tests of a class, a directory and a key for each."""

    @classmethod
    def setUpClass(cls):
        cls.nodes = Nodes()
        cls.addClassCleanup(cls.nodes.close)
        cls.daemon = cls.start_daemon()
        cls.ctl = cls.daemon.ctl

    @classmethod
    def start_daemon(cls, nodes=None):
        daemon = Daemon(nodes or cls.nodes)
        cls.addClassCleanup(daemon.close)
        assert eventually(lambda: daemon.ctl("--timeout", "1s", "health").returncode == 0, 20)
        return daemon

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.key = self.id().rsplit(".", 1)[1]

    def path(self, name):
        return os.path.join(self.directory, name)

    def text(self, name):
        with contextlib.suppress(OSError), open(self.path(name)) as file:
            return file.read()
        return ""


class RunTest(CommandTest):
    def run_under_lock(self, *arguments):
        return self.ctl("run", self.key, *arguments)

    def start(self, *arguments, options=(), **more):
        """`redlockctl run` in the background. What it has started is dead after the test."""
        process = subprocess.Popen(
            [REDLOCKCTL, "--server", self.daemon.address, "run", *(options or ("--ttl", "2s")), self.key, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=self.directory, **more)

        def close():
            process.kill()
            process.communicate()
        self.addCleanup(close)
        return process

    def start_stubborn(self, *options):
        """A command with a stubborn child. Also returns the pids of both."""
        process = self.start("/usr/bin/python3", "-c", STUBBORN.replace("FILE", self.path("time.")),
                             options=("--ttl", "2s", *options))

        def pids():
            return [int(name[5:]) for name in os.listdir(self.directory) if self.text(name)]
        self.assertTrue(eventually(lambda: len(pids()) == 2))
        for pid in pids():
            self.addCleanup(self.kill, pid)
        return process, pids()

    @staticmethod
    def kill(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def last_write(self):
        return max(float(self.text(name).split()[-1]) for name in os.listdir(self.directory))

    def is_free(self, daemon=None):
        return (daemon or self.daemon).ctl("run", "--try", self.key, "true").returncode == 0

    # --- What the command gets

    def test_arguments_reach_the_command_untouched(self):
        words = ["[a-z]", "[]", "[a,b]", "", "--", "-x", "--ttl", "a\nb", "it's \"it\"", "{}", "%s", "\\", "*", "--help"]
        script = ["/usr/bin/python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]
        for separator in (["--"], []):
            done = self.run_under_lock(*separator, *script, *words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(json.loads(done.stdout), words)
        done = self.ctl("run", "--try", "[k]", "--ttl", "5s", "-c", "echo \"$REDLOCK_KEY\" [x] | cat; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "[k] [x]\n"))
        self.assertEqual(self.ctl("run", "-c", "[ 1 = 2 ]", "k").returncode, 1)
        self.assertEqual(self.ctl("run", "--", "-k", "sh", "-c", "echo $REDLOCK_KEY").stdout, "-k\n")

    def test_and_locks_several_keys_together(self):
        first, second, third = (f"{self.key}-[{name}]" for name in "abc")
        script = "echo \"$REDLOCK_KEY\"; " + "; ".join(
            f"{REDLOCKCTL} run --try '{key}' true; echo $?" for key in (first, second, third))
        done = self.ctl("run", f"--and={third}", "--and", first, second, "-c", script)
        self.assertEqual(done.stdout.splitlines(), [f"{first}, {second}, {third}", "123", "123", "123"])
        for key in (first, second, third):
            self.assertEqual(self.ctl("run", "--try", key, "true").returncode, 0, "it was released")

    def test_shared_commands_run_together_but_not_with_an_exclusive_one(self):
        script = f"{REDLOCKCTL} run --try --shared '{self.key}' true; echo $?; " \
                 f"{REDLOCKCTL} run --try '{self.key}' true; echo $?; {REDLOCKCTL} inspect '{self.key}'"
        done = self.ctl("run", "--shared", "--owner", "reader", self.key, "-c", script)
        self.assertEqual(done.stdout.splitlines()[:3], ["0", "123", f"{self.key} is shared"])
        self.assertRegex(done.stdout, r"  holders        1\n  held by        reader, ipv4:127\.0\.0\.1:\d+, through ")
        self.assertIn('another holder has the lock: "reader"', done.stderr)
        inside = self.ctl("run", self.key, "-c", f"{REDLOCKCTL} run --try --shared '{self.key}' true; echo $?")
        self.assertEqual(inside.stdout, "123\n")

    def test_a_share_is_extended_and_released_by_its_token(self):
        for token in ("one", "two"):
            done = self.ctl("acquire", self.key, "--shared", "--token", token, "--ttl", "9s")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ctl("extend", self.key, "--token", "one").returncode, 4, "it is not exclusive")
        self.assertEqual(self.ctl("extend", self.key, "--token", "one", "--shared").returncode, 0)
        for token in ("one", "two"):
            self.assertEqual(self.ctl("acquire", self.key, "--try").returncode, 3)
            self.assertEqual(self.ctl("release", self.key, "--token", token).returncode, 0)
        self.assertIn("is free", self.ctl("inspect", self.key).stdout)

    def test_keys_with_brackets_are_taken_as_they_are(self):
        for keys in (["[k]"], ["[a,b]", "[]", "c"]):
            done = self.ctl("acquire", "--ttl", "9s", *keys, "--token", "[t]", "--output", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            lease = json.loads(done.stdout)["lease"]
            self.assertEqual(lease.get("keys") or [lease["key"]], sorted(keys))
            self.assertEqual(self.ctl("release", *keys, "--token", "[t]").returncode, 0)

    def test_and_is_all_or_nothing(self):
        inner = f"{REDLOCKCTL} run --wait 200ms --and {self.key} free-{self.key} true; echo $?; " \
                f"{REDLOCKCTL} run --try free-{self.key} true; echo $?"
        done = self.run_under_lock("--owner", "someone", "-c", inner)
        self.assertEqual(done.stdout.split(), ["123", "0"])
        self.assertIn("someone", done.stderr)
        twice = self.ctl("run", "--and", self.key, self.key, "true")
        self.assertEqual((twice.returncode, twice.stderr), (2, f"redlockctl: keys: the key {self.key} occurs twice\n"))
        self.assertEqual(self.ctl("run", "--and", self.key).returncode, 2, "KEY is missing")

    def test_the_command_starts_with_the_signals_and_descriptors_of_its_caller(self):
        script = ["sh", "-c", "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd | wc -l"]
        plain = subprocess.run(script, capture_output=True, text=True, preexec_fn=self.block_and_ignore)
        self.assertEqual(self.ctl("run", self.key, *script, preexec_fn=self.block_and_ignore).stdout, plain.stdout)

    @staticmethod
    def block_and_ignore():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def test_the_token_is_for_extend_and_release_and_not_for_another_lock(self):
        script = f"""
          {REDLOCKCTL} extend {self.key} --ttl 20s >/dev/null || exit 41
          {REDLOCKCTL} run --try {self.key} true && exit 42
          {REDLOCKCTL} acquire --try {self.key} && exit 43
          {REDLOCKCTL} run inner-{self.key} -- sh -c 'echo $REDLOCK_KEY $REDLOCK_TOKEN'
          echo $REDLOCK_KEY $REDLOCK_TOKEN
          {REDLOCKCTL} run --try {self.key} true; echo $?"""
        done = self.run_under_lock("-c", script)
        inner, outer, last = done.stdout.splitlines()
        self.assertEqual(inner.split()[0], f"inner-{self.key}")
        self.assertNotEqual(inner.split()[1], outer.split()[1])
        self.assertEqual((outer.split()[0], last), (self.key, "123"), "the lock is still held")

    def test_an_extension_alone_does_not_release(self):
        token = json.loads(self.ctl("acquire", self.key, "--output", "json").stdout)["lease"]["token"]
        for _ in range(3):
            self.assertEqual(self.ctl("extend", self.key, env={"REDLOCK_TOKEN": token}).returncode, 0)
            self.assertFalse(self.is_free())
        self.assertEqual(self.ctl("release", self.key, env={"REDLOCK_TOKEN": token}).returncode, 0)

    # --- When it ends

    def test_everything_ends_before_another_client_can_get_the_lock(self):
        other = self.start_daemon()
        run, pids = self.start_stubborn()
        self.daemon.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.process.send_signal, signal.SIGCONT)
        acquired = other.ctl("acquire", self.key, "--wait", "20s")
        now = time.monotonic()
        self.assertEqual(acquired.returncode, 0, acquired.stderr)
        self.assertFalse(any(map(alive, pids)))
        self.assertLess(self.last_write(), now)
        self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual(run.wait(10), 122)
        self.assertRegex(run.stderr.read(), "^redlockctl: the lock was lost; the command was ended")

    def test_everything_ends_when_the_lock_is_taken_away(self):
        run, pids = self.start_stubborn("--grace", "300ms")
        self.ctl("force-release", self.key, "--why", "a test")
        self.assertEqual(run.wait(10), 122)
        self.assertFalse(any(map(alive, pids)))

    def test_the_command_has_the_grace_to_end_after_its_lifetime(self):
        done = self.ctl("run", "--max-lifetime", "200ms", self.key, "-c",
                        "trap 'sleep 0.3; echo cleaned up; exit' TERM; while :; do sleep 0.02; done")
        self.assertEqual((done.returncode, done.stdout), (122, "cleaned up\n"))
        self.assertIn("--max-lifetime has passed", done.stderr)
        self.assertTrue(self.is_free())

    def test_everything_ends_when_redlockctl_is_killed(self):
        for victim in ("front", "keeper"):
            with self.subTest(victim):
                run, pids = self.start_stubborn("--grace", "300ms")
                os.kill(run.pid if victim == "front" else children(run.pid)[0], signal.SIGKILL)
                self.assertEqual(run.wait(10), -signal.SIGKILL if victim == "front" else 125)
                self.assertTrue(eventually(lambda: not any(map(alive, pids))))
                self.assertTrue(eventually(self.is_free, 10))
                for pid in pids:
                    os.unlink(self.path(f"time.{pid}"))

    def test_what_stays_in_the_group_is_ended_and_a_daemon_is_not(self):
        done = self.ctl("run", "--grace", "300ms", self.key, "-c",
                        "sleep 60 >/dev/null 2>&1 & echo $!; setsid sleep 61 >/dev/null 2>&1 & echo $!; sleep 0.1; exit 5")
        self.assertEqual(done.returncode, 5, done.stderr)
        group, left = map(int, done.stdout.split())
        self.addCleanup(self.kill, left)
        self.assertFalse(alive(group))
        self.assertTrue(alive(left))

    def test_the_lock_is_held_until_the_group_is_gone(self):
        run = self.start("-c", f"(sleep 0.5; {REDLOCKCTL} run --try {self.key} true; echo $? >status) & exit 0",
                         env={**os.environ, "REDLOCK_SERVER": self.daemon.address})
        self.assertEqual(run.wait(10), 0)
        self.assertEqual(self.text("status"), "123\n")

    # --- Statuses

    def test_each_failure_has_its_status_and_words(self):
        nobody = f"127.0.0.1:{free_port()}"
        holder = self.start("sleep", "60", options=("--owner", "me\x1b[31m\n\u009b"))
        self.assertTrue(eventually(lambda: not self.is_free()))
        self.assertIn("me\\x1b[31m\\n\\u009b, ipv4:", self.ctl("inspect", self.key).stdout)
        self.assertIn("me\u001b[31m\n\u009b", json.loads(self.ctl("inspect", self.key, "--output", "json").stdout)["owner"])
        for arguments, status, words in (
                (["--try", self.key, "true"], 123, r"another holder has the lock: \"me.*\", for \d+\.\d{3} s$"),
                (["--wait", "100ms", self.key, "true"], 123,
                 r"the time to wait ran out: another holder has the lock: \"me\\x1b.*\", for \d+\.\d{3} s$"),
                (["--wait", "0s", self.key, "true"], 123, r"another holder has the lock: \"me.*\", for \d+\.\d{3} s$"),
                (["--try", "-E", "9", self.key, "true"], 9, "another holder has the lock"),
                (["--server", nobody, "k", "true"], 120, "no redlockd answers"),
                (["k", "--", "/no/such/command"], 127, "cannot run /no/such/command: No such file"),
                (["k", "--", "/"], 126, "cannot run /: Permission denied"),
                (["k", "-c", "exit 123"], 123, "the command ended with status 123"),
                (["k"], 2, "COMMAND or -c is required"),
                (["k", "-c", "true", "false"], 2, "COMMAND excludes -c"),
                (["--ttl", "1h30m", "k", "true"], 2, "ttl: must be from 10 ms to 300 s, is 5400 s"),
                (["--ttl", "7x", "k", "true"], 2, "expected a duration such as")):
            done = self.ctl("run", *arguments)
            self.assertEqual(done.returncode, status, arguments)
            self.assertRegex(done.stderr, f"^redlockctl: .*{words}", arguments)
            self.assertEqual(done.stdout, "")
        for status in (0, 1, 2, 3, 6, 255):
            done = self.ctl("run", "k", "-c", f"exit {status}")
            self.assertEqual((done.returncode, done.stderr), (status, ""))
        self.assertEqual(self.ctl("run", "k", "-c", "kill -9 $$").returncode, 137)
        holder.terminate()
        self.assertEqual(holder.wait(10), 143)

    def test_a_holder_without_a_label_is_told_by_its_time(self):
        self.start("sleep", "60")
        self.assertTrue(eventually(lambda: not self.is_free()))
        done = self.ctl("run", "--wait", "100ms", self.key, "true")
        self.assertEqual(done.returncode, 123)
        self.assertRegex(done.stderr, r"^redlockctl: the time to wait ran out: another holder has the lock, for \d+\.\d{3} s$")

    def test_a_wait_of_no_length_is_one_attempt(self):
        self.start("sleep", "60", options=("--owner", "me"))
        self.assertTrue(eventually(lambda: not self.is_free()))
        for arguments in (["--try"], ["--wait", "0s"], ["--wait", "0"]):
            done = self.ctl("acquire", self.key, *arguments)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertRegex(done.stderr, r"^redlockctl: LOCK_ALREADY_HELD: another holder has the lock: \"me\", .*, for \d+\.\d{3} s")
        self.assertEqual(self.ctl("acquire", self.key + "-free", "--wait", "0s").returncode, 0)

    def test_an_outage_is_not_contention(self):
        nodes = Nodes()
        self.addCleanup(nodes.close)
        daemon = self.start_daemon(nodes)
        for node in nodes.processes[1:]:
            node.kill()
        for arguments, status in ((["run", "--wait", "300ms", "k", "true"], 121), (["acquire", "--wait", "300ms", "k"], 5)):
            done = daemon.ctl(*arguments)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertRegex(done.stderr, "too few (Redis )?nodes answer")

    def test_durations(self):
        for text, expected in (("90", 90), ("1m30s", 90), ("1.5s", 1.5), ("0.001h", 3.6), ("1500ms", 1.5), ("1m0s500ms", 60.5)):
            done = self.ctl("acquire", f"{self.key}-{text}", "--ttl", text, "--output", "json")
            validity = float(json.loads(done.stdout)["lease"]["validity"].rstrip("s"))
            self.assertTrue(0.8 * expected < validity <= expected, (text, validity))
        for text in ("", "s", "5x", "-1s", "1s1m", "1m1m", "1.2.3s", "1 s", "1m30", "nan", "inf", "1e3", "9999999h"):
            self.assertEqual(self.ctl("acquire", self.key, f"--ttl={text}").returncode, 2, text)

    # --- Signals

    def test_signals_are_passed_on_once_to_the_group(self):
        run = self.start("sh", "-c", "for s in USR1 USR2 HUP INT QUIT; do trap \"echo $s >>got\" $s; done; trap 'exit 7' TERM; "
                         ">ready; while :; do sleep 0.01; done")
        self.assertTrue(eventually(lambda: os.path.exists(self.path("ready"))))
        expected = ""
        for name in ("USR1", "USR2", "HUP", "INT", "QUIT"):
            run.send_signal(getattr(signal, "SIG" + name))
            expected += name + "\n"
            self.assertTrue(eventually(lambda expected=expected: len(self.text("got")) >= len(expected)))
        run.terminate()
        self.assertEqual(run.wait(10), 7)
        self.assertEqual(self.text("got"), expected)

    def test_a_signal_ends_waiting_unless_it_is_ignored(self):
        self.start("sleep", "60")
        self.assertTrue(eventually(lambda: not self.is_free()))
        waiting = self.start("true", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertTrue(eventually(lambda: "waiting here   1" in self.ctl("inspect", self.key).stdout))
        waiting.send_signal(signal.SIGHUP)
        waiting.send_signal(signal.SIGINT)
        self.assertEqual(waiting.wait(10), 130)

    def test_a_stopped_redlockctl_keeps_the_lock(self):
        run = self.start("sh", "-c", "sleep 2.7", options=("--ttl", "1s"))
        self.assertTrue(eventually(lambda: not self.is_free()))
        run.send_signal(signal.SIGSTOP)
        time.sleep(2)
        self.assertFalse(self.is_free())
        run.send_signal(signal.SIGCONT)
        self.assertEqual(run.wait(10), 0)

    # --- Terminals

    def open_terminal(self, *command):
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.environ.update(REDLOCK_SERVER=self.daemon.address, CTL=REDLOCKCTL, PS1="> ", TERM="dumb")
            os.execv(command[0], command)
        self.addCleanup(os.close, master)

        def close():
            self.kill(pid)
            os.waitpid(pid, 0)
        self.addCleanup(close)
        self.terminal, self.seen = master, ""
        return pid

    def type(self, text):
        os.write(self.terminal, text.encode())

    def expect(self, pattern):
        """Reads from the terminal until the pattern occurs after what was expected before."""
        give_up = time.monotonic() + 10
        while not (match := re.search(pattern, self.seen)):
            self.assertLess(time.monotonic(), give_up, (pattern, self.seen))
            if select.select([self.terminal], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.terminal, 4096).decode(errors="replace")
        self.seen = self.seen[match.end():]

    def test_one_interrupt_of_the_terminal_reaches_the_command_once(self):
        for redirected in ("", "| (trap \"\" INT; cat)"):  # with and without the terminal
            self.open_terminal("/bin/bash", "--norc", "-i")
            self.type(f"$CTL run k -- sh -c 'trap \"echo GOT; n=1\" INT; echo REA\"\"DY; "
                      f"while [ -z \"$n\" ]; do sleep 0.01; done; sleep 0.2; echo EN\"\"D' {redirected}\n")
            self.expect("READY")
            self.type("\x03")
            self.expect("END")
            self.assertEqual(self.seen.count("GOT"), 0)
            self.type("echo $?-\n")
            self.expect("\n(0|130)-")

    def test_an_interrupt_ends_the_script_around_the_command(self):
        self.open_terminal("/bin/bash", "--norc", "-i")
        self.type("bash -c 'for i in 1 2 3; do $CTL run k -- sh -c \"echo RUN$i; sleep 10\"; done'\n")
        self.expect("RUN1")
        time.sleep(0.2)  # until it sleeps
        self.type("\x03")
        time.sleep(0.2)
        self.type("echo st\"\"atus $?\n")
        self.expect("status 130")
        self.assertNotIn("RUN2", self.seen)

    def test_the_command_reads_from_the_terminal_also_in_a_pipeline(self):
        self.open_terminal("/bin/bash", "--norc", "-i")
        for redirected in ("", "| cat"):
            self.type(f"$CTL run k -- sh -c 'read x; echo g\"\"ot $x' {redirected}; read y; echo sh\"\"ell $y\n")
            time.sleep(0.3)
            self.type("one\n")
            self.expect("got one")
            time.sleep(0.1)
            self.type("two\n")
            self.expect("shell two")

    def test_job_control_stops_and_continues_the_command_which_keeps_the_lock(self):
        self.open_terminal("/bin/bash", "--norc", "-i")
        self.type(f"$CTL run --ttl 1s {self.key} -- sh -c 'echo pi\"\"d $$; read x; echo g\"\"ot $x'\n")
        self.expect("pid ")
        self.expect("\n")
        self.type("\x1a")
        self.expect("Stopped")
        time.sleep(1.5)
        self.assertFalse(self.is_free())
        self.type("fg\n")
        self.expect("fg")
        time.sleep(0.2)
        self.type("three\n")
        self.expect("got three")
        self.assertTrue(eventually(self.is_free))

    def test_a_terminal_without_job_control_does_not_stay_stopped(self):
        pid = self.open_terminal(REDLOCKCTL, "run", self.key, "--", "sh", "-c", "echo READY; read x; echo got $x")
        self.expect("READY")
        self.type("\x1a")
        time.sleep(0.2)
        self.type("four\n")
        self.expect("got four")
        self.assertTrue(eventually(lambda: not alive(pid)))


if __name__ == "__main__":
    unittest.main()
