"""Whether a model leans on other features for people than for what explainers ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from audit.core import (
    Cell,
    Context,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    Model,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.masking.tabular import mean_row
from audit.explain.quality import figures
from audit.explain.quality.panel import attempted
from audit.explain.sample import affordable, game_of, model_and_inputs, sampled_rows, seed_of
from audit.explain.shapley import shapley
from audit.explain.surrogate import lime
from audit.registry import check

PEOPLE, NOISE, MEAN = "people", "noise", "mean"
WORDS = {
    NOISE: "others with noise of one deviation, as LIME asks",
    MEAN: "others at their mean, as a mean background asks",
}
DRAWS = 400  # bootstrap replicates
POOL = 1000  # people among whom the nearest is looked for
ASKED = 12  # people explained by each explainer
BEHIND = 30  # rows of a background of people


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """What a swap of one column changes in the answer, at people and at probes: kind to (rows, columns), none below 0.

    The same value goes into the same column at all of them; only the other columns differ.
    """

    columns: tuple[str, ...]
    changes: Mapping[str, Floats]

    def shares(self, kind: str, rows: Ints | None = None) -> Floats:
        """Each column's share (columns,) of all changes, over these rows; (draws, columns) for rows (draws, rows)."""
        changes = self.changes[kind]
        means = changes.mean(axis=0) if rows is None else changes[rows].mean(axis=1)
        total = means.sum(axis=-1, keepdims=True)
        return np.asarray(np.divide(means, total, out=np.full_like(means, np.nan), where=total > 0))


def swaps(model: Model, people: Tabular, pool: Tabular, rng: np.random.Generator) -> Swaps:
    """Swap each column of each person for that of the nearest person who has another value, and see what it changes.

    Nearest in the other columns, standardised: the swapped row stays where people are. Columns that do not vary are left out.
    """
    scale = np.nan_to_num(np.nanstd(pool.values, axis=0))
    varying = np.flatnonzero((scale > 0) | (np.isnan(pool.values).any(axis=0) & ~np.isnan(pool.values).all(axis=0)))
    donors = _donors(people, pool, np.where(scale > 0, scale, 1.0), varying)
    noisy = people.with_values(_noised(people, pool, scale, rng))
    centre = people.with_values(np.repeat(mean_row(pool).values, len(people), axis=0))
    places = {PEOPLE: people, NOISE: noisy, MEAN: centre}
    found = {kind: np.empty((len(people), len(varying))) for kind in places}
    for column, place in enumerate(varying):
        for kind, rows in places.items():
            ends = []
            for values in (people.values[:, place], donors[:, column]):
                asked = rows.values.copy()
                asked[:, place] = values
                ends.append(model.predict(rows.with_values(asked)))
            gap = np.abs(ends[1] - ends[0])
            found[kind][:, column] = gap if gap.ndim == 1 else gap.sum(axis=1) / 2
    return Swaps(columns=tuple(people.columns[place] for place in varying), changes=found)


def _donors(people: Tabular, pool: Tabular, scale: Floats, columns: Ints) -> Floats:
    """The value (rows, columns) of the nearest other person who has another one; one's own where nobody has."""
    named = np.array([name in people.categories for name in people.columns])
    found = np.empty((len(people), len(columns)))
    for row, values in enumerate(people.values):
        step = (pool.values - values) / scale
        apart = np.where(named, pool.values != values, np.nan_to_num(step, nan=1.0) ** 2)
        total = apart.sum(axis=1)
        for place, column in enumerate(columns):
            theirs = pool.values[:, column]
            other = (theirs != values[column]) & ~np.isnan(theirs)
            far = np.where(other, total - apart[:, column], np.inf)
            found[row, place] = theirs[far.argmin()] if other.any() else values[column]
    return found


def _noised(people: Tabular, pool: Tabular, scale: Floats, rng: np.random.Generator) -> Floats:
    values = people.values + rng.standard_normal(people.values.shape) * scale
    for place, name in enumerate(people.columns):
        if name in people.categories:
            values[:, place] = pool.values[rng.integers(len(pool), size=len(people)), place]
    return np.asarray(values)


@check(
    "explain.hiding",
    title="Does the model answer probes as it answers people?",
    needs={"model", "rows"},
    sources=("slack2020", "efron1993"),
)
def hiding(
    subject: Subject, context: Context, *, rows: int = 96, alarm: float = 0.3, explained: int = ASKED
) -> Iterator[Evidence]:
    """Does the model lean on the same features for people as for the questions that explainers put to it?

    A model that notices when it is probed can show explainers one rule and people another. Each feature of a person is
    swapped for that of the nearest person who has another value, so that the row stays where people are; and the very same
    swap is made where explainers ask: with noise on all other features, and with all other features at their mean.
    lean is a feature's share of all that the swaps change; shift is the total variation between the shares among people
    and among probes, 0 where they are alike, 1 where they have nothing in common; hidden_share is what a feature's share
    loses from people to probes, for protected attributes and for the feature that loses most. Intervals are bootstrap
    percentiles over people. An interval of shift that lies above `alarm` is a warning. Beside it, attributions of the
    feature by explainers that ask far from people (LIME in its continuous space, a mean background) and near them (real
    people as background, nearest people).

    The numbers do not say why a model does so: one that has never seen such probes may answer them oddly without intent. A
    quiet figure clears nobody: a model that tells swapped people from real ones, or that hides what it does to few of
    them, is not seen, nor is a protected attribute that is no feature. The feature that loses most is picked from the same
    rows, and noise alone makes a shift above 0.
    """
    if not 0 < alarm < 1 or explained < 0:
        raise UsageError(f"alarm, explained: a shift between 0 and 1, and rows from 0 on, got {alarm}, {explained}")
    model, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"features are swapped between the rows of a table, not in {type(inputs).__name__}")
    rng = context.stream("explain.hiding")
    pool = inputs.take(sampled_rows(subject, context, POOL, "hiding"))
    found = swaps(model, inputs.take(sampled_rows(subject, context, rows)), pool, rng)
    if len(found.columns) < 2:
        raise NotApplicable("at least two features that vary are needed")
    count = len(found.changes[PEOPLE])
    drawn = rng.integers(count, size=(DRAWS, count))
    for kind in (NOISE, MEAN):
        yield from _compared(found, kind, drawn, subject, context.confidence, alarm)
    yield _table(found)
    if explained:
        yield from _explainers(subject, context, found, explained)


def _compared(found: Swaps, kind: str, drawn: Ints, subject: Subject, level: float, alarm: float) -> Iterator[Measure]:
    """The shift of the shares from people to these probes, and what single features lose."""
    people, probes = found.shares(PEOPLE), found.shares(kind)
    if np.isnan(people).any() or np.isnan(probes).any():
        silent = "people" if np.isnan(people).any() else "probes"
        note = f"no swap changes any answer at {silent} ({WORDS[kind]})"
        yield Measure(name="shift", value=None, where={"method": kind}, better="lower", note=note)
        return
    lost = people - probes
    draws = found.shares(PEOPLE, drawn) - found.shares(kind, drawn)
    shift = _measure("shift", float(np.abs(lost).sum() / 2), np.abs(draws).sum(axis=1) / 2, kind, drawn.shape[1], level)
    worst = int(lost.argmax())
    yield replace(
        shift, better="lower", note=_words(found.columns[worst], people[worst], probes[worst], kind, shift, alarm)
    )
    for place, name in enumerate(found.columns):
        if name in subject.groups or place == worst:
            measure = _measure("hidden_share", float(lost[place]), draws[:, place], kind, drawn.shape[1], level)
            note = f"{people[place]:.0%} of all changes at people, {probes[place]:.0%} at probes: {WORDS[kind]}"
            yield replace(measure, where={"feature": name, "method": kind}, note=note)


def _measure(name: str, value: float, draws: Floats, kind: str, n: int, level: float) -> Measure:
    there = draws[np.isfinite(draws)]
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2]) if len(there) else (value, value)
    interval = Interval(
        low=min(float(low), value), high=max(float(high), value), level=level, method="bootstrap percentile over people"
    )
    return Measure(name=name, value=value, unit="proportion", n=n, interval=interval, where={"method": kind})


def _words(name: str, people: float, probes: float, kind: str, shift: Measure, alarm: float) -> str:
    assert shift.interval is not None
    facts = f"{name!r} is {people:.0%} of what moves its answers at people, {probes:.0%} at probes ({WORDS[kind]})"
    if shift.interval.low > alarm:
        return (
            f"warning: this model answers probes by another rule than people: {facts}. Explanations that ask there "
            "(LIME, mean backgrounds) do not show what it does to people; read those over real or nearest people"
        )
    if shift.interval.high < alarm:
        return f"no warning from such probes (the interval lies below {alarm:g}): {facts}"
    return f"cannot tell whether there is a second rule for such probes: the interval holds {alarm:g}; {facts}"


def _table(found: Swaps) -> Table:
    shares = [found.shares(kind) for kind in (PEOPLE, NOISE, MEAN)]
    sizes = found.changes[PEOPLE].mean(axis=0)
    lines: list[tuple[Cell, ...]] = []
    for place in np.argsort(-sizes, kind="stable"):
        cells = [None if np.isnan(share[place]) else float(share[place]) for share in shares]
        lines.append((found.columns[place], float(sizes[place]), *cells))
    return Table(
        name="lean",
        title="What one swap changes, and each feature's share of all changes at people and at probes",
        columns=("feature", "mean change at people", "people", "probes with noise", "probes at the mean"),
        rows=tuple(lines),
        note="the same value goes into the same column of the same person; only the other columns differ",
    )


def _explainers(subject: Subject, context: Context, found: Swaps, count: int) -> Iterator[Measure]:
    """How much each explainer says of the feature that loses most: those far from people first, then those near."""
    lost = np.nan_to_num(found.shares(PEOPLE) - np.nan_to_num(found.shares(NOISE)), nan=-np.inf)
    name = found.columns[int(lost.argmax())]
    rows = sampled_rows(subject, context, count)
    seed = seed_of(context, "explain.hiding")
    far, near = "asks far from people", "asks near people"
    for id, fill, size, how in (
        ("lime (continuous)", None, POOL, far),
        ("shapley (mean background)", "mean", POOL, far),
        ("shapley (people as background)", None, BEHIND, near),
        ("shapley (nearest people)", "nearest", BEHIND, near),
    ):
        game = game_of(subject, context, rows, background=size, fill=fill)
        by_shapley = partial(shapley, budget=affordable(game, 128, context))
        by_lime = partial(lime, space="continuous", samples=1000)
        asked = attempted(by_lime if id.startswith("lime") else by_shapley, game, seed)
        values = asked.values if isinstance(asked, Attribution) else np.full((1, len(game.masker.players[0])), np.nan)
        size_of, place = np.abs(values), game.masker.players[0].index(name)
        total = size_of.sum(axis=1)
        share = np.divide(size_of[:, place], total, out=np.full(len(total), np.nan), where=total > 0)
        why = asked if isinstance(asked, str) else "no row has an attribution other than 0"
        measure = figures.mean(
            "attributed",
            share,
            explainer=id,
            level=context.confidence,
            unit="proportion",
            note=how,
            why=why,
            least=0.0,
            most=1.0,
        )
        yield replace(measure, where={"feature": name, "explainer": id})
