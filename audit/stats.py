"""Intervals: arrays of counts in, arrays `(low, high)` out; NaN marks what the data cannot define (callers say why).

Counts may be fractional: weighted rates come in as rate times effective n.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from audit.core import Floats, Ints

Bounds = tuple[Floats, Floats]


def z_quantile(level: float) -> float:
    """The normal quantile of a two-sided interval of this level, 1.96 for 0.95; raises ValueError outside (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def effective_n(weights: ArrayLike, axis: int | None = None) -> Floats:
    """Kish's effective number of cases, (sum w)^2 / sum w^2; 0 where there is no weight (kish1965)."""
    w = np.asarray(weights, dtype=np.float64)
    return divide(w.sum(axis) ** 2, (w * w).sum(axis), 0.0)


def wilson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> Bounds:
    """Score interval of a proportion k/n, any shape; NaN where n = 0 (wilson1927)."""
    k, n = _floats(k, n)
    z2 = z_quantile(level) ** 2
    p = divide(k, n)
    centre = p + divide(z2, 2.0 * n)
    half = np.sqrt(np.maximum(divide(z2 * p * (1.0 - p), n) + divide(z2 * z2, 4.0 * n * n), 0.0))
    shrink = 1.0 + divide(z2, n)
    # rounding may miss the closed ends by 1e-17, and an interval has to hold its own estimate
    low = np.where(k <= 0.0, 0.0, np.minimum((centre - half) / shrink, p))
    high = np.where(k >= n, 1.0, np.maximum((centre + half) / shrink, p))
    return np.where(n > 0.0, low, np.nan), np.where(n > 0.0, high, np.nan)


def newcombe(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95) -> Bounds:
    """Hybrid score interval of the difference k1/n1 - k2/n2, method 10; NaN where n1 or n2 = 0 (newcombe1998)."""
    k1, n1, k2, n2 = _floats(k1, n1, k2, n2)
    (l1, u1), (l2, u2) = wilson(k1, n1, level), wilson(k2, n2, level)
    p1, p2 = divide(k1, n1), divide(k2, n2)
    difference = p1 - p2
    low = difference - np.hypot(p1 - l1, u2 - p2)
    high = difference + np.hypot(u1 - p1, p2 - l2)
    return np.maximum(low, -1.0), np.minimum(high, 1.0)


def katz(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95) -> Bounds:
    """Log interval of the ratio (k1/n1) / (k2/n2) with 1/2 added to every count; NaN where n1 or n2 = 0.

    Reaches down to 0 where k1 = 0 and up to infinity where k2 = 0. Where k = n the spread is taken at k = n - 1/2: the
    plain formula would claim none (katz1978, walter1975).
    """
    k1, n1, k2, n2 = _floats(k1, n1, k2, n2)
    log_ratio = np.log((k1 + 0.5) / (n1 + 0.5)) - np.log((k2 + 0.5) / (n2 + 0.5))
    half = z_quantile(level) * np.sqrt(_log_variance(k1, n1) + _log_variance(k2, n2))
    defined = (n1 > 0.0) & (n2 > 0.0)
    low = np.where(k1 <= 0.0, 0.0, np.exp(log_ratio - half))
    high = np.where(k2 <= 0.0, np.inf, np.exp(log_ratio + half))
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)


def mean_interval(values: ArrayLike, level: float = 0.95, *, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Student's t interval of the mean of values (n,); NaN below two cases (student1908).

    weights: relative weights (n,); the degrees of freedom then follow Kish's effective n.
    """
    x = np.asarray(values, dtype=np.float64)
    if weights is None:
        return mean_interval_counts(x, np.ones(x.size), level)
    w = np.asarray(weights, dtype=np.float64)
    n = float(effective_n(w))
    total = float(w.sum())
    return mean_interval_counts(x, w * (n / total if total > 0.0 else 0.0), level)


def mean_interval_counts(values: ArrayLike, counts: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of values (m,) of which each came counts (m,) times (student1908)."""
    x, c = _floats(values, counts)
    n = float(c.sum())
    if n <= 1.0:
        return float("nan"), float("nan")
    mean = float(c @ x) / n
    variance = float(c @ (x - mean) ** 2) / (n - 1.0)
    half = _t_quantile(level, n - 1.0) * float(np.sqrt(variance / n))
    return mean - half, mean + half


def delong(score: ArrayLike, y: ArrayLike, frequency: ArrayLike | None = None) -> tuple[float, float]:
    """Area under the ROC curve and its variance, in O(n log n), ties counted half (delong1988, sun2014).

    score, y (n,), y 1 = positive; frequency (n,): how often each row counts, fractions allowed. NaN area without both
    classes, NaN variance where a class has one case or fewer.
    """
    values, place = np.unique(np.asarray(score, dtype=np.float64), return_inverse=True)
    positive = np.asarray(y) == 1
    each = np.ones(len(place)) if frequency is None else np.asarray(frequency, dtype=np.float64)
    p = np.bincount(place, weights=each * positive, minlength=len(values))
    q = np.bincount(place, weights=each * ~positive, minlength=len(values))
    return delong_counts(p, q)


def delong_counts(positives: ArrayLike, negatives: ArrayLike) -> tuple[float, float]:
    """The same from counts (m,) of positives and negatives at each distinct score, in ascending order of score."""
    p, q = _floats(positives, negatives)
    total_p, total_q = float(p.sum()), float(q.sum())
    if total_p <= 0.0 or total_q <= 0.0:
        return float("nan"), float("nan")
    below = (np.cumsum(q) - 0.5 * q) / total_q  # of the negatives, the share that a positive here outranks
    above = (total_p - np.cumsum(p) + 0.5 * p) / total_p  # of the positives, the share that outranks a negative here
    auc = float(p @ below) / total_p
    if total_p <= 1.0 or total_q <= 1.0:
        return auc, float("nan")
    spread_p = float(p @ (below - auc) ** 2) / (total_p - 1.0)
    spread_q = float(q @ (above - auc) ** 2) / (total_q - 1.0)
    return auc, spread_p / total_p + spread_q / total_q


def auc_interval(auc: float, variance: float, smaller: float, level: float = 0.95) -> tuple[float, float]:
    """DeLong interval on the logit scale, inside (0, 1); NaN where undefined (delong1988, pepe2003).

    smaller: cases of the smaller class. A perfect ranking has variance 0; its interval is Wilson's for `smaller` cases.
    """
    if np.isnan(auc) or np.isnan(variance):
        return float("nan"), float("nan")
    if variance <= 0.0 or not 0.0 < auc < 1.0:
        low, high = wilson(auc * smaller, smaller, level)
        return float(low), float(high)
    logit = float(np.log(auc) - np.log1p(-auc))
    half = z_quantile(level) * float(np.sqrt(variance)) / (auc * (1.0 - auc))
    # the clip keeps exp in range; beyond +-700 the bounds are 0 and 1 anyway
    bounds = 1.0 / (1.0 + np.exp(-np.clip([logit - half, logit + half], -700.0, 700.0)))
    return float(bounds[0]), float(bounds[1])


def bootstrap_counts(counts: ArrayLike, replicates: int, rng: np.random.Generator) -> Ints:
    """Bootstrap draws (replicates, *shape) of a table of counts: multinomial, so the cost is free of n (efron1993).

    Equal in law to drawing the rows with replacement and counting again. Fractional (effective) counts are drawn by
    their shares, as many as their sum rounds to.
    """
    table = np.asarray(counts)
    flat = table.ravel()
    total = flat.sum()
    filled = np.flatnonzero(flat)
    draws = np.zeros((replicates, flat.size), dtype=np.int64)
    if total > 0:
        draws[:, filled] = rng.multinomial(int(np.rint(total)), flat[filled] / total, size=replicates)
    return draws.reshape(replicates, *table.shape)


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Bounds:
    """Percentile bootstrap interval of draws (replicates, ...), NaN draws left out; NaN without any (efron1993)."""
    ordered = np.sort(np.moveaxis(np.asarray(draws, dtype=np.float64), 0, -1), axis=-1)  # NaN goes last
    last = np.count_nonzero(~np.isnan(ordered), axis=-1, keepdims=True) - 1

    def quantile(share: float) -> Floats:
        place = np.maximum(share * last, 0.0)
        below = np.floor(place).astype(np.int64)
        low = np.take_along_axis(ordered, below, axis=-1)
        high = np.take_along_axis(ordered, np.minimum(below + 1, np.maximum(last, 0)), axis=-1)
        return np.asarray((low + (place - below) * (high - low))[..., 0])

    return quantile(0.5 - level / 2.0), quantile(0.5 + level / 2.0)


def bonferroni(level: float, comparisons: int) -> float:
    """The level at which each of so many intervals has to be made for all of them to hold at `level` (dunn1961)."""
    return 1.0 - (1.0 - level) / max(comparisons, 1)


def gap_interval(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the largest difference among the proportions k/n of groups (g,); NaN below two groups with cases.

    All pairwise Newcombe intervals hold together at Bonferroni's level, and where they do, the largest gap lies between
    their largest lower and largest upper bound: valid for any number of groups, conservative, floored at 0, which is
    where it stands when the groups are equal. A bootstrap of max - min never gets there (newcombe1998, dunn1961).
    """
    k, n = _with_cases(k, n)
    if len(k) < 2:
        return float("nan"), float("nan")
    low, high = newcombe(*_pairs(k, n), bonferroni(level, pairs(len(k))))
    return max(0.0, float(low.max())), float(high.max())


def ratio_interval(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the smallest ratio between the proportions k/n of groups (g,), capped at 1; NaN below two groups.

    As gap_interval, over pairwise Katz intervals (katz1978, dunn1961).
    """
    k, n = _with_cases(k, n)
    if len(k) < 2:
        return float("nan"), float("nan")
    low, high = katz(*_pairs(k, n), bonferroni(level, pairs(len(k))))
    return min(1.0, float(low.min())), min(1.0, float(high.min()))


def _floats(*arrays: ArrayLike) -> tuple[Floats, ...]:
    return tuple(np.asarray(array, dtype=np.float64) for array in arrays)


def pairs(groups: int) -> int:
    """How many pairs of groups there are."""
    return groups * (groups - 1) // 2


def divide(top: ArrayLike, bottom: ArrayLike, otherwise: float = np.nan) -> Floats:
    """The quotient, and `otherwise` where bottom is 0, without a warning."""
    t, b = np.broadcast_arrays(*_floats(top, bottom))
    return np.asarray(np.divide(t, b, out=np.full(t.shape, otherwise), where=b != 0.0))


def _log_variance(k: Floats, n: Floats) -> Floats:
    k = np.minimum(k, np.maximum(n - 0.5, 0.0))
    return 1.0 / (k + 0.5) - 1.0 / (n + 0.5)


def _t_quantile(level: float, degrees: float) -> float:
    z_quantile(level)  # refuses a level outside (0, 1)
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2.0))


def _with_cases(k: ArrayLike, n: ArrayLike) -> Bounds:
    k, n = _floats(k, n)
    return k[n > 0.0], n[n > 0.0]


def _pairs(k: Floats, n: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Every ordered pair of different groups."""
    first, second = np.nonzero(~np.eye(len(k), dtype=bool))
    return k[first], n[first], k[second], n[second]
