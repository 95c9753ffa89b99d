"""The exact rates, associations and rankings of the world of captions, by enumeration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats
from audit.data.worlds.scores import difference, rates

if TYPE_CHECKING:
    from audit.data.worlds.captions import Captions

GALLERY, TOP = 1000, 100  # pictures that are ranked, and the first of them
ROUNDING = 1e-9


def truth(world: Captions) -> Mapping[str, float]:
    """See `Captions.truth`."""
    from audit.data.worlds.captions import LEVELS, OCCUPATIONS

    pmi, values = world.pmi, dict[str, float]()
    for tone, level in enumerate(LEVELS):
        values |= {f"pmi.{level}.{name}": float(pmi[tone, o]) for o, name in enumerate(OCCUPATIONS)}
    gain = pmi[1] - pmi[0]
    values |= {f"association.{name}": float(gain[o] - gain.mean()) for o, name in enumerate(OCCUPATIONS)}
    dark = float(world.dark.mean())
    for o, name in enumerate(OCCUPATIONS):
        if abs(gain[o]) > ROUNDING:
            skew, divergence = ranked(dark if gain[o] > 0 else 1 - dark)
            values |= {f"max_skew.{name}": skew, f"ndkl.{name}": divergence}
    return values | _decisions(world)


def _decisions(world: Captions) -> dict[str, float]:
    """Rates and AUC from P(tone, occupation said, label) (2, 4, 2) and the oracle's logit (2, 4)."""
    from audit.data.worlds.captions import LEVELS

    logit = world.pmi + np.log(world.share / (1 - world.share))
    given = np.stack([1 - world.dark, world.dark]) / 4
    apart = np.broadcast_to(given.sum(axis=1, keepdims=True) / 4, given.shape)
    chance = np.stack([(1 - world.share) * apart, world.share * given], axis=2)
    found = {"auc": _auc(logit.ravel(), chance.reshape(-1, 2))}
    if (np.abs(logit) < ROUNDING).any():
        return found
    cells = np.stack(
        [
            np.stack([(each * ~yes[:, None]).sum(axis=0), (each * yes[:, None]).sum(axis=0)], axis=1)
            for each, yes in zip(chance, logit > 0, strict=True)
        ]
    )  # (tone, label, decision)
    found |= rates(cells.sum(axis=0))
    for tone, level in enumerate(LEVELS):
        found |= rates(cells[tone], f".{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        found |= difference(found, f"{name}_difference", f"{rate}.dark", f"{rate}.light")
    return found


def _auc(logit: Floats, chance: Floats) -> float:
    """P(a true pair scores above a mismatched one), ties half, from P(cell, label) (k, 2)."""
    negative, positive = (chance / chance.sum(axis=0)).T
    step = logit[:, None] - logit
    above = np.where(np.abs(step) < ROUNDING, 0.5, step > 0)
    return float(positive @ above @ negative)


def ranked(share: float) -> tuple[float, float]:
    """Mean MaxSkew of the first TOP and NDKL where a tone that this share of all people has comes first."""
    from scipy.stats import binom

    first = np.arange(GALLERY + 1)
    mass = binom.pmf(first, GALLERY, share)
    first, mass = first[mass > 1e-15], mass[mass > 1e-15]
    skews = np.maximum(
        _log_ratio(np.minimum(first, TOP), TOP, first), _log_ratio(TOP - np.minimum(first, TOP), TOP, GALLERY - first)
    )
    at = np.arange(1, GALLERY + 1)
    top = np.minimum(at, first[:, None])
    behind = first[:, None]
    divergence = top / at * _log_ratio(top, at, behind) + (at - top) / at * _log_ratio(at - top, at, GALLERY - behind)
    weight = 1 / np.log2(at + 1)
    return float(mass @ skews / mass.sum()), float(mass @ (divergence @ weight) / weight.sum() / mass.sum())


def _log_ratio(part: Any, whole: Any, people: Any) -> Floats:
    """Log of part / whole over people / GALLERY, 0 where there is no part."""
    ratio = part / whole / np.maximum(people, 1) * GALLERY
    return np.asarray(np.log(np.where(ratio > 0, ratio, 1.0)))
