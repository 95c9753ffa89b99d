"""Outcomes of more than two classes: each class against the rest, means over classes, and the shares predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Context, DataError, Evidence, Floats, Ints, Measure, NotApplicable, Subject, Table
from audit.fairness import parts
from audit.fairness.measures import bounded, measured
from audit.fairness.parts import Rows
from audit.fairness.rates import RATES, max_difference, shares
from audit.registry import check

_RATES = ("selection_rate", "base_rate", "tpr", "fpr", "ppv")
_MACRO = ("tpr", "ppv")
_GAPS = {
    "demographic_parity_difference": "selection_rate",
    "equal_opportunity_difference": "tpr",
    "fpr_difference": "fpr",
}


def confusion_by_group(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any,
    classes: int | None = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
) -> Floats:
    """Amounts (g, k, k) of each group by true class and predicted class, weights counted by their effective number.

    y_true, y_pred (n,): classes from 0 to k - 1. classes: k, by default the largest class that occurs plus 1. Raises
    DataError.
    """
    rows = parts.rows_by_group(sensitive_features, weights=weights, frequency=frequency)
    size = len(rows.code)
    y, p = _classes(y_true, "y_true", size), _classes(y_pred, "y_pred", size)
    largest = max(y.max(initial=0), p.max(initial=0))
    if classes is not None and largest >= classes:
        raise DataError(f"classes: allowed are classes from 0 to {classes - 1}, got {largest}")
    return _confusion(rows, y, p, int(largest) + 1 if classes is None else classes)


def one_vs_rest(confusion: ArrayLike) -> Floats:
    """Cells (..., k, 4) of tn, fp, fn, tp of every class from confusion tables (..., k, k)."""
    table = np.asarray(confusion, dtype=np.float64)
    tp = np.diagonal(table, axis1=-2, axis2=-1)
    fn, fp = table.sum(axis=-1) - tp, table.sum(axis=-2) - tp
    return np.stack([table.sum(axis=(-2, -1))[..., None] - tp - fn - fp, fp, fn, tp], axis=-1)


def macro(confusion: ArrayLike, rate: str) -> Floats:
    """The mean (...) of a rate over the classes that have it; NaN where none has."""
    value = shares(one_vs_rest(confusion), (rate,))[..., 0]
    return stats.divide(np.nansum(value, axis=-1), (~np.isnan(value)).sum(axis=-1))


def class_distance(confusion: ArrayLike, base: int) -> Floats:
    """Total variation distance (..., g) of each group's predicted classes to those of group `base` (dwork2012).

    confusion (..., g, k, k); half the sum of the absolute differences of the shares, 0 equal, 1 disjoint.
    """
    predicted = np.asarray(confusion, dtype=np.float64).sum(axis=-2)
    share = stats.divide(predicted, predicted.sum(axis=-1, keepdims=True))
    return np.asarray(np.abs(share - share[..., base : base + 1, :]).sum(axis=-1) / 2.0)


def _classes(values: ArrayLike, name: str, size: int) -> Ints:
    found = parts.column(values, name, size, amount=True)
    if (found != np.floor(found)).any():
        raise DataError(f"{name}: allowed are classes 0, 1, 2, ...; got {found[found != np.floor(found)][0]:g}")
    return found.astype(np.int64)


def _confusion(rows: Rows, y: Ints, p: Ints, k: int) -> Floats:
    groups = len(rows.groups)
    amount = np.zeros(len(y))
    for inside in rows.members:
        amount[inside] = rows.amounts(inside)
    code = (rows.code * k + y) * k + p
    found = np.bincount(code, weights=amount, minlength=(groups + 1) * k * k).astype(np.float64)
    return np.asarray(found[: groups * k * k].reshape(groups, k, k))


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.multiclass",
    title="Several classes by group",
    needs={"labels", "scores", "groups", "classes"},
    sources=("dwork2012", "hardt2016", "wilson1927", "newcombe1998", "davison1997", "dunn1961"),
)
def multiclass(subject: Subject, context: Context, *, replicates: int = 400) -> Iterator[Evidence]:
    """With more than two possible outcomes, is each of them given and missed alike in every group?

    The prediction is the class with the highest score. Each class against the rest has a selection_rate (how often it is
    predicted), base_rate, tpr, fpr and ppv in every group, with Wilson's interval, and over all groups the largest
    difference of selection_rate (demographic_parity_difference), tpr (equal_opportunity_difference) and fpr, with
    intervals for all pairs at once. accuracy, tpr_macro and ppv_macro, the means over classes, are given for each group,
    and their largest differences; class_distance is half the sum of the absolute differences between the shares of
    classes predicted for a group and for the reference group (the one named in the configuration, else the one with the
    highest accuracy among those of at least min_n people). Intervals of means and distances come from `replicates`
    bootstrap draws of the confusion table; that of a distance begins at 0 where chance suffices.

    Which classes are good for people is not known here, so no class counts as the favourable one. A mean over classes
    leaves out those that a group does not have, and is then a mean over fewer.
    """
    score, y, k = subject.score, subject.y, len(subject.data.classes)
    if y is None or score is None or score.ndim != 2:
        raise NotApplicable("needs a score for each class")
    predicted = score.argmax(axis=1)
    for attributes in context.track(((), *subject.slices), "classes by group"):
        rows = parts.rows_of(subject, attributes)
        table = _confusion(rows, y, predicted, k)
        yield from _one_by_one(rows, table, subject.data.classes, context.confidence)
        draws = np.stack([stats.bootstrap_counts(part, replicates, context.rng) for part in table], axis=1).astype(
            float
        )
        yield from _means(rows, table, draws, context.confidence)
        if attributes:
            yield from _distances(subject, rows, table, draws, context)
        else:
            yield _table(table[0], subject.data.classes)


def _one_by_one(rows: Rows, table: Floats, classes: tuple[str, ...], level: float) -> Iterator[Measure]:
    """Rates of each class against the rest, and their gaps."""
    cells = one_vs_rest(table)
    for c, title in enumerate(classes):
        value = shares(cells[:, c], _RATES)
        for i, name in enumerate(_RATES):
            bottom = cells[:, c] @ np.array(RATES[name].bottom)
            low, high = stats.wilson(np.nan_to_num(value[:, i]) * bottom, bottom, level)
            for group, inside in enumerate(rows.members):
                yield measured(
                    name,
                    value[group, i],
                    n=_people(rows, group, bottom[group], cells[group, c].sum()),
                    where={**rows.where(group), "class": title},
                    better=RATES[name].better,
                    interval=bounded((low[group], high[group]), level, "Wilson"),
                    note=rows.note(inside),
                    why=RATES[name].empty,
                )
        if rows.attributes:
            yield from _gaps(rows, cells[:, c], title, level)


def _people(rows: Rows, group: int, bottom: float, whole: float) -> int:
    """People behind a denominator; of weighted rows in proportion."""
    if not rows.weighted:
        return round(bottom)
    return round(float(rows.people[rows.members[group]].sum()) * float(stats.divide(bottom, whole, 0.0)))


def _gaps(rows: Rows, cells: Floats, title: str, level: float) -> Iterator[Measure]:
    for name, rate in _GAPS.items():
        value, bottom = shares(cells, (rate,))[:, 0], cells @ np.array(RATES[rate].bottom)
        bounds = stats.gap_interval(np.nan_to_num(value) * bottom, bottom, level)
        yield measured(
            name,
            float(max_difference(value)),
            n=rows.sizes().sum(),
            where={**rows.everywhere, "class": title},
            unit="difference",
            better="zero",
            interval=bounded(bounds, level, "all pairs, Bonferroni"),
            note=parts.ends(rows, value),
            why=f"fewer than two groups have this rate: elsewhere {RATES[rate].empty}",
        )


def _means(rows: Rows, table: Floats, draws: Floats, level: float) -> Iterator[Measure]:
    """Accuracy and means over classes of every group, and how far groups lie apart in them."""
    right, total = np.trace(table, axis1=1, axis2=2), table.sum(axis=(1, 2))
    wide = parts.together(rows, level)

    def wilson(at: float) -> tuple[Floats, Floats]:
        return stats.wilson(right, total, at)

    figures: dict[str, tuple[Floats, Any, str]] = {"accuracy": (stats.divide(right, total), wilson, "Wilson")}
    for rate in _MACRO:
        drawn = macro(draws, rate)
        figures[f"{rate}_macro"] = (
            macro(table, rate),
            lambda at, d=drawn: stats.percentile_interval(d, at),
            "count bootstrap",
        )
    for name, (value, bounds, method) in figures.items():
        low, high = bounds(level)
        for group, inside in enumerate(rows.members):
            yield measured(
                name, value[group], n=rows.people[inside].sum(), where=rows.where(group), better="higher",
                interval=bounded((min(low[group], value[group]), max(high[group], value[group])), level, method),
                note=rows.note(inside), why="there is no case",
            )  # fmt: skip
        if rows.attributes:
            low, high = bounds(wide)
            gap, least, most = parts.largest_difference(value, np.fmin(low, value), np.fmax(high, value))
            yield measured(
                f"{name}_difference", gap, n=rows.sizes().sum(), where=rows.everywhere, unit="difference", better="zero",
                interval=bounded((least, most), level, f"{method}, all pairs, Bonferroni"),
                note=parts.ends(rows, value), why="there are fewer than two groups",
            )  # fmt: skip


def _distances(subject: Subject, rows: Rows, table: Floats, draws: Floats, context: Context) -> Iterator[Measure]:
    """How far each group's predicted classes lie from those of the reference group."""
    sizes, level = rows.sizes(), context.confidence
    if np.count_nonzero(sizes) < 2:
        why = "there are fewer than two groups"
        yield measured("class_distance", np.nan, n=sizes.sum(), where=rows.everywhere, unit="difference", why=why)
        return
    accuracy = stats.divide(np.trace(table, axis1=1, axis2=2), table.sum(axis=(1, 2)))
    base = parts.named_group(subject, rows)
    base = parts.best_group(accuracy, sizes, subject.min_n) if base is None else base
    if base is None:
        return
    value, drawn = class_distance(table, base), class_distance(draws, base)
    groups = [group for group in np.flatnonzero(sizes) if group != base]
    wide, worst = stats.bonferroni(level, len(groups)), []
    for group in groups:
        equal = _as_if_equal(table, int(group), base, len(draws), context.rng)
        facts: Mapping[str, Any] = {"unit": "difference", "better": "zero", "why": "there is no case"}
        method = "count bootstrap, 0 where chance suffices"
        bounds = parts.distance_interval(value[group], value[group], drawn[:, group], equal, level)
        yield measured(
            "class_distance", value[group], n=sizes[group], where=rows.where(int(group)),
            interval=bounded(bounds, level, method), note=parts.against(rows, base, rows.members[group]), **facts,
        )  # fmt: skip
        worst.append(
            (value[group], parts.distance_interval(value[group], value[group], drawn[:, group], equal, wide), group)
        )
    known = [each for each in worst if not np.isnan(each[0])] or worst
    top = max(known, key=lambda each: each[0])
    bounds = (max(each[1][0] for each in known), max(each[1][1] for each in known))
    note = f"largest in {rows.label(int(top[2]))}; reference: {rows.label(base)}"
    yield measured(
        "class_distance", top[0], n=sizes.sum(), where=rows.everywhere,
        interval=bounded(bounds, level, f"{method}, Bonferroni"), note=note, **facts,
    )  # fmt: skip


def _as_if_equal(table: Floats, group: int, base: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Distances (replicates,) between two groups of these sizes with the same shares of classes."""
    pooled = table[[group, base]].sum(axis=(0, 1))
    pair = []
    for size in table[[group, base]].sum(axis=(1, 2)):
        drawn = stats.bootstrap_counts(stats.divide(pooled, pooled.sum(), 0.0) * size, replicates, rng).astype(float)
        pair.append(stats.divide(drawn, drawn.sum(axis=1, keepdims=True)))
    return np.asarray(np.abs(pair[0] - pair[1]).sum(axis=1) / 2.0)


def _table(confusion: Floats, classes: tuple[str, ...]) -> Table:
    body: list[tuple[Cell, ...]] = [
        (title, round(float(confusion[c].sum())), *(round(float(cell)) for cell in confusion[c]))
        for c, title in enumerate(classes)
    ]
    return Table(
        name="confusion",
        title="True classes (rows) against predicted classes (columns), everyone",
        columns=("class", "n", *(f"as {title}" for title in classes)),
        rows=tuple(body),
    )
