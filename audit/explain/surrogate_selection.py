"""Which players a sparse local surrogate keeps, from its moments alone: the perturbations are not seen again."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats
from audit.explain.surrogate_fits import Moments, inverse_of

Selection = Literal["none", "forward", "lasso", "highest"]
Chosen = NDArray[np.bool_]


def select(sums: Moments, anchor: Floats, count: int, selection: Selection, samples: int) -> Chosen | None:
    """Up to `count` players (r, p) of each row; None where all are kept.

    forward: one by one, the one that lifts the weighted R2 most. highest: the largest coefficients times the row's own
    regressors `anchor`, by a ridge of 0.01. lasso: the last point of the lasso's path with no more than `count`
    (ribeiro2016). Ties go to the first player.
    """
    if selection == "none":
        return None
    if selection == "forward":
        return forward(sums, count)
    if selection == "highest":
        return highest(sums, anchor, count)
    return lasso(sums, count, samples)


def forward(sums: Moments, count: int) -> Chosen:
    """Players (r, p) taken one by one, each the one that explains most of what is left."""
    gram, cross = sums.gram.copy(), sums.cross.copy()
    start = np.diagonal(sums.gram, axis1=1, axis2=2)
    chosen = np.zeros(cross.shape, dtype=bool)
    rows = np.arange(len(cross))
    for _ in range(min(count, cross.shape[1])):
        left = np.diagonal(gram, axis1=1, axis2=2)
        live = ~chosen & (left > 1e-12 * start)
        gain = np.divide(cross**2, left, out=np.zeros_like(cross), where=live)
        best = np.where(chosen, -1.0, gain).argmax(axis=1)
        useful = live[rows, best]
        column = np.where(useful[:, None], gram[rows, :, best], 0.0)
        pivot = np.where(useful, gram[rows, best, best], 1.0)
        cross -= column * (cross[rows, best] / pivot)[:, None]
        gram -= column[:, :, None] * column[:, None] / pivot[:, None, None]
        chosen[rows, best] = True
    return chosen


def highest(sums: Moments, anchor: Floats, count: int) -> Chosen:
    """The players (r, p) whose coefficient times the row's own regressor (r, p) is largest."""
    coefficients = (inverse_of(sums, 0.01, None) @ sums.cross[:, :, None])[:, :, 0]
    order = np.argsort(-np.abs(coefficients * anchor), axis=1, kind="stable")[:, :count]
    chosen = np.zeros(anchor.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def lasso(sums: Moments, count: int, samples: int) -> Chosen:
    """The players (r, p) at the last point of each row's lasso path that has no more than `count` of them."""
    from sklearn.linear_model import lars_path_gram

    chosen = np.zeros(sums.cross.shape, dtype=bool)
    for row in range(len(chosen)):
        varied = np.flatnonzero(np.diagonal(sums.gram[row]) > 1e-12 * sums.mass[row])
        if not len(varied):
            continue
        _, _, path = lars_path_gram(
            Xy=sums.cross[row, varied], Gram=sums.gram[row][np.ix_(varied, varied)], n_samples=samples, method="lasso"
        )
        fits = np.flatnonzero((path != 0).sum(axis=0) <= count)
        chosen[row, varied] = path[:, fits[-1]] != 0
    return chosen
