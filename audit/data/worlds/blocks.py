"""Ties of a stochastic block model, drawn in time and memory of the ties, not of the pairs."""

from __future__ import annotations

import numpy as np

from audit.core import Ints


def ties(group: Ints, within: float, across: float, rng: np.random.Generator) -> Ints:
    """Each tie once (m, 2) between nodes of two groups (n,) of 0 and 1: a pair is tied with its chance, by itself.

    within, across: the chance of a pair in one group and in both. Their number is binomial, and given their number every
    set of pairs is as likely (holland1983).
    """
    members = [np.flatnonzero(group == code) for code in (0, 1)]
    parts = [inside[_pairs(_chosen(len(inside) * (len(inside) - 1) // 2, within, rng))] for inside in members]
    first, second = members
    found = _chosen(len(first) * len(second), across, rng)
    parts.append(np.column_stack([first[found // max(len(second), 1)], second[found % max(len(second), 1)]]))
    return np.concatenate(parts).astype(np.int64)


def _chosen(pairs: int, chance: float, rng: np.random.Generator) -> Ints:
    """The numbers of the pairs that are tied, of so many."""
    count = int(rng.binomial(pairs, chance))
    return np.asarray(rng.choice(pairs, count, replace=False) if count else np.empty(0), dtype=np.int64)


def _pairs(numbers: Ints) -> Ints:
    """The pair (m, 2), the larger first, that stands at each place of (1, 0), (2, 0), (2, 1), (3, 0), ..."""
    large = ((1 + np.sqrt(1 + 8.0 * numbers)) / 2).astype(np.int64)
    large -= numbers < large * (large - 1) // 2  # the root of a large number is rounded
    large += numbers >= large * (large + 1) // 2
    return np.column_stack([large, numbers - large * (large - 1) // 2])
