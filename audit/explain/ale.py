"""Accumulated local effects: how the answers change along a feature among people who have about that value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import (
    Cell,
    Context,
    Curve,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.features import (
    column_of,
    most_varied,
    output_of,
    present,
    replaced,
    said,
    table_game,
    table_of,
    unit_of,
)
from audit.explain.games import Game, Link
from audit.registry import check


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

    def contrast(self, first: int, second: int) -> tuple[float, float]:
        """The effect at one place less that at another, and its standard error."""
        apart = self.influence[:, first] - self.influence[:, second]
        return float(self.effect[first] - self.effect[second]), float(np.sqrt((apart**2).sum()))


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


@check(
    "explain.ale",
    title="Accumulated local effects",
    needs={"model", "rows"},
    sources=("apley2020",),
)
def accumulated_local_effects(
    subject: Subject,
    context: Context,
    *,
    rows: int = 256,
    features: int = 4,
    bins: int = 12,
    pair_bins: int = 6,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """How does the answer change along a feature among people who really have about that value?

    The range of a feature is cut into bins of equally many people; those of a bin are asked about at its two edges, and
    the mean changes are added up. Unlike partial dependence this needs no people who cannot exist, so correlated features
    do not lend each other their effects. The effect is centred at 0 over people; the band joins the errors of all steps up
    to a point, the edges taken as given. Levels of a category are put in an order of likeness first. For the two numbers
    along which answers vary most, a table shows the second-order effect: what both do together beyond what each does alone.

    The effect between two far values adds up steps of different people; it is not what one person would see who changed
    that much, and nothing here says what the feature causes.
    """
    game = table_game(subject, context, rows=rows, link=link)
    inputs = table_of(game)
    chosen = most_varied(game, features)
    if not chosen:
        raise NotApplicable("every feature has one value only in the sampled rows")
    for column in chosen:
        found = ale(game, inputs.columns[column], bins=bins)
        yield _range(game, found, context.confidence)
        yield _bars(game, found, context.confidence) if found.levels else _curve(game, found, context.confidence)
    numbers = [inputs.columns[column] for column in chosen if inputs.columns[column] not in inputs.categories]
    if len(numbers) > 1:
        yield _matrix(game, numbers[0], numbers[1], pair_bins)


def _range(game: Game, found: Accumulated, level: float) -> Measure:
    top, bottom = int(found.effect.argmax()), int(found.effect.argmin())
    value, error = found.contrast(top, bottom)
    half = stats.z_quantile(level) * error
    names = found.levels or tuple(f"{value:.4g}" for value in found.at)
    return Measure(
        name="ale_range",
        value=value,
        unit=unit_of(game),
        n=found.rows,
        interval=Interval(low=value - half, high=value + half, level=level, method="normal, over the steps' rows"),
        where={"feature": found.feature},
        note=f"change of the {output_of(game)} from {names[bottom]} to {names[top]}, the extremes of the curve",
    )


def _curve(game: Game, found: Accumulated, level: float) -> Curve:
    half = stats.z_quantile(level) * found.error
    return Curve(
        name="ale",
        x=tuple(found.at.tolist()),
        y=tuple(found.effect.tolist()),
        low=tuple((found.effect - half).tolist()),
        high=tuple((found.effect + half).tolist()),
        x_label=found.feature,
        y_label=f"change of the {output_of(game)}",
        n=found.rows,
        where={"feature": found.feature},
        note=f"mean 0 over people; band: {level:.0%} normal interval, the edges of the bins taken as given",
    )


def _bars(game: Game, found: Accumulated, level: float) -> Table:
    half = stats.z_quantile(level) * found.error
    lines: list[tuple[Cell, ...]] = [
        (name, float(value), float(value - more), float(value + more))
        for name, value, more in zip(found.levels, found.effect, half, strict=True)
    ]
    return Table(
        name="ale",
        title=f"{found.feature}: accumulated change of the {output_of(game)} by level",
        columns=("level", "change", "low", "high"),
        rows=tuple(lines),
        note=f"{found.rows} rows; levels in order of likeness; mean 0 over people; {level:.0%} normal interval",
        view="bars",
    )


def _matrix(game: Game, first: str, second: str, bins: int) -> Table:
    one, two, effect = ale_pair(game, first, second, bins=bins)
    lines: list[tuple[Cell, ...]] = [
        (f"{first} = {at:.4g}", *line) for at, line in zip(one.tolist(), effect.tolist(), strict=True)
    ]
    return Table(
        name="ale_pair",
        title=f"{first} and {second} together: change of the {output_of(game)} beyond what each does alone",
        columns=(first, *(f"{second} = {at:.4g}" for at in two.tolist())),
        rows=tuple(lines),
        note="second-order accumulated local effect, mean 0; cells without people take the change of their neighbours",
        view="matrix",
    )
