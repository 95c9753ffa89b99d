"""Intervals: arrays of counts in, arrays `(low, high)` out; NaN marks what the data cannot define (callers say why).

Counts may be fractional: weighted rates come in as rate times effective n.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from audit.core import Floats

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
    k, n = as_floats(k, n)
    z2 = z_quantile(level) ** 2
    p = divide(k, n)
    centre = p + divide(z2, 2.0 * n)
    half = np.sqrt(np.maximum(divide(z2 * p * (1.0 - p), n) + divide(z2 * z2, 4.0 * n * n), 0.0))
    shrink = 1.0 + divide(z2, n)
    # rounding may miss the closed ends by 1e-17, and an interval has to hold its own estimate
    low = np.where(k <= 0.0, 0.0, np.minimum((centre - half) / shrink, p))
    high = np.where(k >= n, 1.0, np.maximum((centre + half) / shrink, p))
    return np.where(n > 0.0, low, np.nan), np.where(n > 0.0, high, np.nan)


def jeffreys(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> Bounds:
    """Equal-tailed interval of k/n under Jeffreys' prior, closed at 0 and 1; NaN where n = 0 (brown2001)."""
    return _beta_bounds(k, n, level, 0.5, 0.5)


def clopper_pearson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> Bounds:
    """Exact interval of k/n, which covers at least at its level for any n; NaN where n = 0 (clopper1934)."""
    return _beta_bounds(k, n, level, 0.0, 1.0)


def _beta_bounds(k: ArrayLike, n: ArrayLike, level: float, less: float, more: float) -> Bounds:
    """Quantiles of Beta(k + less, n - k + more) below and of Beta(k + more, n - k + less) above."""
    from scipy.special import betaincinv

    k, n = as_floats(k, n)
    tail = (1.0 - level) / 2.0
    z_quantile(level)  # refuses a level outside (0, 1)
    inner, rest = np.where(k > 0.0, k, 1.0), np.where(k < n, n - k, 1.0)  # the closed ends are set below
    low = np.where(k <= 0.0, 0.0, betaincinv(inner + less, np.maximum(n - k, 0.0) + more, tail))
    high = np.where(k >= n, 1.0, betaincinv(np.maximum(k, 0.0) + more, rest + less, 1.0 - tail))
    return np.where(n > 0.0, low, np.nan), np.where(n > 0.0, high, np.nan)


def newcombe(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95) -> Bounds:
    """Hybrid score interval of the difference k1/n1 - k2/n2, method 10; NaN where n1 or n2 = 0 (newcombe1998)."""
    k1, n1, k2, n2 = as_floats(k1, n1, k2, n2)
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
    k1, n1, k2, n2 = as_floats(k1, n1, k2, n2)
    (log1, variance1), (log2, variance2) = log_rate(k1, n1), log_rate(k2, n2)
    half = z_quantile(level) * np.sqrt(variance1 + variance2)
    defined = (n1 > 0.0) & (n2 > 0.0)
    low = np.where(k1 <= 0.0, 0.0, np.exp(log1 - log2 - half))
    high = np.where(k2 <= 0.0, np.inf, np.exp(log1 - log2 + half))
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
    x, c = as_floats(values, counts)
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
    p, q = as_floats(positives, negatives)
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


def as_floats(*arrays: ArrayLike) -> tuple[Floats, ...]:
    """Each as an array of floats."""
    return tuple(np.asarray(array, dtype=np.float64) for array in arrays)


def divide(top: ArrayLike, bottom: ArrayLike, otherwise: float = np.nan) -> Floats:
    """The quotient, and `otherwise` where bottom is 0, without a warning."""
    t, b = np.broadcast_arrays(*as_floats(top, bottom))
    return np.asarray(np.divide(t, b, out=np.full(t.shape, otherwise), where=b != 0.0))


def log_rate(k: Floats, n: Floats) -> Bounds:
    """The logarithm of the rate k/n with 1/2 added to both, and its variance; where k = n it is that of k = n - 1/2."""
    less = np.minimum(k, np.maximum(n - 0.5, 0.0))
    return np.log((k + 0.5) / (n + 0.5)), 1.0 / (less + 0.5) - 1.0 / (n + 0.5)


def _t_quantile(level: float, degrees: float) -> float:
    z_quantile(level)  # refuses a level outside (0, 1)
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2.0))
