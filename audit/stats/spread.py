"""Intervals of the largest difference and the smallest ratio over groups, which hold for all pairs of groups at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Floats, Ints
from audit.stats.intervals import Bounds, as_floats, log_rate, wilson, z_quantile

_SMALL = 256  # groups up to which every pair is looked at


def pairs(groups: int) -> int:
    """How many pairs of groups there are."""
    return groups * (groups - 1) // 2


def bonferroni(level: float, comparisons: int) -> float:
    """The level at which each of so many intervals has to be made for all of them to hold at `level` (dunn1961)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    return 1.0 - (1.0 - level) / max(comparisons, 1)


def mover(value1: ArrayLike, bounds1: Bounds, value2: ArrayLike, bounds2: Bounds) -> Bounds:
    """Interval of the difference of two independent estimates from their own intervals (zou2008).

    With Wilson's intervals of two proportions this is Newcombe's.
    """
    v1, l1, h1, v2, l2, h2 = as_floats(value1, *bounds1, value2, *bounds2)
    return v1 - v2 - np.hypot(v1 - l1, h2 - v2), v1 - v2 + np.hypot(h1 - v1, v2 - l2)


def mover_gap(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> tuple[float, float]:
    """Interval of the largest difference of independent estimates (g,) from their own; NaN below two that are there.

    low, high (g,): made at Bonferroni's level for all pairs of groups (zou2008, dunn1961).
    """
    v, lo, hi = as_floats(value, low, high)
    there = ~np.isnan(v)
    v, lo, hi = v[there], lo[there], hi[there]
    if len(v) < 2 or np.isnan([lo, hi]).any():
        return float("nan"), float("nan")
    return max(0.0, widest(v, v - lo, hi - v, -1)), widest(v, hi - v, v - lo, 1)


def gap_interval(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the largest difference among the proportions k/n of groups (g,); NaN below two groups with cases.

    All pairwise Newcombe intervals hold together at Bonferroni's level, and where they do, the largest gap lies between
    their largest lower and largest upper bound: valid for any number of groups, conservative, floored at 0, which is
    where it stands when the groups are equal. A bootstrap of max - min never gets there (newcombe1998, dunn1961).
    """
    k, n = _with_cases(k, n)
    low, high = mover_gap(k / n, *wilson(k, n, bonferroni(level, pairs(len(k)))))
    return low, min(high, 1.0)  # in this order a NaN stays


def ratio_interval(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the smallest ratio between the proportions k/n of groups (g,), capped at 1; NaN below two groups.

    As gap_interval, over pairwise Katz intervals (katz1978, dunn1961).
    """
    k, n = _with_cases(k, n)
    if len(k) < 2:
        return float("nan"), float("nan")
    logs, variance = log_rate(k, n)
    half = z_quantile(bonferroni(level, pairs(len(k)))) * np.sqrt(variance)
    low = 0.0 if (k <= 0.0).any() else float(np.exp(-widest(logs, half, half, 1)))
    # the pairs (i, j) of the upper bound need a group j that has hits, else it is infinite
    smallest = -widest(logs, half, half, -1, first=k > 0.0) if (k > 0.0).any() else np.inf
    return min(1.0, low), min(1.0, float(np.exp(smallest)))


def widest(value: Floats, a: Floats, b: Floats, sign: int, first: NDArray[np.bool_] | None = None) -> float:
    """The largest value_i - value_j + sign * sqrt(a_i^2 + b_j^2) over ordered pairs of different groups (g,).

    first: the groups that i may be. Groups that two others outdo in both terms are passed over.
    """
    i = np.arange(len(value)) if first is None else np.flatnonzero(first)
    i, j = _front(value, sign * a, i), _front(-value, sign * b, np.arange(len(value)))
    best = -np.inf
    for some in np.array_split(i, 1 + len(i) * len(j) // 2**20):
        score = value[some, None] - value[j] + sign * np.hypot(a[some, None], b[j])
        best = max(best, float(score.max(initial=-np.inf, where=some[:, None] != j)))
    return best


def _front(first: Floats, second: Floats, among: Ints) -> Ints:
    """Those among whom fewer than two others are at least as large in both terms."""
    if len(among) <= _SMALL:
        return among
    kept, highest, next_highest = [], -np.inf, -np.inf
    for place in among[np.lexsort((-second[among], -first[among]))].tolist():
        here = float(second[place])
        if here > next_highest:
            kept.append(place)
            highest, next_highest = max(highest, here), min(max(here, next_highest), highest)
    return np.array(kept, dtype=np.int64)


def _with_cases(k: ArrayLike, n: ArrayLike) -> Bounds:
    k, n = as_floats(k, n)
    return k[n > 0.0], n[n > 0.0]
