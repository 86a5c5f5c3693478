"""What the tables of the comparisons have in common."""

import math
import os
import statistics

from loads import CLIENT, ONE_NODE


def median(rounds, what):
    return statistics.median(measurement[what] for measurement in rounds)


def medians(rounds, what):
    """The medians of lists, member by member."""
    return [statistics.median(values) for values in zip(*(measurement[what] for measurement in rounds))]


def ratio(row, numerator, denominator, what="cycles"):
    """The median of the ratios within the rounds."""
    return statistics.median(
        a[what] / b[what] if b[what] else math.inf for a, b in zip(row[numerator], row[denominator]))


def advantage(row, subject, what):
    """The ratio of redlockd to a subject; empty in redlockd's own row."""
    return "" if subject == CLIENT else f"{ratio(row, CLIENT, subject, what):.2f}"


def heading(title):
    print(f"\n### {title}\n\nLoad average {os.getloadavg()[0]:.1f}.", flush=True)


def head(*cells):
    print()
    line(*cells)
    line(*["---"] * len(cells))


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def name_of(subject):
    return f"**{subject}**" if subject == CLIENT else subject + (" (one node)" if subject in ONE_NODE else "")
