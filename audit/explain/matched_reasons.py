"""Whether a feature counts differently for groups among people who have about the same value of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Floats, Ints
from audit.core import stream as stream_of
from audit.explain.permutation_importance import shuffles

STRATA = 8  # of a number: quantile bins, in each of which a straight line is taken out
CHUNK = 128  # shuffles at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """How far apart groups are at the same value of each feature (columns,), and permutation p values of it (columns,).

    gap: the largest difference between two groups' mean attributions in a stratum of like values, averaged over people.
    NaN where no stratum holds two groups; p and p_holm also where the attribution follows from the value alone.
    """

    gap: Floats
    p: Floats
    p_holm: Floats


def matched_test(values: Floats, data: Floats, labels: Ints, *, permutations: int = 999, seed: int = 0) -> Matched:
    """Tests attributions (n, columns) against labels (n,) among rows of about equal data (n, columns).

    The labels are shuffled within strata of like values, after a straight line in the value was taken out in each
    (freedman1983), so that groups which merely have other values are not told apart. For a model that is additive on the
    scale of the attributions nothing is left.
    """
    gaps, ps = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        strata = strata_of_values(data[:, column])
        rest = without_line(values[:, column], data[:, column], strata)
        mixed = np.array([len(np.unique(labels[strata == each])) > 1 for each in range(int(strata.max()) + 1)])
        among = mixed[strata]
        if not among.any() or np.isnan(data[:, column]).all():
            continue
        rest, own, place = rest[among], labels[among], np.unique(strata[among], return_inverse=True)[1]
        gaps[column] = _gap(rest, own, place)
        if np.abs(rest).max() <= 1e-9 * max(np.abs(values).max(), 1e-300):
            continue
        rng = stream_of(seed, f"explain.matched_reasons/{column}")
        seen = _between(rest, own[None], place)
        drawn = [
            _between(rest, own[shuffles(place, min(CHUNK, permutations - done), rng)], place)
            for done in range(0, permutations, CHUNK)
        ]
        ps[column] = stats.permutation_p(seen[0] * (1 - 1e-9), np.concatenate(drawn))
    return Matched(gap=gaps, p=ps, p_holm=stats.holm(ps))


def strata_of_values(data: Floats) -> Ints:
    """Strata (n,) from 0 of like values: each value its own where there are few, else quantile bins; gaps together."""
    there = ~np.isnan(data)
    distinct = np.unique(data[there])
    edges = distinct
    if len(distinct) > STRATA:
        edges = np.unique(np.quantile(data[there], np.arange(1, STRATA) / STRATA, method="inverted_cdf"))
    return np.asarray(np.where(there, np.searchsorted(edges, data, side="left"), len(edges) + 1), dtype=np.int64)


def without_line(values: Floats, data: Floats, strata: Ints) -> Floats:
    """Values (n,) less the least-squares line in the data within each stratum; less the mean where the data are equal."""
    count = int(strata.max()) + 1
    sizes = np.maximum(np.bincount(strata, minlength=count), 1)
    x = np.nan_to_num(data)
    x = x - (np.bincount(strata, x, count) / sizes)[strata]
    y = values - (np.bincount(strata, values, count) / sizes)[strata]
    slope = stats.divide(np.bincount(strata, x * y, count), np.bincount(strata, x * x, count), 0.0)
    return np.asarray(y - slope[strata] * x)


def _cells(rest: Floats, labels: Ints, strata: Ints) -> tuple[Floats, Floats]:
    """Means and sizes (b, groups, strata) of values (n,) under labels (b, n)."""
    groups, count = int(labels.max()) + 1, int(strata.max()) + 1
    cell = (np.arange(len(labels))[:, None] * groups + labels) * count + strata
    size = np.bincount(cell.ravel(), minlength=len(labels) * groups * count)
    total = np.bincount(cell.ravel(), np.broadcast_to(rest, labels.shape).ravel(), len(labels) * groups * count)
    shape = (len(labels), groups, count)
    return stats.divide(total, size).reshape(shape), size.reshape(shape).astype(np.float64)


def _between(rest: Floats, labels: Ints, strata: Ints) -> Floats:
    means, sizes = _cells(rest, labels, strata)
    return np.asarray((sizes * np.nan_to_num(means) ** 2).sum(axis=(1, 2)))


def _gap(rest: Floats, labels: Ints, strata: Ints) -> float:
    means, sizes = _cells(rest, labels[None], strata)
    apart = np.nanmax(means[0], axis=0) - np.nanmin(means[0], axis=0)
    return float((apart * sizes[0].sum(axis=0)).sum() / sizes.sum())
