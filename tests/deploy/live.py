"""Runs the manifests as processes: their commands, options and files, with addresses of this machine.

The daemon and the nodes are those of deploy/kubernetes/production, with TLS, client certificates and passwords.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import redlockd
import yaml

from test_access import make_certificates
from test_service import REDLOCKCTL, REDLOCKD, eventually, free_port

DEPLOY = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../deploy"))
RENDERED = os.environ["RENDERED"]  # the output of kustomize
NODES = 5
PASSWORD = "a-password"
# As deploy/OPERATIONS.md says.
USERS = """user default off ~* &* +@all
user monitor on nopass resetkeys resetchannels -@all +ping +info
user redlockd on >{} ~* resetchannels &redlockd:* +@read +@write +@scripting +@pubsub +@connection +info +time +config|get
"""
ACCESS = """[[rule]]
identity = "my-app"
verbs = ["acquire", "extend", "release", "inspect"]
"""


def documents(path):
    with open(path) as file:
        return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(file)}


def replace(text, places):
    for there, here in places.items():
        text = text.replace(there, here)
    return text


def environment(container):
    return {entry["name"]: entry["value"] for entry in container["env"]}


class World(unittest.TestCase):
    """Five nodes, started as the StatefulSet of production does."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.places = {"/etc/redlockd": self.path("redlockd"), "/etc/redis": self.path("redis")}
        with tempfile.TemporaryDirectory() as made:
            make_certificates(made, "localhost", "my-app")
            for name in ("my-app.crt", "my-app.key"):
                shutil.copy(f"{made}/{name}", self.path(name))
            shutil.copy(f"{made}/ca.crt", self.path("ca.crt"))
            self.mount("redlockd/tls", {"tls.crt": self.read(f"{made}/localhost.crt"),
                                        "tls.key": self.read(f"{made}/localhost.key"),
                                        "ca.crt": self.read(f"{made}/ca.crt")})
        self.mount("redlockd/access", {"access.toml": ACCESS})
        self.mount("redlockd/node", {"password": PASSWORD})
        self.mount("redis", {"users.acl": USERS.format(PASSWORD)})
        self.production = documents(f"{RENDERED}/production")
        self.nodes = [None] * NODES
        self.node_ports = [free_port() for _ in range(NODES)]
        for number in range(NODES):
            self.start_node(number)

    def path(self, name):
        return os.path.join(self.directory, name)

    def read(self, name):
        with open(name) as file:
            return file.read()

    def mount(self, name, files):
        """Writes the files of a Secret as the kubelet does, which replaces all of them in one step: a symbolic link."""
        directory = self.path(name)
        os.makedirs(directory, exist_ok=True)
        version = tempfile.mkdtemp(dir=directory, prefix="..")
        for file, text in files.items():
            with open(os.path.join(version, file), "w") as opened:
                opened.write(text)
            if not os.path.lexists(os.path.join(directory, file)):
                os.symlink(f"..data/{file}", os.path.join(directory, file))
        os.symlink(os.path.basename(version), os.path.join(directory, "..new"))
        os.rename(os.path.join(directory, "..new"), os.path.join(directory, "..data"))

    def container(self, kind, name):
        return self.production[kind, name]["spec"]["template"]["spec"]["containers"][0]

    def place(self, text):
        """Replaces the addresses and directories of the manifests by those of this run."""
        for number, port in enumerate(self.node_ports):
            text = re.sub(rf"redis-{number}\.redis(\.redlockd)?:6379", f"127.0.0.1:{port}", text)
        return replace(text, self.places)

    def start(self, command, environ=None, **options):
        process = subprocess.Popen(command, env=dict(os.environ, **(environ or {})), **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def start_node(self, number):
        container = self.container("StatefulSet", "redis")
        data = self.path(f"data-{number}")
        os.makedirs(data, exist_ok=True)
        arguments = [self.place(argument).replace("/data", data) for argument in container["args"]]
        self.nodes[number] = self.start(
            [*container["command"], *arguments, "--port", str(self.node_ports[number]), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL)
        probe = [*container["readinessProbe"]["exec"]["command"]]
        probe[1:1] = ["-p", str(self.node_ports[number])]
        ready = lambda: subprocess.run(probe, capture_output=True).returncode == 0
        self.assertTrue(eventually(ready, 20), "the probe of the node does not become ready")

    def start_daemon(self, container, name):
        """Returns the process, and the container's environment and probe as they are here."""
        os.makedirs(self.path(name), exist_ok=True)
        here = {"/run/redlockd": self.path(name)}
        place = lambda text: self.place(replace(text, here))
        environ = {key: place(value) for key, value in environment(container).items()}
        self.port, self.metrics_port = free_port(), free_port()
        arguments = [place(argument).replace("0.0.0.0:50051", f"127.0.0.1:{self.port}")
                     .replace("0.0.0.0:9475", f"127.0.0.1:{self.metrics_port}") for argument in container["args"]]
        self.log = self.path(f"{name}.log")
        with open(self.log, "w") as log:
            # This machine is slower than the one of a cluster while other tests run.
            daemon = self.start([REDLOCKD, "--node-timeout=2s", *arguments], environ, stderr=log)
        probe = container.get("readinessProbe") or container["startupProbe"]
        return daemon, lambda: subprocess.run(
            [REDLOCKCTL, *probe["exec"]["command"][1:]], env=dict(os.environ, **environ), capture_output=True).returncode == 0

    def get(self, port, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
            return page.read().decode()

    def logged(self, text):
        return eventually(lambda: text in self.read(self.log), 20)


class Production(World):
    """One of the daemons of production, beside its nodes."""

    def setUp(self):
        super().setUp()
        self.daemon, self.ready = self.start_daemon(self.container("Deployment", "redlockd"), "run")
        self.assertTrue(eventually(self.ready, 30), f"the probe does not become ready: {self.read(self.log)}")


class ProductionTest(Production):
    def acquires(self, *credentials):
        done = subprocess.run([REDLOCKCTL, "--server", f"localhost:{self.port}", "--timeout", "2s", *credentials,
                               "acquire", "key", "--try", "--ttl", "100ms"], capture_output=True, text=True)
        return done.returncode == 0

    def test_the_probe_needs_no_certificate_and_the_callers_do(self):
        self.assertFalse(self.acquires())
        ca = ("--tls-ca", self.path("ca.crt"))
        self.assertFalse(self.acquires(*ca))
        self.assertTrue(self.acquires(*ca, "--tls-cert", self.path("my-app.crt"), "--tls-key", self.path("my-app.key")))
        for node in self.nodes[:3]:
            node.kill()
        self.assertTrue(eventually(lambda: not self.ready(), 20), "the probe is ready without a quorum")
        self.assertIsNone(self.daemon.poll())
        for number in range(3):
            self.nodes[number].wait()
            self.start_node(number)
        self.assertTrue(eventually(self.ready, 30), "the probe does not become ready again")

    def test_secrets_that_change(self):
        with tempfile.TemporaryDirectory() as made:
            make_certificates(made, "localhost", "my-app")
            self.mount("redlockd/tls", {"tls.crt": self.read(f"{made}/localhost.crt"),
                                        "tls.key": self.read(f"{made}/localhost.key"),
                                        "ca.crt": self.read(f"{made}/ca.crt")})
            new = self.read(f"{made}/localhost.crt")

        def served():
            shown = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL,
                capture_output=True, text=True).stdout
            return new.split("-----")[2] in shown
        self.assertTrue(eventually(served, 20), "the new certificate is not served")

        self.mount("redis", {"users.acl": USERS.format("new-password")})
        self.mount("redlockd/node", {"password": "new-password"})
        self.assertTrue(self.logged("node passwords reloaded"))
        for number in range(NODES):  # as the rolling update does, one after the other
            self.nodes[number].terminate()
            self.nodes[number].wait()
            self.start_node(number)
            connected = f'redlockd_node_can_grant{{node="127.0.0.1:{self.node_ports[number]}"}} 1'
            self.assertTrue(eventually(lambda: connected in self.get(self.metrics_port, "/metrics"), 30),
                            "a restarted node has no vote: " + self.read(self.log))

        self.mount("redlockd/access", {"access.toml": ACCESS.replace("my-app", "other")})
        self.daemon.send_signal(signal.SIGHUP)
        self.assertTrue(self.logged("SIGHUP: tokens and access list reloaded"), self.read(self.log))


class AlertsTest(Production):
    """A real Prometheus, with the alerts as they are."""

    def setUp(self):
        super().setUp()
        exporter = self.container("Deployment", "redis-exporter")
        self.exporter_port, self.prometheus_port = free_port(), free_port()
        self.start(["prometheus-redis-exporter", *exporter["args"], f"--web.listen-address=127.0.0.1:{self.exporter_port}"],
                   environment(exporter), stderr=subprocess.DEVNULL)
        probe = self.production["Probe", "redis"]["spec"]
        target = self.place(probe["targets"]["staticConfig"]["static"][0])
        self.node_metrics = f"{probe['prober']['path']}?target={target}"
        self.assertTrue(eventually(self.exports, 20))
        with open(self.path("prometheus.yml"), "w") as file:
            yaml.safe_dump({
                "global": {"scrape_interval": "1s", "evaluation_interval": "1m"},
                "rule_files": [f"{DEPLOY}/prometheus/alerts.yml"],
                "scrape_configs": [
                    {"job_name": "redlockd", "static_configs": [{"targets": [f"127.0.0.1:{self.metrics_port}"]}]}],
            }, file)
        self.start(["prometheus", f"--config.file={self.path('prometheus.yml')}",
                    f"--storage.tsdb.path={self.path('prometheus')}", "--log.level=error",
                    f"--web.listen-address=127.0.0.1:{self.prometheus_port}"])
        self.assertTrue(eventually(self.evaluates, 60), "Prometheus evaluates no alerts")

    def exports(self):
        try:
            return "redis_up 1" in self.get(self.exporter_port, self.node_metrics)
        except OSError:
            return False

    def groups(self):
        try:
            return json.loads(self.get(self.prometheus_port, "/api/v1/rules"))["data"]["groups"]
        except OSError:
            return []

    def evaluates(self):
        rules = [rule for group in self.groups() for rule in group["rules"]]
        return rules != [] and all(rule["health"] == "ok" for rule in rules)

    def firing(self):
        return {rule["name"] for group in self.groups() for rule in group["rules"] if rule["state"] == "firing"}

    def test_alerts(self):
        self.assertEqual([group["interval"] for group in self.groups()], [5])
        self.assertEqual(self.firing(), set())
        shown = self.get(self.metrics_port, "/metrics") + self.get(self.exporter_port, self.node_metrics)
        for group in self.groups():
            for rule in group["rules"]:
                for metric in re.findall(r"\b(?:redlockd|redis)_\w+", rule["query"]):
                    self.assertRegex(shown, rf"(?m)^{metric}[ {{]", f"{rule['name']}: nothing has this metric")
        for node in self.nodes[:3]:
            node.kill()
            node.wait()
        self.assertTrue(eventually(lambda: "RedlockdNoQuorum" in self.firing(), 90), "no alert")
        for number in range(3):
            self.start_node(number)
        self.assertTrue(eventually(lambda: "RedlockdNoQuorum" not in self.firing(), 90), "the alert does not end")


class OpenNodes(World):
    """Nodes without passwords, as those of deploy/kubernetes/base."""

    def setUp(self):
        super().setUp()
        self.mount("redis", {"users.acl": "user default on nopass ~* &* +@all\nuser monitor on nopass +ping\n"})
        for number in range(NODES):
            self.nodes[number].terminate()
            self.nodes[number].wait()
            self.start_node(number)


class Balancer:
    """A Service with one address: passes each connection to the next of the ready ports."""

    def __init__(self, ports):
        self.ready, self.used, self.sockets = list(ports), set(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        for number in itertools.count():
            try:
                client = self.listener.accept()[0]
            except OSError:
                return  # closed
            self.sockets.append(client)
            port = self.ready[number % len(self.ready)]
            self.used.add(port)
            try:
                server = socket.create_connection(("127.0.0.1", port), 5)
            except OSError:
                client.close()
                continue
            self.sockets.append(server)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=ends, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        for end in (self.listener, *self.sockets):
            end.close()

    @staticmethod
    def copy(source, destination):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                destination.sendall(data)
        for end in (source, destination):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class ServiceTest(OpenNodes):
    """Three daemons behind one address."""

    def test_clients_spread_over_the_daemons_and_keep_their_locks_when_one_drains(self):
        base = documents(f"{RENDERED}/base")["Deployment", "redlockd"]["spec"]["template"]["spec"]["containers"][0]
        daemons = {}
        for number in range(3):
            daemon, ready = self.start_daemon(base, f"daemon-{number}")
            self.assertTrue(eventually(ready, 30), self.read(self.log))
            daemons[self.port] = daemon
        service = Balancer(daemons)
        self.addCleanup(service.close)
        with contextlib.ExitStack() as opened:
            locks = []
            for number in range(6):
                client = opened.enter_context(redlockd.Client([f"127.0.0.1:{service.port}"]))
                locks.append(opened.enter_context(client.lock(f"key-{number}", ttl=10, wait=10)))
            self.assertEqual(service.used, set(daemons))
            first = service.ready.pop(0)  # as for a pod that is about to end
            daemons[first].terminate()
            self.assertEqual(daemons[first].wait(20), 0)
            time.sleep(10)  # the TTL: nothing extends the locks of clients that have not moved
            self.assertEqual([lock.key for lock in locks if lock.lost.is_set()], [])


class SidecarTest(OpenNodes):
    """Two pods of the example."""

    def test_one_replica_works_at_a_time(self):
        pod = documents(f"{DEPLOY}/kubernetes/sidecar/app.yaml")["Deployment", "my-app"]["spec"]["template"]["spec"]
        applications = []
        output = self.path("output")
        for name in ("pod-1", "pod-2"):
            _, started = self.start_daemon(pod["initContainers"][0], name)
            self.assertTrue(eventually(started, 30), self.read(self.log))
            environ = {key: value.replace("/run/redlockd", self.path(name))
                       for key, value in environment(pod["containers"][0]).items()}
            with open(output, "a") as file:
                applications.append(self.start(["/usr/bin/python3", f"{DEPLOY}/kubernetes/sidecar/app.py"],
                                               {**environ, "HOSTNAME": name}, stdout=file))

        def lines():
            return [line.split() for line in self.read(output).splitlines()]

        def ended(name):
            return len({line[-1] for line in lines() if line[:2] == [name, "end"]})
        self.assertTrue(eventually(lambda: ended("pod-1") >= 2 and ended("pod-2") >= 2, 60), self.read(output))
        for application in applications:
            application.terminate()
        for application in applications:
            self.assertEqual(application.wait(20), 0)
        found = lines()
        self.assertEqual({line[1] for line in found}, {"begin", "end"}, found)
        for begin, end in zip(found[::2], found[1::2], strict=True):
            self.assertEqual((begin[1], end[1]), ("begin", "end"), found)
            self.assertEqual((begin[0], begin[2:]), (end[0], end[2:]), "two pods worked at the same time")
        fences = [int(line[-1].split("=")[1]) for line in found]
        self.assertEqual(fences, sorted(fences))
        holder = subprocess.run([REDLOCKCTL, "--server", f"unix:{self.path('pod-1')}/redlockd.sock", "inspect", "reports",
                                 "--output", "json"], capture_output=True, text=True)
        self.assertFalse(json.loads(holder.stdout).get("held", False), holder.stdout)


if __name__ == "__main__":
    unittest.main()
