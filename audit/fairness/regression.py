"""Numbers predicted for people: are they as high, as right and as precise in every group?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Context, Evidence, Floats, Ints, NotApplicable, Subject
from audit.fairness import parts
from audit.fairness.parts import NOTHING, Figures, Kind, Number, Rows
from audit.fairness.scores import distance_measures
from audit.registry import check

_NO_CASE = "there is no case"
KINDS = {
    "prediction_mean": Kind("", "none", "t", _NO_CASE),
    "target_mean": Kind("", "none", "t", _NO_CASE),
    "residual_mean": Kind("", "zero", "t", _NO_CASE),
    "mae": Kind("", "lower", "t", _NO_CASE),
    "rmse": Kind("", "lower", "delta, logarithm", _NO_CASE),
    "r2": Kind("", "higher", "delta, logarithm", "there is no case, or all have the same target"),
}
_DIFFERENCES = ("prediction_mean", "residual_mean", "mae", "r2")
_RATIOS = ("mae", "rmse")


def regression_by_group(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    level: float = 0.95,
) -> Figures:
    """Means of predictions, targets and residuals (prediction less target), and MAE, RMSE and R² of every group.

    y_true, y_pred (n,): numbers. sensitive_features: as for `count`. Means have t intervals; those of RMSE and R² come
    from the delta method on log(MSE) and log(MSE / variance), so that they stay above 0 and below 1 (cramer1946). Raises
    DataError.
    """
    rows = parts.rows_by_group(sensitive_features, weights=weights, frequency=frequency)
    size = len(rows.code)
    target, predicted = parts.column(y_true, "y_true", size), parts.column(y_pred, "y_pred", size)
    return parts.figures(rows, tuple(KINDS), _measurer(rows, target, predicted), level)


def _measurer(rows: Rows, target: Floats, predicted: Floats) -> parts.Measurer:
    def measure(inside: Ints, level: float) -> list[Number]:
        y, p, w, people = target[inside], predicted[inside], rows.amounts(inside), float(rows.people[inside].sum())
        if w.sum() <= 0.0:
            return [NOTHING] * len(KINDS)
        size = np.abs(p - y)
        mean_size = parts.mean_number(size, w, people, level)
        return [
            *(parts.mean_number(each, w, people, level) for each in (p, y, p - y)),
            mean_size._replace(low=max(0.0, mean_size.low)),
            _rmse(p - y, w, people, level),
            _r2(p - y, y, w, people, level),
        ]

    return measure


def _rmse(residual: Floats, weight: Floats, people: float, level: float) -> Number:
    n = float(weight.sum())
    square = float(weight @ residual**2) / n
    if square == 0.0:
        return Number(0.0, np.nan, np.nan, people)
    half = _half(residual**2 / square - 1.0, weight, level) / 2.0  # of the logarithm of the root
    root = float(np.sqrt(square))
    return Number(root, root * np.exp(-half), root * np.exp(half), people)


def _r2(residual: Floats, y: Floats, weight: Floats, people: float, level: float) -> Number:
    n = float(weight.sum())
    square = float(weight @ residual**2) / n
    apart = (y - float(weight @ y) / n) ** 2
    variance = float(weight @ apart) / n
    if variance <= 0.0:
        return Number(np.nan, np.nan, np.nan, people)
    rest = square / variance
    if rest == 0.0:
        return Number(1.0, np.nan, np.nan, people)
    half = _half(residual**2 / square - apart / variance, weight, level)
    return Number(1.0 - rest, 1.0 - rest * float(np.exp(half)), 1.0 - rest * float(np.exp(-half)), people)


def _half(influence: Floats, weight: Floats, level: float) -> float:
    """Half the width of the t interval of a mean of influences."""
    low, high = stats.mean_interval_counts(influence, weight, level)
    return (high - low) / 2.0


@check(
    "fairness.regression",
    title="Predicted numbers by group",
    needs={"target", "scores", "groups"},
    sources=(
        "agarwal2019", "student1908", "cramer1946", "kolmogorov1933", "massart1990", "vallender1974", "zou2008",
        "davison1997", "dunn1961",
    ),
)  # fmt: skip
def regression(subject: Subject, context: Context, *, replicates: int = 400) -> Iterator[Evidence]:
    """Are the predicted numbers as high, as right and as precise in every group?

    prediction_mean, target_mean and residual_mean (prediction less target: above 0 the group is overrated) are given for
    everyone and every group of every slice, as are mae, the mean absolute error, rmse, the root of the mean squared
    error, and r2, the share of the target's variance that is explained within the group. Intervals of means are
    Student's; those of rmse and r2 come from the delta method. Each group is compared with the reference group (the one
    named in the configuration, else the one with the highest mean prediction among those of at least min_n people).
    Over all groups, differences are largest minus smallest and ratios smallest over largest, with intervals for all
    pairs at once. ks_distance and wasserstein_distance compare the distributions of predictions: the first is the
    largest demographic parity difference that any cut-off could have, the second is in the unit of the target. The
    interval of the second is a bootstrap of `replicates` draws that begins at 0 where chance suffices.

    Predictions may differ because targets do: read the mean of residuals beside that of predictions. A small r2 in a
    group may mean that its targets vary little. Whether the target was measured as well in every group is not asked.
    """
    target, predicted = subject.data.target, subject.score
    if target is None or predicted is None or predicted.ndim != 1:
        raise NotApplicable("needs one predicted number for each person")
    if len(subject.data.classes) > 2:
        raise NotApplicable("the scores are of classes, not of the target")
    level, names = context.confidence, tuple(KINDS)
    for attributes in context.track(((), *subject.slices), "predicted numbers by group"):
        rows = parts.rows_of(subject, attributes)
        measure = _measurer(rows, target, predicted)
        found = parts.figures(rows, names, measure, level)
        yield from parts.figure_measures(rows, found, KINDS)
        if not attributes:
            continue
        base = parts.reference_group(subject, rows, predicted)
        wide = parts.figures(rows, names, measure, parts.together(rows, level))
        yield from parts.difference_measures(rows, found, _DIFFERENCES, base, KINDS)
        yield from parts.gap_measures(rows, wide, _DIFFERENCES, KINDS, level)
        yield from parts.ratio_measures(rows, wide, _RATIOS, KINDS, level)
        yield from distance_measures(rows, predicted, None, base, context, replicates)
