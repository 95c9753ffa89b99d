"""Tests of attributions against groups: means, mixes and ranks of reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Floats, Ints
from audit.core import stream as stream_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTest:
    """A permutation test of whether groups differ in the mean of each column and in all of them together.

    means (groups, columns); between (columns,): the sum over people of the squared distance of their group's mean from
    the mean of all, and its p values one by one, by Holm's and by Benjamini and Hochberg's adjustment (columns,);
    p_global: of the sum over columns.
    """

    means: Floats
    between: Floats
    p: Floats
    p_holm: Floats
    p_fdr: Floats
    p_global: float
    permutations: int


def group_means(values: Floats, labels: Ints, groups: int) -> Floats:
    """Means (b, groups, columns) of values (n, columns) under labels (b, n) from 0 to groups - 1."""
    member = (labels[:, None, :] == np.arange(groups)[:, None]).astype(np.float64)
    return np.asarray(member @ values / np.maximum(member.sum(axis=2, keepdims=True), 1.0))


def group_test(
    values: Floats, labels: Ints, groups: int, *, permutations: int = 999, seed: int = 0, chunk: int = 64
) -> GroupTest:
    """Tests whether groups differ in values (n, columns) beyond what shuffling the labels (n,) gives.

    The global statistic is that of a multivariate analysis of variance by Euclidean distances (anderson2001); p values
    count the observed labels as one of the shuffles (phipson2010). Every group needs a row.
    """
    sizes = np.bincount(labels, minlength=groups).astype(np.float64)
    centred = values - values.mean(axis=0)

    def between(some: Ints) -> Floats:
        return np.asarray((sizes[:, None] * group_means(centred, some, groups) ** 2).sum(axis=1))

    rng = stream_of(seed, "explain.group_reasons/shuffles")
    drawn = np.concatenate(
        [
            between(rng.permuted(np.broadcast_to(labels, (min(chunk, permutations - done), len(labels))), axis=1))
            for done in range(0, permutations, chunk)
        ]
    )
    seen = between(labels[None])[0]
    # a shuffle that comes to the same sum in another order counts as no less
    slack = 1 - 1e-9
    p = np.where(np.square(centred).sum(axis=0) > 0, stats.permutation_p(seen * slack, drawn), np.nan)
    return GroupTest(
        means=group_means(values, labels[None], groups)[0],
        between=seen,
        p=p,
        p_holm=stats.holm(p),
        p_fdr=stats.benjamini_hochberg(p),
        p_global=float(stats.permutation_p(seen.sum() * slack, drawn.sum(axis=1))),
        permutations=permutations,
    )


def reason_distance(means: Floats) -> Floats:
    """The largest distance (b,) between two groups' mixes of reasons, from mean |attributions| (b, groups, columns).

    A group's mix is the share of each column in the sum; the distance is half the sum of absolute differences: 0 for the
    same mix, 1 for groups that share no reason. NaN where a group has no attributions at all.
    """
    shares = stats.divide(means, means.sum(axis=2, keepdims=True))
    return np.asarray(np.abs(shares[:, :, None] - shares[:, None]).sum(axis=3).max(axis=(1, 2)) / 2)


def rank_correlation(means: Floats) -> float:
    """The smallest Spearman correlation between two groups' rankings of the columns (groups, columns); NaN if undefined."""
    from scipy.stats import rankdata

    ranks = rankdata(means, axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=1))
    if means.shape[1] < 2 or (length == 0).any():
        return float("nan")
    return float(np.clip((ranks @ ranks.T / np.outer(length, length)).min(), -1, 1))
