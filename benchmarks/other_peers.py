"""Group metrics against Aequitas and AIF360, and a search of subgroups against SliceLine.

Their own pins exclude newer pandas: install them beside ours without dependencies, as the README of this folder says.
"""

import warnings
from importlib import import_module
from types import ModuleType

import numpy as np
import pandas as pd

from audit import fairness
from benchmarks.group_metrics import METRICS, people
from benchmarks.harness import Case


def peer(name: str) -> ModuleType:
    """A peer's module; ends the run where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        raise SystemExit(f"{name.partition('.')[0]} is not installed ({error}); see benchmarks/README.md") from error


def aif360(rows: int, quick: bool) -> Case:
    """One of its metrics objects for each of eight groups, data set included; attributes as categories on our side."""
    datasets, metric = peer("aif360.datasets"), peer("aif360.metrics")
    y, decision, features = people(rows)
    category = features.astype("category")
    code = (features["race"] + features["sex"]).astype("category").cat.codes.to_numpy()
    names = (
        "accuracy",
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "false_negative_rate",
        "precision",
    )

    def theirs():
        frame = pd.DataFrame({"label": y, "group": code}, dtype=float)
        facts = {"label_names": ["label"], "protected_attribute_names": ["group"]}
        truth = datasets.BinaryLabelDataset(df=frame, **facts)
        predicted = truth.copy()
        predicted.labels = decision.astype(float).reshape(-1, 1)
        found = []
        for group in range(code.max() + 1):
            one, rest = [{"group": group}], [{"group": each} for each in range(code.max() + 1) if each != group]
            figures = metric.ClassificationMetric(truth, predicted, unprivileged_groups=one, privileged_groups=rest)
            found.append([getattr(figures, name)(privileged=False) for name in names])
        return np.array(found)

    def distance(mine: fairness.GroupMetrics, found: np.ndarray) -> float:
        order = [
            sorted("".join(reversed(group)) for group in mine.groups).index("".join(reversed(g))) for g in mine.groups
        ]
        return float(np.abs(mine.by_group - found[order]).max())

    return Case(
        name=f"metrics-aif360-{rows:.0e}".replace("+0", ""),
        peer="AIF360 0.6.1 ClassificationMetric x 8",
        goal=500.0,
        ours=lambda: fairness.group_metrics(y, decision, sensitive_features=category, metrics=tuple(METRICS)),
        theirs=theirs,
        distance=distance,
    )


def _aequitas(name: str, rows: int, goal: float, convert) -> Case:
    group = peer("aequitas.group").Group()
    y, decision, features = people(rows)
    mine = convert(features)
    frame = pd.DataFrame(
        {"score": decision, "label_value": y, "sex_race": (features["sex"] + "|" + features["race"]).astype(object)}
    )

    def distance(found: fairness.GroupMetrics, table) -> float:
        by_name = table[0].set_index("attribute_value")
        theirs = by_name.loc[["|".join(group) for group in found.groups]]
        columns = {"tpr": "tpr", "fpr": "fpr", "fnr": "fnr", "precision": "ppv"}
        names = list(METRICS)
        return max(
            float(np.abs(theirs[column].to_numpy(dtype=float) - found.by_group[:, names.index(ours)]).max())
            for column, ours in columns.items()
        )

    return Case(
        name=f"{name}-{rows:.0e}".replace("+0", ""),
        peer="aequitas 1.1.0 get_crosstabs, one ready-made column",
        goal=goal,
        ours=lambda: fairness.group_metrics(y, decision, sensitive_features=mine, metrics=tuple(METRICS)),
        theirs=lambda: group.get_crosstabs(frame, attr_cols=["sex_race"]),
        distance=distance,
    )


def aequitas_strings(rows: int, quick: bool) -> Case:
    """Two columns of text on our side, one concatenated column on theirs."""
    return _aequitas("metrics-aequitas-strings", rows, 3.0, lambda features: features)


def aequitas_categoricals(rows: int, quick: bool) -> Case:
    """Two categorical columns on our side, one concatenated column of text on theirs, which takes no other."""
    return _aequitas("metrics-aequitas-categoricals", rows, 20.0, lambda features: features.astype("category"))


def subgroups(rows: int, quick: bool) -> Case:
    """Twenty columns of four levels, one planted subgroup, pairs of columns; ours adds 200 permutations."""
    finder = peer("sliceline.slicefinder").Slicefinder
    rng = np.random.default_rng(3)
    columns = {f"c{i:02}": rng.integers(0, 4, rows).astype(str) for i in range(20)}
    planted = (columns["c03"] == "1") & (columns["c11"] == "2")
    errors = (rng.random(rows) < np.where(planted, 0.4, 0.2)).astype(float)
    frame = pd.DataFrame(columns)
    support = rows // 100

    def ours():
        rng = np.random.default_rng(3)
        return fairness.find_subgroups(errors, frame, rng=rng, depth=2, min_support=support, side="high", top=1)

    def theirs():
        return finder(alpha=0.95, k=1, max_l=2, min_sup=support, verbose=False).fit(frame.to_numpy(), errors)

    def distance(mine, found) -> float:
        best = {i: value for i, value in enumerate(found.top_slices_[0]) if value is not None}
        same = {(f"c{i:02}", value) for i, value in best.items()} == set(mine.found[0].literals)
        return 0.0 if same else 1.0

    return Case(
        name=f"subgroups-{rows:.0e}".replace("+0", ""),
        peer="sliceline 0.3.0 Slicefinder",
        goal=1.0,
        ours=ours,
        theirs=theirs,
        distance=distance,
    )


CASES = {
    "metrics-aif360": aif360,
    "metrics-aequitas-strings": aequitas_strings,
    "metrics-aequitas-categoricals": aequitas_categoricals,
    "subgroups": subgroups,
}
