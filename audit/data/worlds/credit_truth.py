"""The exact rates and effects of the credit world, by quadrature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats
from audit.data.worlds.applicants import DEBT, HISTORY, INCOME, LEVELS, RACES, RESIDUAL
from audit.data.worlds.quadrature import even, hermite, sides, sigmoid
from audit.data.worlds.scores import difference, gaps, rates

if TYPE_CHECKING:
    from audit.data.worlds.credit import Credit


def truth(world: Credit) -> Mapping[str, float]:
    """See `Credit.truth`."""
    cells = recorded(world)
    values = rates(cells.sum(axis=(0, 1)))
    for a, level in enumerate(LEVELS):
        values |= rates(cells[a].sum(axis=0), f".{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values |= difference(values, f"{name}_difference", f"{rate}.male", f"{rate}.female")
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

    Given history the true logit and the one that is seen are jointly normal: an even grid over history, Gauss-Legendre
    over the logit that is seen, on either side of the decision, Gauss-Hermite over the true one given that.
    """
    weight, step, mean, variance = _given_history(world, a, shift)
    noise = step * world.noise if a == 0 else np.zeros_like(step)
    total = variance + noise**2
    seen, mass = sides(mean, np.sqrt(total))
    true = mean[:, None] + (variance / total)[:, None] * (seen - mean[:, None])
    z, each = hermite(40) if noise.any() else (np.zeros(1), np.ones(1))
    left = np.sqrt(variance * noise**2 / total)[:, None]
    repaid = sum(w * sigmoid(true + left * node) for node, w in zip(z, each, strict=True))
    positive = np.einsum("k,dkn,dkn->d", weight, mass, repaid)
    return np.stack([np.einsum("k,dkn->d", weight, mass) - positive, positive])


def _given_history(world: Credit, a: int, shift: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights of the nodes of history, and at each the slope of the logit in income, the true logit's mean and variance."""
    z, weight = even(301)
    s = 2 * a - 1
    h = 0.3 * s + z
    step = INCOME + world.omega * h
    mean = (step - DEBT / 2) * (0.5 * s + shift) + HISTORY * h + world.tau * s + world.b
    return weight, step, mean, (step - DEBT / 2) ** 2 + (DEBT * RESIDUAL) ** 2


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
    z, each = even(301)
    sums = np.zeros(3)
    for _, share, shift in world.races():
        weight, step, mean, variance = _given_history(world, 0, shift)
        logit = mean[:, None] + np.sqrt(variance)[:, None] * z
        income = shift - 0.5 + ((step - DEBT / 2) / np.sqrt(variance))[:, None] * z
        kept = share * np.outer(weight, each) * (1 - world.selection * (1 - world.flip) * sigmoid(logit))
        sums += [kept.sum(), (kept * income).sum(), (kept.sum(axis=1) * (z - 0.3)).sum()]
    return float(sums[1] / sums[0]), float(sums[2] / sums[0])
