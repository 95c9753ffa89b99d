"""Draws from tables of counts: bootstrap and permutation, at a cost that is free of the number of people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Floats, Ints
from audit.stats.intervals import Bounds

_BLOCK = 2**22  # numbers of one block of draws


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


def bootstrap_interval(
    counts: ArrayLike,
    statistic: Callable[[NDArray[Any]], Floats],
    replicates: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Bounds:
    """Percentile interval of a statistic of a table of counts, drawn in blocks that fit the memory (efron1993).

    statistic: of draws (b, *shape) to values (b, ...).
    """
    table = np.asarray(counts)
    values = [statistic(bootstrap_counts(table, size, rng)) for size in blocks(replicates, table.size)]
    return percentile_interval(np.concatenate(values), level)


def blocks(replicates: int, size: int) -> list[int]:
    """How many replicates of `size` numbers to make at a time."""
    each = max(1, _BLOCK // max(size, 1))
    return [min(each, replicates - done) for done in range(0, replicates, each)]


def permuted_hits(n: ArrayLike, hits: int, replicates: int, rng: np.random.Generator) -> Ints:
    """Hits (replicates, g) of groups of n (g,) when so many hits in all fall on people by chance alone.

    Equal in law to shuffling the hits over the people and counting again: multivariate hypergeometric, so the cost is
    free of n (fisher1935).
    """
    sizes = np.asarray(n, dtype=np.int64)
    return np.asarray(rng.multivariate_hypergeometric(sizes, hits, size=replicates, method="marginals"))


def permuted_tables(table: ArrayLike, replicates: int, rng: np.random.Generator) -> Ints:
    """Tables (replicates, g, c) with the margins of this one (g, c), the columns shuffled over the rows (patefield1981)."""
    cells = np.asarray(table, dtype=np.int64)
    rows, columns = cells.shape
    draws = np.zeros((replicates, rows, columns), dtype=np.int64)
    room = np.broadcast_to(cells.sum(axis=1), (replicates, rows)).copy()
    for column in range(columns - 1):
        wanted = np.full(replicates, cells[:, column].sum())
        left = room.sum(axis=1)
        for row in np.flatnonzero(cells.sum(axis=1)):
            left -= room[:, row]
            drawn = rng.hypergeometric(room[:, row], left, wanted)
            draws[:, row, column] = drawn
            wanted = wanted - drawn
        room -= draws[:, :, column]
    draws[:, :, -1] = room
    return draws


def permutation_p(observed: ArrayLike, null: ArrayLike) -> Floats:
    """The share of null draws (replicates, ...) at least as large as the observed (...), which counts as one (phipson2010).

    NaN where nothing was observed. Draws that equal the observed but for rounding, at the scale of the statistic, count.
    """
    seen, draws = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    sizes = np.abs(np.concatenate([seen[None], draws]))
    slack = 1e-12 * np.where(np.isfinite(sizes), sizes, 0.0).max(axis=0)
    extreme = (draws >= seen - slack).sum(axis=0)
    return np.where(np.isnan(seen), np.nan, (1.0 + extreme) / (1.0 + len(draws)))
