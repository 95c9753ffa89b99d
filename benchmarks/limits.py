"""Ours against what nothing can beat: reading the columns once; and what replicates add to a count."""

import time

import numpy as np

from audit import fairness, stats
from audit.core import Codes
from audit.fairness.rates import shares
from benchmarks.group_metrics import METRICS, people
from benchmarks.harness import Case

COUNTED = 10_000_000
REPLICATES = 1000
SLOWEST = 2.5  # times one read of the columns


def counting(rows: int, quick: bool) -> Case:
    """Ten million rows of int64 labels and decisions in eight groups; the peer is one sum over each column."""
    rows = rows if quick else COUNTED
    rng = np.random.default_rng(5)
    y, decision = (rng.integers(0, 2, rows) for _ in range(2))
    group = Codes(values=rng.integers(0, 8, rows, dtype=np.uint8), levels=tuple("abcdefgh"))

    def read() -> int:
        return int(y.sum()) + int(decision.sum()) + int(group.values.sum())

    return Case(
        name=f"counting-{rows:.0e}".replace("+0", ""),
        peer=f"one read of the columns; a ratio of {1 / SLOWEST} is {SLOWEST} reads",
        goal=1 / SLOWEST,
        ours=lambda: fairness.count(y, decision, sensitive_features={"g": group}),
        theirs=read,
        distance=lambda counts, total: float(abs(counts.n - rows)),
    )


def replicates(rows: int, quick: bool) -> Case:
    """A thousand replicates on top of the metrics; the peer is a budget of ten milliseconds."""
    y, decision, features = people(rows)
    counts = fairness.count(y, decision, sensitive_features=features.astype("category"))
    names = tuple(METRICS)

    def drawn():
        draws = stats.bootstrap_counts(counts.effective, REPLICATES, np.random.default_rng(7))
        known = (slice(None), *(slice(len(levels)) for levels in counts.levels))
        return shares(draws[known].reshape(REPLICATES, -1, 4), names)

    return Case(
        name=f"replicates-{rows:.0e}".replace("+0", ""),
        peer="a budget of 10 ms for 1,000 replicates",
        goal=1.0,
        ours=drawn,
        theirs=_budget,
        distance=lambda mine, _: 0.0,
    )


def permutations(rows: int, quick: bool) -> Case:
    """A thousand permutations of one gap among eight groups; the peer is a budget of ten milliseconds."""
    y, decision, features = people(rows)
    counts = fairness.count(y, decision, sensitive_features=features.astype("category"))
    return Case(
        name=f"permutations-{rows:.0e}".replace("+0", ""),
        peer="a budget of 10 ms for 1,000 permutations",
        goal=1.0,
        ours=lambda: fairness.permutation_test(counts, "tpr", np.random.default_rng(7), replicates=REPLICATES),
        theirs=_budget,
        distance=lambda mine, _: 0.0,
    )


def _budget() -> None:
    end = time.process_time() + 0.010
    while time.process_time() < end:
        pass


CASES = {"counting": counting, "replicates": replicates, "permutations": permutations}
