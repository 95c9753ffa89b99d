"""Many tests at once: adjusted p values, each to be compared with the level wanted for the whole family.

NaN stands for a test that could not be made; it takes no part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from audit.core import Floats


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjustment of p values (m,): the chance of any false alarm is held (holm1979).

    Holds however the tests depend on one another.
    """
    values = np.asarray(p, dtype=np.float64)
    order, tests = _ranked(values)
    factors = tests - np.arange(tests)
    return _placed(values, order, np.maximum.accumulate(values[order] * factors))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Step-up adjustment of p values (m,): the expected share of false ones among the alarms is held (benjamini1995).

    Holds for independent or positively dependent tests.
    """
    values = np.asarray(p, dtype=np.float64)
    order, tests = _ranked(values)
    factors = tests / np.arange(1, tests + 1)
    return _placed(values, order, np.minimum.accumulate((values[order] * factors)[::-1])[::-1])


def westfall_young(observed: ArrayLike, null: ArrayLike) -> Floats:
    """Step-down max-T adjusted p values (m,) of statistics whose joint null was drawn (westfall1993).

    observed (m,), null (replicates, m): large is extreme. Each statistic is scaled by the mean and spread of its null, so
    that none of them rules by its unit. A NaN draw counts as one that is not extreme.
    """
    seen, draws = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    result = np.full(seen.shape, np.nan)
    known = np.flatnonzero(~np.isnan(seen) & (~np.isnan(draws)).any(axis=0))
    if not known.size:
        return result
    draws = draws[:, known]
    centre, spread = np.nanmean(draws, axis=0), np.nanstd(draws, axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    t, drawn = (seen[known] - centre) / scale, np.nan_to_num((draws - centre) / scale, nan=-np.inf)
    order = np.argsort(-t, kind="stable")
    rest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]  # the largest of those not yet rejected
    extreme = (rest >= t[order] - 1e-12).sum(axis=0)
    result[known[order]] = np.maximum.accumulate((1.0 + extreme) / (1.0 + len(draws)))
    return result


def _ranked(values: Floats) -> tuple[np.ndarray, int]:
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]  # NaN goes last
    return order, len(order)


def _placed(values: Floats, order: np.ndarray, adjusted: Floats) -> Floats:
    result = np.full(values.shape, np.nan)
    result[order] = np.minimum(adjusted, 1.0)
    return result
