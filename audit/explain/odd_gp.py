"""A Gaussian process over the odd part of a game, from which Shapley values and their standard errors follow.

In the parity basis a game is v(s) = sum_T c_T prod_{i in T} s_i, s_i = +1 for a player present and -1 for one absent.
Shapley values depend only on sets of odd size: phi_i = sum over odd T holding i of 2 c_T / |T|. The prior makes all sets of
a size alike and large sets small; kernels then depend on the number of players in which two coalitions differ
(rasmussen2006, fumagalli2026).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Ints
from audit.explain.coalitions import Estimate, efficient, exact_square, exact_weights
from audit.explain.masking import Coalitions

ODD = (1, 3, 5, 7, 9)
DECAYS = (0.3, 0.1, 0.05, 0.03, 0.015, 0.007, 0.003, 0.001)
NOISES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
JITTER = 1e-8  # of the variance: keeps the kernel's factor, and intervals honest where nearly all is seen
JUDGED = 1024  # pairs that choose among priors, at most
MOST_PAIRS = 8192  # whose kernel of pairs x pairs float64 numbers is half a gigabyte


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of a game before it is played.

    decay: of the share of a size against that of the size two below it. rough: variance, as a share of the rest, of a
    part of the game that follows no size; it belongs to the values. noise: of what does not, as of a mean over drawn rows.
    """

    decay: float
    rough: float = JITTER
    noise: float = 0.0


PRIORS = (*(Prior(decay=decay) for decay in DECAYS), Prior(decay=0.3, rough=0.03), Prior(decay=0.3, rough=0.3))
NOISY = tuple(Prior(decay=decay, noise=noise) for decay in DECAYS[::2] for noise in NOISES)


def polynomials(players: int, most: int) -> Floats:
    """Krawtchouk polynomials over their value at 0, (most + 1, players + 1): one row a degree, one column a distance.

    The mean over sets of a size of the parity of two coalitions that differ in so many players.
    """
    found = np.ones((max(most, 1) + 1, players + 1))
    slope = players - 2.0 * np.arange(players + 1)
    found[1] = slope / max(players, 1)
    for degree in range(1, min(most, players)):
        found[degree + 1] = (slope * found[degree] - degree * found[degree - 1]) / (players - degree)
    return found


def distances(first: Coalitions, second: Coalitions) -> np.ndarray:
    """In how many players coalitions (a, players) and (b, players) differ (a, b)."""
    signs = [np.where(side, np.float32(1), np.float32(-1)) for side in (first, second)]
    return np.asarray((first.shape[1] - signs[0] @ signs[1].T) / 2).astype(np.intp)


def kernel(players: int, decay: float) -> Floats:
    """Prior covariance of the odd part at two coalitions that differ in 0, 1, ... players (players + 1,)."""
    sizes = [size for size in ODD if size <= players]
    basis = polynomials(players, sizes[-1])
    return np.asarray(sum(decay ** ((size - 1) / 2) * players / size * basis[size] for size in sizes))


def covariance(present: Coalitions, prior: Prior) -> Floats:
    """Prior covariance (players, pairs) of the Shapley values with the odd part at coalitions (pairs, players)."""
    players = present.shape[1]
    sizes = [size for size in ODD if size <= players]
    basis = polynomials(players - 1, sizes[-1] - 1)
    by_absent = np.asarray(sum(2 / size * prior.decay ** ((size - 1) / 2) * basis[size - 1] for size in sizes))
    absent = players - present.sum(axis=1)[:, None] - ~present  # among the other players
    found = np.where(present, by_absent[absent], -by_absent[absent]).T
    rough = exact_weights(present) * (prior.rough * kernel(players, prior.decay)[0])
    rough[:, present.all(axis=1)] = 0.0  # everyone together is known without it
    return np.asarray(found + rough)


def prior_variance(players: int, prior: Prior) -> float:
    """Prior variance of a Shapley value."""
    smooth = float(sum(4 / size**2 * prior.decay ** ((size - 1) / 2) for size in ODD if size <= players))
    return smooth + prior.rough * float(kernel(players, prior.decay)[0]) * exact_square(players)


def factor(covered: Floats, own: float, present: Coalitions) -> Floats:
    """The lower Cholesky factor of a kernel matrix (pairs, pairs), changed in place: `own` is each pair's own share.

    Everyone together has none: that pair is known exactly, which makes the values add up.
    """
    from scipy.linalg import cholesky

    place = np.arange(len(covered))
    covered[place, place] *= 1 + np.where(present.all(axis=1), 1e-12, own)
    return np.asarray(cholesky(covered, lower=True, overwrite_a=True, check_finite=False))


def odd_gp(
    present: Coalitions,
    odd: Floats,
    *,
    priors: tuple[Prior, ...] = PRIORS,
    judged: int = JUDGED,
    noise: Floats | None = None,
) -> Estimate:
    """Shapley values (rows, players) from the odd part g (rows, pairs) of the game at coalitions (pairs, players).

    Each row takes the prior under which what was seen of it is likeliest, and the scale that fits it best. Of more than
    `judged` pairs, so many, evenly spread, choose the prior; the values come from all. noise (rows, pairs): the variance of
    errors of g where it is known; its mean over pairs is the least that a prior's noise may come to.
    """
    if len(present) <= judged or len(priors) == 1:
        return _under(present, odd, priors, noise)[0]
    some = np.unique(np.linspace(0, len(present) - 1, judged).astype(np.int64))
    chosen = _under(present[some], odd[:, some], priors, None if noise is None else noise[:, some])[1]
    values, error = np.zeros((2, len(odd), present.shape[1]))
    misfit = np.zeros(len(odd))
    for place in np.unique(chosen):
        rows = chosen == place
        found = _under(present, odd[rows], (priors[place],), None if noise is None else noise[rows])[0]
        values[rows], error[rows], misfit[rows] = found.values, found.error, found.misfit
    return Estimate(values=values, error=error, misfit=misfit)


def _under(present: Coalitions, odd: Floats, priors: tuple[Prior, ...], noise: Floats | None) -> tuple[Estimate, Ints]:
    """The estimate of each row under its likeliest prior, and that prior's number.

    noise (rows, pairs): its mean over pairs is the least that a prior's noise comes to, and the error counts each pair's. A
    fitted noise alone would not do: where there are as many odd terms as pairs, all noise passes for the game.
    """
    from scipy.linalg import solve_triangular

    apart = distances(present, present)
    players = present.shape[1]
    best, chosen = np.full(len(odd), np.inf), np.zeros(len(odd), dtype=np.int64)
    values, error = np.zeros((2, len(odd), players))
    least = None if noise is None else noise[:, 1:].sum(axis=1) / max(noise.shape[1] - 1, 1)
    for number, prior in enumerate(priors):
        lower = factor(kernel(players, prior.decay)[apart], prior.rough + prior.noise, present)
        sides = np.concatenate([odd, covariance(present, prior)])
        white = solve_triangular(lower, sides.T, lower=True, check_finite=False).T
        seen, cross = white[: len(odd)], white[len(odd) :]
        scale = np.maximum((seen**2).mean(axis=1), np.finfo(float).tiny)
        fitted = scale
        if least is not None and prior.noise > 0:
            scale = np.maximum(fitted, least / (prior.noise * kernel(players, prior.decay)[0]))
        misfit = len(present) / 2 * (np.log(scale) + fitted / scale - 1) + np.log(np.diag(lower)).sum()
        better = misfit < best
        best[better], chosen[better] = misfit[better], number
        values[better] = seen[better] @ cross.T
        left = np.maximum(prior_variance(players, prior) - (cross**2).sum(axis=1), 0.0)
        variance = scale[better, None] * left
        if noise is not None and least is not None:
            weights = solve_triangular(lower, cross.T, lower=True, trans=1, check_finite=False).T
            variance = reckoned(variance, weights, noise[better], least[better])
        error[better] = np.sqrt(variance)
    return Estimate(values=efficient(values, odd[:, 0]), error=error, misfit=best), chosen


def reckoned(variance: Floats, weights: Floats, noise: Floats, mean: Floats) -> Floats:
    """Variances (rows, players) of values under one noise for all pairs, as variances under each pair's own (rows, pairs).

    weights (players, pairs): of the values; mean (rows,): the noise that was counted. The first pair has none.
    """
    own, even = noise[:, 1:] @ weights[:, 1:].T ** 2, np.outer(mean, (weights[:, 1:] ** 2).sum(axis=1))
    return np.maximum(variance + own - even, own)


def matrix(present: Coalitions, prior: Prior) -> Floats:
    """The linear map (players, pairs) from the odd part to Shapley values under one prior."""
    from scipy.linalg import cho_solve

    apart = distances(present, present)
    lower = factor(kernel(present.shape[1], prior.decay)[apart], prior.rough + prior.noise, present)
    return np.asarray(cho_solve((lower, True), covariance(present, prior).T, check_finite=False).T)
