"""Whether a score means what it says in every group: calibration slope and intercept, debiased errors, curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Context, Curve, DataError, Evidence, Floats, Ints, NotApplicable, Subject
from audit.fairness import parts
from audit.fairness.parts import NOTHING, Figures, Kind, Number, Rows
from audit.fairness.scores import one_score
from audit.registry import check

BINS = 10
DISTINCT = 20  # scores up to which each one is a bin of its own
STEPS = 50  # of Newton's method, which needs about six
_FIT = (
    "the log-odds of the score have no slope here: one class, one score, scores that separate the classes, or a score "
    "of exactly 0 or 1"
)
KINDS = {
    "calibration_in_the_large": Kind("difference", "zero", "t", "there is no case"),
    "calibration_intercept": Kind("", "zero", "Wald, information matrix", _FIT),
    "calibration_slope": Kind("", "one", "Wald, information matrix", _FIT),
    "ece_debiased": Kind("proportion", "zero", "count bootstrap, 0 where chance suffices", "there is no case"),
    "rmsce_debiased": Kind("proportion", "zero", "count bootstrap, 0 where chance suffices", "there is no case"),
    "brier": Kind("", "lower", "t", "there is no case"),
    "overconfidence": Kind("difference", "zero", "t", "there is no case"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """The logistic fit logit P(y = 1) = intercept + slope logit(score), and the intercept where the slope is 1.

    Standard errors come from the information matrix; all is NaN where there is no finite fit.
    """

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    in_the_large: float
    in_the_large_error: float


_NO_FIT = Recalibration(
    intercept=np.nan,
    slope=np.nan,
    intercept_error=np.nan,
    slope_error=np.nan,
    in_the_large=np.nan,
    in_the_large_error=np.nan,
)


def recalibration(y_true: ArrayLike, y_score: ArrayLike, weight: ArrayLike | None = None) -> Recalibration:
    """Cox's recalibration of probabilities (n,) to labels (n,) by maximum likelihood (cox1958, vancalster2016).

    weight (n,): how often each row counts. Raises DataError for scores outside [0, 1].
    """
    y, score = parts.labels(y_true), _probabilities(parts.column(y_score, "y_score"))
    w = np.ones(len(y)) if weight is None else parts.column(weight, "weight", len(y), amount=True)
    return _recalibrated(y.astype(np.float64), score, w)


def _recalibrated(y: Floats, score: Floats, weight: Floats) -> Recalibration:
    there = weight > 0.0
    y, score, weight = y[there], score[there], weight[there]
    if not len(y) or np.ptp(y) == 0.0 or (score <= 0.0).any() or (score >= 1.0).any():
        return _NO_FIT
    x = np.log(score) - np.log1p(-score)
    shift = _newton(np.ones((len(x), 1)), y, weight, x)
    low, high = x[y == 1.0], x[y == 0.0]
    separated = low.min() >= high.max() or low.max() <= high.min()
    both = None if separated else _newton(np.column_stack([np.ones(len(x)), x]), y, weight, np.zeros(len(x)))
    a, error_a = (np.nan, np.nan) if shift is None else (shift[0][0], shift[1][0])
    beta, errors = (np.full(2, np.nan), np.full(2, np.nan)) if both is None else both
    return Recalibration(
        intercept=float(beta[0]),
        slope=float(beta[1]),
        intercept_error=float(errors[0]),
        slope_error=float(errors[1]),
        in_the_large=float(a),
        in_the_large_error=float(error_a),
    )


def _newton(design: Floats, y: Floats, weight: Floats, offset: Floats) -> tuple[Floats, Floats] | None:
    """Coefficients (d,) and standard errors of a logistic regression; None where it does not converge."""
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (design @ beta + offset)))
        information = (design * (weight * p * (1.0 - p))[:, None]).T @ design
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (weight * (y - p)))
        beta = beta + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            return beta, np.sqrt(np.diag(np.linalg.inv(information)))
    return None


def _probabilities(score: Floats) -> Floats:
    if ((score < 0.0) | (score > 1.0)).any():
        raise DataError(f"y_score: allowed are probabilities from 0 to 1, got {score.min():g} to {score.max():g}")
    return score


# ------------------------------------------------------------------------------------------------ binned errors
def places(score: Floats, people: Floats) -> Ints:
    """The bin of each row: one for each distinct score where they are few, else ten of about equally many people."""
    distinct = np.unique(score)
    if len(distinct) <= DISTINCT:
        return np.searchsorted(distinct, score)
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(people[order])
    shares = np.arange(1, BINS) / BINS * reached[-1]
    return np.searchsorted(np.unique(score[order][np.searchsorted(reached, shares)]), score)


def calibration_errors(n: Floats, mean: Floats, rate: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected calibration error (...), the same debiased, and the debiased root mean square, from bins (..., b).

    n: cases of each bin. mean: its mean score. rate: its share of positives. Noise in the rate makes the plain error too
    large: by E|N(gap, s²)| - |gap| in the mean (a folded normal), and by s² in the mean square, with
    s² = rate (1 - rate) / (n - 1). A bin of one case tells nothing of its noise and counts as right (kumar2019).
    """
    share = stats.divide(n, n.sum(axis=-1, keepdims=True), 0.0)
    known = n > 1.0
    gap = np.where(n > 0.0, mean - rate, 0.0)
    variance = np.where(known, stats.divide(rate * (1.0 - rate), n - 1.0, 0.0), 0.0)
    size, square = np.abs(gap), np.where(known, gap**2 - variance, 0.0)
    plain = (share * size).sum(axis=-1)
    unbiased = (share * np.where(known, 2.0 * size - _folded(gap, np.sqrt(variance)), 0.0)).sum(axis=-1)
    root = np.sqrt(np.maximum((share * square).sum(axis=-1), 0.0))
    empty = n.sum(axis=-1) <= 0.0
    return tuple(np.where(empty, np.nan, each) for each in (plain, np.maximum(unbiased, 0.0), root))  # type: ignore[return-value]


def _folded(mean: Floats, sd: Floats) -> Floats:
    """The mean of |N(mean, sd²)|."""
    from scipy.special import erf

    z = stats.divide(mean, sd, 0.0)
    found = sd * math.sqrt(2.0 / math.pi) * np.exp(-0.5 * z * z) + mean * erf(z / math.sqrt(2.0))
    return np.where(sd > 0.0, found, np.abs(mean))


def _binned(cells: Floats, means: Floats) -> tuple[Floats, Floats, Floats]:
    """Cases, mean score and rate (..., b) from amounts and mean scores (..., b, 2) by label."""
    n = cells.sum(axis=-1)
    return n, stats.divide((cells * means).sum(axis=-1), n, 0.0), stats.divide(cells[..., 1], n, 0.0)


def _cells(place: Ints, y: Ints, score: Floats, weight: Floats, bins: int) -> tuple[Floats, Floats]:
    """Amounts and mean scores (b, 2) of each bin and label."""
    code = place * 2 + y
    amounts: Floats = np.bincount(code, weights=weight, minlength=2 * bins).astype(np.float64)
    means = stats.divide(np.bincount(code, weights=weight * score, minlength=2 * bins), amounts, 0.0)
    return amounts.reshape(bins, 2), means.reshape(bins, 2)


# ------------------------------------------------------------------------------------------------- by group
def calibration_by_group(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sensitive_features: Any,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 400,
    rng: np.random.Generator | None = None,
) -> Figures:
    """How well a score is calibrated in every group: the figures of KINDS with intervals.

    y_true (n,): 0 or 1. y_score (n,): probabilities. rng: for the intervals of the debiased errors, which are NaN
    without one. Raises DataError.
    """
    rows = parts.rows_by_group(sensitive_features, weights=weights, frequency=frequency)
    y = parts.labels(y_true, len(rows.code))
    score = _probabilities(parts.column(y_score, "y_score", len(rows.code)))
    measure = _measurer(rows, score, y, rng, replicates if rng is not None else 0)
    return parts.figures(rows, tuple(KINDS), measure, level)


def _measurer(rows: Rows, score: Floats, y: Ints, rng: np.random.Generator | None, replicates: int) -> parts.Measurer:
    place = places(score, rows.people) if len(score) else np.zeros(0, dtype=np.int64)
    bins = int(place.max(initial=0)) + 1

    def measure(inside: Ints, level: float) -> list[Number]:
        s, label, w = score[inside], y[inside], rows.amounts(inside)
        people = float(rows.people[inside].sum())
        if w.sum() <= 0.0:
            return [NOTHING] * len(KINDS)
        fit = _recalibrated(label.astype(np.float64), s, w)
        z = stats.z_quantile(level)
        right = np.where((s >= 0.5) == (label == 1), 1.0, 0.0)
        return [
            parts.mean_number(label - s, w, people, level),
            _wald(fit.in_the_large, fit.in_the_large_error, z, people),
            _wald(fit.slope, fit.slope_error, z, people),
            *_debiased(*_cells(place[inside], label, s, w, bins), people, level, rng, replicates),
            parts.mean_number((label - s) ** 2, w, people, level),
            parts.mean_number(np.maximum(s, 1.0 - s) - right, w, people, level),
        ]

    return measure


def _wald(value: float, error: float, z: float, people: float) -> Number:
    return Number(value, value - z * error, value + z * error, people)


def _debiased(
    cells: Floats, means: Floats, people: float, level: float, rng: np.random.Generator | None, replicates: int
) -> list[Number]:
    """Both debiased errors with bootstrap intervals."""
    n, mean, rate = _binned(cells, means)
    values = [float(value) for value in calibration_errors(n, mean, rate)[1:]]
    if rng is None or not replicates:
        return [Number(value, np.nan, np.nan, people) for value in values]
    right = np.stack([n * (1.0 - mean), n * mean], axis=-1)  # labels as the score says
    draws, equal = (
        calibration_errors(*_binned(stats.bootstrap_counts(table, replicates, rng).astype(np.float64), held))[1:]
        for table, held in ((cells, means), (right, np.broadcast_to(mean[:, None], means.shape)))
    )
    return [
        Number(value, *parts.distance_interval(value, value, drawn, chance, level), people)
        for value, drawn, chance in zip(values, draws, equal, strict=True)
    ]


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.calibration",
    title="Calibration by group",
    needs={"labels", "scores", "groups"},
    sources=(
        "cox1958", "vancalster2016", "kumar2019", "brier1950", "chouldechova2017", "wilson1927", "student1908",
        "zou2008", "davison1997", "dunn1961",
    ),
)  # fmt: skip
def calibration(subject: Subject, context: Context, *, replicates: int = 400) -> Iterator[Evidence]:
    """Does a score of 0.7 mean the same in every group: that seven in ten are positive?

    calibration_in_the_large is the observed share of positives less the mean score (t interval): above 0 the group is
    underrated. calibration_intercept is the same on the log-odds scale, and calibration_slope says whether the scores
    are spread as widely as the risks: below 1 they are too extreme (logistic recalibration, intervals from the
    information matrix). ece_debiased and rmsce_debiased are the mean and root mean square distance between score and
    observed share over ten bins of equally many people (or the distinct scores, up to 20), less what chance alone adds;
    their intervals come from `replicates` bootstrap draws and begin at 0 where a perfect score would do no better.
    brier is the mean squared error, and overconfidence the mean of max(score, 1 - score) less the share of people on
    the right side of 0.5. Each is given for everyone and for every group of every slice; differences over all groups are
    largest minus smallest, with intervals for all pairs at once. The curves give the observed share in each bin with
    Wilson's bands; the bins are those of all people together.

    A score can be calibrated in every group and still select unequally, and where base rates differ it then cannot have
    equal error rates as well. Errors over bins do not see what cancels within a bin.
    """
    score, y = one_score(subject), subject.y
    if y is None or len(subject.data.classes) > 2:
        raise NotApplicable("needs a yes-or-no outcome")
    if ((score < 0.0) | (score > 1.0)).any():
        raise NotApplicable("the scores do not lie in [0, 1], so they are no probabilities")
    level = context.confidence
    for attributes in context.track(((), *subject.slices), "calibration by group"):
        rows = parts.rows_of(subject, attributes)
        found = parts.figures(rows, tuple(KINDS), _measurer(rows, score, y, context.rng, replicates), level)
        yield from parts.figure_measures(rows, found, KINDS)
        if attributes:
            wide = parts.figures(rows, tuple(KINDS), _measurer(rows, score, y, None, 0), parts.together(rows, level))
            compared = ("calibration_in_the_large", "calibration_slope", "brier", "overconfidence")
            yield from parts.gap_measures(rows, wide, compared, KINDS, level)
        yield from _curves(rows, score, y, level)


def _curves(rows: Rows, score: Floats, y: Ints, level: float) -> Iterator[Curve]:
    place = places(score, rows.people)
    bins = int(place.max(initial=0)) + 1
    for group, inside in enumerate(rows.members):
        n, mean, rate = _binned(*_cells(place[inside], y[inside], score[inside], rows.amounts(inside), bins))
        kept = n > 0.0
        if not kept.any():
            continue
        low, high = stats.wilson(rate[kept] * n[kept], n[kept], level)
        yield parts.curve(
            "calibration",
            mean[kept],
            rate[kept],
            labels=("score", "observed share of positives"),
            where=rows.where(group),
            n=int(rows.people[inside].sum()),
            unit="proportion",
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            note=rows.note(inside),
        )
