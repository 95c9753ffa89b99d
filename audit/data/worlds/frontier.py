"""The price of fairness in a planted world: the best accuracy of any rule whose groups differ by no more than a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from audit.core import DataError, Floats
from audit.data.tables import listed
from audit.data.worlds.base import Stratified

POINTS = 501  # corners of a group's curve, by share and again by chance
# What must not differ: the shares of a group's people (2,), or of its negatives and positives, that are selected.
CONSTRAINTS: Mapping[str, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("tpr",),
    "equalized_odds": ("tpr", "fpr"),
}


def best_accuracy(
    world: Stratified,
    gap: float,
    *,
    constraint: str = "demographic_parity",
    attribute: str | Sequence[str] | None = None,
) -> float:
    """The best accuracy of any rule, drawn by lot where it must, whose rates differ by at most `gap` between groups.

    The rule knows all that is recorded of a person, protected attributes included, and the world's own posterior of the
    recorded label: of all rules with the same rates the best has one threshold of the posterior a group, mixed from two
    at most (hardt2016). That is a linear programme over the corners of each group's curve, right to about 1e-5.
    constraint: demographic_parity, equal_opportunity or equalized_odds. attribute: whose levels are the groups, by
    default the world's first; several mean their combinations. Raises DataError, also where a rate that must not differ is
    one over nobody.
    """
    if not gap >= 0:
        raise DataError(f"best_accuracy: gap must be 0 or more, got {gap}")
    if constraint not in CONSTRAINTS:
        raise DataError(f"best_accuracy: constraint must be one of {listed(CONSTRAINTS)}, got {constraint!r}")
    curves = [_curve(chance, mass, CONSTRAINTS[constraint]) for chance, mass in _groups(world, attribute)]
    if gap >= 1:
        return float(sum(right.max() for right, _ in curves))
    return _solved(curves, gap)


def _groups(world: Stratified, attribute: str | Sequence[str] | None) -> list[tuple[Floats, Floats]]:
    """Posterior and mass of the people of each group."""
    strata = world.strata()
    known = list(strata[0].levels)
    wanted = [attribute] if isinstance(attribute, str) else known[:1] if attribute is None else list(attribute)
    for name in wanted or [""]:
        if name not in known:
            raise DataError(f"best_accuracy: attribute must be among {listed(known)}, got {name!r}")
    groups: dict[tuple[str, ...], list[tuple[Floats, Floats]]] = {}
    for each in strata:
        key = tuple(each.levels[name] for name in wanted)
        groups.setdefault(key, []).append((each.chance, each.mass))
    return [
        (np.concatenate([chance for chance, _ in parts]), np.concatenate([mass for _, mass in parts]))
        for parts in groups.values()
    ]


def _curve(chance: Floats, mass: Floats, kept: Sequence[str]) -> tuple[Floats, Floats]:
    """Corners of a group's curve: mass of right decisions (k,), and the rates (k, rates) that must not differ."""
    order = np.argsort(-chance, kind="stable")
    chance, mass = chance[order], mass[order]
    total, positive = mass.sum(), (mass * chance).sum()
    for rate, under in (("tpr", positive), ("fpr", total - positive)):
        if rate in kept and not under > 0:
            raise DataError(f"best_accuracy: the {rate} of a group is undefined: it is over nobody")
    selected = np.concatenate([[0.0], np.cumsum(mass)])
    hit = np.concatenate([[0.0], np.cumsum(mass * chance)])
    by_share = np.searchsorted(selected, np.linspace(0, total, POINTS))
    by_chance = np.searchsorted(-chance, -np.linspace(1, 0, POINTS))
    corners = np.unique(np.clip(np.concatenate([[0], by_share, by_chance, [len(mass)]]), 0, len(mass)))
    selected, hit = selected[corners], hit[corners]
    false = selected - hit
    parts = {"selection_rate": (selected, total), "tpr": (hit, positive), "fpr": (false, total - positive)}
    right = hit + (total - positive) - false
    held = np.column_stack([part / whole for part, whole in (parts[name] for name in kept)])
    # The same thresholds the other way round, which select the least likely, may be the only way to equal odds.
    return np.concatenate([right, total - right]), np.concatenate([held, 1 - held])


def _solved(curves: Sequence[tuple[Floats, Floats]], gap: float) -> float:
    """The most right decisions of mixtures of corners whose rates lie in windows of width `gap`."""
    from scipy.optimize import linprog
    from scipy.sparse import block_diag, coo_array, hstack, vstack

    wide = curves[0][1].shape[1]
    sizes = [len(right) for right, _ in curves]
    rates = block_diag([held.T for _, held in curves])  # (groups · rates, corners)
    lowest = coo_array(np.tile(np.eye(wide), (len(curves), 1)))
    bounds = vstack([hstack([rates, -lowest]), hstack([-rates, lowest])])
    limit = np.concatenate([np.full(rates.shape[0], gap), np.zeros(rates.shape[0])])
    one = hstack([block_diag([np.ones((1, size)) for size in sizes]), coo_array((len(sizes), wide))])
    cost = np.concatenate([*(-right for right, _ in curves), np.zeros(wide)])
    found = linprog(cost, A_ub=bounds.tocsr(), b_ub=limit, A_eq=one.tocsr(), b_eq=np.ones(len(sizes)), bounds=(0, None))
    if found.status != 0:
        raise DataError(f"best_accuracy: no rule was found ({found.message})")
    return float(-found.fun)
