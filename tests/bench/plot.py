"""Draws the rows that the benches wrote: plot.py DIRECTORY

    service.json    throughput.svg, latency.svg, nodes.svg
    scale.json      held.svg, waiting.svg
    peers.json      peers-uncontended.svg, peers-contended.svg, peers-waiting.svg
"""

import collections
import json
import os
import statistics
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


LANGUAGES = {"go": "Go", "node": "Node", "python": "Python", "java": "Java"}
ONE_NODE = {"redis-py", "RLock"}  # these have no quorum
OURS, OTHERS = "tab:blue", "0.6"


def middle(rounds, what):
    return statistics.median(measurement[what] for measurement in rounds)


def first_styles(rows, part):
    """The measurements of a part by language, in the first style of each."""
    found = {}
    for row in rows:
        if row["part"] == part:
            found.setdefault(row["language"], row["rows"])
    return found


def titled(subject):
    return f"{subject} (one node)" if subject in ONE_NODE else subject


def libraries_uncontended(rows, directory):
    by_language = first_styles(rows, "uncontended")
    figure, panels = pyplot.subplots(1, len(by_language), figsize=(2.6 * len(by_language), 3.4), sharey=True,
                                     squeeze=False)
    for axes, (language, measured) in zip(panels[0], by_language.items()):
        for subject in next(iter(measured.values())):
            if subject == "stubs":
                continue
            points = [(int(count), middle(row[subject], "cycles")) for count, row in measured.items()]
            axes.plot(*zip(*points), "-o" if subject == "redlockd" else "--.", markersize=4, linewidth=1.2,
                      label=titled(subject))
        axes.set_xscale("log", base=4)
        axes.set_xticks([int(count) for count in measured])
        axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_yscale("log")
        axes.set_title(LANGUAGES[language], fontsize=9)
        axes.set_xlabel("outstanding")
        axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    panels[0][0].set_ylabel("cycles/s")
    save(figure, directory, "peers-uncontended.svg")


def bars(axes, values, label, log=False, digits=0):
    """Horizontal bars, from (name, subject, value)."""
    names, subjects, lengths = zip(*reversed(values))
    drawn = axes.barh(range(len(names)), lengths, color=[OURS if name == "redlockd" else OTHERS for name in subjects])
    axes.bar_label(drawn, labels=[f"{length:,.{digits}f}" for length in lengths], fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)
    axes.margins(x=0.15)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(1, 5 * max(lengths))  # with room for the numbers


def libraries_contended(rows, directory):
    by_language = first_styles(rows, "contended")
    figure, panels = pyplot.subplots(2, 2, figsize=(9.6, 7.2), sharey=True)
    for number, pause in enumerate(next(iter(by_language.values()))):
        for axes, what, label in zip(panels[number], ("acquired", "longest_wait"), ("acquired/s", "longest wait, ms")):
            bars(axes, [(f"{LANGUAGES[language]}: {titled(subject)}", subject, middle(rounds, what))
                        for language, measured in by_language.items()
                        for subject, rounds in measured[pause].items()], f"{label} ({pause})", what == "longest_wait")
    save(figure, directory, "peers-contended.svg")


def libraries_waiting(rows, directory):
    by_language = first_styles(rows, "waiting")
    figure, (commands, cpu) = pyplot.subplots(1, 2, figsize=(9.6, 3.8), sharey=True)
    measured = [(f"{LANGUAGES[language]}: {titled(subject)}", subject, rounds) for language, row in by_language.items()
                for subject, rounds in row.items() if subject not in ("nobody", "etcd")]
    bars(commands, [(name, subject, middle(rounds, "commands")) for name, subject, rounds in measured],
         "commands/s on the nodes", log=True)
    bars(cpu, [(name, subject, statistics.median(sum(each["cpu_percent"]) for each in rounds))
               for name, subject, rounds in measured], "CPU of client, daemon and nodes, % of a core", digits=1)
    save(figure, directory, "peers-waiting.svg")


def draw_service(rows, directory):
    by_outstanding(rows, "rate", "cycles/s", 3, directory, "throughput.svg")
    by_outstanding(rows, "p50_us", "acquire, median ms", 3, directory, "latency.svg", 1e-3)
    by_nodes(rows, directory)


def draw_scale(rows, directory):
    by_crowd(rows, "held", "keys held, each extended every 5 s", directory, "held.svg")
    by_crowd(rows, "waiting", "waiters for one key", directory, "waiting.svg")


def draw_peers(rows, directory):
    measured = {row["part"] for row in rows}
    for part, draw in (("uncontended", libraries_uncontended), ("contended", libraries_contended),
                       ("waiting", libraries_waiting)):
        if part in measured:
            draw(rows, directory)


def main(directory):
    for name, draw in (("service", draw_service), ("scale", draw_scale), ("peers", draw_peers)):
        path = os.path.join(directory, f"{name}.json")
        if os.path.exists(path):
            draw(load(path), directory)
    print(f"plots: {directory}/*.svg")


if __name__ == "__main__":
    main(sys.argv[1])
