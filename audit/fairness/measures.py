"""Rates and comparisons as measures: the value with its interval, or None with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from audit import stats
from audit.core import Better, Floats, Interval, Measure, Subject
from audit.fairness.rates import RATES, max_difference, min_ratio
from audit.fairness.slices import Slice, reference

NAMED = 5  # groups that a note names before it only counts them


def measured(
    name: str,
    value: float,
    *,
    n: int,
    where: Mapping[str, str],
    unit: str = "proportion",
    better: Better = "none",
    interval: Interval | None = None,
    note: str = "",
    why: str = "",
) -> Measure:
    """A measure of a value that may be NaN; it is then None, and `why` comes before the note."""
    known = bool(np.isfinite(value))
    reason = "" if known else f"undefined: {why}"
    return Measure(
        name=name,
        value=float(value) if known else None,
        unit=unit,
        n=int(n),
        interval=interval if known else None,
        where=where,
        better=better,
        note="; ".join(part for part in (reason, note) if part),
    )


def bounded(bounds: tuple[Any, Any], level: float, method: str) -> Interval | None:
    """An Interval of two numbers, or None where one of them is not finite."""
    low, high = float(bounds[0]), float(bounds[1])
    return Interval(low=low, high=high, level=level, method=method) if np.isfinite([low, high]).all() else None


def rate_measure(
    part: Slice, rate: str, group: int, level: float, *, where: Mapping[str, str] | None = None
) -> Measure:
    """A rate of one group with Wilson's interval."""
    value, n, effective = part.rates.column(rate)
    bounds = stats.wilson(value[group] * effective[group], effective[group], level)
    return measured(
        rate,
        value[group],
        n=n[group],
        where=part.where(group) if where is None else where,
        better=RATES[rate].better,
        interval=bounded(bounds, level, "Wilson"),
        note=_weighted(part, effective[group]),
        why=RATES[rate].empty,
    )


def rate_measures(part: Slice, names: Sequence[str], level: float) -> Iterator[Measure]:
    """Rates of every group, group by group."""
    for group in range(len(part.counts.groups)):
        for name in names:
            yield rate_measure(part, name, group, level)


def difference_measures(subject: Subject, part: Slice, rate: str, level: float) -> Iterator[Measure]:
    """The difference of every other group's rate to that of the reference group, with Newcombe's interval."""
    base = reference(subject, part, rate)
    value, n, effective = part.rates.column(rate)
    if base is None:
        return
    k = value * effective
    for group in range(len(value)):
        if group == base:
            continue
        yield measured(
            f"{rate}_difference",
            value[group] - value[base],
            n=n[group],
            where=part.where(group),
            unit="difference",
            better="zero",
            interval=bounded(
                stats.newcombe(k[group], effective[group], k[base], effective[base], level), level, "Newcombe"
            ),
            note=against(part, base, effective[group]),
            why=_missing(part, rate, [group, base]),
        )


def ratio_measures(subject: Subject, part: Slice, name: str, rate: str, level: float) -> Iterator[Measure]:
    """Every group's rate over that of the reference group, with Katz's interval; the reference itself stands at 1."""
    base = reference(subject, part, rate)
    value, n, effective = part.rates.column(rate)
    if base is None:
        return
    k = value * effective
    for group in range(len(value)):
        bounds = stats.katz(k[group], effective[group], k[base], effective[base], level)
        own = group == base
        yield measured(
            name,
            float(stats.divide(value[group], value[base])),
            n=n[group],
            where=part.where(group),
            unit="ratio",
            better="one",
            interval=bounded((1.0, 1.0), level, "by definition") if own else bounded(bounds, level, "Katz+1/2"),
            note="this is the reference group" if own else against(part, base, effective[group]),
            why=_missing(part, rate, [group, base]) or f"the rate of {part.label(base)} is 0",
        )


def gap_measure(part: Slice, name: str, rate: str, level: float) -> Measure:
    """The largest difference of a rate between any two groups, with an interval that holds for all pairs at once."""
    return _spread(part, name, rate, "difference", max_difference, stats.gap_interval, level)


def quotient_measure(part: Slice, name: str, rate: str, level: float) -> Measure:
    """The smallest rate over the largest, with an interval that holds for all pairs at once."""
    return _spread(part, name, rate, "ratio", min_ratio, stats.ratio_interval, level)


def _spread(
    part: Slice,
    name: str,
    rate: str,
    unit: str,
    compare: Callable[[Floats], Floats],
    bounds: Callable[[Floats, Floats, float], tuple[float, float]],
    level: float,
) -> Measure:
    value, n, effective = part.rates.column(rate)
    there = np.flatnonzero(~np.isnan(value))
    known = there.size >= 2
    return measured(
        name,
        float(compare(value)),
        n=n.sum(),
        where=part.everywhere,
        unit=unit,
        better="zero" if unit == "difference" else "one",
        interval=bounded(bounds((value * effective)[there], effective[there], level), level, "all pairs, Bonferroni"),
        note=_ends(part, rate) if known else "",
        why="the rate is 0 in every group" if known else too_few(part, rate),
    )


def _ends(part: Slice, rate: str) -> str:
    """Between which groups the extremes lie, and who was left out."""
    value, _, effective = part.rates.column(rate)
    ends = f"lowest: {part.label(int(np.nanargmin(value)))}, highest: {part.label(int(np.nanargmax(value)))}"
    missing = _missing(part, rate, range(len(value)))
    note = f"{ends}; left out: {missing}" if missing else ends
    return f"{note}; {_weighted(part, effective.sum())}" if part.counts.weight is not None else note


def too_few(part: Slice, rate: str) -> str:
    """Why a comparison over all groups is undefined."""
    missing = _missing(part, rate, range(len(part.counts.groups)))
    return "fewer than two groups have this rate" + (f": {missing}" if missing else "")


def _missing(part: Slice, rate: str, groups: Sequence[int]) -> str:
    """Names the groups without this rate, and says why they have none."""
    value, _, _ = part.rates.column(rate)
    empty = [part.label(group) for group in dict.fromkeys(groups) if np.isnan(value[group])]
    if not empty:
        return ""
    more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
    return f"in {', '.join(empty[:NAMED])}{more} {RATES[rate].empty}"


def against(part: Slice, base: int, effective: float) -> str:
    """The note of a comparison: its reference group, and the effective n where rows are weighted."""
    weighted = _weighted(part, effective)
    return f"reference: {part.label(base)}" + (f"; {weighted}" if weighted else "")


def _weighted(part: Slice, effective: float) -> str:
    return "" if part.counts.weight is None else f"weighted, effective n {float(effective):.1f}"
