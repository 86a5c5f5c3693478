"""Builds the load programs under build/bench/clients. Each function returns the command that starts one."""

import functools
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "../../.."))
BUILD = os.path.join(ROOT, "build/bench/clients")


def do(*command, cwd, **environment):
    """Runs a command; shows its output only if it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed in {cwd}:\n{done.stdout}")


def copied(language):
    """Copies the load program's sources, so that no tool writes into the source tree."""
    directory = os.path.join(BUILD, language)
    shutil.copytree(os.path.join(HERE, language), directory, dirs_exist_ok=True)
    return directory


def copied_client(clients, language):
    """Copies a client with the proto at the same relative place, for packers that write beside their sources. Keeps
    what an earlier build installed for the packer."""
    sources = os.path.join(BUILD, "sources", language)
    client = os.path.join(sources, "client", language)
    os.makedirs(client, exist_ok=True)
    for name in set(os.listdir(client)) - {"node_modules"}:
        path = os.path.join(client, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    ignored = shutil.ignore_patterns("node_modules", "target", "build", "__pycache__", "*.egg-info")
    shutil.copytree(os.path.join(clients, "client", language), client, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(os.path.join(clients, "proto"), os.path.join(sources, "proto"), dirs_exist_ok=True)
    return client


def go(clients):
    directory = copied("go")
    do("go", "mod", "edit", f"-replace=github.com/redlockd/redlockd/client/go={clients}/client/go", cwd=directory)
    # -mod=mod: a client that is being changed may require other versions than those in go.sum.
    do("go", "build", "-mod=mod", "-o", "load", ".", cwd=directory, GOFLAGS="-buildvcs=false")
    return [os.path.join(directory, "load")]


@functools.cache
def etcd():
    """Builds the server in the version that the module of go() names; returns its path."""
    directory = os.path.join(BUILD, "go")
    do("go", "build", "-mod=mod", "-o", "etcd", "go.etcd.io/etcd/server/v3", cwd=directory, GOFLAGS="-buildvcs=false")
    return os.path.join(directory, "etcd")


def node(clients):
    directory = copied("node")
    client = copied_client(clients, "node")
    do("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=client)
    do("npm", "pack", "--silent", "--pack-destination", directory, cwd=client)
    package, = (name for name in os.listdir(directory) if name.startswith("redlockd-"))
    shutil.move(os.path.join(directory, package), os.path.join(directory, "client.tgz"))
    shutil.rmtree(os.path.join(directory, "node_modules/redlockd"), ignore_errors=True)
    do("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "./client.tgz", cwd=directory)
    return ["node", "--expose-gc", os.path.join(directory, "load.js")]


def python(clients):
    environment = os.path.join(BUILD, "python-venv")
    interpreter = os.path.join(environment, "bin/python")
    if not os.path.exists(interpreter):
        do("/usr/bin/python3", "-m", "venv", environment, cwd=BUILD)
    client = copied_client(clients, "python")
    do("./make-stubs", cwd=client)
    do(interpreter, "-m", "pip", "install", "--quiet", "-r", os.path.join(HERE, "python/requirements.txt"), cwd=BUILD)
    do(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", client, cwd=BUILD)
    return [interpreter, os.path.join(HERE, "python/load.py")]


def java(clients):
    """Builds the client and the load program in one reactor: nothing is installed in Maven's local repository."""
    directory = copied("java")
    client = copied_client(clients, "java")
    reactor = os.path.join(BUILD, "java-reactor")
    os.makedirs(reactor, exist_ok=True)
    modules = "".join(f"<module>{os.path.relpath(module, reactor)}</module>" for module in (client, directory))
    with open(os.path.join(reactor, "pom.xml"), "w") as pom:
        pom.write("<project><modelVersion>4.0.0</modelVersion><groupId>load</groupId><artifactId>reactor</artifactId>"
                  f"<version>0</version><packaging>pom</packaging><modules>{modules}</modules></project>\n")
    do("mvn", "-q", "-B", "package", "-DskipTests", "-Dmaven.javadoc.skip", "-Dmaven.source.skip",
       f"-Drepository.root={os.path.join(BUILD, 'sources/java')}", cwd=reactor)
    with open(os.path.join(directory, "target/classpath")) as classpath:
        return ["java", "-cp", os.path.join(directory, "target/classes") + ":" + classpath.read(), "load.Main"]
