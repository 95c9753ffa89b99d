"""Weighted ridge regression of many rows at once: the arithmetic under every local surrogate.

Everything is a weighted sum over perturbations. Where rows share regressors, the sums of all rows are one product of the
weights with the regressors' pairwise products; else they are one small product a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Ints, UsageError

Matrix = NDArray[np.float64] | NDArray[np.float32]
_CHUNK = 4_000_000  # bytes of regressors held at once: what a processor keeps near
_PAIRS = 200_000_000  # bytes of pairwise products that are worth their memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Perturbations around rows, and the rows themselves.

    design: regressors (p, s) that the rows share, or (r, p, s); of single precision where that is exact. targets (r, s):
    the outputs. weights (r, s): how close. Either is (1, s) where the rows share it. anchor (r, p), outputs (r,): the rows'
    own regressors and outputs, whose weight is `pull`. pairs: the shared regressors' products, where they were made.
    """

    design: Matrix
    targets: Floats
    weights: Floats
    anchor: Floats
    outputs: Floats
    pull: float = 1.0
    pairs: Pairs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Products (m, s) of the constant and all regressors, each pair once; in single precision too, for standard errors."""

    double: Floats
    single: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Weighted sums about the weighted means: gram (r, p, p), cross (r, p), square (r,); mass (r,) is the sum of weights.

    mean (r, p), level (r,): the weighted means of regressors and targets.
    """

    gram: Floats
    cross: Floats
    square: Floats
    mass: Floats
    mean: Floats
    level: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A weighted ridge for each row.

    coefficients (r, p), 0 where a regressor was not chosen. intercept (r,), unpenalised. r2 (r,): the weighted share of
    variation explained; NaN where there is none to explain. se (r, p): standard errors over draws of the perturbations;
    NaN where a regressor was not chosen, or where perturbations are too few. mass (r,): the sum of weights.
    """

    coefficients: Floats
    intercept: Floats
    r2: Floats
    se: Floats
    mass: Floats


def weighted_ridge(
    design: Floats,
    targets: Floats,
    weights: Floats,
    alpha: float = 1.0,
    *,
    chosen: NDArray[np.bool_] | None = None,
) -> Fit:
    """Ridge regressions of targets (s, r) on regressors (s, p), or (r, s, p), with weights (r, s), in blocks of rows.

    alpha: the penalty on every coefficient but the intercept. chosen (r, p): the regressors that each row may use.
    Raises UsageError where the shapes do not fit, weights are negative, or alpha = 0 does not identify the coefficients.
    """
    design, targets, weights = (np.asarray(each, dtype=np.float64) for each in (design, targets, weights))
    samples, players = design.shape[-2:]
    rows = targets.shape[1] if targets.ndim == 2 else -1
    if targets.shape != (samples, rows) or weights.shape != (rows, samples) or design.ndim not in (2, 3):
        raise UsageError(
            "weighted_ridge: expected a design (s, p) or (r, s, p), targets (s, r) and weights (r, s), got "
            f"{design.shape}, {targets.shape} and {weights.shape}"
        )
    if not (weights >= 0).all():
        raise UsageError("weights: numbers of at least 0 are allowed, some are below or not finite")
    centre = design.mean(axis=-2, keepdims=True)  # far from 0 the sums would lose digits
    moved = np.swapaxes(design - centre, -1, -2)
    pairs = pairs_of(moved) if design.ndim == 2 and rows > 1 else None
    parts = []
    for block in blocks(np.arange(rows), samples, players if pairs is None else 1):
        near = Neighbours(
            design=moved if design.ndim == 2 else moved[block],
            targets=targets.T[block],
            weights=weights[block],
            anchor=np.zeros((len(block), players)),
            outputs=np.zeros(len(block)),
            pull=0.0,
            pairs=pairs,
        )
        found = fit(near, alpha, None if chosen is None else chosen[block])
        away = centre[0] if design.ndim == 2 else centre[block, 0]
        parts.append(replace(found, intercept=found.intercept - (found.coefficients * away).sum(axis=1)))
    names = ("coefficients", "intercept", "r2", "se", "mass")
    return Fit(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def blocks(rows: Ints, samples: int, players: int) -> Iterator[Ints]:
    """Blocks of rows whose sums fit the memory; their sizes follow from the shapes alone."""
    step = max(1, _CHUNK // (8 * (samples + players) * players))
    for top in range(0, len(rows), step):
        yield rows[top : top + step]


def pairs_of(design: Floats) -> Pairs | None:
    """The pairwise products of shared regressors (p, s); None where they are too many to be held."""
    players, samples = design.shape
    count = (players + 1) * (players + 2) // 2
    if 12 * count * samples > _PAIRS:
        return None
    double = np.empty((count, samples))
    whole = np.concatenate([design, np.ones((1, samples))])
    place = 0
    for one in range(players + 1):
        double[place : place + players + 1 - one] = whole[one] * whole[one:]
        place += players + 1 - one
    return Pairs(double=double, single=double.astype(np.float32))


def fit(near: Neighbours, alpha: float, chosen: NDArray[np.bool_] | None = None, sums: Moments | None = None) -> Fit:
    """The weighted ridge of every row, over the regressors chosen (r, p); sums: its moments where they are known."""
    sums = moments(near) if sums is None else sums
    inverse = inverse_of(sums, alpha, chosen)
    cross = sums.cross if chosen is None else np.where(chosen, sums.cross, 0.0)
    coefficients = (inverse @ cross[:, :, None])[:, :, 0]
    intercept = sums.level - (coefficients * sums.mean).sum(axis=1)
    explained = 2 * (coefficients * sums.cross).sum(axis=1) - np.einsum(
        "ri,rij,rj->r", coefficients, sums.gram, coefficients
    )
    some = sums.square > sums.mass * (1e-12 * sums.level) ** 2  # below that, what varies is rounding
    se = _standard_errors(near, sums, inverse, coefficients, alpha)
    return Fit(
        coefficients=coefficients,
        intercept=intercept,
        r2=np.divide(explained, sums.square, out=np.full(len(explained), np.nan), where=some),
        se=se if chosen is None else np.where(chosen, se, np.nan),
        mass=sums.mass,
    )


def moments(near: Neighbours) -> Moments:
    """The weighted sums of every row's perturbations and of the row itself."""
    shift = near.targets[:, :1]  # far from 0 the sums would lose digits; and a constant output leaves exactly 0
    output = near.outputs - shift[:, 0]
    sums = _sums(near, near.targets - shift)
    last = np.concatenate([near.anchor, np.ones((len(output), 1)), output[:, None]], axis=1)
    sums = sums + near.pull * last[:, :, None] * last[:, None]
    mass, mean, level = sums[:, -2, -2], sums[:, :-2, -2] / sums[:, -2, -2, None], sums[:, -1, -2] / sums[:, -2, -2]
    return Moments(
        gram=sums[:, :-2, :-2] - mass[:, None, None] * mean[:, :, None] * mean[:, None],
        cross=sums[:, :-2, -1] - mass[:, None] * mean * level[:, None],
        square=np.maximum(sums[:, -1, -1] - mass * level**2, 0.0),
        mass=mass,
        mean=mean,
        level=level + shift[:, 0],
    )


def _sums(near: Neighbours, targets: Floats) -> Floats:
    """Weighted products (r, p + 2, p + 2) of the regressors, the constant and the targets (r, s)."""
    rows, players = near.anchor.shape
    if near.pairs is None and len(near.weights) == rows:
        more = np.ones((rows, 1)), np.broadcast_to(targets, near.weights.shape)
        return _own_sums(near.design, np.sqrt(near.weights), more)
    sums = np.empty((rows, players + 2, players + 2))
    whole = np.concatenate([near.design, np.ones((1, targets.shape[1]))])
    if near.pairs is None:
        sums[:, :-1, :-1] = (whole * near.weights) @ whole.T
    else:
        sums[:, :-1, :-1] = _square(near.weights @ near.pairs.double.T, players + 1)
    if len(targets) == 1:  # one product less over rows and perturbations
        sums[:, -1] = sums[:, :, -1] = near.weights @ (np.concatenate([whole, targets]) * targets).T
        return sums
    heavier = near.weights * targets
    sums[:, :-1, -1] = sums[:, -1, :-1] = heavier @ whole.T
    sums[:, -1, -1] = np.einsum("rs,rs->r", heavier, targets)
    return sums


def _own_sums(design: Matrix, root: Matrix, more: Sequence[Matrix]) -> Floats:
    """Products (r, q, q) of the regressors and of the `more` behind them (r, s or 1), all times root (r, s), row by row.

    One row after the other in one buffer: it stays in the processor's cache, which halves the time.
    """
    players, samples = design.shape[-2:]
    heavy = np.empty((players + len(more), samples), dtype=root.dtype)
    sums = np.empty((len(root), len(heavy), len(heavy)))
    for row, weight in enumerate(root):
        np.multiply(design if design.ndim == 2 else design[row], weight, out=heavy[:players])
        for place, extra in enumerate(more):
            np.multiply(extra[row], weight, out=heavy[players + place])
        sums[row] = heavy @ heavy.T
    return sums


def _square(flat: Matrix, side: int) -> Floats:
    """Symmetric matrices (r, side, side) from their upper triangles (r, m)."""
    one, other = np.triu_indices(side)
    out = np.empty((len(flat), side, side))
    out[:, one, other] = out[:, other, one] = flat
    return out


def inverse_of(sums: Moments, alpha: float, chosen: NDArray[np.bool_] | None) -> Floats:
    """The inverse (r, p, p) of the penalised normal equations by Cholesky, 0 in what was not chosen."""
    players = sums.gram.shape[1]
    system = sums.gram + alpha * np.eye(players)
    if chosen is not None:
        both = chosen[:, :, None] & chosen[:, None, :]
        system = np.where(both, system, np.eye(players))
    try:
        factor = np.linalg.cholesky(system)
        pivots = np.diagonal(factor, axis1=1, axis2=2)
        if not alpha and (pivots**2 <= 1e-13 * np.diagonal(system, axis1=1, axis2=2)).any():
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise UsageError(
            f"ridge: {alpha:g} does not identify the coefficients (players that never vary, that move together, or that "
            "outnumber the samples); take a larger one"
        ) from None
    lower = np.linalg.inv(factor)
    inverse = lower.transpose(0, 2, 1) @ lower
    return inverse if chosen is None else np.where(both, inverse, 0.0)


def _standard_errors(near: Neighbours, sums: Moments, inverse: Floats, found: Floats, alpha: float) -> Floats:
    """Standard errors (r, p) of coefficients over draws of the perturbations, robust to misfit: the sandwich (white1980).

    The rows themselves are not drawn, so they add nothing. Scores are centred, as penalty and rows leave them a mean.
    Single precision is enough here, and half the time.
    """
    samples, players = near.design.shape[-1], near.anchor.shape[1]
    if samples <= players + 1:
        return np.full(found.shape, np.nan)
    single = near.design.astype(np.float32, copy=False)
    start = (found * sums.mean).sum(axis=1)
    score = _scores(near, single, found, sums.level - start)
    if near.pairs is None:
        second = _own_sums(single, score, (np.ones((len(found), 1), dtype=np.float32),))
    else:
        second = _square(np.square(score, out=score) @ near.pairs.single.T, players + 1)
    crossed = second[:, :-1, -1, None] * sums.mean[:, None]
    meat = second[:, :-1, :-1] - crossed - crossed.transpose(0, 2, 1)
    meat += second[:, -1, -1, None, None] * sums.mean[:, :, None] * sums.mean[:, None]
    missed = near.outputs - sums.level - (found * near.anchor).sum(axis=1) + start
    total = alpha * found - near.pull * missed[:, None] * (near.anchor - sums.mean)  # by the normal equations
    meat -= total[:, :, None] * total[:, None] / samples
    variance = ((inverse @ meat) * inverse).sum(axis=2)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * samples / (samples - players - 1)))


def _scores(near: Neighbours, single: Matrix, slopes: Floats, level: Floats) -> NDArray[np.float32]:
    """The residuals times the weights (r, s) of surrogates with slopes (r, p) and a constant (r,), in single precision."""
    if single.ndim == 2 and len(near.targets) == 1:  # targets and constant in the product too
        shift = near.targets[0, 0]
        whole = np.concatenate([single, near.targets - shift, np.ones_like(near.targets)]).astype(np.float32)
        score = np.column_stack([-slopes, np.ones(len(slopes)), shift - level]).astype(np.float32) @ whole
    else:
        score = np.empty((len(slopes), near.targets.shape[1]), dtype=np.float32)
        np.subtract(near.targets, level[:, None], out=score, casting="same_kind")
        light = slopes.astype(np.float32)
        score -= light @ single if single.ndim == 2 else (light[:, None] @ single)[:, 0]
    np.multiply(score, near.weights, out=score, casting="same_kind")
    return np.asarray(score)
