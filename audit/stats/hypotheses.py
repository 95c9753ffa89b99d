"""Tests of two or more proportions, equivalence within a margin, and how many cases it takes to see a gap."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Floats
from audit.stats.intervals import Bounds, as_floats, divide, wilson, z_quantile
from audit.stats.spread import widest

_STEPS = 60  # of a bisection: more than a float can tell apart


def two_proportions_p(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, method: Literal["fisher", "z"] = "fisher"
) -> Floats:
    """Two-sided p value that k1/n1 and k2/n2 differ by chance alone, any shape; NaN where n1 or n2 = 0.

    fisher: exact, given both margins; fractional counts are rounded (fisher1922). z: the pooled normal test, whose
    square is Pearson's chi-square without correction (pearson1900).
    """
    columns = np.broadcast_arrays(*as_floats(k1, n1, k2, n2))
    if method == "fisher":
        rows = zip(*(np.rint(column).ravel().astype(np.int64).tolist() for column in columns), strict=True)
        return np.array([_fisher(*row) for row in rows]).reshape(columns[0].shape)
    return two_sided_p(z_statistic(*columns))


def z_statistic(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike) -> Floats:
    """Standard deviations between k1/n1 and k2/n2 with the pooled spread; 0 where nobody or everybody is hit in both."""
    k1, n1, k2, n2 = as_floats(k1, n1, k2, n2)
    pooled = divide(k1 + k2, n1 + n2)
    difference = divide(k1, n1) - divide(k2, n2)
    spread = np.sqrt(np.maximum(pooled * (1.0 - pooled) * (divide(1.0, n1) + divide(1.0, n2)), 0.0))
    return np.where(difference == 0.0, 0.0, divide(difference, spread))


def two_sided_p(z: ArrayLike) -> Floats:
    """The chance that a standard normal lies at least as far from 0 as z."""
    from scipy.special import erfc

    return np.asarray(erfc(np.abs(np.asarray(z, dtype=np.float64)) / np.sqrt(2.0)))


def _fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """The chance, with margins as they are, of a table no more likely than this one."""
    from scipy.special import gammaln

    if n1 <= 0 or n2 <= 0:
        return float("nan")
    hits, total = k1 + k2, n1 + n2
    x = np.arange(max(0, hits - n2), min(hits, n1) + 1, dtype=np.float64)

    def choose(n: ArrayLike, k: ArrayLike) -> Floats:
        return np.asarray(gammaln(np.add(n, 1.0)) - gammaln(np.add(k, 1.0)) - gammaln(np.subtract(n, k) + 1.0))

    log_chance = choose(n1, x) + choose(n2, hits - x) - choose(total, hits)
    here = log_chance[k1 - int(x[0])]
    return min(1.0, float(np.exp(log_chance[log_chance <= here + 1e-7]).sum()))


# ------------------------------------------------------------------------------------------------ equivalence
def tost(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, margin: float) -> Floats:
    """P value of "the two rates differ by margin or more", by inverting Newcombe's interval (schuirmann1987).

    Below alpha exactly where the interval at level 1 - 2 alpha lies inside +-margin. 1 where the observed difference
    itself lies outside; NaN where n1 or n2 = 0.
    """
    columns = np.broadcast_arrays(*as_floats(k1, n1, k2, n2))
    rows = zip(*(column.ravel() for column in columns), strict=True)
    p = [equivalence_p(np.array([a, c]), np.array([b, d]), margin) for a, b, c, d in rows]
    return np.array(p).reshape(columns[0].shape)


def equivalence_p(k: ArrayLike, n: ArrayLike, margin: float) -> float:
    """P value of "some two of the rates k/n (g,) differ by margin or more"; NaN below two groups with cases.

    The largest of the pairs' p values of `tost`: an intersection-union test needs no correction (berger1982).
    """
    k, n = as_floats(k, n)
    k, n = k[n > 0.0], n[n > 0.0]
    return equivalence(k / n, lambda level: wilson(k, n, level), margin)


def equivalence(value: ArrayLike, bounds: Callable[[float], Bounds], margin: float) -> float:
    """The same for independent estimates (g,) of any kind, whose intervals `bounds` gives for a level."""
    if margin <= 0.0:
        raise ValueError(f"margin must lie above 0, got {margin}")
    v = np.asarray(value, dtype=np.float64)
    if len(v) < 2:
        return float("nan")

    def inside(alpha: float) -> bool:
        low, high = bounds(1.0 - 2.0 * alpha)
        return widest(v, high - v, v - low, 1) < margin

    if float(v.max() - v.min()) >= margin or not inside(0.5 - 1e-9):
        return 1.0
    below, above = np.log(1e-15), np.log(0.5)  # bisected on the logarithm: small p values matter as well
    if inside(float(np.exp(below))):
        return float(np.exp(below))
    for _ in range(_STEPS):
        middle = 0.5 * (below + above)
        below, above = (below, middle) if inside(float(np.exp(middle))) else (middle, above)
    return float(np.exp(above))


# -------------------------------------------------------------------------------------------------- power
def n_needed(p1: ArrayLike, p2: ArrayLike, power: float = 0.8, alpha: float = 0.05) -> Floats:
    """Cases in each of two groups with which a two-sided test at alpha finds p1 and p2 different (fleiss2003).

    Not rounded; infinite where p1 = p2.
    """
    p1, p2 = as_floats(p1, p2)
    mean = 0.5 * (p1 + p2)
    root = z_quantile(1.0 - alpha) * np.sqrt(2.0 * mean * (1.0 - mean)) + _z(power) * np.sqrt(_spread(p1) + _spread(p2))
    return divide(root**2, (p1 - p2) ** 2, np.inf)


def power_of(n1: ArrayLike, n2: ArrayLike, p1: ArrayLike, p2: ArrayLike, alpha: float = 0.05) -> Floats:
    """The chance that a two-sided test at alpha finds two true rates different, in the direction they are (fleiss2003)."""
    from scipy.special import ndtr

    n1, n2, p1, p2 = as_floats(n1, n2, p1, p2)
    pooled = divide(n1 * p1 + n2 * p2, n1 + n2)
    under_null = np.sqrt(_spread(pooled) * (divide(1.0, n1) + divide(1.0, n2)))
    truly = np.sqrt(divide(_spread(p1), n1) + divide(_spread(p2), n2))
    margin = np.abs(p1 - p2) - z_quantile(1.0 - alpha) * under_null
    return np.asarray(ndtr(np.where(truly > 0.0, divide(margin, truly), np.where(margin > 0.0, np.inf, -np.inf))))


def minimum_detectable_gap(
    n1: ArrayLike, n2: ArrayLike, p: ArrayLike, power: float = 0.8, alpha: float = 0.05
) -> Floats:
    """The smallest gap between a group of n1 and one of n2 with rate p that a two-sided test at alpha finds (fleiss2003).

    Found with the given power. The gap is taken towards 1/2, where it is harder to see; NaN where no gap is large enough
    or a group is empty.
    """
    n1, n2, p = np.broadcast_arrays(*as_floats(n1, n2, p))
    _z(power)
    room = np.where(p <= 0.5, 1.0 - p, p)
    way = np.where(p <= 0.5, 1.0, -1.0)

    def enough(gap: Floats) -> NDArray[np.bool_]:
        return np.asarray(power_of(n1, n2, np.clip(p + way * gap, 0.0, 1.0), p, alpha) >= power)

    low, high = np.zeros(p.shape), room.copy()
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        seen = enough(middle)
        low, high = np.where(seen, low, middle), np.where(seen, middle, high)
    return np.where((n1 > 0.0) & (n2 > 0.0) & enough(room), high, np.nan)


def _spread(p: Floats) -> Floats:
    return p * (1.0 - p)


def _z(power: float) -> float:
    if not 0.0 < power < 1.0:
        raise ValueError(f"power must lie in (0, 1), got {power}")
    return NormalDist().inv_cdf(power)
