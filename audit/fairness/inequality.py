"""Figures of a whole table of counts: inequality of benefits, differential fairness, amplified bias, disparity in strata.

Each takes arrays whose leading axes are free, so that bootstrap replicates cost one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import DataError, Floats
from audit.fairness.counts import Counts
from audit.stats import divide

_BENEFIT = np.array([1.0, 2.0, 0.0, 1.0])  # ŷ - y + 1 of tn, fp, fn, tp


def theil_index(cells: NDArray[Any]) -> Floats:
    """Theil's inequality index (...,) of the benefits ŷ - y + 1 from cells (..., 4), 0 = equal (speicher2018).

    NaN without cases, or where every case is a false negative and there is no benefit to share.
    """
    return generalized_entropy_index(cells, alpha=1.0)


def generalized_entropy_index(cells: NDArray[Any], alpha: float = 2.0) -> Floats:
    """Generalised entropy (...,) of the benefits ŷ - y + 1 from cells (..., 4), 0 = equal (speicher2018).

    alpha 1 is Theil's index, 2 half the squared coefficient of variation; at alpha of 0 or below, where a benefit of 0
    counts without end, NaN where there is one. NaN also without a benefit to share.
    """
    return _entropy(np.asarray(cells, dtype=np.float64), _BENEFIT, alpha)


def between_group_generalized_entropy_index(cells: NDArray[Any], alpha: float = 2.0) -> Floats:
    """The part (...,) of the same that is left when everyone in a group had its mean benefit; cells (..., g, 4)."""
    table = np.asarray(cells, dtype=np.float64)
    size = table.sum(axis=-1)
    return _entropy(size, np.nan_to_num(divide(table @ _BENEFIT, size)), alpha)


def _entropy(n: Floats, benefit: Floats, alpha: float) -> Floats:
    """Generalised entropy over the last axis of n people each with a benefit."""
    benefit = np.broadcast_to(benefit, n.shape)
    total = n.sum(axis=-1)
    share = divide(benefit, divide((n * benefit).sum(axis=-1), total)[..., None])
    positive = share > 0.0
    logs = np.log(share, out=np.zeros(n.shape), where=positive)
    if alpha == 1.0:
        spread = share * logs
    elif alpha == 0.0:
        spread = np.where(positive, -logs, np.inf)
    else:
        powers = np.power(share, alpha, out=np.full(n.shape, 0.0 if alpha > 0.0 else np.inf), where=positive)
        spread = (powers - 1.0) / (alpha * (alpha - 1.0))
    terms = np.where(n > 0.0, n, 0.0) * np.where(n > 0.0, spread, 0.0)
    result = divide(terms.sum(axis=-1), total)
    defined = np.isfinite(result) & ~np.isnan(share).all(axis=-1)
    return np.where(defined, result, np.nan)


# ------------------------------------------------------------------------------------------ differential fairness
def differential_fairness(k: ArrayLike, n: ArrayLike, concentration: float = 0.0) -> Floats:
    """Epsilon (...,): the largest log ratio between two groups of the chance of either outcome; k of n (..., g).

    concentration: Dirichlet smoothing, spread over the two outcomes; without it, a chance of 0 in one group only makes
    epsilon infinite. Groups without cases are left out, NaN below two (foulds2020).
    """
    hits, people = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64))
    there = people > 0.0
    p = divide(hits + concentration / 2.0, people + concentration)
    result = np.maximum(_log_range(p, there), _log_range(1.0 - p, there))
    return np.where(there.sum(axis=-1) >= 2, result, np.nan)


def _log_range(p: Floats, there: NDArray[np.bool_]) -> Floats:
    low = np.min(p, axis=-1, initial=np.inf, where=there)
    high = np.max(p, axis=-1, initial=0.0, where=there)
    ratio = divide(high, low, np.inf)
    return np.where(high <= 0.0, 0.0, np.log(ratio, out=np.zeros(ratio.shape), where=ratio > 0.0))


def differential_fairness_bias_amplification(cells: NDArray[Any], concentration: float = 1.0) -> Floats:
    """Epsilon of the decisions less that of the labels (...,), from cells (..., g, 4) (foulds2020)."""
    table = np.asarray(cells, dtype=np.float64)
    n = table.sum(axis=-1)
    decided = differential_fairness(table[..., 1] + table[..., 3], n, concentration)
    labelled = differential_fairness(table[..., 2] + table[..., 3], n, concentration)
    both = np.isfinite(decided) & np.isfinite(labelled)
    return np.asarray(np.subtract(decided, labelled, out=np.full(both.shape, np.nan), where=both))


# --------------------------------------------------------------------------------------------- amplified bias
def bias_amplification(table: NDArray[Any]) -> Floats:
    """How much more a class belongs to the groups that already had more than their part of it (...,); (..., g, k, k).

    Of every class, the share of a group among its decisions less that among its labels, summed over the groups whose share
    among the labels exceeds 1/g, and averaged over classes; 0 = as in the labels (zhao2017). NaN where a class is in no
    label or in no decision.
    """
    cells = np.asarray(table, dtype=np.float64)
    labelled, decided = cells.sum(axis=-1), cells.sum(axis=-2)  # (..., g, k)
    before = divide(labelled, labelled.sum(axis=-2, keepdims=True))
    after = divide(decided, decided.sum(axis=-2, keepdims=True))
    groups = (labelled.sum(axis=-1, keepdims=True) > 0.0).sum(axis=-2, keepdims=True)
    over = before > divide(1.0, groups)
    undefined = np.isnan(before).any(axis=(-1, -2)) | np.isnan(after).any(axis=(-1, -2))
    total = np.where(over, after - before, 0.0).sum(axis=-2).mean(axis=-1)
    return np.where(undefined, np.nan, total)


def directional_bias_amplification(table: NDArray[Any]) -> Floats:
    """How much further decisions lean than labels do, from group to outcome, (...,) from (..., g, k, k).

    The chance of each class given the group, in the decisions less in the labels, turned round where group and class go
    together less often than by chance in the labels; the mean over groups with cases and classes (wang2021).
    """
    cells = np.asarray(table, dtype=np.float64)
    n = cells.sum(axis=(-1, -2))
    labelled, decided = cells.sum(axis=-1), cells.sum(axis=-2)  # (..., g, k)
    everyone = labelled.sum(axis=-2, keepdims=True)
    size = n[..., None]
    together = labelled * everyone.sum(axis=-1, keepdims=True) > everyone * size
    change = divide(decided - labelled, size)
    return _mean_there(np.where(together, change, -change).mean(axis=-1))


def _mean_there(values: Floats) -> Floats:
    """The mean over the last axis of what is there."""
    there = ~np.isnan(values)
    return divide(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


# ------------------------------------------------------------------------------------------------- within strata
def conditional_demographic_disparity(table: NDArray[Any]) -> Floats:
    """Disparity (..., g) of each group within strata, from rejected and selected people (..., s, g, 2).

    In a stratum, a group's share of the rejected less its share of the selected; the mean over strata, weighted by their
    people. Above 0, the group is rejected more than its part. A stratum where nobody or everybody was selected has no
    disparity and is left out; NaN without any other (wachter2021).
    """
    cells = np.asarray(table, dtype=np.float64)
    sides = cells.sum(axis=-2, keepdims=True)
    share = divide(cells, sides)  # (..., s, g, 2)
    disparity = share[..., 0] - share[..., 1]
    usable = (sides[..., 0, :] > 0.0).all(axis=-1)  # (..., s)
    people = np.where(usable, cells.sum(axis=(-1, -2)), 0.0)[..., None]
    return divide((people * np.where(usable[..., None], disparity, 0.0)).sum(axis=-2), people.sum(axis=-2))


def by_stratum(counts: Counts, strata: Sequence[str]) -> tuple[Counts, int]:
    """The counts with these attributes first, and how many strata they make; raises DataError where none is left over."""
    rest = [name for name in counts.attributes if name not in strata]
    if not rest or not strata:
        raise DataError(f"strata: allowed are some of {list(counts.attributes)}, not all, got {list(strata)}")
    ordered = counts.marginal([*strata, *rest])
    return ordered, int(np.prod([len(levels) for levels in ordered.levels[: len(strata)]]))
