"""Is a gap real, is it surely small, could it have been seen: tests over a declared family of metrics and attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import ALL, Cell, Context, Evidence, Floats, Measure, Subject, Table, UsageError
from audit.fairness.comparisons import How, gap
from audit.fairness.counts import Counts
from audit.fairness.measures import measured
from audit.fairness.rates import FIGURES, bounds_of, claimed, defined, max_difference, min_ratio, rate_of, shares
from audit.fairness.slices import counts_of, require_binary
from audit.registry import check

Result = Literal["disparity", "no material disparity", "inconclusive", "undefined"]
Correction = Literal["holm", "benjamini_hochberg", "none"]
METRICS = ("selection_rate", "tpr", "fpr", "ppv", "accuracy")
_CELLS = 2**16  # places of a table of all attributes that is still made
_JOINT = 2**23  # draws up to which the joint null of all attributes is made
_CORRECTIONS: Mapping[str, Callable[[Any], Floats]] = {
    "holm": stats.holm,
    "benjamini_hochberg": stats.benjamini_hochberg,
    "none": lambda p: np.asarray(p, dtype=np.float64),
}


class Null(NamedTuple):
    """How large a gap chance makes: the observed statistic, its p value, and the mean and 95 % point of the null."""

    observed: float
    p_value: float
    expected: float
    extreme: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the tests say of one metric over the groups of some attributes; None where undefined.

    gap: largest minus smallest, with an interval for all pairs at once. expected: the gap that chance alone makes, extreme:
    the one it stays below in 95 of 100 cases. p_value: of a gap as large by chance; p_adjusted: for the whole family;
    p_max_t: the same by the joint null of the family. p_equivalence: of "some two groups differ by margin or more".
    minimum_detectable_gap: between the smallest and the largest group. n_needed: people whom each group's rate would have
    to rest on for a gap of the margin to be found. left_out: groups with too few cases of this metric to be compared.
    """

    attributes: tuple[str, ...]
    metric: str
    n: int
    gap: float | None
    low: float | None
    high: float | None
    expected: float | None
    extreme: float | None
    p_value: float | None
    p_adjusted: float | None
    p_max_t: float | None
    p_equivalence: float | None
    minimum_detectable_gap: float | None
    n_needed: int | None
    outcome: Result
    lowest: str = ""
    highest: str = ""
    left_out: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------- the null
def permutation_test(
    counts: Counts, rate: str, rng: np.random.Generator, *, how: How = "difference", replicates: int = 1000
) -> Null:
    """Is the largest difference, or smallest ratio, of a rate over the groups larger than chance makes it?

    The people on whom the rate rests stay in their groups, and which of them are hit is shuffled among them all: exact,
    whatever the sizes, and free of n (fisher1935, phipson2010). Of a figure that is no share, labels and decisions are
    shuffled over the groups together (patefield1981). Weighted counts are taken at their effective n, rounded. For a ratio,
    small is extreme. NaN below two groups that have the rate.
    """
    cells = np.rint(claimed(counts, rate)).astype(np.int64)
    spread = max_difference if how == "difference" else min_ratio
    sign = 1.0 if how == "difference" else -1.0
    observed = float(spread(shares(cells, (rate,))[:, 0]))
    if np.isnan(observed):
        return Null(*[float("nan")] * 4)
    size = 1 if rate_of(rate).composite is None else 4
    drawn = [_null(cells, rate, size, rng) for size in stats.blocks(replicates, len(cells) * size)]
    null = np.concatenate([spread(values, axis=1) for values in drawn])
    defined = null[~np.isnan(null)]
    return Null(
        observed=observed,
        p_value=float(stats.permutation_p(sign * observed, sign * null)),
        expected=float(defined.mean()) if defined.size else float("nan"),
        extreme=float(np.quantile(defined, 0.95 if sign > 0 else 0.05)) if defined.size else float("nan"),
    )


def _null(cells: NDArray[np.int64], rate: str, size: int, rng: np.random.Generator) -> Floats:
    """Rates (size, g) under the null of one rate."""
    if rate_of(rate).composite is not None:
        return shares(stats.permuted_tables(cells, size, rng), (rate,))[..., 0]
    k, n = cells @ np.array(rate_of(rate).top), cells @ np.array(rate_of(rate).bottom)
    return stats.divide(stats.permuted_hits(n, int(k.sum()), size, rng), n)


def joint_null(
    counts: Counts,
    by: Sequence[tuple[str, ...]],
    metrics: Sequence[str],
    rng: np.random.Generator,
    *,
    replicates: int = 1000,
    min_n: int = 0,
) -> tuple[Floats, Floats]:
    """Gaps of every metric over the groups of every `by`: observed (b * m,), and with people shuffled over all attributes.

    Labels and decisions stay together, so do all attributes of a person: the null keeps how the metrics and the attributes
    hang together, as max-T needs it (westfall1993). Groups of fewer than `min_n` cases are left out as in `Plan`. Second,
    (replicates, b * m).
    """
    table = np.rint(counts.effective).astype(np.int64)
    flat = table.reshape(-1, 4)
    filled = np.flatnonzero(flat.sum(axis=1))
    drawn = []
    for size in stats.blocks(replicates, 4 * len(filled)):
        tables = np.zeros((size, len(flat), 4), dtype=np.int64)
        tables[:, filled] = stats.permuted_tables(flat[filled], size, rng)
        drawn.append(_gaps(counts, tables.reshape(size, *table.shape), by, metrics, min_n))
    return _gaps(counts, table[None], by, metrics, min_n)[0], np.concatenate(drawn)


def _gaps(
    counts: Counts, tables: NDArray[Any], by: Sequence[tuple[str, ...]], metrics: Sequence[str], min_n: int
) -> Floats:
    """Gaps (replicates, b * m) of tables (replicates, *sizes, 2, 2)."""
    columns = []
    for attributes in by:
        kept = [counts.attributes.index(name) for name in attributes]
        lost = tuple(i + 1 for i in range(len(counts.attributes)) if i not in kept)
        narrow = tables.sum(
            axis=lost
        )  # the attributes left over stand in the order of the counts: groups need no other
        known = tuple(slice(len(counts.levels[i])) for i in sorted(kept))
        cells = narrow[(slice(None), *known)].reshape(len(tables), -1, 4)
        values = shares(cells, metrics)
        part = counts.marginal([counts.attributes[i] for i in sorted(kept)])
        for column, metric in enumerate(metrics):
            values[:, few(part, metric, min_n), column] = np.nan
        columns.append(max_difference(values, axis=1))
    return np.concatenate(columns, axis=1)


def few(counts: Counts, metric: str, min_n: int) -> NDArray[np.bool_]:
    """Groups (g,) with some, but fewer than `min_n`, cases of a metric; none where fewer than two others would be left."""
    cells = claimed(counts, metric)
    n = cells.sum(axis=1) if rate_of(metric).composite is not None else cells @ np.array(rate_of(metric).bottom)
    small = (n > 0) & (n < min_n)
    return np.asarray(small & bool((n >= max(min_n, 1)).sum() >= 2))


def _without(counts: Counts, groups: NDArray[np.bool_]) -> Counts:
    """The counts with the cells of some groups emptied, so that no figure is had of them."""
    if not groups.any():
        return counts
    place = np.unravel_index(np.flatnonzero(groups), [len(levels) for levels in counts.levels])

    table = counts.table.copy()
    weight, weight2 = (None if part is None else part.copy() for part in (counts.weight, counts.weight2))
    for part in (table, weight, weight2):
        if part is not None:
            part[place] = 0
    return replace(counts, table=table, weight=weight, weight2=weight2)


# ------------------------------------------------------------------------------------------------- the decision
def classify(gap: float | None, p_value: float | None, p_equivalence: float | None, alpha: float = 0.05) -> Result:
    """The outcome in words: of a gap, its (adjusted) p value, and that of its not being within the margin.

    A gap that surely lies inside the margin is no material disparity, even where it is surely not 0.
    """
    if gap is None or np.isnan(gap):
        return "undefined"
    if p_equivalence is not None and p_equivalence <= alpha:
        return "no material disparity"
    if p_value is not None and p_value <= alpha:
        return "disparity"
    return "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a family of tests is declared to be, before the data are looked at.

    margin: how far apart groups may be for the gap not to matter. alpha: the level of every test. power: with which a gap
    is called detectable. correction: of the p values over the family. replicates: shuffles. min_n: groups with fewer cases
    of a metric are left out of its gap and named, because the extremes of a rate over a handful of people hide the gap
    between the large groups; where fewer than two groups would be left, all stay. Raises UsageError.
    """

    metrics: tuple[str, ...] = METRICS
    margin: float = 0.05
    alpha: float = 0.05
    power: float = 0.8
    correction: Correction = "holm"
    replicates: int = 2000
    min_n: int = 0

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in FIGURES:
                raise UsageError(f"metrics: allowed are {list(FIGURES)}, got {name!r}")
        if self.correction not in _CORRECTIONS:
            raise UsageError(f"correction: allowed are {list(_CORRECTIONS)}, got {self.correction!r}")
        for name in ("margin", "alpha", "power"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise UsageError(f"{name}: allowed is a number between 0 and 1, got {getattr(self, name)}")
        if self.replicates < 1:
            raise UsageError(f"replicates: at least 1 is needed, got {self.replicates}")


def significance(
    counts: Counts,
    rng: np.random.Generator,
    *,
    by: Sequence[tuple[str, ...]] | None = None,
    plan: Plan | None = None,
) -> tuple[Finding, ...]:
    """Test a family of metrics over the groups of attributes: each gap for chance, for being small, and for being seen.

    by: tuples of attributes, by default each alone. A metric that the counts do not allow is passed over. A gap is
    equivalent to none where the intervals at level 1 - 2 alpha of all pairs lie inside the margin (schuirmann1987,
    berger1982). Raises DataError.
    """
    slices = tuple((name,) for name in counts.attributes) if by is None else tuple(by)
    return _test([counts.marginal(attributes) for attributes in slices], counts, rng, plan or Plan())


def _test(parts: Sequence[Counts], joint: Counts | None, rng: np.random.Generator, plan: Plan) -> tuple[Finding, ...]:
    """The findings of every metric over every part; joint: the counts of all attributes together, where they are had."""
    family = [
        (part, metric)
        for part in parts
        for metric in plan.metrics
        if metric in defined(part.labels, part.decisions, FIGURES)
    ]
    small = [few(part, metric, plan.min_n) for part, metric in family]
    large = [(_without(part, groups), metric) for (part, metric), groups in zip(family, small, strict=True)]
    nulls = [permutation_test(part, metric, rng, replicates=plan.replicates) for part, metric in large]
    p = np.array([null.p_value for null in nulls], dtype=np.float64)
    adjusted, together = _CORRECTIONS[plan.correction](p), np.full(len(p), np.nan)
    if joint is not None and family:
        metrics = list(dict.fromkeys(metric for _, metric in family))
        together = np.maximum(_max_t(joint, [part.attributes for part in parts], metrics, rng, plan), p)
    findings = []
    for i, (part, metric) in enumerate(large):
        own = _Adjusted(float(p[i]), float(adjusted[i]), float(together[i]))
        names = tuple(" × ".join(part.groups[group]) for group in np.flatnonzero(small[i]))
        findings.append(replace(_finding(part, metric, nulls[i], own, plan), left_out=names))
    return tuple(findings)


class _Adjusted(NamedTuple):
    """A p value by itself, corrected for the family, and by the joint null of the family."""

    alone: float
    corrected: float
    max_t: float


def _max_t(
    counts: Counts, by: Sequence[tuple[str, ...]], metrics: Sequence[str], rng: np.random.Generator, plan: Plan
) -> Floats:
    """Max-T adjusted p values; NaN where the table of all attributes is too large to draw."""
    rows = int((counts.table.reshape(-1, 4).sum(axis=1) > 0).sum())
    if rows * plan.replicates * 4 > _JOINT:
        return np.full(len(by) * len(metrics), np.nan)
    return stats.westfall_young(*joint_null(counts, by, metrics, rng, replicates=plan.replicates, min_n=plan.min_n))


def _finding(part: Counts, metric: str, null: Null, p: _Adjusted, plan: Plan) -> Finding:
    margin, alpha, power = plan.margin, plan.alpha, plan.power
    widest = gap(part, metric, level=1.0 - alpha)
    cells = claimed(part, metric)
    value = shares(cells, (metric,))[:, 0]
    there = ~np.isnan(value)
    n = (cells @ np.array(rate_of(metric).bottom))[there]
    equal = stats.equivalence(value[there], lambda level: bounds_of(cells[there], metric, level), margin)
    plain = rate_of(metric).composite is None and len(n) >= 2
    pooled = float(value[there] @ n / n.sum()) if plain else float("nan")
    least = float(stats.minimum_detectable_gap(n.min(), n.max(), pooled, power, alpha)) if plain else float("nan")
    outcome = classify(widest.value, p.corrected, equal, alpha)
    needed = _needed(pooled, margin, power, alpha) if plain and outcome == "inconclusive" else None
    return Finding(
        attributes=part.attributes,
        metric=metric,
        n=widest.n,
        gap=_or_none(widest.value),
        low=_or_none(widest.low),
        high=_or_none(widest.high),
        expected=_or_none(null.expected),
        extreme=_or_none(null.extreme),
        p_value=_or_none(p.alone),
        p_adjusted=_or_none(p.corrected),
        p_max_t=_or_none(p.max_t),
        p_equivalence=_or_none(equal),
        minimum_detectable_gap=_or_none(least),
        n_needed=needed,
        outcome=outcome,
        lowest=" × ".join(widest.lowest),
        highest=" × ".join(widest.highest),
    )


def _needed(pooled: float, margin: float, power: float, alpha: float) -> int | None:
    """People in each group, for a gap of the margin that reaches from the common rate towards 1/2."""
    other = pooled + margin if pooled <= 0.5 else pooled - margin
    n = float(stats.n_needed(pooled, np.clip(other, 0.0, 1.0), power, alpha))
    return int(np.ceil(n)) if np.isfinite(n) else None


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ------------------------------------------------------------------------------------------------------ the check
@check(
    "fairness.significance",
    title="Gaps against chance, over the whole family",
    needs={"decisions", "groups"},
    sources=(
        "fisher1935",
        "phipson2010",
        "holm1979",
        "benjamini1995",
        "westfall1993",
        "schuirmann1987",
        "berger1982",
        "fleiss2003",
        "patefield1981",
    ),
)
def significant_gaps(
    subject: Subject,
    context: Context,
    *,
    metrics: tuple[str, ...] = METRICS,
    margin: float = 0.05,
    power: float = 0.8,
    correction: Correction = "holm",
    replicates: int = 2000,
) -> Iterator[Evidence]:
    """Which gaps between groups are real, which are surely small, and which could these data not have told?

    The family is every metric over every slice, declared beforehand. Some gap there always is: p_value is the chance of
    one as large when who is hit is shuffled over the people of all groups (an exact test, `replicates` shuffles), and
    gap_expected_by_chance the mean gap of the shuffles. p_adjusted holds over the family, by Holm's correction unless
    another is chosen, p_max_t by shuffling people over all attributes at once, which keeps how the metrics hang together.
    p_equivalence is that of two groups lying `margin` or more apart; where it is small, the intervals of all pairs lie
    inside the margin. minimum_detectable_gap is what a test of the smallest against the largest group would find with the
    given power. Groups with fewer than min_n cases of a metric are left out of its gap: the extremes of a rate over a
    handful of people would hide the gap between the large groups. The outcome is one of four: no material disparity (surely inside the margin), disparity (not by chance,
    after correction), inconclusive (with the people needed in each group to find a gap of the margin), or undefined. The
    level of all tests is one minus the confidence of the audit.

    A p value is not the size of a gap: with many people a trifle is significant, with few a scandal is not. The claim of
    no material disparity is made for each gap by itself and not corrected, and the margin is a choice, not a law.
    """
    require_binary(subject)
    plan = Plan(
        metrics=tuple(metrics),
        margin=margin,
        alpha=1.0 - context.confidence,
        power=power,
        correction=correction,
        replicates=replicates,
        min_n=subject.min_n,
    )
    parts = [counts_of(subject, context, attributes) for attributes in subject.slices]
    sizes = [len(codes.levels) + 1.0 for codes in subject.groups.values()]
    joint = counts_of(subject, context, tuple(subject.groups)) if np.prod(sizes) <= _CELLS else None
    findings = _test(parts, joint, context.rng, plan)
    for found in findings:
        yield from _measures(found, plan)
    yield _table(findings, plan)


def _measures(found: Finding, plan: Plan) -> Iterator[Measure]:
    where = {**dict.fromkeys(found.attributes, ALL), "metric": found.metric}
    why = "fewer than two groups have this rate"
    texts = {
        "p_value": f"{found.outcome}; {plan.replicates} shuffles, not corrected for the family",
        "p_adjusted": f"{found.outcome}; {plan.correction} over the family",
        "gap_expected_by_chance": f"the gap is {found.gap:.4f}" if found.gap is not None else "",
        "minimum_detectable_gap": f"power {plan.power:g}, smallest against largest group",
    }
    values = {
        "p_value": found.p_value,
        "p_adjusted": found.p_adjusted,
        "gap_expected_by_chance": found.expected,
        "minimum_detectable_gap": found.minimum_detectable_gap,
    }
    for name, value in values.items():
        unseen = name == "minimum_detectable_gap" and found.gap is not None
        yield measured(
            name,
            float("nan") if value is None else value,
            n=found.n,
            where=where,
            unit="" if name.startswith("p_") else "difference",
            note=texts[name] if value is not None else "",
            why="no gap that is possible would be found, or the metric is no share" if unseen else why,
        )


def _table(findings: Sequence[Finding], plan: Plan) -> Table:
    """The family, a row a test."""
    rows: list[tuple[Cell, ...]] = [
        (
            " × ".join(one.attributes),
            one.metric,
            one.n,
            one.gap,
            one.low,
            one.high,
            one.expected,
            one.extreme,
            one.p_value,
            one.p_adjusted,
            one.p_max_t,
            one.p_equivalence,
            one.minimum_detectable_gap,
            one.n_needed,
            one.outcome,
            one.lowest or None,
            one.highest or None,
            ", ".join(one.left_out),
        )
        for one in findings
    ]
    return Table(
        name="significance",
        title="Gaps against chance",
        columns=(
            "attribute",
            "metric",
            "n",
            "gap",
            "low",
            "high",
            "expected_by_chance",
            "95_percent_of_chance",
            "p_value",
            "p_adjusted",
            "p_max_t",
            "p_equivalence",
            "minimum_detectable_gap",
            "n_needed",
            "outcome",
            "lowest",
            "highest",
            "left_out",
        ),
        rows=tuple(rows),
        note=f"Margin {plan.margin:g}, level {plan.alpha:g}, correction {plan.correction}, {len(rows)} tests.",
    )
