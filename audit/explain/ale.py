"""Accumulated local effects: how the answers change along a feature among people who have about that value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit import stats
from audit.core import (
    Cell,
    Context,
    Curve,
    Evidence,
    Interval,
    Measure,
    NotApplicable,
    Subject,
    Table,
)
from audit.explain.ale_pairs import ale_pair
from audit.explain.ale_steps import Accumulated, ale
from audit.explain.features import (
    most_varied,
    output_of,
    table_game,
    table_of,
)
from audit.explain.games import Game, Link, unit_of
from audit.registry import check


@check(
    "explain.ale",
    title="Accumulated local effects",
    needs={"model", "rows"},
    sources=("apley2020", "chernozhukov2013"),
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
    to a point, the edges taken as given. The interval of a curve's range allows for its ends being picked from the curve. Levels of a category are put in an order of likeness first. For the two numbers
    along which answers vary most, a table shows the second-order effect: what both do together beyond what each does alone.

    The effect between two far values adds up steps of different people; it is not what one person would see who changed
    that much, and nothing here says what the feature causes.
    """
    game = table_game(subject, context, rows=rows, link=link)
    inputs = table_of(game)
    chosen = most_varied(game, features)
    if not chosen:
        raise NotApplicable("every feature has one value only in the sampled rows")
    rng = context.stream("explain.ale")
    for column in chosen:
        found = ale(game, inputs.columns[column], bins=bins)
        yield _range(game, found, context.confidence, rng)
        yield _bars(game, found, context.confidence) if found.levels else _curve(game, found, context.confidence)
    numbers = [inputs.columns[column] for column in chosen if inputs.columns[column] not in inputs.categories]
    if len(numbers) > 1:
        yield _matrix(game, numbers[0], numbers[1], pair_bins)


def _range(game: Game, found: Accumulated, level: float, rng: np.random.Generator) -> Measure:
    top, bottom = int(found.effect.argmax()), int(found.effect.argmin())
    value, low, high = found.span(level, rng)
    names = found.levels or tuple(f"{value:.4g}" for value in found.at)
    return Measure(
        name="ale_range",
        value=value,
        unit=unit_of(game.scale),
        n=found.rows,
        interval=Interval(low=low, high=high, level=level, method="simultaneous, multipliers over the steps' rows"),
        where={"feature": found.feature},
        note=f"change of the {output_of(game)} from {names[bottom]} to {names[top]}, the extremes of the curve, picked from "
        "the same rows: a flat effect too has a range, and an interval that begins at 0",
    )


def _curve(game: Game, found: Accumulated, level: float) -> Curve:
    half = stats.z_quantile(level) * found.error
    return Curve(
        name="ale",
        x=tuple(found.at.tolist()),
        y=tuple(found.effect.tolist()),
        low=tuple((found.effect - half).tolist()),
        high=tuple((found.effect + half).tolist()),
        x_label="value of the feature",
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
