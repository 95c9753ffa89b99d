"""Group metrics against fairlearn: six metrics in eight groups, overall, largest difference and smallest ratio."""

from importlib.metadata import version

import numpy as np
import pandas as pd
from fairlearn import metrics as fairlearn
from sklearn.metrics import accuracy_score, precision_score

from audit import fairness
from benchmarks.harness import Case

METRICS = {
    "accuracy": accuracy_score,
    "selection_rate": fairlearn.selection_rate,
    "tpr": fairlearn.true_positive_rate,
    "fpr": fairlearn.false_positive_rate,
    "fnr": fairlearn.false_negative_rate,
    "ppv": precision_score,
}
PEER = f"fairlearn {version('fairlearn')} MetricFrame"
REPLICATES, PEER_REPLICATES, QUICK_REPLICATES = 1000, 100, 2
QUANTILES = (0.025, 0.975)


def people(rows: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Labels, decisions and two attributes as strings: eight groups of unequal size."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 2, rows)
    decision = np.where(rng.random(rows) < 0.8, y, 1 - y)
    sex = rng.choice(["Female", "Male"], rows)
    race = rng.choice(["Asian", "Black", "Hispanic", "White"], rows, p=[0.1, 0.2, 0.2, 0.5])
    return y, decision, pd.DataFrame({"sex": sex, "race": race})


def metrics_strings(rows: int, quick: bool) -> Case:
    """Attributes as columns of text: reading them is most of the work."""
    return _metrics("metrics-strings", rows, people(rows), goal=400.0)


def metrics_categoricals(rows: int, quick: bool) -> Case:
    """Attributes as categorical columns, whose codes are taken as they are."""
    y, decision, features = people(rows)
    return _metrics("metrics-categoricals", rows, (y, decision, features.astype("category")), goal=3000.0)


def bootstrap(rows: int, quick: bool) -> Case:
    """1,000 replicates of ours against 100 of the peer's, the metrics themselves included; attributes as text."""
    y, decision, features = people(rows)
    replicates = QUICK_REPLICATES if quick else PEER_REPLICATES
    scale = (PEER_REPLICATES + 1) / (replicates + 1)
    return Case(
        name=f"bootstrap-{rows:.0e}".replace("+0", ""),
        peer=f"{PEER} n_boot={PEER_REPLICATES}",
        goal=10_000.0,
        ours=lambda: fairness.group_metrics(
            y,
            decision,
            sensitive_features=features,
            metrics=tuple(METRICS),
            n_boot=REPLICATES,
            rng=np.random.default_rng(7),
        ),
        theirs=lambda: _frame(y, decision, features, n_boot=replicates, ci_quantiles=QUANTILES, random_state=7),
        distance=_distance,
        rounds=1,
        scale=scale,
        scale_note=f"scaled linearly from n_boot={replicates} by {scale:.1f}" if quick else "",
    )


def _metrics(name: str, rows: int, data: tuple[np.ndarray, np.ndarray, pd.DataFrame], goal: float) -> Case:
    y, decision, features = data
    return Case(
        name=f"{name}-{rows:.0e}".replace("+0", ""),
        peer=PEER,
        goal=goal,
        ours=lambda: fairness.group_metrics(y, decision, sensitive_features=features, metrics=tuple(METRICS)),
        theirs=lambda: _frame(y, decision, features),
        distance=_distance,
        memory_goal=10.0,
    )


def _frame(y, decision, features, **options):
    """The peer's answers, all of them asked for: it computes some of them only then."""
    frame = fairlearn.MetricFrame(metrics=METRICS, y_true=y, y_pred=decision, sensitive_features=features, **options)
    return frame.by_group, frame.overall, frame.difference(), frame.ratio()


def _distance(mine: fairness.GroupMetrics, theirs) -> float:
    by_group, overall, difference, ratio = (np.asarray(part, dtype=float) for part in theirs)
    order = theirs[0].index.get_indexer(pd.MultiIndex.from_tuples(mine.groups))
    pairs = [
        (mine.by_group, by_group[order]),
        (mine.overall, overall),
        (mine.difference, difference),
        (mine.ratio, ratio),
    ]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


CASES = {"metrics-strings": metrics_strings, "metrics-categoricals": metrics_categoricals, "bootstrap": bootstrap}
