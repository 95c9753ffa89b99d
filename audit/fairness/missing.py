"""When the group is unknown: how many, what it could change at worst, and what a proxy can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Context, DataError, Evidence, Floats, Measure, Subject, Table
from audit.data.tabular import Tabular
from audit.fairness.counts import Counts, binary
from audit.fairness.measures import bounded, measured
from audit.fairness.rates import RATES, defined
from audit.fairness.slices import Slice, counts_of, require_binary, slice_of
from audit.registry import check

_SHOWN = ("selection_rate", "tpr", "fpr")
_NONE: Mapping[str, Sequence[str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstCase:
    """What rates and gaps could be, whatever group the unknown belong to; NaN where undefined.

    known, low, high (g,): the rate of each group among the known, and its sharp bounds. outer (2, g): the same bounds
    with the confidence interval around them. difference, ratio: (low, high) of the largest minus the smallest rate, and
    of the smallest over the largest. unknown: how many of the rate's denominator have no known group.
    """

    groups: tuple[tuple[str, ...], ...]
    known: Floats
    n: Floats
    low: Floats
    high: Floats
    outer: Floats
    difference: tuple[float, float]
    ratio: tuple[float, float]
    unknown: int


def worst_case(counts: Counts, rate: str = "selection_rate", level: float = 0.95) -> WorstCase:
    """Bounds of a rate, of the gap and of the ratio, were the unknown to belong to any of the groups (manski1990).

    The rate of a group is highest when every unknown person who was hit belongs to it, and lowest when every one who
    was not does; as these are different people, the largest difference of two groups is reached in one and the same
    way. With two groups all bounds are sharp; with more, the lower bound of the gap may be too low, never too high.
    Raises DataError for a rate that was not counted.
    """
    allowed = defined(counts.labels, counts.decisions)
    if rate not in allowed:
        raise DataError(f"rate: allowed are {list(allowed)}, got {rate!r}")
    masks = np.array([RATES[rate].top, RATES[rate].bottom]).T
    k, n = (binary(counts).cells(counts.effective) @ masks).T.astype(np.float64)
    everyone = counts.effective.reshape(-1, 4).sum(axis=0) @ masks
    hit = max(float(everyone[0] - k.sum()), 0.0)
    missed = max(float(everyone[1] - n.sum()) - hit, 0.0)
    people = counts.table.reshape(-1, 4).sum(axis=0) @ masks[:, 1] - int((counts.cells() @ masks[:, 1]).sum())
    low, high = stats.divide(k, n + missed), stats.divide(k + hit, n + hit)
    lost = extremes(low, high, _lost, 0.0)
    outer = np.stack([stats.wilson(k, n + missed, level)[0], stats.wilson(k + hit, n + hit, level)[1]])
    return WorstCase(
        groups=counts.groups,
        known=stats.divide(k, n),
        n=n,
        low=low,
        high=high,
        outer=outer,
        difference=extremes(low, high, np.subtract, 0.0),
        ratio=(1.0 - lost[1], 1.0 - lost[0]),
        unknown=int(people),
    )


def _lost(large: Any, small: Any) -> Any:
    """What is missing from small/large to 1."""
    return 1.0 - stats.divide(small, large)


def extremes(low: Floats, high: Floats, apart: Any, least: float) -> tuple[float, float]:
    """The least and greatest spread of rates that lie between low and high (g,), NaN below two groups with a rate.

    `apart` grows with its first and falls with its second argument, so that only the two groups with the largest upper
    bounds, the smallest lower ones, matter: no loop over pairs.
    """
    there = np.flatnonzero(~(np.isnan(low) | np.isnan(high)))
    if len(there) < 2:
        return np.nan, np.nan
    low, high = low[there], high[there]
    tops, bottoms = np.argsort(-high, kind="stable")[:2], np.argsort(low, kind="stable")[:2]
    widest = [float(apart(high[a], low[b])) for a in tops for b in bottoms if a != b]
    tops, bottoms = np.argsort(-low, kind="stable")[:2], np.argsort(high, kind="stable")[:2]
    nearest = [float(apart(low[a], high[b])) for a in tops for b in bottoms if a != b]
    return max(least, float(np.nanmax([least, *nearest]))), float(np.max(widest))


# ---------------------------------------------------------------------------------------------------- proxies
def proxy_rates(outcome: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Rates (g,) of groups known only by chance: each person counts for a group as much as they may belong to it.

    outcome (n,): 0 or 1. probability (n, g): P(group | proxy), rows that sum to 1. The estimate is right only if the
    outcome does not depend on the group once the proxy is known, and is biased otherwise (chen2019). Raises DataError.
    """
    y, p, w = _proxy(outcome, probability, weights)
    return stats.divide((w * y) @ p, w @ p)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyBounds:
    """Sharp bounds of the rate of each group (g,), and of the difference of every pair of groups (g, g)."""

    low: Floats
    high: Floats
    difference_low: Floats
    difference_high: Floats


def proxy_bounds(
    outcome: ArrayLike, probability: ArrayLike, proxy: ArrayLike | None = None, weights: ArrayLike | None = None
) -> ProxyBounds:
    """Bounds of group rates that follow from P(group | proxy) and P(outcome | proxy) alone (kallus2022).

    outcome (n,): 0 or 1. probability (n, g): rows that sum to 1. proxy (n,): whole numbers that say who shares a value of
    the proxy; by default those with equal probabilities. Within each value, the share that is in a group and is hit lies
    between Fréchet's bounds, and the groups' extremes can be reached together. NaN for a group without any probability.
    Raises DataError.
    """
    y, p, w = _proxy(outcome, probability, weights)
    cell = np.unique(p, axis=0, return_inverse=True)[1].ravel() if proxy is None else np.asarray(proxy)
    if cell.shape != y.shape:
        raise DataError(f"proxy: allowed is one value a person {y.shape}, got shape {cell.shape}")
    place = np.unique(cell, return_inverse=True)[1].ravel()
    mass = np.bincount(place, weights=w)
    hit = stats.divide(np.bincount(place, weights=w * y), mass, 0.0)[:, None]
    share = np.stack([stats.divide(np.bincount(place, weights=w * column), mass, 0.0) for column in p.T], axis=1)
    size = mass @ share
    low = stats.divide(mass @ np.maximum(share + hit - 1.0, 0.0), size)
    high = stats.divide(mass @ np.minimum(share, hit), size)
    apart = ~np.eye(len(low), dtype=bool)
    return ProxyBounds(
        low=low,
        high=high,
        difference_low=np.where(apart, low[:, None] - high[None, :], 0.0),
        difference_high=np.where(apart, high[:, None] - low[None, :], 0.0),
    )


def _proxy(outcome: ArrayLike, probability: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    y, p = np.asarray(outcome, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if y.ndim != 1 or p.ndim != 2 or len(y) != len(p):
        raise DataError(f"allowed are outcome (n,) and probability (n, g), got the shapes {y.shape} and {p.shape}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("outcome: allowed are 0 and 1, got others")
    if (p < 0.0).any() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-6):
        raise DataError("probability: allowed are rows of probabilities that sum to 1, got others")
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    return y, p, w


# ------------------------------------------------------------------------------------------------------ check
@check(
    "fairness.missing",
    title="People of unknown group",
    needs={"decisions", "groups"},
    sources=("manski1990", "wilson1927", "newcombe1998", "chen2019", "kallus2022"),
)
def missing(subject: Subject, context: Context, *, proxies: Mapping[str, Sequence[str]] = _NONE) -> Iterator[Evidence]:
    """How many people have no known group, are they treated like the others, and what could they change at worst?

    unknown_share is the share of people whose group is unknown in an attribute, with Wilson's interval;
    selection_rate_unknown and base_rate_unknown are their rates, and unknown_difference is their selection rate minus
    that of the known (Newcombe). With `[groups] missing = "bounds"`, each rate of each group is also given as the range
    that it could have if the unknown belonged to any of the groups (Manski's bounds, widened by Wilson's interval), and
    so are the largest difference and the smallest ratio between groups. `proxies` names, for an attribute, the
    feature columns that hold the probability of each of its levels: then the rates of all groups are also estimated from
    the probabilities (proxy_selection_rate), with the bounds that these alone allow.

    The bounds hold whatever the reason for which a group is unknown, and they are wide: a wide range is what the data
    leave open, and not an estimate. The estimate from a proxy is biased where the decision depends on the group beyond
    the proxy. What a person would have answered may not be what they are.
    """
    require_binary(subject)
    rows: list[tuple[Cell, ...]] = []
    for attributes in subject.slices:
        part = slice_of(subject, context, attributes)
        yield from _shares(subject, part, counts_of(subject, context), context.confidence)
        if subject.missing == "bounds":
            for rate in (name for name in _SHOWN if name in defined(subject.y is not None, True)):
                yield from _bounds(part, rate, context.confidence, rows)
    yield _unknown(subject, context)
    if rows:
        yield Table(
            name="missing_bounds",
            title="What rates could be, whatever group the unknown belong to",
            columns=("attribute", "group", "rate", "n", "among the known", "lowest", "highest"),
            rows=tuple(rows),
            note="Bounds without sampling error; effective n where people are weighted.",
        )
    for attribute, columns in proxies.items():
        yield from _proxied(subject, attribute, columns, context.confidence)


def _shares(subject: Subject, part: Slice, everyone: Counts, level: float) -> Iterator[Measure]:
    """The share of the unknown, and their rates against those of the known."""
    whole = everyone.effective.reshape(-1, 4).sum(axis=0).astype(np.float64)
    known = part.counts.cells(part.counts.effective).sum(axis=0)
    lost = np.maximum(whole - known, 0.0)
    people, total = part.counts.unknown, part.counts.n
    place: dict[str, Any] = {"where": part.everywhere}
    share, bounds = stats.divide(lost.sum(), whole.sum()), stats.wilson(lost.sum(), whole.sum(), level)
    interval = bounded(bounds, level, "Wilson")
    yield measured("unknown_share", float(share), n=total, interval=interval, why="there is no case", **place)
    masks = {"selection_rate": (0, 1, 0, 1), "base_rate": (0, 0, 1, 1)}
    for rate in masks if subject.y is not None else ("selection_rate",):
        k, n = lost @ np.array(masks[rate]), lost.sum() if people else 0.0
        interval = bounded(stats.wilson(k, n, level), level, "Wilson")
        value, why = float(stats.divide(k, n)), "every group is known"
        yield measured(f"{rate}_unknown", value, n=people, interval=interval, why=why, **place)
        if rate == "selection_rate":
            k0, n0 = known @ np.array(masks[rate]), known.sum()
            interval = bounded(stats.newcombe(k, n, k0, n0, level), level, "Newcombe")
            gap = value - float(stats.divide(k0, n0))
            more: dict[str, Any] = {"unit": "difference", "better": "zero", "interval": interval, **place}
            reason = why if not people else "no group is known"
            yield measured("unknown_difference", gap, n=people, why=reason, note="reference: the known", **more)


def _bounds(part: Slice, rate: str, level: float, rows: list[tuple[Cell, ...]]) -> Iterator[Measure]:
    found = worst_case(part.counts, rate, level)
    method = "worst case and Wilson"
    note = f"among the known; {found.unknown} have an unknown group"
    people = (part.counts.cells() @ np.array(RATES[rate].bottom)).tolist()
    for group in range(len(found.groups)):
        cells = [None if np.isnan(x) else float(x) for x in (found.known[group], found.low[group], found.high[group])]
        rows.append((part.name, part.label(group), rate, people[group], *cells))
        yield measured(
            f"{rate}_worst_case",
            found.known[group],
            n=people[group],
            where=part.where(group),
            interval=bounded((found.outer[0, group], found.outer[1, group]), level, method),
            note=note,
            why=RATES[rate].empty,
        )
    spread = extremes(found.known, found.known, np.subtract, 0.0)[1]
    lost = extremes(found.known, found.known, _lost, 0.0)[1]
    together = worst_case(part.counts, rate, stats.bonferroni(level, len(found.groups))).outer
    wide = extremes(together[0], together[1], np.subtract, 0.0)
    thin = extremes(together[0], together[1], _lost, 0.0)
    why = "fewer than two groups have this rate"
    yield measured(
        f"{rate}_difference_worst_case",
        spread,
        n=sum(people),
        where=part.everywhere,
        unit="difference",
        better="zero",
        interval=bounded(wide, level, f"{method}, Bonferroni"),
        note=note,
        why=why,
    )
    yield measured(
        f"{rate}_ratio_worst_case",
        1.0 - lost,
        n=sum(people),
        where=part.everywhere,
        unit="ratio",
        better="one",
        interval=bounded((1.0 - thin[1], 1.0 - thin[0]), level, f"{method}, Bonferroni"),
        note=note,
        why=f"{why}, or it is 0 in all of them",
    )


def _unknown(subject: Subject, context: Context) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for attributes in subject.slices:
        counts = counts_of(subject, context, attributes)
        lost = counts.table.reshape(-1, 4).sum(axis=0) - counts.cells().sum(axis=0)
        _, fp, fn, tp = (int(cell) for cell in lost)
        positive = fn + tp if subject.y is not None else None
        rows.append((" × ".join(attributes), counts.unknown, counts.n, fp + tp, positive))
    return Table(
        name="unknown",
        title="People whose group is unknown",
        columns=("attribute", "n", "of", "selected", "positive"),
        rows=tuple(rows),
    )


def _proxied(subject: Subject, attribute: str, columns: Sequence[str], confidence: float) -> Iterator[Measure]:
    inputs = subject.data.inputs
    if attribute not in subject.groups:
        raise DataError(f"fairness.missing: proxies: allowed are {list(subject.groups)}, got {attribute!r}")
    levels = subject.groups[attribute].levels
    if not isinstance(inputs, Tabular) or len(columns) != len(levels) or not set(columns) <= set(inputs.columns):
        raise DataError(
            f"fairness.missing: proxies: {attribute!r} needs a feature column of probabilities for each of "
            f"{list(levels)}, got {list(columns)}"
        )
    p = inputs.values[:, [inputs.columns.index(name) for name in columns]]
    if subject.decision is None:
        return
    value = proxy_rates(subject.decision, p, subject.data.weights)
    found = proxy_bounds(subject.decision, p, weights=subject.data.weights)
    for group, level in enumerate(levels):
        yield measured(
            "proxy_selection_rate",
            value[group],
            n=len(p),
            where={attribute: level},
            interval=bounded(
                (found.low[group], found.high[group]), confidence, "bounds from the proxy, no sampling error"
            ),
            note=f"about {p[:, group].sum():.1f} people by their probabilities",
            why="nobody may belong to it",
        )
