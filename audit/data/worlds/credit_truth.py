"""The exact rates and effects of the credit world, by quadrature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats
from audit.data.worlds.applicants import DEBT, HISTORY, INCOME, LEVELS, RACES, RESIDUAL
from audit.data.worlds.quadrature import FAR, hermite, logistic_between
from audit.data.worlds.scores import gaps, rates

if TYPE_CHECKING:
    from audit.data.worlds.credit import Credit


def truth(world: Credit) -> Mapping[str, float]:
    """See `Credit.truth`."""
    cells = recorded(world)
    values = rates(cells.sum(axis=(0, 1)))
    for a, level in enumerate(LEVELS):
        values |= rates(cells[a].sum(axis=0), f".{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values[f"{name}_difference"] = values[f"{rate}.male"] - values[f"{rate}.female"]
    if world.race:
        for r, level in enumerate(RACES):
            values |= rates(cells[:, r].sum(axis=0), f".{level}")
            for a, sex in enumerate(LEVELS):
                values |= rates(cells[a, r], f".{sex}.{level}")
        both = tuple(f"{sex}.{level}" for sex in LEVELS for level in RACES)
        values |= gaps(values, RACES, "race") | gaps(values, both, "sex.race")
    return values | _effects(world)


def recorded(world: Credit) -> Floats:
    """Probability (2, races, 2, 2) of sex, race, label and the oracle's decision (at 1/2) among recorded people."""
    cells = np.array(
        [
            [weight * share * _joint(world, a, shift) for _, share, shift in world.races()]
            for a, weight in enumerate((1 - world.p, world.p))
        ]
    )
    lost = world.flip * cells[0, :, 1]
    cells[0, :, 1] -= lost
    cells[0, :, 0] += lost
    cells[0, :, 1] *= 1 - world.selection
    return np.asarray(cells / cells.sum())


def _joint(world: Credit, a: int, shift: float) -> Floats:
    """P(label, decision | sex, shift of income) (2, 2) before flips and selection.

    Gauss-Hermite over income, history and the noise of measurement, Gauss-Legendre over debt's residual on either side
    of the decision boundary.
    """
    s = 2 * a - 1
    noise = world.noise if a == 0 else 0.0
    z, mass = hermite(40)
    i, h, e = np.meshgrid(0.5 * s + shift + z, 0.3 * s + z, noise * z if noise else np.zeros(1), indexing="ij")
    weight = mass[:, None, None] * mass[None, :, None] * (mass if noise else np.ones(1))
    fixed, step = HISTORY * h + world.tau * s + world.b + DEBT * -0.5 * i, INCOME + world.omega * h
    true, seen = fixed + step * i, fixed + step * (i + e)
    slope = DEBT * RESIDUAL  # of the logit in debt's residual; negative, so below the edge is a positive decision
    edge = np.clip(-seen / slope, -FAR, FAR)
    joint = np.empty((2, 2))
    for decision, (low, high) in enumerate(((edge, np.full_like(edge, FAR)), (np.full_like(edge, -FAR), edge))):
        share, repaid = logistic_between(true, slope, low, high)
        joint[1, decision] = (weight * repaid).sum()
        joint[0, decision] = (weight * (share - repaid)).sum()
    return joint


def _effects(world: Credit) -> dict[str, float]:
    """The counterfactual effect and its paths: twins differ by 1.0 in income, -0.5 in debt and 0.6 in history."""
    income, history = _women(world) if world.omega else (-0.5, -0.3)
    paths = {
        "income": INCOME + world.omega * (history + 0.3),
        "debt": DEBT * -0.5,
        "history": (HISTORY + world.omega * (income + 0.5)) * 0.6,
        "direct": 2 * world.tau,
    }
    return {f"path.{name}": value for name, value in paths.items()} | {"counterfactual_logit": sum(paths.values())}


def _women(world: Credit) -> tuple[float, float]:
    """Mean true income and mean history of recorded women."""
    z, mass = hermite(40)
    sums = np.zeros(3)
    for _, share, shift in world.races():
        i, h = np.meshgrid(-0.5 + shift + z, -0.3 + z, indexing="ij")
        true = (INCOME + DEBT * -0.5) * i + HISTORY * h + world.omega * i * h - world.tau + world.b
        far = np.full_like(i, FAR)
        _, repaid = logistic_between(true, DEBT * RESIDUAL, -far, far)
        there = share * np.outer(mass, mass) * (1 - world.selection * (1 - world.flip) * repaid)
        sums += [there.sum(), (there * i).sum(), (there * h).sum()]
    return float(sums[1] / sums[0]), float(sums[2] / sums[0])
