"""A Gaussian process over the odd part of a game in which every player has a relevance of its own, fitted row by row.

The prior variance of a set is the product of its players' relevances b: where few players matter (superpixels, tokens,
features of trees) far fewer coalitions do. The relevances maximise the marginal likelihood (type-II, mackay1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audit.core import Floats
from audit.explain.coalitions import Estimate, efficient, exact_square, exact_weights
from audit.explain.masking import Coalitions
from audit.explain.odd_gp import JITTER, reckoned

FITTED = 384  # pairs that relevances are fitted to, at most; values come from all
SKETCHED = 128  # pairs that choose where the fit begins and take it most of the way, at a tenth of the cost
STEPS, FINISHED = 40, 6  # steps of the fit to the sketch, and to all that are fitted
STARTS = tuple((size, power) for size in (0.02, 0.05, 0.1, 0.2, 0.4) for power in (0.0, 0.5, 1.0))
LEAST, MOST = 1e-4, 0.95  # of a relevance
ENOUGH = 1e-5  # a step that lowers the misfit by a smaller share is the last
SPREAD = 0.7  # of the log-odds of relevances around their mean: a normal prior, without which few coalitions over-fit
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
NODES, WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """The prior of one row: b (players,) between 0 and 1; what each pair has of its own, as a share of the variance.

    rough: whether that belongs to the game, and therefore to its values, or is noise.
    """

    b: Floats
    own: float
    rough: bool = True

    @property
    def scale(self) -> float:
        """Logarithm of the variance of the odd part, in whose units all else is."""
        total = float(np.arctanh(self.b).sum())
        return float(np.log1p(-(self.b**2)).sum() / 2 + total + math.log1p(-math.exp(-2 * total)) - math.log(2))


def odd_gp_ard(
    present: Coalitions, odd: Floats, rough: Floats, *, noise: Floats | None = None, fitted: int = FITTED
) -> Estimate:
    """Shapley values (rows, players) from the odd part g (rows, pairs); rough (rows, players): values to start from.

    Relevances are fitted to the first pair and to as many of the others, evenly spread, as `fitted` allows; the values
    come from all. noise (rows, pairs): variances of errors of g. What a pair has of its own is then noise, at least so
    much as their mean.
    """
    signs = np.where(present, 1.0, -1.0)
    some = np.unique(np.linspace(0, len(signs) - 1, min(fitted, len(signs))).astype(np.int64))
    parts = []
    for row, (seen, guess) in enumerate(zip(odd, rough, strict=True)):
        known = None if noise is None else noise[row]
        b, own = fit(signs[some], seen[some], guess, _mean(known))
        parts.append(solved(present, seen, Relevance(b=b, own=own, rough=noise is None), known))
    values, error = (np.stack([part[place] for part in parts]) for place in (0, 1))
    misfits = np.array([part[2] for part in parts], dtype=np.float64)
    return Estimate(values=efficient(values, odd[:, 0]), error=error, misfit=misfits)


def _mean(noise: Floats | None) -> float:
    """Over the pairs but the first, which is known exactly."""
    return 0.0 if noise is None or len(noise) < 2 else float(noise[1:].mean())


def fit(signs: Floats, odd: Floats, guess: Floats, known: float = 0.0) -> tuple[Floats, float]:
    """The likeliest relevances (players,) and own share, given g (pairs,) at coalitions (pairs, players) of -1 and 1.

    known: variance of errors of g, which the own share is to make up for at least.
    """
    if not odd.any():
        return np.full(signs.shape[1], 0.1), JITTER
    noise = min(known / max(float((odd[1:] ** 2).mean()), np.finfo(float).tiny), 0.5) if known else 0.0
    least = max(math.log(JITTER), math.log(noise / (1 - noise)) if noise else -math.inf)
    share = np.abs(guess) / max(float(np.abs(guess).max()), np.finfo(float).tiny) + 0.01
    starts = []
    for size, power in STARTS:
        b = np.clip(size * (share / share.max()) ** power, LEAST, MOST)
        starts.append(np.append(np.log(b / (1 - b)), max(-9.0, least)))
    some = np.unique(np.linspace(0, len(signs) - 1, min(SKETCHED, len(signs))).astype(np.int64))
    sketch = signs[some], odd[some]
    best = min(starts, key=lambda point: misfit(*sketch, point, slope=False)[0])
    best = _descended(*sketch, best, STEPS, least)
    if len(some) < len(signs):
        best = _descended(signs, odd, best, FINISHED, least)
    return 1 / (1 + np.exp(-best[:-1])), math.exp(best[-1])


def _descended(signs: Floats, odd: Floats, start: Floats, steps: int, least: float) -> Floats:
    """The point (players + 1,) of least misfit after so many steps of a quasi-Newton descent, its last at least `least`."""
    from scipy.optimize import minimize

    ends = [(math.log(LEAST / (1 - LEAST)), math.log(MOST / (1 - MOST)))] * signs.shape[1] + [(least, 0.0)]
    found = minimize(
        lambda point: misfit(signs, odd, point), start, jac=True, method="L-BFGS-B", bounds=ends,
        options={"maxiter": steps, "ftol": ENOUGH},
    )  # fmt: skip
    return np.asarray(found.x)


def misfit(signs: Floats, odd: Floats, point: Floats, *, slope: bool = True) -> tuple[float, Floats]:
    """Minus the log posterior of (log-odds of b, log own share), the scale at its best, and its gradient (0: not asked)."""
    from scipy.linalg import lapack

    b, own = 1 / (1 + np.exp(-point[:-1])), math.exp(point[-1])
    up, down, edge = _halves(signs, np.arctanh(b))
    count = len(signs)
    covered = (up - down) / (1 - edge)
    place = np.arange(1, count)
    covered[place, place] += own
    covered[0, 0] += 1e-12
    lower, failed = lapack.dpotrf(covered.T, lower=1, overwrite_a=1)  # symmetric: its transpose needs no copy
    if failed:
        return 1e12, np.zeros(len(point))
    weights = lapack.dpotrs(lower, odd, lower=1)[0]
    energy = max(float(odd @ weights), np.finfo(float).tiny)
    value = count / 2 * math.log(energy / count) + float(np.log(np.diag(lower)).sum())
    apart = (point[:-1] - point[:-1].mean()) / SPREAD**2
    value += float(apart @ apart) * SPREAD**2 / 2
    if not slope:
        return value, np.zeros(len(point))
    inverse = lapack.dpotri(lower, lower=1, overwrite_c=1)[0]  # its lower triangle; the upper one is 0
    diagonal = np.diag(inverse).copy()
    both = np.add(up, down, out=up)
    inverse = inverse.T  # as both lies in memory
    inverse *= both
    inverse[np.arange(count), np.arange(count)] = 0.0  # half of the symmetric matrix, the diagonal counted once
    per_player = np.einsum("ai,ai->i", signs, inverse @ signs) + (diagonal * (1 + edge)).sum() / 2
    bent = weights[:, None] * signs
    per_player -= count / energy / 2 * np.einsum("ai,ai->i", bent, both @ bent)
    per_player /= 1 - edge
    noisy = diagonal[1:].sum() / 2 - count / energy / 2 * float((weights[1:] ** 2).sum())
    per_player += own * noisy * (1 + edge) / (1 - edge)  # the variance is the unit of all
    return value, np.append(per_player * b / (1 + b) + apart, noisy * own)


def _halves(signs: Floats, strength: Floats) -> tuple[Floats, Floats, float]:
    """exp(z - Z), exp(-z - Z) and exp(-2 Z), z = sum of the players' strengths where two coalitions agree less where not."""
    total = float(strength.sum())
    agreed = (signs * strength) @ signs.T
    up = np.exp(agreed - total)
    np.negative(agreed, out=agreed)
    agreed -= total
    return up, np.exp(agreed, out=agreed), math.exp(-2 * total)


def solved(
    present: Coalitions, odd: Floats, relevance: Relevance, noise: Floats | None = None
) -> tuple[Floats, Floats, float]:
    """Values and standard errors (players,) of one row, and minus its log marginal likelihood.

    noise (pairs,): variances of errors of g; the scale is at least such that the own share comes to their mean.
    """
    from scipy.linalg import cholesky, solve_triangular

    signs = np.where(present, 1.0, -1.0)
    up, down, edge = _halves(signs, np.arctanh(relevance.b))
    covered = np.subtract(up, down, out=up)
    covered /= 1 - edge
    place = np.arange(1, len(signs))
    covered[place, place] += relevance.own
    covered[0, 0] += 1e-12
    lower = cholesky(covered, lower=True, overwrite_a=True, check_finite=False)
    cross, variance = covariance(signs, relevance), prior_variance(relevance)
    if relevance.rough:
        cross[:, 1:] += relevance.own * exact_weights(present[1:])
        variance = variance + relevance.own * exact_square(present.shape[1])
    white = solve_triangular(lower, np.concatenate([odd[None], cross]).T, lower=True, check_finite=False).T
    fitted = max(float((white[0] ** 2).mean()), np.finfo(float).tiny)
    scale = max(fitted, _mean(noise) / relevance.own)
    left = np.maximum(variance - (white[1:] ** 2).sum(axis=1), 0.0)
    misfit = len(signs) / 2 * (math.log(scale) + fitted / scale - 1) + float(np.log(np.diag(lower)).sum())
    variance = scale * left * _doubt(lower, white[0], scale, len(left))
    if noise is not None:
        weights = solve_triangular(lower, white[1:].T, lower=True, trans=1, check_finite=False).T
        variance = reckoned(variance[None], weights, noise[None], np.array([_mean(noise)]))[0]
    return white[1:] @ white[0], np.sqrt(variance), misfit


def _doubt(lower: Floats, white: Floats, scale: float, players: int) -> float:
    """By what the variance of a fitted prior is too small, at least 1.

    One number was fitted for each player and one for them all, which takes degrees of freedom; and pairs may be further
    from what the others say of them than the prior has it (rasmussen2006, 5.12).
    """
    from scipy.linalg import lapack, solve_triangular

    weights = solve_triangular(lower, white, lower=True, trans=1, check_finite=False)
    inverse = lapack.dpotri(lower, lower=1)[0]
    apart = float((weights[1:] ** 2 / np.diag(inverse)[1:]).mean()) / scale if len(white) > 1 else 1.0
    return max(apart, 1.0) * len(white) / max(len(white) - players - 1, 1)


def covariance(signs: Floats, relevance: Relevance) -> Floats:
    """Prior covariance (players, pairs) of the Shapley values with the odd part, in units of its variance.

    1 / size of a set is the integral of u^(size - 1) over 0 to 1, by Gauss-Legendre quadrature.
    """
    b = relevance.b
    found = np.zeros((len(b), len(signs)))
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        apart = np.arctanh(node * b) * signs
        own = np.log1p(-((node * b) ** 2)) / 2
        total, centre = apart.sum(axis=1, keepdims=True), own.sum() - relevance.scale
        found += weight * (np.exp(centre - own + total - apart) + np.exp(centre - own - total + apart)).T
    return np.asarray(found * b[:, None] * signs.T)


def prior_variance(relevance: Relevance) -> Floats:
    """Prior variance (players,) of the Shapley values, in units of the odd part's variance."""
    b = relevance.b
    found = np.zeros(len(b))
    for node, weight in zip(np.outer(NODES, NODES).ravel(), np.outer(WEIGHTS, WEIGHTS).ravel(), strict=True):
        for side in (np.log1p(node * b), np.log1p(-node * b)):
            found += weight * np.exp(side.sum() - side - relevance.scale)
    return np.asarray(2 * b * found)
