"""Ours against what nothing can beat: reading the columns once; and what replicates add to a count."""

import numpy as np

from audit import fairness
from audit.core import Codes
from benchmarks.group_metrics import METRICS, people
from benchmarks.harness import Case

COUNTED = 10_000_000
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

    def drawn():
        return fairness.bootstrap(counts, tuple(METRICS), replicates=1000, rng=np.random.default_rng(7))

    def budget() -> None:
        import time

        end = time.process_time() + 0.010
        while time.process_time() < end:
            pass

    return Case(
        name=f"replicates-{rows:.0e}".replace("+0", ""),
        peer="a budget of 10 ms for 1,000 replicates",
        goal=1.0,
        ours=drawn,
        theirs=budget,
        distance=lambda mine, _: 0.0,
    )


CASES = {"counting": counting, "replicates": replicates}
