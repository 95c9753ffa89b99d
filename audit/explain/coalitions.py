"""Which coalitions to evaluate, and the one linear map that turns their values into Shapley values.

Shapley values depend only on the odd part of a game, g(S) = (v(S) - v(not S)) / 2, so a design is a list of pairs
(S, not S), of which it names S; the first pair is (everyone, no one). One design serves all rows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Ints, UsageError
from audit.explain.masking import Coalitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Pairs of coalitions: present (pairs, players) names one of each pair, the first is everyone.

    weights (pairs,): the Shapley kernel's, the first unused. size (pairs,): the class that a pair belongs to, players
    in the smaller of the two. drawn: size class to its number of pairs, for the classes that were sampled.
    """

    present: Coalitions
    weights: Floats
    size: Ints
    drawn: dict[int, int]

    @property
    def exact(self) -> bool:
        """Whether all coalitions are in the design, and the values therefore exact."""
        pairs, players = self.present.shape
        return bool(2 * pairs == 2**players)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Values and standard errors (rows, players), and minus the log marginal likelihood (rows,) where there is one."""

    values: Floats
    error: Floats
    misfit: Floats | None = None

    def or_likelier(self, other: Estimate) -> Estimate:
        """In each row the one of two under which what was seen is likelier."""
        if self.misfit is None or other.misfit is None:
            return self
        theirs = (other.misfit < self.misfit)[:, None]
        return Estimate(
            values=np.where(theirs, other.values, self.values),
            error=np.where(theirs, other.error, self.error),
            misfit=np.minimum(self.misfit, other.misfit),
        )


def efficient(values: Floats, full: Floats) -> Floats:
    """Values (rows, players) that add up to 2 g(everyone), what rounding left shared out equally."""
    rest = 2 * full - values.sum(axis=1)
    return np.asarray(values + rest[:, None] / values.shape[1])


def design(players: int, budget: int, rng: np.random.Generator, start: Design | None = None) -> Design:
    """A paired design of at most `budget` coalitions (when 2^players fits, all of them), `start`'s pairs the first.

    Outer sizes are taken whole while the budget allows (lundberg2017); the rest of it goes to the other sizes alike,
    which is sampling by leverage scores, uniformly within a size and without replacement (musco2025).
    Raises UsageError where the budget cannot identify the values.
    """
    if players < 1:
        raise UsageError("players: at least one is needed, got none")
    least = least_budget(players)
    if budget < least:
        raise UsageError(
            f"budget: {players} features need at least {least} coalitions, got {budget}; raise it or join columns into players"
        )
    every = {size: _pairs_of(players, size) for size in range(1, players // 2 + 1)}
    start = start or _ends(players)
    had = {size: int((start.size == size).sum()) for size in every}
    taken = _at_least(had, _allocate(players, every, (budget - 2) // 2, rng))
    blocks, sizes = [start.present], [start.size]
    for size, count in taken.items():
        more = count - had[size]
        if more > 0:
            known = start.present[start.size == size]
            blocks.append(_class(players, size, more, every[size], known, rng))
            sizes.append(np.full(more, size, dtype=np.int64))
    size_of = np.concatenate(sizes)
    weight = np.zeros(players // 2 + 1)
    for size, count in taken.items():
        weight[size] = _weight(players, size, count) if count else 0.0
    return Design(
        present=np.concatenate(blocks),
        weights=weight[size_of],
        size=size_of,
        drawn={size: count for size, count in taken.items() if 0 < count < every[size]},
    )


def _ends(players: int) -> Design:
    """The pair that every design begins with."""
    return Design(
        present=np.ones((1, players), dtype=bool), weights=np.zeros(1), size=np.zeros(1, dtype=np.int64), drawn={}
    )


def _at_least(had: dict[int, int], wanted: dict[int, int]) -> dict[int, int]:
    """The wanted numbers of pairs, none below what is there already, and no more of them in total."""
    taken = {size: max(count, wanted.get(size, 0)) for size, count in had.items()}
    excess = sum(taken.values()) - max(sum(wanted.values()), sum(had.values()))
    for size in sorted(taken, key=lambda one: had[one] - taken[one]):
        back = min(excess, taken[size] - had[size])
        taken[size] -= back
        excess -= back
    return taken


def least_budget(players: int) -> int:
    """The fewest coalitions that a design is made of."""
    return int(min(2**players, 4 * players + 2))


def _pairs_of(players: int, size: int) -> int:
    whole = math.comb(players, size)
    return whole // 2 if 2 * size == players else whole


def _weight(players: int, size: int, count: int) -> float:
    """The kernel mass of a size spread over its coalitions in the design (a pair at the middle size holds two)."""
    mass = (players - 1) / (size * (players - size))
    return mass / (2 * count if 2 * size == players else count)


def _allocate(players: int, every: dict[int, int], budget: int, rng: np.random.Generator) -> dict[int, int]:
    """Pairs for each size class: whole outer classes first, then equal shares of what is left."""
    weight = {size: 1 if 2 * size == players else 2 for size in every}
    taken: dict[int, int] = {}
    for size in every:
        left = sum(weight[other] for other in every if other not in taken)
        if budget * weight[size] < every[size] * left:
            break
        taken[size] = every[size]
        budget -= every[size]
    rest = [size for size in every if size not in taken]
    if not rest or not budget:
        return taken
    shares = np.array([weight[size] for size in rest]) * (budget / sum(weight[size] for size in rest))
    counts = np.minimum(np.floor(shares), [float(min(every[size], budget)) for size in rest]).astype(np.int64)
    odds = shares - np.floor(shares)
    extra = min(budget - int(counts.sum()), int((odds > 0).sum()))
    if extra > 0:
        counts[rng.choice(len(rest), size=extra, replace=False, p=odds / odds.sum())] += 1
    capped = (min(int(count), every[size]) for size, count in zip(rest, counts, strict=True))
    return taken | {size: count for size, count in zip(rest, capped, strict=True) if count}


def _class(players: int, size: int, count: int, every: int, known: Coalitions, rng: np.random.Generator) -> Coalitions:
    """`count` more pairs of one size class beside the known: all of them, some of a list, or drawn until they suffice."""
    if every <= 4 * (count + len(known)):
        # with 2s = M: those with player 0
        halves = itertools.islice(itertools.combinations(range(players), size), every)
        listed = _indicators(np.array(list(halves), dtype=np.int64), players)
        if len(known):
            seen = {row.tobytes() for row in known}
            listed = listed[[row.tobytes() not in seen for row in listed]]
        return listed if len(listed) == count else listed[rng.choice(len(listed), size=count, replace=False)]
    found = {row.tobytes(): row for row in known}
    while len(found) < count + len(known):
        order = rng.random((count, players)).argsort(axis=1)[:, :size]
        for row in _indicators(order, players):
            row = ~row if 2 * size == players and not row[0] else row
            if len(found) < count + len(known):
                found.setdefault(row.tobytes(), row)
    return np.array(list(found.values())[len(known) :])


def _indicators(members: Ints, players: int) -> Coalitions:
    present = np.zeros((len(members), players), dtype=bool)
    np.put_along_axis(present, members, True, axis=1)
    return present


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """Shapley values as `phi = matrix @ g` (players, pairs): the same matrix for every row and every background row."""

    matrix: Floats
    leverage: Floats
    design: Design

    def __call__(self, odd: Floats) -> Floats:
        """Values (..., players) from odd parts g (..., pairs); they add up to 2 g(everyone) = v(all) - v(none)."""
        return np.asarray(odd @ self.matrix.T)

    def standard_error(self, odd: Floats, *, noisy: bool = False) -> Floats:
        """Standard error (rows, players) from having drawn coalitions, given g (rows, pairs); 0 when all are there.

        Linearised: leave-one-out residuals of the regression, as a stratified sample without replacement. noisy: each
        value has an error of its own, so that sizes that are there as a whole, too, are samples of a larger population.
        """
        design = self.design
        values = self(odd)
        half = design.present - 0.5
        residual = (odd - values @ half.T) / (1 - self.leverage)
        variance = np.zeros_like(values)
        drawn = {
            int(size): int(count) for size, count in zip(*np.unique(design.size[1:], return_counts=True), strict=True)
        }
        for size, count in (drawn if noisy else design.drawn).items():
            chosen = design.size == size
            total = residual[:, chosen] @ self.matrix[:, chosen].T
            squares = residual[:, chosen] ** 2 @ self.matrix[:, chosen].T ** 2
            spread = (squares - total**2 / count) * count / (count - 1) if count > 1 and not noisy else squares
            whole = math.inf if noisy else _pairs_of(design.present.shape[1], size)
            variance += np.maximum(spread, 0.0) * (1 - count / whole)
        return np.asarray(np.sqrt(variance))

    def estimate(self, odd: Floats, *, noisy: bool = False) -> Estimate:
        """Values and standard errors (rows, players) from g (rows, pairs)."""
        return Estimate(values=efficient(self(odd), odd[:, 0]), error=self.standard_error(odd, noisy=noisy))


def linear_map(design: Design) -> LinearMap:
    """Weighted least squares of g on the signs, its efficiency constraint eliminated exactly (lundberg2017)."""
    half = design.present - 0.5
    players = half.shape[1]
    weighted = half * design.weights[:, None]
    centre = np.eye(players) - 1 / players
    # The centring leaves one direction with a variance of 0; by rounding it may come out above the default cut-off.
    inverse = np.linalg.pinv(centre @ (half.T @ weighted) @ centre, rcond=1e-9, hermitian=True)
    matrix = inverse @ weighted.T
    matrix -= matrix.mean(axis=0)
    # What the pairs say beyond an equal split of v(all) - v(none) = 2 g(everyone), which is column 0.
    matrix[:, 0] = (1 - matrix @ half.sum(axis=1)) * (2 / players)
    leverage = np.minimum(np.einsum("pi,ip->p", half, inverse @ weighted.T), 1 - 1e-9)
    return LinearMap(matrix=matrix, leverage=leverage, design=design)


def exact_weights(present: Coalitions) -> Floats:
    """What the odd part at each pair (pairs, players) adds to each Shapley value (players, pairs), all pairs there.

    The share of the orders in which a player joins or leaves that coalition (shapley1953).
    """
    players = present.shape[1]
    count = present.sum(axis=1)
    ways = [1.0, *(2 / (size * math.comb(players, size)) for size in range(1, players + 1))]
    joins = np.array(ways)[count]
    leaves = np.array([*ways[:0:-1], 1.0])[count]  # size and number of absent change places
    return np.asarray(np.where(present, joins[:, None], -leaves[:, None]).T)


def exact_square(players: int) -> float:
    """The sum of the squares of one player's exact weights over all pairs but the first."""
    sizes = np.arange(1, players)
    once = np.array([1 / (int(size) * math.comb(players, int(size))) for size in sizes])
    # C(M-1, s-1) / (s C(M, s)) = 1 / M: a player's weights at each size add up to a share of M
    return float(4 / players * once.sum()) if players > 1 else 0.0
