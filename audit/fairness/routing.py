"""Which expert of a mixture answers whom, and how firmly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Floats, Ints, Measure, Mixed, ModelError, Subject, Table, UsageError
from audit.data.tabular import Tabular, noisy_columns
from audit.fairness import parts
from audit.fairness.individual import sampled
from audit.fairness.measures import bounded, measured
from audit.fairness.parts import Rows, rows_of
from audit.fairness.person_means import among, mean_kind, person_means
from audit.registry import check

KINDS = {"route_switch_rate": mean_kind("lower", "proportion")}


@check(
    "fairness.routing",
    title="Which expert answers whom",
    needs={"experts", "groups", "rows"},
    sources=("fedus2022", "wilson1927", "davison1997", "zou2008", "dunn1961"),
)
def routing(
    subject: Subject, context: Context, *, scale: float = 0.3, repeats: int = 3, rows: int = 4000, replicates: int = 500
) -> Iterator[Evidence]:
    """Are the people of different groups answered by different parts of the model, and does it matter by whom?

    A mixture of experts sends each row to some of its parts; counted is the expert with the largest weight. A table for
    each attribute tells which share of a group goes to each expert and how often the decisions there are right, with
    Wilson's intervals. routing_distance is the total variation between the shares of two groups, the largest over all
    pairs: 0 where all are sent alike, 1 where they share no expert; its interval is a bootstrap that begins at 0 where
    chance suffices. route_switch_rate is the share of people who go to another expert when Gaussian noise of `scale`
    standard deviations is added to every numeric feature, averaged over the repeats, for everyone and every group.
    At most `rows` people are asked.

    Groups that differ in their features will differ in their experts: that is no wrong by itself. It becomes one where an
    expert answers one group alone and is worse, which the accuracies show, or hides from tests on everyone. What an
    expert computes is not looked at.
    """
    if scale < 0 or repeats < 1 or replicates < 1:
        raise UsageError(f"scale: 0 or more, repeats, replicates: at least 1; got {scale}, {repeats}, {replicates}")
    some = among(subject, sampled(context.rng, len(subject), rows))
    model = cast(Mixed, subject.model)
    first, experts = _expert(model, some.data.inputs)
    for attributes in context.track(subject.slices, "experts"):
        grouped = rows_of(some, attributes)
        yield _shares(some, grouped, first, experts, context.confidence)
        yield _distance(grouped, first, experts, context, replicates)
    inputs = some.data.inputs
    if isinstance(inputs, Tabular) and (noisy_columns(inputs) > 0).any():
        switched = np.zeros(len(some))
        for _ in range(repeats):
            noise = context.rng.standard_normal(inputs.values.shape) * noisy_columns(inputs) * scale
            switched += _expert(model, inputs.with_values(inputs.values + noise))[0] != first
        values = {"route_switch_rate": switched / repeats}
        yield from person_means(some, context, values, KINDS, merit=-switched, label="switches")


def _expert(model: Mixed, inputs: object) -> tuple[Ints, int]:
    """The expert (n,) of the largest weight of each row, and how many experts there are; raises ModelError."""
    weights = model.routes(inputs)
    if weights.ndim != 2 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ModelError(f"routes: expected weights (n, experts) from 0 on, got shape {weights.shape}")
    return np.asarray(weights.argmax(axis=1), dtype=np.int64), weights.shape[1]


def _tally(rows: Rows, expert: Ints, experts: int) -> Floats:
    """People (groups, experts), weighted ones as an effective number."""
    table = np.zeros((len(rows.groups), experts))
    for group, inside in enumerate(rows.members):
        table[group] = np.bincount(expert[inside], weights=rows.amounts(inside), minlength=experts)
    return table


def _shares(subject: Subject, rows: Rows, expert: Ints, experts: int, level: float) -> Table:
    """Share of each group that goes to each expert, and the accuracy there."""
    people = _tally(rows, expert, experts)
    right = None
    if subject.y is not None and subject.decision is not None:
        right = (subject.decision == subject.y).astype(np.float64)
    cells: list[tuple[str | int | float | None, ...]] = []
    for group, inside in enumerate(rows.members):
        total = people[group].sum()
        for index in range(experts):
            there = inside[expert[inside] == index]
            share = _rate(people[group, index], total, level)
            hits = None if right is None else float(rows.amounts(inside)[expert[inside] == index] @ right[there])
            found = (None, None, None) if hits is None else _rate(hits, people[group, index], level)
            cells.append((rows.label(group), index + 1, len(there), *share, *found))
    columns = ("group", "expert", "rows", "share", "low", "high", "accuracy", "accuracy low", "accuracy high")
    note = "Wilson's intervals; a rate of no rows is left empty"
    return Table(
        name=f"experts_by_{'_'.join(rows.attributes)}",
        title=f"Who is answered by which expert, by {' × '.join(rows.attributes)}",
        columns=columns,
        rows=tuple(cells),
        note=note if right is not None else f"{note}; accuracy needs labels and decisions",
    )


def _rate(k: float, n: float, level: float) -> tuple[float | None, float | None, float | None]:
    if n <= 0.0:
        return None, None, None
    low, high = stats.wilson(k, n, level)
    return float(k / n), float(low), float(high)


def total_variation(tables: Floats) -> Floats:
    """The largest total variation (...) between the shares of any two groups of tables (..., groups, experts).

    Groups without cases are passed over; NaN below two groups.
    """
    shares = stats.divide(tables, tables.sum(axis=-1, keepdims=True))
    apart = np.abs(shares[..., :, None, :] - shares[..., None, :, :]).sum(axis=-1) / 2.0
    known = ~np.isnan(apart)
    largest = np.where(known, apart, -1.0).max(axis=(-2, -1))
    enough = (tables.sum(axis=-1) > 0).sum(axis=-1) >= 2
    return np.asarray(np.where(enough, largest, np.nan))


def _distance(rows: Rows, expert: Ints, experts: int, context: Context, replicates: int) -> Measure:
    table, level = _tally(rows, expert, experts), context.confidence
    value, sizes = float(total_variation(table)), table.sum(axis=1)
    there = np.flatnonzero(sizes > 0)
    pooled = stats.divide(table.sum(axis=0), table.sum(), 0.0)
    # Draws of each group from its own shares, and from those of all groups together.
    draws, equal = (
        np.stack([stats.bootstrap_counts(share[g] * sizes[g], replicates, context.rng) for g in there], axis=1)
        if len(there)
        else np.zeros((0, 1, experts))
        for share in (stats.divide(table, sizes[:, None], 0.0), np.tile(pooled, (len(sizes), 1)))
    )
    bounds = parts.distance_interval(
        value, value, total_variation(draws.astype(float)), total_variation(equal.astype(float)), level
    )
    return measured(
        "routing_distance",
        value,
        n=int(rows.sizes().sum()),
        where=rows.everywhere,
        unit="difference",
        better="zero",
        interval=bounded((bounds[0], min(bounds[1], 1.0)), level, "count bootstrap, 0 where chance suffices"),
        note=f"{experts} experts, largest of all pairs of groups",
        why="fewer than two groups have cases",
    )
