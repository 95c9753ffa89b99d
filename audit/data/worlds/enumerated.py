"""Truths of worlds that can be counted out: every case with its chance of a positive label and its probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.core import Floats
from audit.data.worlds.base import Stratum
from audit.data.worlds.scores import difference, rates


def counted_out(strata: Sequence[Stratum], attribute: str, levels: tuple[str, str]) -> dict[str, float]:
    """Rates of the decision chance >= 1/2, overall and by the levels of an attribute, its gaps and the AUC.

    Gaps are of the second level less the first, as demographic_parity_difference and equal_opportunity_difference.
    """
    cells = np.stack([sum(_cells(each) for each in strata if each.levels[attribute] == level) for level in levels])
    values = rates(cells.sum(axis=0))
    for level, found in zip(levels, cells, strict=True):
        values |= rates(found, f".{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values |= difference(values, f"{name}_difference", f"{rate}.{levels[1]}", f"{rate}.{levels[0]}")
    chance, mass = (np.concatenate([getattr(each, name) for each in strata]) for name in ("chance", "mass"))
    return values | {"auc": area(chance, mass)}


def _cells(stratum: Stratum) -> Floats:
    """P(label, decision) (2, 2) in a stratum."""
    cells = np.zeros((2, 2))
    for decided in range(2):
        inside = (stratum.chance >= 0.5) == bool(decided)
        positive = float(stratum.mass[inside] @ stratum.chance[inside])
        cells[:, decided] = stratum.mass[inside].sum() - positive, positive
    return cells


def area(chance: Floats, mass: Floats) -> float:
    """The AUC of the chance (k,) of a positive label as its score, where each has probability mass (k,)."""
    _, place = np.unique(np.round(chance, 12), return_inverse=True)
    positive, negative = (np.bincount(place, mass * each) for each in (chance, 1 - chance))
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))
