"""The exact discriminant, rates and effects of the lending network: sums over acquaintances of a normal's tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom, poisson

from audit.core import Floats
from audit.data.worlds.scores import difference, rates

if TYPE_CHECKING:
    from audit.data.worlds.lending_network import LendingNetwork

TAIL = 1e-12  # of the distribution of ties that is left out


def _degrees(world: LendingNetwork) -> tuple[Floats, Floats]:
    """Numbers of ties (k,) from 0 on and their chances: Poisson, in a network of many people."""
    count = np.arange(int(poisson.isf(TAIL, world.degree)) + 2)
    mass = poisson.pmf(count, world.degree)
    return count.astype(np.float64), mass / mass.sum()


def discriminant(world: LendingNetwork) -> tuple[Floats, Floats]:
    """Weights (d,) of own features and of their mean over the acquaintances, with the best linear separation of labels.

    Of the four means (own and around, of the two columns told by the label and of the two told by the district) the
    weights are 2 C⁻¹ m, for means ±m of the classes and C their covariance within a class; equal columns share alike.
    """
    count, mass = _degrees(world)
    q = 1 - mass[0]
    inverse = float(mass[1:] @ (1 / count[1:]))
    alpha, beta, gap, mixing = world.shift, world.proxy, world.gap, 2 * world.homophily - 1
    # Of one acquaintance given the person's district s: the mean is s far, the covariance is `one`.
    far = np.array([alpha * gap * mixing, beta * mixing])
    one = np.array(
        [
            [0.5 + alpha**2 * (1 - (gap * mixing) ** 2), alpha * beta * gap * (1 - mixing**2)],
            [alpha * beta * gap * (1 - mixing**2), 0.5 + beta**2 * (1 - mixing**2)],
        ]
    )
    by_group = np.array([0.0, beta, *(q * far)])
    within = np.zeros((4, 4))
    within[:2, :2] = 0.5 * np.eye(2)
    within[2:, 2:] = inverse * one + q * (1 - q) * np.outer(far, far)
    within += (1 - gap**2) * np.outer(by_group, by_group)
    apart = gap * by_group + np.array([alpha, 0.0, 0.0, 0.0])
    weights = np.linalg.solve(within, 2 * apart) / 2  # each of two columns has half of what their mean has
    kept = np.array([0, 0, 1, 1]) if world.proxy else np.array([0, 0])
    noise = np.zeros(4)
    return np.concatenate([weights[:2][kept], noise]), np.concatenate([weights[2:][kept], noise])


def truth(world: LendingNetwork) -> Mapping[str, float]:
    """See `LendingNetwork.truth`."""
    from audit.data.worlds.lending_network import LEVELS

    cells = np.array([[_decided(world, a, y) for y in (0, 1)] for a in (0, 1)])
    values = rates(cells.sum(axis=0))
    for a, level in enumerate(LEVELS):
        values |= rates(cells[a], f".{level}")
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values |= difference(values, f"{name}_difference", f"{rate}.west", f"{rate}.east")
    return values | _effects(world) | _network(world)


def _decided(world: LendingNetwork, a: int, y: int) -> Floats:
    """P(district, label, decision) (2,) for no and yes: a sum over the acquaintances' number, districts and labels."""
    s, t = 2 * a - 1, 2 * y - 1
    (own_label, own_group), (near_label, near_group) = _per_column(world)
    mean = 2 * (own_label * world.shift * t + own_group * world.proxy * s)
    variance = 2 * (own_label**2 + own_group**2)
    yes = 0.0
    for ties, chance in zip(*_degrees(world), strict=True):
        if ties == 0:
            yes += chance * float(ndtr(mean / np.sqrt(variance)))
            continue
        label, group, mass = _company(world, s, int(ties))
        shifted = mean + 2 * (near_label * world.shift * label + near_group * world.proxy * group) / ties
        spread = np.sqrt(variance + 2 * (near_label**2 + near_group**2) / ties)
        yes += chance * float(mass @ ndtr(shifted / spread))
    share = 0.5 * (0.5 + world.gap / 2 * s * t)
    return np.array([share * (1 - yes), share * yes])


def _company(world: LendingNetwork, s: int, ties: int) -> tuple[Floats, Floats, Floats]:
    """Sums of 2y - 1 and of s over so many acquaintances of a person of district s, and the chance of each pair of sums."""
    labels, groups, masses = [], [], []
    repaid = np.arange(ties + 1)
    for alike in range(ties + 1):
        near = binom.pmf(np.arange(alike + 1), alike, 0.5 + world.gap / 2 * s)
        other = binom.pmf(np.arange(ties - alike + 1), ties - alike, 0.5 - world.gap / 2 * s)
        labels.append(2.0 * repaid - ties)
        groups.append(np.full(ties + 1, s * (2.0 * alike - ties)))
        masses.append(binom.pmf(alike, ties, world.homophily) * np.convolve(near, other))
    return np.concatenate(labels), np.concatenate(groups), np.concatenate(masses)


def _per_column(world: LendingNetwork) -> tuple[tuple[float, float], tuple[float, float]]:
    """Own and neighbours' weight of a column told by the label, and of one told by the district."""
    own, around = discriminant(world)
    group = 2 if world.proxy else -1  # without them the last column, noise of weight 0, stands for it
    return (float(own[0]), float(own[group])), (float(around[0]), float(around[group]))


def _effects(world: LendingNetwork) -> dict[str, float]:
    (label, group), _ = _per_column(world)
    parts = {"path.label": 2 * label * 2 * world.shift * world.gap, "path.proxy": 2 * group * 2 * world.proxy}
    return {"counterfactual_logit": sum(parts.values()), **parts}


def _network(world: LendingNetwork) -> dict[str, float]:
    """The ties by the districts of their ends, which hold half of the people each."""
    mixing = 2 * world.homophily - 1
    known = {"edge_homophily": world.homophily, "assortativity": mixing, "mean_degree": world.degree}
    return known | ({"class_insensitive_homophily": max(0.0, mixing)} if mixing else {})
