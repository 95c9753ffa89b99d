"""Which pairs of players do more, or less, together than apart: the Shapley interaction index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Ints, Track, UsageError, stream
from audit.explain.coalitions import design
from audit.explain.games import MAX_BYTES, Game, counted
from audit.explain.masking import Coalitions
from audit.explain.odd_gp import DECAYS, JITTER, MOST_PAIRS, distances, polynomials
from audit.explain.pairs import play

EVEN = (2, 4, 6, 8)
MOST_NUMBERS = 2**24  # rows x players^2, of which about four arrays are held at once: half a gigabyte
MAPPED = 64  # players, up to which the error from the background is computed: a map has players^2 / 2 rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """How much each pair of players changes the output together, beyond what each of them does.

    values (rows, most players, most players): symmetric, in the unit of the link; NaN on the diagonal and behind the last
    player of a row. se_sampling, se_background (as values): standard errors from drawing coalitions (0 where all are
    there) and from drawing the background; the second is None for one filling and for more than 64 players.
    """

    values: Floats
    players: tuple[tuple[str, ...], ...]
    method: str
    se_sampling: Floats
    se_background: Floats | None
    seed: int
    evaluations: int

    def strongest(self, row: int, count: int = 5) -> tuple[tuple[str, str, float], ...]:
        """The pairs of one row with the largest absolute interaction: two names and the value."""
        names = self.players[row]
        first, second = np.triu_indices(len(names), 1)
        found = self.values[row][first, second]
        order = np.argsort(-np.abs(found), kind="stable")[:count]
        return tuple((names[first[one]], names[second[one]], float(found[one])) for one in order)


def interactions(
    game: Game, *, budget: int = 2048, seed: int = 0, track: Track | None = None, max_bytes: int = MAX_BYTES
) -> Interactions:
    """The Shapley interaction index of every pair of players in every row, exact where 2^players coalitions fit.

    The mean over coalitions of the others of v(with both) - v(with one) - v(with the other) + v(with neither), weighted
    as in Shapley values (grabisch1999). It depends on the even part of the game alone, over which, where not all
    coalitions are there, a Gaussian process is fitted row by row. Raises UsageError, ModelError.
    """
    most = max(len(names) for names in game.masker.players)
    if min(len(names) for names in game.masker.players) < 2:
        raise UsageError("players: interactions are of two at least, and a row has fewer")
    if len(game) * most**2 > MOST_NUMBERS:
        raise UsageError(
            f"rows: at most {max(MOST_NUMBERS // most**2, 1)} at once with {most} players, whose interactions are "
            f"{most} x {most} numbers a row; got {len(game)}"
        )
    values, sampling = (np.full((len(game), most, most), np.nan) for _ in range(2))
    known = game.masker.fillings > 1 and most <= MAPPED
    behind = np.full((len(game), most, most), np.nan) if known else None
    played, counter = counted(game)
    method = ""
    for players, rows in game.by_players():
        if min(budget, 2**players) > 2 * MOST_PAIRS and budget < 2**players:
            raise UsageError(f"budget: at most {2 * MOST_PAIRS} coalitions where not all fit, got {budget}")
        plan = design(players, budget, stream(seed, f"explain.interactions/{players}/{budget}"))
        linear = _map(plan.present, exact=plan.exact) if game.masker.fillings > 1 and players <= MAPPED else None
        found = play(played, rows, plan.present, linear=linear, part="even", max_bytes=max_bytes, track=track)
        parts = _exact(plan.present, found.even) if plan.exact else even_gp(plan.present, found.even)
        for whole, part in zip((values, sampling), parts, strict=True):
            whole[rows, :players, :players] = part
        if found.spread is not None and behind is not None:
            behind[rows, :players, :players] = _square(found.spread, players)
        way = "all of them" if plan.exact else "even-degree Gaussian process"
        method = f"Shapley interaction index, {2 * len(plan.present)} of 2^{players} coalitions, {way}"
    return Interactions(
        values=values,
        players=game.masker.players,
        method=method,
        se_sampling=sampling,
        se_background=behind,
        seed=seed,
        evaluations=counter.evaluations,
    )


def even_gp(present: Coalitions, even: Floats) -> tuple[Floats, Floats]:
    """Interactions and standard errors (rows, players, players) from the even part e (rows, pairs) of the game.

    The prior of the odd part's process, on even sizes; the mean of the game is free. Each row takes the decay under which
    what was seen of it is likeliest, and the scale that fits it best.
    """
    from scipy.linalg import solve_triangular

    pairs, players = present.shape
    apart = distances(present, present)
    shape = (len(even), players, players)
    best, values, error = np.full(len(even), np.inf), np.zeros(shape), np.zeros(shape)
    for decay in DECAYS:
        lower = _factor(apart, players, decay)
        white = solve_triangular(lower, np.vstack([np.ones(pairs), even]).T, lower=True, check_finite=False).T
        one, seen = white[0], white[1:]
        seen = seen - np.outer(seen @ one / (one @ one), one)
        scale = np.maximum((seen**2).sum(axis=1) / max(pairs - 1, 1), np.finfo(float).tiny)
        misfit = (pairs - 1) / 2 * np.log(scale) + np.log(np.diag(lower)).sum() + np.log(one @ one) / 2
        better = misfit < best
        if not better.any():
            continue
        best[better] = misfit[better]
        left = np.zeros((players, players))
        for player in range(players):
            cross = covariance(present, player, decay)
            across = solve_triangular(lower, cross.T, lower=True, check_finite=False).T
            values[better, player] = seen[better] @ across.T
            known = (across**2).sum(axis=1) - (across @ one) ** 2 / (one @ one)
            left[player] = np.maximum(prior_variance(players, decay) - known, 0.0)
        spread = np.sqrt(left)
        for row in np.flatnonzero(better):  # one by one: a row has players^2 of them
            error[row] = math.sqrt(scale[row]) * spread
    for part in (values, error):
        part[:, range(players), range(players)] = np.nan
    return values, error


def _factor(apart: np.ndarray, players: int, decay: float) -> Floats:
    from scipy.linalg import cholesky

    sizes = [size for size in EVEN if size <= players]
    basis = polynomials(players, sizes[-1])
    by_distance = np.asarray(sum(decay ** (size / 2 - 1) * players / size * basis[size] for size in sizes))
    covered = by_distance[apart]
    covered[np.diag_indices(len(covered))] *= 1 + JITTER
    return np.asarray(cholesky(covered, lower=True, overwrite_a=True, check_finite=False))


def covariance(present: Coalitions, player: int, decay: float) -> Floats:
    """Prior covariance (players, pairs) of one player's interactions with the even part at coalitions (pairs, players)."""
    players = present.shape[1]
    sizes = [size for size in EVEN if size <= players]
    basis = polynomials(players - 2, sizes[-1] - 2)
    shares = [4 * decay ** (size / 2 - 1) / (players - 1) * basis[size - 2] for size in sizes]
    by_absent = np.asarray(sum(shares))
    gone = (~present).astype(np.int64)
    others = gone.sum(axis=1)[:, None] - gone - gone[:, [player]]
    alike = np.where(present == present[:, [player]], 1.0, -1.0)
    return np.asarray(alike * by_absent[np.clip(others, 0, players - 2)]).T


def prior_variance(players: int, decay: float) -> float:
    """Prior variance of an interaction."""
    return float(sum(16 * decay ** (size / 2 - 1) / ((size - 1) * (players - 1)) for size in EVEN if size <= players))


def _exact(present: Coalitions, even: Floats) -> tuple[Floats, Floats]:
    """Interactions (rows, players, players) from all coalitions, and their errors of 0.

    A coalition's weight depends on its size and on whether it holds both, one or neither: a quadratic form.
    """
    players = present.shape[1]
    values = np.zeros((len(even), players, players))
    both, one, none = _weights(present.sum(axis=1), players)
    inside = present.astype(np.float64)
    for row, part in enumerate(even):
        alone = inside.T @ (part * (one - none))
        values[row] = (
            (part @ none) + alone[:, None] + alone + inside.T @ (inside * (part * (both - 2 * one + none))[:, None])
        )
    values[:, range(players), range(players)] = np.nan
    return values, values * 0.0


def _weights(count: Ints, players: int) -> tuple[Floats, Floats, Floats]:
    """Weights (pairs,) of the even part where a coalition of `count` players holds both, one, or neither of two."""
    if players < 2:
        return (np.zeros(len(count)),) * 3
    ways = [1 / ((players - 1) * math.comb(players - 2, size)) for size in range(players - 1)]
    padded = np.array([0.0, 0.0, *ways, 0.0, 0.0])  # weight of t others at t + 2
    # each pair stands for a coalition and its complement, in which "both" and "neither" change places
    return 2 * padded[count], -(padded[count + 1] + padded[players - count + 1]), 2 * padded[count + 2]


def _map(present: Coalitions, *, exact: bool) -> Floats:
    """A linear map (pairs of players, pairs) from the even part to interactions."""
    from scipy.linalg import cho_solve

    players = present.shape[1]
    first, second = np.triu_indices(players, 1)
    if not len(first):
        return np.zeros((0, len(present)))
    if exact:
        both, one, none = _weights(present.sum(axis=1), players)
        held = present[:, first].astype(np.int64) + present[:, second]
        return np.asarray(np.choose(held, [none[:, None], one[:, None], both[:, None]])).T
    lower = _factor(distances(present, present), players, 0.05)
    cross = np.concatenate([covariance(present, player, 0.05)[player + 1 :] for player in range(players)])
    found = cho_solve((lower, True), np.vstack([np.ones(len(present)), cross]).T, check_finite=False).T
    return np.asarray(found[1:] - np.outer(found[1:].sum(axis=1) / found[0].sum(), found[0]))


def _square(flat: Floats, players: int) -> Floats:
    """Symmetric (rows, players, players) of the values above the diagonal (rows, pairs of players)."""
    found = np.full((len(flat), players, players), np.nan)
    first, second = np.triu_indices(players, 1)
    found[:, first, second] = found[:, second, first] = flat
    return found
