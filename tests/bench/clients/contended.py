"""One key that many workers want: each holds it for 1 ms, and pauses for 5 ms after it or not at all."""

import collections
import itertools
import math
import statistics

from loads import STUBS, Failed, Usage
from tables import advantage, head, heading, line, median, name_of
from uncontended import cost

WORKERS = 16
HOLD = 0.001  # s
PAUSES = {"5 ms pause": 0.005, "no pause": 0}


def measure(made, options):
    """Returns the measurements: [pause][subject] is a list with one of each round."""
    subjects = [subject for subject in made.loads if subject != STUBS]
    rows = {name: {subject: [] for subject in subjects} for name in PAUSES}
    for subject in subjects:
        made.loads[subject].ask("contend", WORKERS, HOLD, 0, options.warm_up)
    for _ in range(options.rounds):
        for (name, pause), subject in itertools.product(PAUSES.items(), subjects):
            usage = Usage(made, subject)
            end = options.settle + options.contended
            turns = made.loads[subject].ask("contend", WORKERS, HOLD, pause, end)["turns"]
            rows[name][subject].append({**figures(turns, options.settle, end, subject), **usage.each(len(turns))})
    return rows


def figures(turns, begin, end, subject):
    """A turn is a worker, and when it requested, acquired and released, in s. Only turns that are acquired between
    begin and end count. Times in the result are in ms."""
    turns = sorted(turns, key=lambda turn: turn[2])
    gaps, counts = [], collections.Counter()
    for (_, _, _, released), (worker, _, acquired, _) in itertools.pairwise([(None, 0, 0, 0), *turns]):
        if acquired < released:
            raise Failed(f"{subject}: two workers held the key at the same time")
        if begin <= acquired < end:
            gaps.append(1000 * (acquired - released))
            counts[worker] += 1
    per_worker = [counts[worker] for worker in range(WORKERS)]
    acquired, gaps = len(gaps) / (end - begin), sorted(gaps) or [math.nan]
    return {"acquired": acquired,
            "gap_p50": statistics.median(gaps), "gap_p99": gaps[len(gaps) * 99 // 100],
            "fairness": max(per_worker) / max(min(per_worker), 1),
            "longest_wait": max(1000 * (min(acquired, end) - requested) for _, requested, acquired, _ in turns
                                if requested < end)}


def report(results):
    for name in PAUSES:
        heading(f"Contended, {WORKERS} workers, {name}")
        head("", "acquired/s", "redlockd / it", "gap p50, p99 ms", "busiest : idlest", "longest wait, ms",
             "CPU µs a turn: client, daemon, nodes; commands")
        for language, rows in results.items():
            for subject, rounds in rows[name].items():
                line(f"{language}: {name_of(subject)}", f"{median(rounds, 'acquired'):,.0f}",
                     advantage(rows[name], subject, "acquired"),
                     f"{median(rounds, 'gap_p50'):.2f}, {median(rounds, 'gap_p99'):.2f}",
                     f"{median(rounds, 'fairness'):.2f}", f"{median(rounds, 'longest_wait'):,.0f}", cost(rounds))
