"""Runs the commands and code in the documents:  run.py BUILD_DIRECTORY

Every fenced block of the Markdown files runs as it is written, with one exception: an address in it
(10.0.0.x, 10.0.1.x, 127.0.0.1 or localhost, with a port) is replaced by an address of this run, so that nothing
here uses a fixed port, and so is the path of the daemon's configuration. redlockd and redlockctl get
their default addresses from the environment.
  sh              runs against a daemon over three nodes that are started here; must succeed
  sh nodes        the same, against a daemon over six nodes, of which three are members, with a short max_ttl
  sh operator     the same, against three nodes and a daemon that are started for this block, with a short max_ttl. A node
                  that ends is started again, empty. The daemon reads its nodes from /etc/redlockd.toml, and systemctl
                  stops, starts and reloads it. It is the user redlockd, which has the passwords OLD-PASSWORD and
                  NEW-PASSWORD, and 127.0.0.1:9475 serves metrics
  sh held         as sh operator, while somebody holds the lock `nightly`
  sh certificates   as sh operator, with a daemon that uses TLS, in the directory of its tls.crt and tls.key
  sh emptied      as sh operator, after the third node was started again, empty
  sh lost         as sh operator, with a fourth node that is not a member, after the third one was lost for good
  sh outage       as sh operator, after two nodes were lost
  sh replaced     as sh outage, with two new nodes, the fourth and the fifth, that the daemon does not know
  sh restored     as sh operator, with nodes that store their data, after the first two were restored from a copy
  sh background   starts; must still run after 3 s, or print that it is ready; is ended by SIGINT
  sh elsewhere    needs something that is not available here: only its syntax and the flags are checked
  toml            is an access list or a configuration file with which redlockd must start
  cpp, python, js, go   compiles and runs, inside the code that the run_ functions put around it
  java            compiles, inside the code that run_java puts around it
Blocks in other languages are not run.
"""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "e2e"))

from ports import free_port  # noqa: E402

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.path.realpath(sys.argv[1])


class Block:
    def __init__(self, path, line, info, text):
        self.where = f"{path}:{line}"
        self.language, _, self.how = info.partition(" ")
        self.text = text


def blocks():
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
                           cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for path in files:
        text = open(os.path.join(ROOT, path)).read()
        for match in re.finditer(r"^( *)```([a-z]+[a-z ]*)\n(.*?)^\1```$", text, re.M | re.S):
            line = text[:match.start()].count("\n") + 1
            yield Block(path, line, match[2], textwrap.dedent(match[3]))


class World:
    """Three nodes, and a daemon over them. It also knows `spare` nodes that are not members. It does not know `new` nodes."""

    USER = ""  # of the daemon, in the nodes' addresses
    SHELL = ("bash",)
    place = ROOT  # where commands run

    def __init__(self, directory, options=("--node-timeout", "2s"), spare=0, new=0):
        self.directory = directory
        self.nodes = [free_port() for _ in range(3 + spare + new)]
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.processes = [self.start_node(port) for port in self.nodes]
        outside = {name: value for name, value in os.environ.items() if not name.startswith("REDLOCK")}
        self.environment = dict(
            outside, REDLOCK_SERVER=self.address, PYTHONDONTWRITEBYTECODE="1",
            PATH=f"{BUILD}/server:{BUILD}/client:/usr/bin:{os.environ['PATH']}")
        self.processes.append(self.start(self.nodes[:3], options))
        if spare:
            self.restart(self.nodes[:3 + spare], options)

    def start_node(self, port):
        return subprocess.Popen(self.node_command(port), stdout=subprocess.DEVNULL)

    def node_command(self, port):
        return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.data_of(port)]

    def data_of(self, port):
        """The directory of a node's data."""
        return self.directory

    def start(self, nodes, options):
        """Returns a daemon over these nodes once it can grant locks."""
        daemon = subprocess.Popen(
            [f"{BUILD}/server/redlockd", "--listen", self.address, "--metrics-listen", self.metrics,
             "--log-level", "error", *options, *(f"--node={node}" for node in self.addresses(nodes))])
        self.wait_until("redlockctl --timeout 1s health")
        return daemon

    def restart(self, nodes, options):
        daemon = self.processes.pop()
        daemon.terminate()
        daemon.wait()
        self.processes.append(self.start(nodes, options))

    def addresses(self, nodes):
        return [f"redis://{self.USER}127.0.0.1:{port}" for port in nodes]

    def wait_until(self, command):
        while self.run(f"{{ {command}; }} >/dev/null 2>&1").returncode != 0:
            time.sleep(0.05)

    def here(self, text, daemon=None):
        """Returns the text with its addresses replaced. daemon: the replacement for port 50051."""
        ports = {}

        def address(match):
            host, port = match.groups()
            if port == "50051":
                return daemon or self.address
            if port == "9475" and host == "127.0.0.1":
                return self.metrics
            if port == "6379" and host.startswith("10.0.0."):
                number = int(host[7:])  # only text that is not run names more nodes than there are
                return f"127.0.0.1:{self.nodes[number - 1]}" if number <= len(self.nodes) else match[0]
            return f"127.0.0.1:{ports.setdefault(port, free_port())}"

        return re.sub(r"\b(10\.0\.[01]\.\d|127\.0\.0\.1|localhost):(\d+)\b", address, text)

    def run(self, command, **more):
        return subprocess.run([*self.SHELL, "-euo", "pipefail", "-c", command], cwd=self.place,
                              env={**self.environment, **more}, stdin=subprocess.DEVNULL)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


class OperatorWorld(World):
    """What the runbooks need, for one block. The nodes accept OLD-PASSWORD too. `lost` nodes have ended for good,
    `emptied` ones have ended once, and `restored` ones have been given an earlier state of their data."""

    USER = "redlockd:NEW-PASSWORD@"
    SHELL = ("timeout", "120", "bash")  # some blocks wait in a loop
    # Stand in for systemd: the supervisor runs the daemon unless it is stopped, and systemctl stops and starts it.
    SUPERVISOR = """while true; do
  if [ ! -e stopped ]; then "$@" & echo $! >pid; wait $!; rm pid; fi
  sleep 0.1
done"""
    SYSTEMCTL = """#!/bin/bash -e
cd "$(dirname "$0")/.."
[ "$*" != "enable --now redlockd" ] || exit 0 # it runs already
[ "$2" = redlockd ]
stop() { touch stopped; kill "$(cat pid)"; while [ -e pid ]; do sleep 0.05; done; }
start() { rm stopped; }
case $1 in
  stop | start) "$1" ;;
  restart) stop; start ;;
  reload) kill -HUP "$(cat pid)" ;;
  *) exit 1 ;;
esac
"""

    def __init__(self, directory, lost=(), emptied=(), restored=(), certificates=False, held=(), **more):
        self.machine = tempfile.mkdtemp(dir=directory)
        self.configuration = f"{self.machine}/redlockd.toml"
        self.durable = bool(restored)
        self.certificates = certificates
        super().__init__(directory, ("--node-timeout", "500ms", "--max-ttl", "2s"), **more)
        for key in held:
            self.run(f"redlockctl acquire {key} --ttl 2s")
        for number in lost:
            os.killpg(self.processes[number].pid, signal.SIGKILL)
        for number in restored:
            data = self.data_of(self.nodes[number])
            shutil.copytree(data, f"{data}.restored")
        for number in (*emptied, *restored):
            self.restart_node(number)
        if restored:
            self.wait_until("redlockctl status | grep '^3 of 3 nodes are up'")

    def make_certificate(self):
        """Makes tls.crt and tls.key. Returns the daemon's options for them."""
        certificate, key = f"{self.machine}/tls.crt", f"{self.machine}/tls.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=redlockd", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-out", certificate, "-keyout", key], check=True, capture_output=True)
        self.place = self.machine
        self.environment["REDLOCK_TLS_CA"] = certificate
        return ["--tls-cert", certificate, "--tls-key", key]

    def data_of(self, port):
        return f"{self.machine}/{port}"

    def restart_node(self, number):
        """Ends the node, and returns when the supervisor has started it again."""
        ask = ["redis-cli", "-p", str(self.nodes[number])]
        subprocess.run([*ask, "SHUTDOWN", "NOSAVE"], check=True)
        self.wait_until(shlex.join([*ask, "PING"]) + " | grep PONG")

    def start_node(self, port):
        """Starts a node with a supervisor that starts it again, as systemd does."""
        guide = open(os.path.join(ROOT, "server/CONFIGURATION.md")).read()
        rule = re.search(r"ACL SETUSER (redlockd .*)$", guide, re.M)[1].replace("PASSWORD", "OLD-PASSWORD")
        data = self.data_of(port)
        os.mkdir(data)
        users = f"{data}.acl"
        with open(users, "w") as file:
            file.write(f"user default on nopass ~* &* +@all\nuser {rule} >NEW-PASSWORD\n")
        durable = ["--appendonly", "yes", "--appendfsync", "always"] if self.durable else []
        command = shlex.join([*self.node_command(port), *durable, "--aclfile", users])
        restore = f"if [ -e {data}.restored ]; then rm -r {data}; mv {data}.restored {data}; fi"
        return subprocess.Popen(["bash", "-c", f"while true; do {restore}; {command}; sleep 0.2; done"],
                                stdout=subprocess.DEVNULL, start_new_session=True)

    def start(self, nodes, options):
        programs = f"{self.machine}/bin"
        os.mkdir(programs)
        with open(f"{programs}/systemctl", "w") as file:
            file.write(self.SYSTEMCTL)
        os.chmod(file.name, 0o755)
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        if self.certificates:
            options = [*options, *self.make_certificate()]
        self.configure(nodes)
        supervisor = subprocess.Popen(
            ["bash", "-c", self.SUPERVISOR, "supervisor", f"{BUILD}/server/redlockd", "--config", self.configuration,
             "--listen", self.address, "--metrics-listen", self.metrics, "--log-level", "error", *options],
            cwd=self.machine, start_new_session=True)
        self.wait_until("redlockctl --timeout 1s health")
        return supervisor

    def configure(self, nodes):
        with open(self.configuration, "w") as file:
            file.write(f"node = {json.dumps(self.addresses(nodes))}\n")

    def restart(self, nodes, options):
        self.configure(nodes)
        self.run("systemctl restart redlockd")
        self.wait_until("redlockctl --timeout 1s health")

    def here(self, text, daemon=None):
        return super().here(text, daemon).replace("/etc/redlockd.toml", self.configuration)

    def close(self):
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # lost
        super().close()


OPERATOR_WORLDS = {
    "operator": {},
    "held": {"held": ["nightly"]},
    "certificates": {"certificates": True},
    "emptied": {"emptied": [2]},
    "lost": {"spare": 1, "lost": [2]},
    "outage": {"lost": [0, 1]},
    "replaced": {"lost": [0, 1], "new": 2},
    "restored": {"restored": [0, 1]},
}


def run_background(world, text):
    address = f"127.0.0.1:{free_port()}"  # the block's own daemon
    text = world.here(text, address)
    with tempfile.TemporaryFile("w+") as output:
        started = subprocess.Popen(["bash", "-c", f"exec {text}"], cwd=ROOT,
                                   env=dict(world.environment, REDLOCKD_LISTEN=address),
                                   stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        start, printed = time.monotonic(), ""
        while started.poll() is None and time.monotonic() - start < 300:
            output.seek(0)
            printed = output.read()
            if "Ctrl-C ends it" in printed or ("deploy/run" not in text and time.monotonic() - start > 3):
                break
            time.sleep(0.1)
        running = started.poll() is None
        if running:
            os.killpg(started.pid, signal.SIGINT)
            started.wait(30)
        else:
            output.seek(0)
            print(output.read())
        return running


def run_toml(world, text):
    path = os.path.join(world.directory, "block.toml")
    with open(path, "w") as file:
        file.write(text)
    # An access list requires a way to identify callers; /dev/null is a token file without tokens.
    option = "--token-file /dev/null --access-list" if "[[rule]]" in text else "--config"
    return run_background(world, f"redlockd --node redis://10.0.0.1:6379 {option} {path}")


def known_flags(world, text):
    flags = ""
    for program in ("redlockd", "redlockctl"):
        flags += subprocess.run([program, "--help-all" if program == "redlockctl" else "--help"],
                                env=world.environment, capture_output=True, text=True).stdout
    good = subprocess.run(["bash", "-n", "-c", text]).returncode == 0
    for line in text.splitlines():
        if not re.match(r"\s*redlock(d|ctl)\b", line):
            continue
        for flag in re.findall(r"\s(--[a-z][a-z-]+)", line.split("#")[0]):
            if f"{flag} " not in flags and f"{flag}\n" not in flags:
                print(f"unknown flag: {flag}")
                good = False
    return good


def run_cpp(world, text):
    path = os.path.join(world.directory, "block.cc")
    client = f'redlock::client::Client client({{.endpoints = {{"{world.address}"}}}});\n'
    with open(path, "w") as file:
        file.write("#include <redlock/client.h>\n#include <redlock/election.h>\n#include <iostream>\n"
                   "using namespace std::chrono_literals;\n"
                   "struct { void write(int, std::uint64_t) {} } store;\nconst int report = 0;\n"
                   "int fail(const std::string& why) { std::cerr << why; return 1; }\n"
                   "int main() {\n" + ("" if "Client client(" in text else client) + text + "}\n")
    return world.run(f"g++ -std=c++20 -Iclient/cpp/include {path} -o {path}.run "
                     f"{BUILD}/client/cpp/libredlock-client.a "
                     f"${{SANITIZE:-}} $(pkg-config --libs grpc++ protobuf libssl) -lpthread && {path}.run").returncode == 0


def run_python(world, text):
    path = os.path.join(world.directory, "block.py")
    indented = "".join("    " + line for line in text.splitlines(True))
    with open(path, "w") as file:
        file.write("import asyncio, redlockd\nreport = 0\n")
        if "async with" in text:
            file.write("class store:\n    @staticmethod\n    async def write(*a): pass\n"
                       f"async def main():\n{indented}\nasyncio.run(main())\n")
        else:
            file.write("class store:\n    @staticmethod\n    def write(*a): pass\n"
                       "    @staticmethod\n    def read(*a): return 0\n" + text)
    return world.run(f"/usr/bin/python3 {path}",
                     PYTHONPATH=f"{ROOT}/client/python", REDLOCKD=f"{BUILD}/server/redlockd").returncode == 0


def run_js(world, text):
    installed = f"{BUILD}/node/project"
    if world.run(f"tests/client/install_node {BUILD}").returncode != 0:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=installed) as file:
        file.write("const report = 0; const store = { async write() {}, async read() {} };\n" + text + "\nawait client.close();\n")
        file.flush()
        return world.run(f"node {file.name}").returncode == 0


def run_go(world, text):
    path = os.path.join(world.directory, "block.go")
    with open(path, "w") as file:
        file.write('package main\nimport ("context"; "errors"; "fmt"; "time"; redlockd "github.com/redlockd/redlockd/client/go")\n'
                   "var _, _, _ = errors.Is, fmt.Println, time.Now\n"
                   "type storage struct{}\n"
                   "func (storage) Write(context.Context, int, uint64) error { return nil }\n"
                   "var store storage\nvar report = 0\nvar ctx = context.Background()\n"
                   "func main() {\n" + text.replace("...", "if err != nil { panic(err) }") +
                   "\nif err != nil { panic(err) }\n}\n")
    overlay = os.path.join(world.directory, "overlay.json")
    with open(overlay, "w") as file:
        json.dump({"Replace": {f"{ROOT}/client/go/documents/main.go": path}}, file)
    return world.run(f". deploy/packages; use_go {BUILD}; cd client/go && go run -overlay {overlay} ./documents",
                     GOCACHE=f"{BUILD}/go/cache", GOFLAGS="-buildvcs=false").returncode == 0


def run_java(world, text):
    """Compiles the text: a class, or statements."""
    directory = os.path.join(world.directory, "java")
    os.makedirs(directory, exist_ok=True)
    is_class = re.search(r"^(public )?class ", text, re.M)
    with open(os.path.join(directory, "Block.java"), "w") as file:
        file.write("import static org.junit.jupiter.api.Assertions.*;\n"
                   "import io.redlockd.*;\nimport io.redlockd.testing.*;\nimport java.time.Duration;\n"
                   "import org.junit.jupiter.api.Test;\nimport org.junit.jupiter.api.extension.ExtendWith;\n"
                   "class Storage {\n  void write(int value, long fencingToken) {}\n"
                   "  int read() { return 0; }\n}\n"
                   "class Reports {\n  Reports(RedlockClient client) {}\n  void start() {}\n"
                   "  boolean awaitStopped(Duration time) { return true; }\n}\n" +
                   (text if is_class else
                    "class Block {\n  RedlockClient client;\n  Storage storage;\n  int report;\n  String key, token;\n"
                    "  void run() throws Exception {\n" + text + "  }\n}\n"))
    return build_java(world) and world.run(
        f"javac -d {directory} -cp $(cat {BUILD}/java/redlockd-verification/test-classpath) {directory}/Block.java"
    ).returncode == 0


@functools.cache
def build_java(world):
    return world.run(f"tests/client/java/build {BUILD} package -Dmaven.test.skip=true -Dmaven.javadoc.skip=true"
                     ).returncode == 0


def run(world, block):
    if block.how == "elsewhere":
        return known_flags(world, block.text)
    text = world.here(block.text)
    if block.language == "sh":
        if block.how == "background":
            return run_background(world, block.text.split("#")[0].strip())
        return world.run(text).returncode == 0
    runners = {"toml": run_toml, "cpp": run_cpp, "python": run_python, "js": run_js, "go": run_go, "java": run_java}
    return runners[block.language](world, text) if block.language in runners else None


def main():
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        world = World(directory)
        worlds = {"nodes": World(directory, ["--node-timeout", "500ms", "--max-ttl", "1s"], spare=3)}
        try:
            for block in blocks():
                if block.how in OPERATOR_WORLDS:
                    operator = OperatorWorld(directory, **OPERATOR_WORLDS[block.how])
                    try:
                        good = run(operator, block)
                    finally:
                        operator.close()
                else:
                    good = run(worlds.get(block.how, world), block)
                if good is None:
                    continue
                print(f"{'ok     ' if good else 'FAILED '} {block.where} {block.language} {block.how}",
                      flush=True)
                if not good:
                    failed.append(block.where)
        finally:
            for each in [world, *worlds.values()]:
                each.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
