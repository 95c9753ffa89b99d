"""Tables in the form that selection rules ask for: the four-fifths rule, and New York City's Local Law 144."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Codes, Context, DataError, Evidence, Ints, Measure, NotApplicable, Subject, Table
from audit.fairness.counts import Counts, binary, count
from audit.fairness.measures import bounded, measured
from audit.fairness.slices import counts_of, reference, require_binary, sliced
from audit.registry import check

_SEXES = ("sex", "gender")
_RACES = ("race", "ethnic")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdverseImpact:
    """How often one group is selected, against the reference group; None where undefined.

    ratio: impact ratio, with Katz's interval (low, high). fisher_p: two-sided. standard_deviations: the difference of
    the two rates in standard deviations of its pooled estimate. ratio_after_one: the ratio had one person of this group
    been selected in place of one of the reference group. selections_short: how many more of this group would have to be
    selected to reach four fifths, 0 where they are reached.
    """

    group: tuple[str, ...]
    n: int
    selected: int
    rate: float | None
    ratio: float | None
    low: float | None
    high: float | None
    fisher_p: float | None
    standard_deviations: float | None
    ratio_after_one: float | None
    selections_short: int | None


def four_fifths(
    counts: Counts, *, reference: Sequence[str] | str | None = None, level: float = 0.95
) -> tuple[AdverseImpact, ...]:
    """Every group's selection rate against that of the reference group, as the four-fifths rule asks (ugesp1978).

    reference: the levels of the group to compare with, by default the one with the highest rate. Beside the ratio stand
    what the rule itself asks to consider: significance by Fisher's exact test (fisher1922) and in standard deviations
    (hazelwood1977), and what one selection more would change. People are counted, weights are not used. Raises DataError.
    """
    n, selected = _people(counts)
    base = _reference(counts, n, selected, reference)
    n0, k0 = (0, 0) if base is None else (int(n[base]), int(selected[base]))
    ratio, (low, high) = stats.divide(selected * n0, n * k0), stats.katz(selected, n, k0, n0, level)
    p, z = stats.two_proportions_p(selected, n, k0, n0), stats.z_statistic(selected, n, k0, n0)
    swapped = stats.divide((selected + 1) * n0, n * max(k0 - 1, 0))
    short = np.maximum(0, np.ceil(stats.divide(4 * k0 * n - 5 * selected * n0, 5 * n0)))
    return tuple(
        AdverseImpact(
            group=group,
            n=int(n[i]),
            selected=int(selected[i]),
            rate=_known(stats.divide(selected[i], n[i])),
            ratio=_known(ratio[i]),
            low=None if i == base or np.isnan(ratio[i]) else _known(low[i]),
            high=None if i == base or np.isnan(ratio[i]) else _known(high[i]),
            fisher_p=None if i == base else _known(p[i]),
            standard_deviations=None if i == base else _known(z[i]),
            ratio_after_one=None if i == base or selected[i] == n[i] else _known(swapped[i]),
            selections_short=int(short[i]) if n[i] and n0 else None,
        )
        for i, group in enumerate(counts.groups)
    )


def _people(counts: Counts) -> tuple[Ints, Ints]:
    """People and people selected in each known group."""
    if not counts.decisions:
        raise DataError("allowed are counts of decisions; these count labels only")
    cells = binary(counts).cells()
    return cells.sum(axis=1), cells[:, 1] + cells[:, 3]


def _reference(counts: Counts, n: Ints, selected: Ints, named: Sequence[str] | str | None) -> int | None:
    if named is not None:
        wanted = (named,) if isinstance(named, str) else tuple(named)
        if wanted not in counts.groups:
            raise DataError(f"reference: allowed are {list(counts.groups[:20])}, got {wanted}")
        return counts.groups.index(wanted)
    rate = stats.divide(selected, n, -1.0)
    return int(np.argmax(rate)) if len(rate) and rate.max() >= 0.0 else None


@check(
    "fairness.four_fifths",
    title="The four-fifths rule",
    needs={"decisions", "groups"},
    sources=("ugesp1978", "fisher1922", "hazelwood1977", "katz1978", "walter1975"),
)
def four_fifths_check(subject: Subject, context: Context) -> Iterator[Evidence]:
    """Does any group's selection rate fall short of four fifths of the highest, and could that be chance?

    For every group of every slice, and within each stratum (a job, say) where there are strata: people, people
    selected, selection rate, and the impact ratio to the reference group (the one named, else the highest rate among
    groups of at least min_n) with Katz's interval. Beside it stand the p value of Fisher's exact test, the difference in
    standard deviations (two or three is what courts have called significant), the ratio had one selection gone to this
    group and not to the reference group, and how many more selections would reach four fifths.

    The rule is a rule of thumb for looking closer: in small groups the ratio falls short by chance, and in large ones a
    ratio of .9 may be no accident. A p value is not adjusted for how many groups were looked at. People are counted one
    by one: weights are not used. Whether a procedure is lawful also depends on whether it is needed for the job, which
    no number here can say.
    """
    require_binary(subject)
    rows: list[tuple[Cell, ...]] = []
    for stratum in ("", *subject.data.strata):
        levels = subject.data.strata[stratum].levels if stratum else ("",)
        for attributes in subject.slices:
            whole = counts_of(subject, context, (stratum, *attributes) if stratum else attributes)
            for index, level in enumerate(levels):
                part = plain(whole, index if stratum else None)
                where = {stratum: level} if stratum else {}
                yield from _impacts(subject, part, where, context.confidence, rows)
    yield Table(
        name="four_fifths",
        title="Impact ratios as the four-fifths rule asks for them",
        columns=(
            *("stratum", "attribute", "group", "n", "selected", "selection rate", "impact ratio", "low", "high"),
            *("Fisher p", "standard deviations", "ratio after one selection more", "selections short of 4/5"),
        ),
        rows=tuple(rows),
        note="Ratios and tests, not a finding of law; people are counted without weights.",
    )


def plain(counts: Counts, index: int | None = None) -> Counts:
    """The people of the counts without weights; only those of one level of the first attribute where `index` is given."""
    one = index is not None
    return replace(
        counts,
        table=counts.table if index is None else counts.table[index],
        attributes=counts.attributes[one:],
        levels=counts.levels[one:],
        weight=None,
        weight2=None,
    )


def _impacts(
    subject: Subject, counts: Counts, where: Mapping[str, str], level: float, rows: list[tuple[Cell, ...]]
) -> Iterator[Measure]:
    part = sliced(counts)
    base = reference(subject, part, "selection_rate")
    if base is None:
        return
    for group, impact in enumerate(four_fifths(counts, reference=part.counts.groups[base], level=level)):
        stratum = " × ".join(f"{name}: {value}" for name, value in where.items())
        rows.append((stratum or None, part.name, part.label(group), *_cells(impact)))
        if group == base or not impact.n:
            continue
        place = {**where, **part.where(group)}
        note = f"reference: {part.label(base)}"
        why = f"nobody in {part.label(base)} was selected"
        bounds = (np.nan if impact.low is None else impact.low, np.nan if impact.high is None else impact.high)
        interval = bounded(bounds, level, "Katz+1/2")
        ratio, p, z = impact.ratio, impact.fisher_p, impact.standard_deviations
        yield _told("impact_ratio", ratio, impact.n, place, note, why, unit="ratio", better="one", interval=interval)
        yield _told("fisher_p", p, impact.n, place, note, why)
        yield _told("standard_deviations", z, impact.n, place, note, "", better="zero")


def _told(
    name: str, value: float | None, n: int, where: Mapping[str, str], note: str, why: str, unit: str = "", **more: Any
) -> Measure:
    number = np.nan if value is None else value
    return measured(name, number, n=n, where=where, unit=unit, note=note, why=why, **more)


def _cells(impact: AdverseImpact) -> tuple[Cell, ...]:
    return (
        *(impact.n, impact.selected, impact.rate, impact.ratio, impact.low, impact.high),
        *(impact.fisher_p, impact.standard_deviations, impact.ratio_after_one, impact.selections_short),
    )


# ---------------------------------------------------------------------------------------------- Local Law 144
@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One row of a table of Local Law 144.

    selected: people selected, or scored above the median. share: of the people in the table. small: below the share
    that may be left out. excluded: left out of the ratios with a justification, and still shown. impact_ratio: to the
    highest rate; None where excluded or undefined.
    """

    group: tuple[str, ...]
    n: int
    selected: int
    rate: float | None
    impact_ratio: float | None
    share: float | None
    small: bool
    excluded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryTable:
    """The categories of one axis of Local Law 144, and how many people are in none of them."""

    attributes: tuple[str, ...]
    categories: tuple[Category, ...]
    unknown: int
    justification: str


def ll144_selection(
    counts: Counts,
    axes: Sequence[Sequence[str]] | None = None,
    *,
    max_excluded_share: float = 0.02,
    justification: str = "",
) -> tuple[CategoryTable, ...]:
    """The tables of 6 RCNY 5-301(b): number, selection rate and impact ratio of each category (nyc2023).

    counts: decisions by sex and race or ethnicity, the unknown among them. axes: the tables wanted, by default each
    attribute alone and all of them together. justification: why categories of less than `max_excluded_share` of the
    people in the table are left out of the ratios; without one none is, for the rule allows it and does not demand it.
    Raises DataError.
    """
    alone = [(name,) for name in counts.attributes]
    wanted = [*alone, counts.attributes] if len(alone) > 1 else alone
    return tuple(
        _category_table(counts.marginal(axis), max_excluded_share, justification)
        for axis in (wanted if axes is None else axes)
    )


def ll144_scoring(
    score: ArrayLike,
    *,
    sensitive_features: Any,
    axes: Sequence[Sequence[str]] | None = None,
    max_excluded_share: float = 0.02,
    justification: str = "",
) -> tuple[CategoryTable, ...]:
    """The tables of 6 RCNY 5-301(c): the share of each category that scores above the median of everyone (nyc2023).

    score (n,): finite; the median is that of all people, those of unknown category included. The rest is as for
    ll144_selection. Raises DataError.
    """
    values = np.asarray(score, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise DataError(f"score: allowed is one finite number a person (n,), got shape {values.shape}")
    above = (values > np.median(values)).astype(np.uint8)
    counts = count(None, above, sensitive_features=sensitive_features)
    return ll144_selection(counts, axes, max_excluded_share=max_excluded_share, justification=justification)


def _category_table(counts: Counts, most: float, justification: str) -> CategoryTable:
    n, selected = _people(counts)
    share = stats.divide(n, n.sum())
    small = share < most
    excluded = small & (n > 0) & bool(justification)
    rate = stats.divide(selected, n)
    judged = np.where(excluded, np.nan, rate)
    highest = np.max(judged, initial=-np.inf, where=~np.isnan(judged))
    ratio = stats.divide(judged, highest if highest > 0.0 else 0.0)
    rows = zip(counts.groups, n, selected, rate, ratio, share, small, excluded, strict=True)
    return CategoryTable(
        attributes=counts.attributes,
        categories=tuple(
            Category(
                group=group,
                n=int(people),
                selected=int(chosen),
                rate=_known(own),
                impact_ratio=_known(against),
                share=_known(part),
                small=bool(few),
                excluded=bool(out),
            )
            for group, people, chosen, own, against, part, few, out in rows
        ),
        unknown=counts.unknown,
        justification=justification,
    )


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


@check(
    "fairness.ll144",
    title="Impact ratios as Local Law 144 asks for them",
    needs={"groups"},
    sources=("nyc2023", "katz1978", "walter1975"),
)
def ll144(
    subject: Subject,
    context: Context,
    *,
    sex: str = "",
    race: str = "",
    max_excluded_share: float = 0.02,
    justification: str = "",
) -> Iterator[Evidence]:
    """How do the sexes, the races and ethnicities, and their intersections compare in New York City's own tables?

    For each category: people, their selection rate, and its impact ratio, the rate over the highest rate of any category
    in the table (6 RCNY 5-301(b)). Where there are scores, the scoring rate stands in a second set of tables: the share
    that scores above the median of everyone (5-301(c)). `sex` and `race` name the attributes; by default the ones whose
    names say so. Categories below `max_excluded_share` of the people in a table may be left out of the ratios, with
    a `justification`; they are still shown with their number and rate. Without a justification none is left out. People
    of unknown category are counted. Intervals of the ratios (Katz) are not part of the rule.

    The rule sets no limit: a ratio is to be published, and a low one is not thereby unlawful, nor a high one lawful.
    The rule demands both axes and their intersection: where the data have one attribute only, this is not that audit.
    """
    require_binary(subject)
    names = _axes(subject, sex, race)
    tables: list[tuple[str, Counts]] = []
    if subject.decision is not None:
        tables.append(("selection", counts_of(subject, context, names)))
    if subject.score is not None and subject.score.ndim == 1 and subject.data.frequency is None:
        features: Mapping[str, Codes] = {name: subject.groups[name] for name in names}
        above = (subject.score > np.median(subject.score)).astype(np.uint8)
        tables.append(("scoring", count(None, above, sensitive_features=features)))
    if not tables:
        raise NotApplicable("there are neither decisions nor one score a person")
    for kind, counts in tables:
        for table in ll144_selection(counts, max_excluded_share=max_excluded_share, justification=justification):
            yield _as_table(kind, table)
            yield from _as_measures(kind, table, context.confidence)


def _axes(subject: Subject, sex: str, race: str) -> tuple[str, ...]:
    """The attributes of sex and of race that are there; raises DataError for a name that is not."""
    found = []
    for name, words in ((sex, _SEXES), (race, _RACES)):
        if name and name not in subject.groups:
            raise DataError(f"fairness.ll144: allowed are the attributes {list(subject.groups)}, got {name!r}")
        guesses = [other for other in subject.groups if any(word in other.lower() for word in words)]
        found += [name] if name else guesses[:1]
    if not found:
        raise NotApplicable(
            f"no attribute is called sex or race: name them with `sex` and `race`; there are {', '.join(subject.groups)}"
        )
    return tuple(dict.fromkeys(found))


def _as_table(kind: str, table: CategoryTable) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            *(" × ".join(each.group), each.n, each.selected, each.rate, each.impact_ratio, each.share),
            "excluded" if each.excluded else "small: may be excluded" if each.small else "included",
        )
        for each in table.categories
    ]
    rows.append(("unknown", table.unknown, None, None, None, None, "in no category"))
    axis = " × ".join(table.attributes)
    excluded = f" Excluded: {table.justification}" if any(each.excluded for each in table.categories) else ""
    counted, rate = ("selected", "selection rate") if kind == "selection" else ("above the median", "scoring rate")
    return Table(
        name=f"ll144_{kind}",
        title=f"Local Law 144, {rate} by {axis}",
        columns=(axis, "n", counted, rate, "impact ratio", "share", "status"),
        rows=tuple(rows),
        note=f"{table.unknown} people are in no category of {axis}.{excluded}",
    )


def _as_measures(kind: str, table: CategoryTable, level: float) -> Iterator[Measure]:
    judged = [each for each in table.categories if each.n and not each.excluded]
    best = max(judged, key=lambda each: each.rate or 0.0, default=None)
    for each in judged if best is not None else ():
        low, high = stats.katz(each.selected, each.n, best.selected, best.n, level) if best else (np.nan, np.nan)
        own = each is best
        yield _told(
            "impact_ratio" if kind == "selection" else "scoring_impact_ratio",
            each.impact_ratio,
            each.n,
            dict(zip(table.attributes, each.group, strict=True)),
            "this is the category with the highest rate"
            if own
            else f"highest: {' × '.join(best.group) if best else ''}",
            "the highest rate is 0",
            unit="ratio",
            better="one",
            interval=None if own else bounded((low, high), level, "Katz+1/2"),
        )
