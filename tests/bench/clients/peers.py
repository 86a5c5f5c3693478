"""Compares redlockd with the locks that its users have today, each by its own library, and with plain stubs.

    tests/bench/peers [LANGUAGE...]      go, node, python, java; all by default
      --parts PART,...       uncontended, contended, faults, waiting, held; all by default
      --rounds N             measurements of each subject (default: 3)
      --duration SECONDS     of a measurement of cycles (default: 1)
      --contended SECONDS    of a measurement of a contended key (default: 2)
      --waiting SECONDS      of a measurement of waiters (default: 4)
      --warm-up SECONDS      before the first round, not counted (default: 3; a JVM compiles meanwhile)
      --outstanding N,...    cycles at the same time (default: 1,16,64,256)
      --quick                as short as possible, to check that everything works; the figures say nothing
      --json FILE            appends a line per part, language and style
      --clients DIRECTORY    a source tree whose clients are measured (default: this one)

The libraries of a language take turns in one run, round by round. Idle load programs stay connected meanwhile. Figures
are medians of the rounds; ratios are the medians of those within the rounds.
"""

import argparse
import concurrent.futures
import json
import os
import signal
import sys

import builds
import contended
import faults
import held
import uncontended
import waiting
from loads import CLIENT, STUBS, STYLES, world

# All of these use the same processes. A part of the second group starts its own.
TOGETHER = {"uncontended": uncontended, "contended": contended, "waiting": waiting}
ALONE = {"faults": faults, "held": held}
PARTS = {**TOGETHER, **ALONE}
EVERY_STYLE = {"uncontended", "held"}  # the other parts use the first style of a language
# In seconds: `settle` precedes each measurement of a contended key and of waiters, and `after_fault` follows a fault;
# they do not count. A library that does not work `patience` later is given up.
FULL = {"waiters": 100, "held": 10_000, "faults": list(faults.FAULTS), "settle": 1, "after_fault": 2, "patience": 30}
QUICK = {"rounds": 1, "duration": 0.2, "contended": 0.3, "waiting": 0.3, "warm_up": 0.2, "outstanding": [1, 16],
         "waiters": 20, "held": 1000, "faults": ["dead"], "settle": 0.2, "after_fault": 0.5, "patience": 5}


def numbers(text):
    return [int(number) for number in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    parser.add_argument("--parts", default=list(PARTS), type=lambda text: text.split(","))
    parser.add_argument("--clients", default=builds.ROOT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=1)
    parser.add_argument("--contended", type=float, default=2)
    parser.add_argument("--waiting", type=float, default=4)
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--outstanding", default=[1, 16, 64, 256], type=numbers)
    parser.add_argument("--json", default=os.devnull)
    parser.add_argument("--quick", action="store_true")
    parser.set_defaults(**FULL)
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
        os.environ["JAVA_TOOL_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # optimizing does not pay
    return options


def measured(command, peers, parts, options):
    """Yields each part with its measurements."""
    def world_of(subjects):
        return world(command, subjects)

    subjects = [CLIENT, *peers, STUBS]
    if set(parts) & set(TOGETHER):
        with world_of(subjects) as made:
            for part in parts:
                if part in TOGETHER:
                    yield part, TOGETHER[part].measure(made, options)
    for part in parts:
        if part in ALONE:
            yield part, ALONE[part].measure(world_of, subjects, options)


def build(languages, clients):
    """Returns the commands of the load programs."""
    with concurrent.futures.ThreadPoolExecutor() as threads:
        return dict(zip(languages, threads.map(lambda language: getattr(builds, language)(clients), languages)))


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what has been started
    commands = build(options.languages or list(STYLES), os.path.realpath(options.clients))
    results = {part: {} for part in options.parts}
    with open(options.json, "a") as out:
        for language, command in commands.items():
            for number, (style, (arguments, peers)) in enumerate(STYLES[language].items()):
                parts = [part for part in options.parts if number == 0 or part in EVERY_STYLE]
                for part, rows in measured([*command, *arguments], peers, parts, options):
                    title = language.capitalize() + (f", {style}" if len(STYLES[language]) > 1 else "")
                    print(f"{title}: {part}", file=sys.stderr, flush=True)
                    results[part][title] = rows
                    print(json.dumps({"part": part, "language": language, "style": style, "rows": rows}), file=out,
                          flush=True)
    for part, of_part in results.items():
        PARTS[part].report(of_part)


if __name__ == "__main__":
    main()
