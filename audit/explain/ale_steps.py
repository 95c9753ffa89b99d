"""First-order accumulated local effects: steps between edges, added up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Floats, Ints, UsageError
from audit.data.tabular import Tabular
from audit.explain.features import column_of, present, replaced, said, table_of
from audit.explain.games import Game


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulated:
    """First-order effect of a feature: at (k,) edges of bins, or levels in their order; effect (k,), mean 0 over rows.

    influence (rows, k): what each row adds to the error of the effect; rows: how many had a value. levels: the names of
    the levels of a category, else ().
    """

    feature: str
    at: Floats
    effect: Floats
    influence: Floats
    rows: int
    levels: tuple[str, ...] = ()

    @property
    def error(self) -> Floats:
        """Standard error (k,) of the effect, the edges taken as given."""
        return np.asarray(np.sqrt((self.influence**2).sum(axis=0)))

    def span(self, level: float, rng: np.random.Generator, *, draws: int = 1999) -> tuple[float, float, float]:
        """The range of the effect, its largest less its smallest value, and a simultaneous interval for the true range.

        The extremes are picked from the same rows, so a noisy flat effect has a range. By how much the range can err is at
        most the range of the errors, whose quantile comes from normal multipliers of the rows' influences (chernozhukov2013).
        """
        value = float(np.ptp(self.effect))
        # Spreads are estimated from the rows of a step: Student's t instead of the normal, in all places together.
        freedom = max(1.0, self.rows / max(1, len(self.effect) - 1) - 1)
        noise = [
            np.ptp(rng.standard_normal((size, len(self.influence))) @ self.influence, axis=1)
            / np.sqrt(rng.chisquare(freedom, size) / freedom)
            for size in stats.blocks(draws, len(self.influence))
        ]
        reach = float(np.quantile(np.concatenate(noise), level))
        return value, max(0.0, value - reach), value + reach


def ale(game: Game, feature: str, *, bins: int = 20) -> Accumulated:
    """First-order accumulated local effect of a feature on the explained output (apley2020).

    A number's range is cut at quantiles that occur; in each bin the rows that lie there are asked about at its two
    edges. A category's levels are ordered by how alike their rows are in the other features, and each step is taken by
    the rows of its two levels. Missing values take no part. The effect is constant (one edge) below two values. Raises
    UsageError, NotApplicable.
    """
    inputs = table_of(game)
    column = column_of(inputs, feature)
    rows = np.flatnonzero(present(inputs, column))
    x = inputs.values[rows, column]
    if len(np.unique(x)) < 2:
        flat = np.zeros(min(len(x), 1))
        return Accumulated(feature=feature, at=x[:1], effect=flat, influence=flat[:, None], rows=len(x))
    if feature in inputs.categories:
        return _of_levels(game, inputs.take(rows), rows, column)
    edges = cut(x, bins)
    place = bin_of(x, edges)
    ends = np.stack([edges[place], edges[place + 1]], axis=1)[:, :, None]
    found = replaced(game, rows, (column,), ends)
    table = np.full((len(rows), len(edges) - 1), np.nan)
    table[np.arange(len(rows)), place] = found[:, 1] - found[:, 0]
    counts = np.bincount(place, minlength=len(edges) - 1)
    before = np.tril(np.ones((len(edges), len(edges) - 1)), -1)  # which steps lie before each edge
    middle = (before[:-1] + before[1:]) / 2  # a bin's rows stand half way between its edges
    effect, influence = _accumulate(table, before - counts / counts.sum() @ middle)
    return Accumulated(feature=feature, at=edges, effect=effect, influence=influence, rows=len(rows))


def _of_levels(game: Game, inputs: Tabular, rows: Ints, column: int) -> Accumulated:
    name = inputs.columns[column]
    order = level_order(inputs, column)
    place = np.argsort(order, kind="stable")[np.searchsorted(np.sort(order), inputs.values[:, column])]
    steps = np.arange(len(order) - 1)
    table = np.full((len(rows), len(steps)), np.nan)
    around = np.stack([np.maximum(place - 1, 0), place, np.minimum(place + 1, len(steps))], axis=1)
    found = replaced(game, rows, (column,), order[around][:, :, None])
    back, on = place > 0, place < len(steps)
    table[back, place[back] - 1] = (found[:, 1] - found[:, 0])[back]
    table[on, place[on]] = (found[:, 2] - found[:, 1])[on]
    counts = np.bincount(place, minlength=len(order))
    before = np.tril(np.ones((len(order), len(steps))), -1)
    effect, influence = _accumulate(table, before - counts / counts.sum() @ before)
    named = tuple(str(said(inputs, column, value)) for value in order)
    return Accumulated(feature=name, at=order, effect=effect, influence=influence, rows=len(rows), levels=named)


def _accumulate(table: Floats, sums: Floats) -> tuple[Floats, Floats]:
    """Effect (k,) and influence (n, k) from local changes (n, steps), NaN where a row takes no part in a step.

    sums (k, steps): how the steps add up to the centred effect. A step of one row takes the spread of all the others.
    """
    there = ~np.isnan(table)
    counts = there.sum(axis=0)
    mean = np.where(there, table, 0.0).sum(axis=0) / counts
    off = np.where(there, table - mean, 0.0)
    spread = np.sqrt((off**2).sum() / max(1, counts.sum() - len(counts)))
    off = np.where(there & (counts == 1), spread, off * np.sqrt(counts / np.maximum(counts - 1, 1)))
    return sums @ mean, (off / counts) @ sums.T


def cut(x: Floats, bins: int) -> Floats:
    """Edges (k + 1,) of at most `bins` bins of about equally many values; all of them are values that occur."""
    if bins < 1:
        raise UsageError(f"bins: at least 1 is needed, got {bins}")
    return np.unique(np.quantile(x, np.linspace(0, 1, bins + 1), method="inverted_cdf"))


def bin_of(x: Floats, edges: Floats) -> Ints:
    """The bin (n,) of each value: above its lower edge, up to and with its upper one."""
    return np.clip(np.searchsorted(edges, x, side="left") - 1, 0, len(edges) - 2).astype(np.int64)


def level_order(inputs: Tabular, column: int) -> Floats:
    """The levels that occur (k,), those next to each other whose rows are alike in the other features (apley2020).

    Distances are summed over features (Kolmogorov's for numbers, total variation for categories) and laid on a line by
    classical scaling; two levels keep their order.
    """
    levels, member = np.unique(inputs.values[:, column], return_inverse=True)
    if len(levels) < 3:
        return levels
    apart = np.zeros((len(levels), len(levels)))
    for other, name in enumerate(inputs.columns):
        there = present(inputs, other)
        if other == column or not there.any():
            continue
        values, code = np.unique(inputs.values[there, other], return_inverse=True)
        counts = np.zeros((len(levels), len(values)))
        np.add.at(counts, (member[there], code), 1.0)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        if name in inputs.categories:
            apart += np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2
        else:
            at = np.unique(np.linspace(0, len(values) - 1, 101).astype(np.int64))
            steps = np.cumsum(shares, axis=1)[:, at]
            apart += np.abs(steps[:, None] - steps[None]).max(axis=2)
    squared = apart**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True) + squared.mean()
    line = np.linalg.eigh(-centred / 2)[1][:, -1]
    line = line if line[np.abs(line).argmax()] > 0 else -line
    return levels[np.argsort(np.round(line, 12), kind="stable")]
