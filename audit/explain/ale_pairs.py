"""Second-order accumulated local effects: what two features do together beyond what each does alone."""

from __future__ import annotations

import numpy as np

from audit import stats
from audit.core import Floats, NotApplicable
from audit.explain.ale_steps import bin_of, cut
from audit.explain.features import column_of, present, replaced, table_of
from audit.explain.games import Game


def ale_pair(game: Game, first: str, second: str, *, bins: int = 8) -> tuple[Floats, Floats, Floats]:
    """Edges (k,), (m,) of two numeric features and their second-order effect (k, m), main effects taken out (apley2020).

    Cells without rows take the change of the nearest cell that has some. 0 everywhere where the two do not interact.
    """
    inputs = table_of(game)
    columns = (column_of(inputs, first), column_of(inputs, second))
    for name in (first, second):
        if name in inputs.categories:
            raise NotApplicable(f"second-order effects are of two numbers, and {name!r} is a category")
    rows = np.flatnonzero(present(inputs, columns[0]) & present(inputs, columns[1]))
    x = inputs.values[rows][:, list(columns)]
    edges = tuple(cut(side, bins) for side in x.T)
    if min(len(side) for side in edges) < 2:
        raise NotApplicable(f"{first!r} and {second!r} need two values each")
    a, b = (bin_of(side, at) for side, at in zip(x.T, edges, strict=True))
    corners = [np.stack([edges[0][a + i], edges[1][b + j]], axis=1) for i, j in ((1, 1), (0, 1), (1, 0), (0, 0))]
    found = replaced(game, rows, columns, np.stack(corners, axis=1))
    change = found @ np.array([1.0, -1.0, -1.0, 1.0])
    counts, sums = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1)), np.zeros((len(edges[0]) - 1, len(edges[1]) - 1))
    np.add.at(counts, (a, b), 1.0)
    np.add.at(sums, (a, b), change)
    return edges[0], edges[1], _second_order(_filled(stats.divide(sums, counts)), counts)


def _filled(means: Floats) -> Floats:
    """Empty cells (NaN) with the mean of the nearest full cell, distances in shares of the bins."""
    full, empty = np.argwhere(~np.isnan(means)), np.argwhere(np.isnan(means))
    shape = np.array(means.shape)
    away = (((empty[:, None] - full[None]) / shape) ** 2).sum(axis=2)
    out = means.copy()
    out[tuple(empty.T)] = means[tuple(full[away.argmin(axis=1)].T)] if len(empty) else 0.0
    return out


def _second_order(local: Floats, counts: Floats) -> Floats:
    """Local changes (k, m) accumulated (k + 1, m + 1), less the main effects this brings in, less the mean."""
    total = np.zeros((local.shape[0] + 1, local.shape[1] + 1))
    total[1:, 1:] = local.cumsum(axis=0).cumsum(axis=1)
    up, across = np.diff(total, axis=0), np.diff(total, axis=1)
    one = (counts * (up[:, 1:] + up[:, :-1]) / 2).sum(axis=1) / counts.sum(axis=1)
    two = (counts * (across[1:] + across[:-1]) / 2).sum(axis=0) / counts.sum(axis=0)
    total -= np.append(0.0, one.cumsum())[:, None] + np.append(0.0, two.cumsum())[None, :]
    cells = (total[1:, 1:] + total[1:, :-1] + total[:-1, 1:] + total[:-1, :-1]) / 4
    return np.asarray(total - (counts * cells).sum() / counts.sum())
