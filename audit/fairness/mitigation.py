"""Mitigation that the same audit scores: reweighing, thresholds by group, and a door to reductions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import DataError, Floats, Ints, UsageError
from audit.fairness.encode import encode_all
from audit.fairness.metrics import GroupMetrics

if TYPE_CHECKING:
    import pandas as pd

Constraint = Literal["demographic_parity", "equal_opportunity", "predictive_equality", "equalized_odds"]
Objective = Literal["accuracy", "balanced_accuracy"]
_RATES: Mapping[str, tuple[str, ...]] = {
    "demographic_parity": ("selection",),
    "equal_opportunity": ("tpr",),
    "predictive_equality": ("fpr",),
    "equalized_odds": ("tpr", "fpr"),
}
_MOMENTS: Mapping[str, str] = {
    "demographic_parity": "DemographicParity",
    "equal_opportunity": "TruePositiveRateParity",
    "predictive_equality": "FalsePositiveRateParity",
    "equalized_odds": "EqualizedOdds",
}
WINDOWS = 1500  # lower ends tried for each of two rates
_EPS = 1e-12


# ------------------------------------------------------------------------------------------------- reweighing
def reweighing(y_true: ArrayLike, *, sensitive_features: Any, weights: ArrayLike | None = None) -> Floats:
    """Weights (n,) under which label and group are exactly independent: w P(group) P(y) / P(group, y) (kamiran2012).

    y_true (n,): labels of any number of classes. sensitive_features: as for `count`; several columns make the groups of
    their intersection, and people of unknown group a group of their own. weights (n,): those to start from. A cell of
    group and label without weight keeps its 0. Raises DataError.
    """
    group, _, _ = _groups(sensitive_features)
    _, y = np.unique(np.asarray(y_true), return_inverse=True)
    if len(y) != len(group):
        raise DataError(f"y_true, sensitive_features: differ in length, {len(y)} and {len(group)}")
    w = _weights(weights, len(y))
    names, place = np.unique(group, return_inverse=True)
    shape = (len(names), int(y.max(initial=0)) + 1)
    table = np.bincount(place * shape[1] + y, w, shape[0] * shape[1]).reshape(shape)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / (table.sum() or 1.0)
    return np.asarray(w * stats.divide(expected, table, 0.0)[place, y])


# ------------------------------------------------------------------------------------- thresholds by group
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdRule:
    """One threshold a group: selected are scores at or above it; inf selects nobody. No chance is involved.

    thresholds (g,) of groups, tuples of levels of the attributes; default: for people of a group that was not seen.
    gap, value: the largest difference of the constrained rates and the objective, both on the data that it was fitted to.
    """

    attributes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    thresholds: Floats
    default: float
    constraint: Constraint
    objective: Objective
    limit: float
    gap: float
    value: float

    def predict(self, score: ArrayLike, *, sensitive_features: Any) -> Ints:
        """Decisions (n,) on scores (n,); raises DataError for other attributes."""
        group, groups, attributes = _groups(sensitive_features)
        values = _scores(score, len(group))
        if attributes != self.attributes:
            raise DataError(f"sensitive_features: allowed are {list(self.attributes)}, got {list(attributes)}")
        known = dict(zip(self.groups, self.thresholds.tolist(), strict=True))
        cut = np.array([*(known.get(name, self.default) for name in groups), self.default])
        return (values >= cut[group]).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Path:
    """What a group gets as its threshold falls, all (m,): threshold, constrained rates, part of the objective."""

    threshold: Floats
    rates: tuple[Floats | None, ...]  # None: the group has nobody of whom the rate speaks, so any threshold will do
    gain: Floats


def optimise_thresholds(
    y_true: ArrayLike,
    score: ArrayLike,
    *,
    sensitive_features: Any,
    constraint: Constraint = "demographic_parity",
    limit: float = 0.02,
    objective: Objective = "accuracy",
    weights: ArrayLike | None = None,
    grid: int = 512,
) -> ThresholdRule:
    """The best thresholds by group whose rates differ by at most `limit` between any two groups (hardt2016).

    y_true (n,): 0 or 1. constraint: which rates are held together; of equalized_odds both tpr and fpr. The rule is
    deterministic: people with equal scores in the same group get the same decision, which randomised rules do not grant;
    in exchange the rates of small groups move in steps, and a small limit may leave only trivial rules. Exact over all
    thresholds of groups with up to `grid` distinct scores (fewer for equalized odds among many groups); of others, so
    many thresholds evenly spread over the distinct scores are tried. Raises UsageError and DataError.
    """
    if constraint not in _RATES or objective not in ("accuracy", "balanced_accuracy"):
        raise UsageError(
            f"constraint: allowed are {list(_RATES)}; objective: accuracy or balanced_accuracy; got {constraint!r}, {objective!r}"
        )
    if not (0.0 <= limit <= 1.0 and grid >= 2):
        raise UsageError(f"limit: allowed is 0 to 1, grid: at least 2; got {limit} and {grid}")
    group, groups, attributes = _groups(sensitive_features)
    y, values, w = _labels(y_true, len(group)), _scores(score, len(group)), _weights(weights, len(group))
    if not groups:
        raise DataError("sensitive_features: there is nobody of known group")
    known = np.flatnonzero(group < len(groups))
    pay = _pay(y, w, known, objective)
    size = min(grid, max(8, WINDOWS // len(groups))) if len(_RATES[constraint]) == 2 else grid
    members = np.split(known[np.argsort(group[known], kind="stable")], np.cumsum(np.bincount(group[known]))[:-1])
    paths = [_path(values, y, w, pay, rows, _RATES[constraint], size) for rows in members]
    chosen = _best(paths, limit)
    everyone = _path(values, y, w, pay, known, (), grid)
    return ThresholdRule(
        attributes=attributes,
        groups=groups,
        thresholds=np.array([path.threshold[i] for path, i in zip(paths, chosen, strict=True)]),
        default=float(everyone.threshold[int(np.argmax(everyone.gain))]),
        constraint=constraint,
        objective=objective,
        limit=limit,
        gap=_gap(paths, chosen),
        value=float(sum(path.gain[i] for path, i in zip(paths, chosen, strict=True))),
    )


def _pay(y: Ints, w: Floats, known: Ints, objective: Objective) -> Floats:
    """What a right decision on each person (n,) adds to the objective among people of known group."""
    if objective == "accuracy":
        return stats.divide(w, w[known].sum(), 0.0)
    totals = np.bincount(y[known], w[known], 2)
    if (totals <= 0).any():
        raise DataError("y_true: balanced_accuracy needs both labels")
    return np.asarray(w / totals[y] / 2.0)


def _path(score: Floats, y: Ints, w: Floats, pay: Floats, rows: Ints, rates: Sequence[str], size: int) -> _Path:
    """Cumulated over falling thresholds, from nobody to everybody."""
    order = rows[np.argsort(-score[rows], kind="stable")]
    s, weight, worth, label = score[order], w[order], pay[order], y[order]
    last = np.flatnonzero(np.append(np.diff(s) != 0, True)) if len(s) else np.empty(0, dtype=np.int64)

    def falling(amount: Floats) -> Floats:
        return np.concatenate([[0.0], np.cumsum(amount)[last]])

    found = {
        "selection": stats.divide(falling(weight), weight.sum()),
        "tpr": stats.divide(falling(weight * (label == 1)), (weight * (label == 1)).sum()),
        "fpr": stats.divide(falling(weight * (label == 0)), (weight * (label == 0)).sum()),
    }
    gain = falling(np.where(label == 1, worth, -worth)) + float(worth[label == 0].sum())
    threshold = np.concatenate([[np.inf], s[last]])
    kept = np.arange(len(gain))
    if len(kept) > size:
        kept = np.unique(np.linspace(0, len(gain) - 1, size).round().astype(np.int64))
    held = tuple(None if np.isnan(found[name]).any() else found[name][kept] for name in rates)
    return _Path(threshold=threshold[kept], rates=held, gain=gain[kept])


def _best(paths: Sequence[_Path], limit: float) -> list[int]:
    """The place in each path that makes the sum of gains largest while each rate stays within a window of `limit`.

    The lower end of the best window is a rate that some group attains, so these are all tried. Rates rise along a path:
    a window is a run of places, and its best place the maximum of a range.
    """
    rates = range(len(paths[0].rates))
    ends = [_ends([path.rates[place] for path in paths], WINDOWS if len(rates) > 1 else WINDOWS * 4) for place in rates]
    total = np.zeros(tuple(len(end) for end in ends))
    for path in paths:
        start, stop = _runs(path, ends, limit)
        total += np.where(stop > start, path.gain[_range_argmax(path.gain, start, stop)], -np.inf)
    best = [end[[i]] for end, i in zip(ends, np.unravel_index(int(np.argmax(total)), total.shape), strict=True)]
    return [int(_range_argmax(path.gain, *_runs(path, best, limit)).ravel()[0]) for path in paths]


def _ends(rates: Sequence[Floats | None], most: int) -> Floats:
    """The lower ends of the windows to try: every rate that is attained, or so many of them, evenly spread."""
    found = np.unique(np.concatenate([rate for rate in rates if rate is not None] or [np.zeros(1)]))
    return found[np.unique(np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(np.int64))]


def _runs(path: _Path, ends: Sequence[Floats], limit: float) -> tuple[Ints, Ints]:
    """First place and the one after the last that lie in each window, arrays over the lower ends of all rates."""
    shape = tuple(len(end) for end in ends)
    start, stop = np.zeros(shape, dtype=np.int64), np.full(shape, len(path.gain), dtype=np.int64)
    for axis, (rate, end) in enumerate(zip(path.rates, ends, strict=True)):
        if rate is None:
            continue
        across = tuple(-1 if i == axis else 1 for i in range(len(shape)))
        start = np.maximum(start, np.searchsorted(rate, end - _EPS, side="left").reshape(across))
        stop = np.minimum(stop, np.searchsorted(rate, end + limit + _EPS, side="right").reshape(across))
    return start, stop


def _range_argmax(values: Floats, start: Ints, stop: Ints) -> Ints:
    """Where the largest value of each range lies, by a table of ranges whose lengths are powers of two."""
    table = [np.arange(len(values))]
    while 2 ** len(table) <= len(values):
        half, before = 2 ** (len(table) - 1), table[-1]
        left, right = before[:-half], before[half:]
        table.append(np.where(values[right] > values[left], right, left))
    length = np.maximum(stop - start, 1)
    level = np.floor(np.log2(length)).astype(np.int64)
    found = np.zeros(start.shape, dtype=np.int64)
    for step, places in enumerate(table):
        here = level == step
        one = places[np.minimum(start[here], len(places) - 1)]
        other = places[np.clip(stop[here] - 2**step, 0, len(places) - 1)]
        found[here] = np.where(values[other] > values[one], other, one)
    return found


def _gap(paths: Sequence[_Path], chosen: Sequence[int]) -> float:
    gaps = [0.0]
    for place in range(len(paths[0].rates)):
        found = [(path.rates[place], i) for path, i in zip(paths, chosen, strict=True)]
        rates = [float(rate[i]) for rate, i in found if rate is not None]
        gaps.append(max(rates) - min(rates) if rates else 0.0)
    return max(gaps)


# ------------------------------------------------------------------------------------------------- reductions
def exponentiated_gradient(
    estimator: Any,
    X: Any,
    y_true: ArrayLike,
    *,
    sensitive_features: Any,
    constraint: Constraint = "demographic_parity",
    limit: float = 0.01,
    max_iter: int = 50,
) -> Any:
    """The ExponentiatedGradient of fairlearn, fitted: a randomised mixture of estimators that keeps groups together.

    limit: how far the rate of a group may be from that of everybody. It bounds each group against everybody, so that two
    groups may lie up to twice as far apart: give half of the gap that you want. estimator: a scikit-learn classifier
    whose fit takes sample_weight. Its decisions are drawn by chance: give `predict(X, random_state=...)` a seed
    (agarwal2018). Raises UsageError, also where fairlearn is not installed.
    """
    if constraint not in _MOMENTS:
        raise UsageError(f"constraint: allowed are {list(_MOMENTS)}, got {constraint!r}")
    try:
        from fairlearn import reductions
    except ImportError as error:
        raise UsageError(
            "exponentiated_gradient needs fairlearn, which is not installed: pip install fairlearn"
        ) from error
    group, _, _ = _groups(sensitive_features)
    moment = getattr(reductions, _MOMENTS[constraint])(difference_bound=limit)
    mitigator = reductions.ExponentiatedGradient(estimator, moment, max_iter=max_iter)
    with warnings.catch_warnings():  # its use of pandas is its own affair
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        return mitigator.fit(X, np.asarray(y_true), sensitive_features=group)


# ------------------------------------------------------------------------------------------ before and after
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """The same group metrics before and after; printing it shows them with their intervals."""

    before: GroupMetrics
    after: GroupMetrics
    level: float

    def rows(self) -> list[tuple[str, str, float, float, float, float, float, float]]:
        """Metric, group, and before and after each with its bounds; NaN where undefined."""
        names = [" × ".join(group) for group in self.before.groups]
        sides = [_figures(each, self.level) for each in (self.before, self.after)]
        return [
            (metric, name, *sides[0][:, row, column].tolist(), *sides[1][:, row, column].tolist())
            for column, metric in enumerate(self.before.metrics)
            for row, name in enumerate([*names, "overall", "difference", "ratio"])
        ]

    def frame(self) -> pd.DataFrame:
        """A pandas frame: a row a metric and group, columns before and after with their bounds."""
        import pandas as pd

        columns = ["metric", "group", "before", "before_low", "before_high", "after", "after_low", "after_high"]
        return pd.DataFrame(self.rows(), columns=columns).set_index(["metric", "group"])

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
        head = f"{'metric':<{width[0]}}  {'group':<{width[1]}}  {'before':<23}  {'after':<23}"
        lines = [
            f"{row[0]:<{width[0]}}  {row[1]:<{width[1]}}  {_shown(*row[2:5]):<23}  {_shown(*row[5:]):<23}"
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in [head, *lines, f"intervals at {self.level:.0%}"])


def compare(before: GroupMetrics, after: GroupMetrics, *, level: float = 0.95) -> Comparison:
    """Put two results of `group_metrics` side by side: the same metrics of the same groups. Raises UsageError."""
    for what in ("metrics", "attributes", "groups"):
        one, other = getattr(before, what), getattr(after, what)
        if one != other:
            raise UsageError(f"before and after differ in their {what}: {list(one)} and {list(other)}")
    return Comparison(before=before, after=after, level=level)


def _figures(found: GroupMetrics, level: float) -> Floats:
    """Value, lower and upper bound (3, groups and 3, metrics)."""
    bounds = found.intervals(level)
    value = np.vstack([found.by_group, found.overall, found.difference, found.ratio])
    ends = [np.vstack([bounds.by_group[i], bounds.overall[i], bounds.difference[i], bounds.ratio[i]]) for i in (0, 1)]
    return np.stack([value, *ends])


def _shown(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "undefined"
    return f"{value:.3f}" if np.isnan(low) or np.isnan(high) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


# ------------------------------------------------------------------------------------------------- reading
def _groups(features: Any) -> tuple[Ints, tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Group number (n,), the last for people of unknown group; the known groups; the names of the attributes."""
    codes = encode_all(features)
    sizes = [len(each.levels) for each in codes.values()]
    columns = [each.values.astype(np.int64) for each in codes.values()]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"sensitive_features: columns differ in length, {[len(column) for column in columns]}")
    place, known = np.zeros(len(columns[0]), dtype=np.int64), np.ones(len(columns[0]), dtype=bool)
    for column, size in zip(columns, sizes, strict=True):
        place, known = place * max(size, 1) + np.minimum(column, max(size - 1, 0)), known & (column < size)
    seen, group = np.unique(np.where(known, place, -1), return_inverse=True)
    unknown = int(len(seen) and seen[0] == -1)
    group = np.where(known, group - unknown, len(seen) - unknown)
    names = []
    for number in seen[unknown:]:
        parts = np.unravel_index(int(number), sizes)
        names.append(tuple(each.levels[int(i)] for each, i in zip(codes.values(), parts, strict=True)))
    return group, tuple(names), tuple(codes)


def _labels(y_true: ArrayLike, size: int) -> Ints:
    y = np.asarray(y_true)
    if y.shape != (size,) or not np.isin(y, (0, 1)).all():
        raise DataError(f"y_true: allowed are 0 and 1 for each of {size} people, got shape {y.shape}")
    return y.astype(np.int64)


def _scores(score: ArrayLike, size: int) -> Floats:
    values = np.asarray(score, dtype=np.float64)
    if values.shape != (size,) or np.isnan(values).any():
        raise DataError(f"score: allowed is one number for each of {size} people, got shape {values.shape}")
    return values


def _weights(weights: ArrayLike | None, size: int) -> Floats:
    w = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (size,) or not np.isfinite(w).all() or (w < 0).any():
        raise DataError(f"weights: allowed is one number of at least 0 for each of {size} people, got shape {w.shape}")
    return w
