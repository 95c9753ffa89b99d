"""The exact rates, effects and posterior of the payments world, by quadrature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats
from audit.data.worlds.base import Stratum
from audit.data.worlds.quadrature import FAR, density, sides, sigmoid, spread_nodes
from audit.data.worlds.scores import difference, rates

if TYPE_CHECKING:
    from audit.data.worlds.payments import Payments


def truth(world: Payments) -> Mapping[str, float]:
    """See `Payments.truth`."""
    from audit.data.worlds.payments import LEVELS

    cells = np.array([share * _joint(world, a) for a, share in enumerate((1 - world.p, world.p))])
    laws = [_law(world, a, share) for a, share in enumerate((1 - world.p, world.p))]
    values = rates(cells.sum(axis=0)) | _auc(laws, "auc")
    for a, level in enumerate(LEVELS):
        values |= rates(cells[a], f".{level}") | _auc([laws[a]], f"auc.{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values |= difference(values, f"{name}_difference", f"{rate}.settled", f"{rate}.newcomer")
    direct = -2 * world.tau
    values |= {"counterfactual_logit": direct, "path.direct": direct, "path.season": 0.0, "path.gap": 0.0}
    return values if world.adjusted else values | _read(world)


def _read(world: Payments) -> dict[str, float]:
    """What a newcomer's logit gains, column by column, from being settled, where the season is part of the delay."""
    from audit.data.worlds.payments import DELAY

    season = DELAY * float(world.fading() @ world.year())
    return {"read.delay": -season, "read.settled": season - 2 * world.tau}


def _joint(world: Payments, a: int) -> Floats:
    """P(label, decision | residence) (2, 2): Gauss-Legendre over the logit on either side of the decision."""
    mean, sd = world.law(a)
    logit, mass = sides(np.array([mean]), np.array([sd]))
    positive = (mass * world.recorded(a, sigmoid(logit))).sum(axis=(1, 2))
    return np.stack([mass.sum(axis=(1, 2)) - positive, positive])


Law = tuple[Floats, Floats]  # an even grid (points,) of the logit, and the share of people by label (2, points) on it


def _law(world: Payments, a: int, share: float, points: int = 10_001) -> Law:
    """The joint law of the logit and the label among people of one residence."""
    mean, sd = world.law(a)
    z = np.linspace(-FAR, FAR, points)
    there = share * density(z) / density(z).sum()
    positive = there * world.recorded(a, sigmoid(mean + sd * z))
    return mean + sd * z, np.stack([there - positive, positive])


def _auc(laws: Sequence[Law], name: str) -> dict[str, float]:
    """P(the logit of a positive is above that of a negative); nothing where a label is nobody's."""
    negative, positive = sum(law.sum(axis=1) for _, law in laws)
    if not negative * positive > 0:
        return {}
    right = 0.0
    for grid, law in laws:
        for other, beside in laws:
            below = np.cumsum(beside[0]) - beside[0] / 2  # half of what lies at the very node
            right += float(law[1] @ np.interp(grid, other, below, left=0.0, right=float(beside[0].sum())))
    return {name: right / float(negative * positive)}


def strata(world: Payments) -> tuple[Stratum, ...]:
    """See `Payments.strata`."""
    from audit.data.worlds.payments import LEVELS

    found = []
    for a, share in enumerate((1 - world.p, world.p)):
        mean, sd = world.law(a)
        logit, mass = spread_nodes(np.array([mean]), np.array([sd]), np.array([share]), points=4001)
        chance = world.recorded(a, sigmoid(logit.ravel()))
        found.append(Stratum(levels={"residence": LEVELS[a]}, chance=chance, mass=mass.ravel()))
    return tuple(found)
