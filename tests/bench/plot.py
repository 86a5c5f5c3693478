"""Draws DIRECTORY/service.json and DIRECTORY/scale.json: plot.py DIRECTORY"""

import collections
import json
import os
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402, F401

# The same style in every plot, and identical files for identical figures.
matplotlib.rcParams.update({"svg.hashsalt": "redlockd", "font.size": 9, "axes.grid": True,
                            "grid.alpha": 0.3, "figure.figsize": (6.4, 3.6)})


def load(path):
    with open(path) as rows:
        return [json.loads(row) for row in rows]


def save(figure, directory, name):
    figure.tight_layout()
    figure.savefig(os.path.join(directory, name), metadata={"Date": None})
    pyplot.close(figure)


def by_outstanding(rows, value, label, nodes, directory, name, scale=1.0):
    lines = collections.defaultdict(list)
    for row in rows:
        if row["nodes"] == nodes:
            lines[row["subject"]].append((row["outstanding"], row[value] * scale))
    figure, axes = pyplot.subplots(figsize=(8.4, 3.8))
    for subject, points in lines.items():
        points.sort()
        style = "-o" if subject.startswith("redlockd") else "--."
        axes.plot(*zip(*points), style, markersize=4, linewidth=1.2, label=subject)
    axes.set_xscale("log", base=4)
    axes.set_xticks(sorted({row["outstanding"] for row in rows}))
    axes.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_yscale("log")
    axes.set_xlabel(f"outstanding ({nodes} nodes)")
    axes.set_ylabel(label)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    save(figure, directory, name)


def by_nodes(rows, directory):
    lines = collections.defaultdict(list)
    for row in rows:
        if row["outstanding"] == 64 and row["subject"].startswith("redlockd"):
            lines[row["subject"]].append((row["nodes"], row["rate"]))
    figure, axes = pyplot.subplots()
    for subject, points in lines.items():
        points.sort()
        axes.plot(*zip(*points), "-o", markersize=4, linewidth=1.2, label=subject)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("nodes (64 outstanding)")
    axes.set_ylabel("cycles/s")
    axes.legend(fontsize=7)
    save(figure, directory, "nodes.svg")


def by_crowd(rows, crowd, label, directory, name):
    rows = sorted((row for row in rows if crowd in row), key=lambda row: row[crowd])
    counts = [row[crowd] for row in rows]
    figure, (memory, cpu, latency) = pyplot.subplots(1, 3, figsize=(9.6, 2.8))
    memory.plot(counts, [row["resident_mib"] for row in rows], "-o", markersize=4)
    memory.set_ylabel("daemon: resident MiB")
    cpu.plot(counts, [row["daemon_cpu"] for row in rows], "-o", markersize=4, label="daemon")
    cpu.plot(counts, [row["node_cpu"] for row in rows], "--.", label="a node")
    cpu.set_ylabel("CPU, % of a core")
    cpu.legend(fontsize=7)
    latency.plot(counts, [row["cycle_ms"] for row in rows], "-o", markersize=4)
    latency.set_ylabel("cycle of another key, median ms")
    for axes in (memory, cpu, latency):
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
    save(figure, directory, name)


def main(directory):
    rows = load(os.path.join(directory, "service.json"))
    by_outstanding(rows, "rate", "cycles/s", 3, directory, "throughput.svg")
    by_outstanding(rows, "p50_us", "acquire, median ms", 3, directory, "latency.svg", 1e-3)
    by_nodes(rows, directory)
    crowds = load(os.path.join(directory, "scale.json"))
    by_crowd(crowds, "held", "keys held, each extended every 5 s", directory, "held.svg")
    by_crowd(crowds, "waiting", "waiters for one key", directory, "waiting.svg")
    print(f"plots: {directory}/throughput.svg, latency.svg, nodes.svg, held.svg, waiting.svg")


if __name__ == "__main__":
    main(sys.argv[1])
