"""How the model's answers change along a feature: partial dependence and individual curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Cell, Context, Curve, Evidence, Floats, Interval, Measure, NotApplicable, Subject, Table
from audit.core import stream as stream_of
from audit.explain.features import (
    column_of,
    grid,
    most_varied,
    output_of,
    replaced,
    said,
    table_game,
    table_of,
)
from audit.explain.games import Game, Link, unit_of
from audit.explain.sample import seed_of
from audit.registry import check

REPLICATES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """The output of every row along a feature: grid (g,), ice (rows, g); `levels` name the grid of a category."""

    feature: str
    grid: Floats
    ice: Floats
    levels: tuple[str, ...] = ()

    @property
    def mean(self) -> Floats:
        """Partial dependence (g,): the mean of the individual curves."""
        return np.asarray(self.ice.mean(axis=0))

    @property
    def centred(self) -> Floats:
        """The individual curves (rows, g), each less its own mean over the grid."""
        return np.asarray(self.ice - self.ice.mean(axis=1, keepdims=True))

    def band(self, level: float = 0.95, *, centred: bool = True) -> tuple[Floats, Floats]:
        """Pointwise t interval (g,), (g,) of the partial dependence over rows; NaN below two rows.

        centred: of the curves less their own mean, so that how people differ in level does not blur the shape.
        """
        table = self.centred if centred else self.ice
        bounds = np.array([stats.mean_interval(column, level) for column in table.T])
        return bounds[:, 0], bounds[:, 1]

    def heterogeneity(self, weights: Floats | None = None) -> Floats:
        """The share of the curves' variation that their mean does not show: 0 where all are parallel; NaN if all are flat.

        weights (..., rows): how often each row counts, for replicates (...).
        """
        each = np.ones(len(self.ice)) if weights is None else weights
        share = each / each.sum(axis=-1, keepdims=True)
        whole = share @ (self.centred**2).mean(axis=1)
        shown = ((share @ self.centred) ** 2).mean(axis=-1)
        flat = whole <= 1e-24 * max(1.0, float(np.square(self.ice).max()))
        return np.asarray(stats.divide(np.maximum(whole - shown, 0.0), np.where(flat, 0.0, whole)))


def partial_dependence(game: Game, feature: str, *, points: int = 20, values: Floats | None = None) -> Dependence:
    """The explained output of every row of a table with one feature set to values (g,), by default its own quantiles.

    Of a category every level that occurs; of a number at most `points` values that occur between its 5 % and 95 %
    quantiles (friedman2001, goldstein2015). Raises UsageError for an unknown feature, NotApplicable without a table.
    """
    inputs = table_of(game)
    column = column_of(inputs, feature)
    at = grid(inputs, column, points) if values is None else np.asarray(values, dtype=np.float64)
    named = tuple(str(said(inputs, column, value)) for value in at) if feature in inputs.categories else ()
    ice = replaced(game, np.arange(len(game)), (column,), at[:, None])
    return Dependence(feature=feature, grid=at, ice=ice, levels=named)


def partial_dependence_pair(game: Game, first: str, second: str, *, points: int = 8) -> tuple[Floats, Floats, Floats]:
    """Grids (g,), (h,) of two features and the mean output (g, h) with both set (friedman2001)."""
    inputs = table_of(game)
    columns = (column_of(inputs, first), column_of(inputs, second))
    one, two = (grid(inputs, column, points) for column in columns)
    both = np.stack(np.meshgrid(one, two, indexing="ij"), axis=-1).reshape(-1, 2)
    mean = replaced(game, np.arange(len(game)), columns, both).mean(axis=0)
    return one, two, mean.reshape(len(one), len(two))


@check(
    "explain.dependence",
    title="How the answers change along a feature",
    needs={"model", "rows"},
    sources=("friedman2001", "goldstein2015"),
)
def dependence(
    subject: Subject,
    context: Context,
    *,
    rows: int = 128,
    features: int = 4,
    points: int = 15,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """How does the model's answer change as one feature changes and all others stay as they are?

    Each sampled row is asked about again with the feature set to values that occur in the data: its individual curve
    (ICE). Their mean is the partial dependence. All curves are centred at their own mean, so the figures are changes of
    the output; the band is a t interval over rows at each point. A second curve shows the median and the middle 80 % of
    the individual curves, and `ice_heterogeneity` the share of their variation that the mean hides: where it is far from
    0 the feature works differently for different people. Categories are shown as bars over their levels. Shown are the
    features along which single answers vary most.

    Setting a feature alone makes people who may not exist (a high income with the debt of a low one); where features go
    together, look at the accumulated local effects as well. The curves say nothing about what the feature causes.
    """
    game = table_game(subject, context, rows=rows, link=link)
    chosen = most_varied(game, features)
    if not chosen:
        raise NotApplicable("every feature has one value only in the sampled rows")
    inputs = table_of(game)
    seed = seed_of(context, "explain.dependence")
    for column in chosen:
        found = partial_dependence(game, inputs.columns[column], points=points)
        yield _range(game, found, context.confidence)
        yield _heterogeneity(found, seed, context.confidence)
        if found.levels:
            yield _bars(game, found, context.confidence)
        else:
            yield from _curves(game, found, context.confidence)


def _range(game: Game, found: Dependence, level: float) -> Measure:
    top, bottom = int(found.mean.argmax()), int(found.mean.argmin())
    apart = found.ice[:, top] - found.ice[:, bottom]
    names = found.levels or tuple(f"{value:.4g}" for value in found.grid)
    low, high = stats.mean_interval(apart, level)
    return Measure(
        name="partial_dependence_range",
        value=float(apart.mean()),
        unit=unit_of(game.scale),
        n=len(apart),
        interval=None if np.isnan(low) else Interval(low=low, high=high, level=level, method="t over rows"),
        where={"feature": found.feature},
        note=f"change of the {output_of(game)} from {names[bottom]} to {names[top]}, the extremes of the curve",
    )


def _heterogeneity(found: Dependence, seed: int, level: float) -> Measure:
    value, where = float(found.heterogeneity()), {"feature": found.feature}
    if np.isnan(value):
        return Measure(name="ice_heterogeneity", value=None, where=where, note="no curve varies at all")
    rng = stream_of(seed, found.feature)
    low, high = stats.bootstrap_interval(np.ones(len(found.ice)), found.heterogeneity, REPLICATES, rng, level)
    bounds = Interval(
        low=min(float(low), value), high=max(float(high), value), level=level, method="bootstrap over rows"
    )
    return Measure(
        name="ice_heterogeneity",
        value=value,
        n=len(found.ice),
        interval=bounds if len(found.ice) > 1 else None,
        where=where,
        better="none",
        note="share of the individual curves' variation that their mean does not show",
    )


def _curves(game: Game, found: Dependence, level: float) -> Iterator[Curve]:
    low, high = (_points(side) for side in found.band(level))
    single = any(side is None for side in low)
    yield Curve(
        name="partial_dependence",
        x=tuple(found.grid.tolist()),
        y=tuple(found.centred.mean(axis=0).tolist()),
        low=() if single else low,
        high=() if single else high,
        y_label=f"change of the {output_of(game)}",
        n=len(found.ice),
        note=f"centred; the mean along the curve is {found.mean.mean():.4g}; band: {level:.0%} t interval over rows",
        x_label="value of the feature",
        where={"feature": found.feature},
    )
    below, middle, above = (tuple(side.tolist()) for side in np.quantile(found.centred, [0.1, 0.5, 0.9], axis=0))
    yield Curve(
        name="ice",
        x=tuple(found.grid.tolist()),
        y=middle,
        low=below,
        high=above,
        y_label=f"change of the {output_of(game)}",
        n=len(found.ice),
        note="median of the centred individual curves; band: the middle 80 % of people, no interval",
        x_label="value of the feature",
        where={"feature": found.feature},
    )


def _points(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _bars(game: Game, found: Dependence, level: float) -> Table:
    low, high = (_points(side) for side in found.band(level))
    lines: list[tuple[Cell, ...]] = [
        (name, float(value), below, above)
        for name, value, below, above in zip(found.levels, found.centred.mean(axis=0), low, high, strict=True)
    ]
    return Table(
        name="partial_dependence",
        title=f"{found.feature}: change of the {output_of(game)} by level",
        columns=("level", "change", "low", "high"),
        rows=tuple(lines),
        note=f"{len(found.ice)} rows; centred at the mean over the levels; {level:.0%} t interval over rows",
        view="bars",
    )
