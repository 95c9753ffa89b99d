"""Comparisons between groups, written once for every rate: differences and ratios, to any reference, and the widest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from audit import stats
from audit.core import DataError, Floats, Ints, UsageError
from audit.fairness.counts import Counts
from audit.fairness.rates import bounds_of, claimed, max_difference, min_ratio, rate_of, rates

if TYPE_CHECKING:
    import pandas as pd

How = Literal["difference", "ratio"]
Group = tuple[str, ...]
OVERALL: Group = ("overall",)
REFERENCES = ("best", "worst", "overall", "all")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupComparison:
    """A rate of some groups (c,) against that of others; NaN where undefined.

    groups, against: levels of both sides, ("overall",) for everyone. low, high (c,): the interval of value. n, n_against
    (c,): people on whom both sides rest.
    """

    rate: str
    how: How
    attributes: tuple[str, ...]
    groups: tuple[Group, ...]
    against: tuple[Group, ...]
    value: Floats
    low: Floats
    high: Floats
    n: Ints
    n_against: Ints
    level: float

    def frame(self) -> pd.DataFrame:
        """A pandas frame: a row a comparison."""
        import pandas as pd

        return pd.DataFrame(
            {
                "group": [" × ".join(group) for group in self.groups],
                "against": [" × ".join(group) for group in self.against],
                self.how: self.value,
                "low": self.low,
                "high": self.high,
                "n": self.n,
                "n_against": self.n_against,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The largest difference or smallest ratio over all groups, between which two, and bounds that hold for all pairs.

    value, low and high are NaN where undefined. n: people on whom the rates of the compared groups rest.
    """

    rate: str
    how: How
    value: float
    low: float
    high: float
    n: int
    lowest: Group
    highest: Group
    left_out: tuple[Group, ...]
    level: float


def compare_groups(
    counts: Counts,
    rate: str,
    *,
    how: How = "difference",
    reference: str | Group = "best",
    level: float = 0.95,
    simultaneous: bool = False,
) -> GroupComparison:
    """Compare a rate of every group with a reference: a group's levels, or "best", "worst", "overall", or "all" pairs.

    A rate that had better be low is best where it is lowest, any other where it is highest. Intervals: Newcombe's of
    differences and Katz's of ratios of shares; of other figures, those of independent estimates (newcombe1998,
    katz1978, zou2008). Against overall, of which the group is a part, the interval follows from that against all
    others. simultaneous: all the intervals hold together, by Bonferroni. Raises DataError and UsageError.
    """
    if how not in ("difference", "ratio"):
        raise UsageError(f"how: allowed are 'difference' and 'ratio', got {how!r}")
    table = rates(counts, [rate])
    value, n = table.value[:, 0], table.n[:, 0]
    if reference == "overall":
        return _to_overall(counts, rate, how, level, simultaneous)
    first, second = _sides(counts, rate, value, reference)
    each = stats.bonferroni(level, len(first)) if simultaneous else level
    cells = claimed(counts, rate)
    low, high = _bounds(rate, how, cells[first], cells[second], each)
    estimate = _contrast(how, value[first], value[second])
    names = counts.groups
    return GroupComparison(
        rate=rate,
        how=how,
        attributes=counts.attributes,
        groups=tuple(names[i] for i in first),
        against=tuple(names[i] for i in second),
        value=estimate,
        low=np.where(np.isnan(estimate), np.nan, low),
        high=np.where(np.isnan(estimate), np.nan, high),
        n=n[first],
        n_against=n[second],
        level=level,
    )


def _sides(counts: Counts, rate: str, value: Floats, reference: str | Group) -> tuple[Ints, Ints]:
    """The rows of the groups and of what each is compared with."""
    groups = len(value)
    if reference == "all":
        first, second = np.triu_indices(groups, 1)
        return first, second
    if reference in ("best", "worst"):
        if np.isnan(value).all():
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        low_is_best = rate_of(rate).better == "lower"
        base = int(np.nanargmin(value) if low_is_best == (reference == "best") else np.nanargmax(value))
    else:
        named = (reference,) if isinstance(reference, str) else tuple(reference)
        if named not in counts.groups:
            shown = [group[0] if len(group) == 1 else group for group in counts.groups[:20]]
            raise DataError(f"reference: allowed are {list(REFERENCES)} and the groups {shown}, got {reference!r}")
        base = counts.groups.index(named)
    first = np.flatnonzero(np.arange(groups) != base)
    return first, np.full(len(first), base)


def _contrast(how: How, value1: Floats, value2: Floats) -> Floats:
    """The difference or the ratio, which is undefined for what is below 0."""
    if how == "difference":
        return value1 - value2
    return stats.divide(np.where(np.fmin(value1, value2) < 0.0, np.nan, value1), value2)


def _bounds(rate: str, how: How, cells1: Floats, cells2: Floats, level: float) -> stats.Bounds:
    """The interval of the difference or ratio of independent groups from the cells (c, 4) of both."""
    plain = rate_of(rate).composite is None
    top, bottom = np.array(rate_of(rate).top), np.array(rate_of(rate).bottom)
    columns = (cells1 @ top, cells1 @ bottom, cells2 @ top, cells2 @ bottom)
    if plain:
        return stats.newcombe(*columns, level) if how == "difference" else stats.katz(*columns, level)
    value1, value2 = _value(rate, cells1), _value(rate, cells2)
    bounds1, bounds2 = bounds_of(cells1, rate, level), bounds_of(cells2, rate, level)
    if how == "difference":
        return stats.mover(value1, bounds1, value2, bounds2)
    low, high = stats.mover(_log(value1), _logs(bounds1), _log(value2), _logs(bounds2))
    return np.exp(low), np.exp(high)


def _value(rate: str, cells: Floats) -> Floats:
    composite = rate_of(rate).composite
    assert composite is not None
    return composite.value(cells)


def _log(value: Floats) -> Floats:
    """Logarithms, NaN where there is none."""
    return np.log(value, out=np.full(np.shape(value), np.nan), where=np.asarray(value) > 0.0)


def _logs(bounds: stats.Bounds) -> stats.Bounds:
    """Logarithms of an interval: a lower bound of 0 or less reaches down without end."""
    low, high = bounds
    floor = np.where(np.isnan(low), np.nan, -np.inf)
    return np.log(low, out=floor, where=low > 0.0), _log(high)


def _to_overall(counts: Counts, rate: str, how: How, level: float, simultaneous: bool) -> GroupComparison:
    """Every group against everyone, those of unknown groups included."""
    groups, everyone = rates(counts, [rate]), rates(counts.total(), [rate])
    value, whole, size = groups.value[:, 0], everyone.value[0, 0], len(groups.value)
    each = stats.bonferroni(level, size) if simultaneous else level
    cells, total = claimed(counts, rate), claimed(counts.total(), rate)
    if rate_of(rate).composite is None:
        rest, part = _others(counts, rate)
        low, high = _bounds(rate, how, cells, rest, each)
        if how == "difference":
            low, high = (1.0 - part) * low, (1.0 - part) * high
        else:  # r / (part r + 1 - part) of the ratio r to the others, which grows with r
            low, high = (_diluted(side, part) for side in (low, high))
        alone = part >= 1.0
        same = 0.0 if how == "difference" else 1.0
        low, high = np.where(alone, same, low), np.where(alone, same, high)
    else:  # taken as independent, which they are not: the interval is too wide rather than too narrow
        low, high = _bounds(rate, how, cells, np.broadcast_to(total, cells.shape), each)
    estimate = _contrast(how, value, np.full(size, whole))
    return GroupComparison(
        rate=rate,
        how=how,
        attributes=counts.attributes,
        groups=counts.groups,
        against=(OVERALL,) * size,
        value=estimate,
        low=np.where(np.isnan(estimate), np.nan, low),
        high=np.where(np.isnan(estimate), np.nan, high),
        n=groups.n[:, 0],
        n_against=np.full(size, everyone.n[0, 0]),
        level=level,
    )


def _others(counts: Counts, rate: str) -> tuple[Floats, Floats]:
    """Cells (g, 4) of everybody else, as claimed, and the share (g,) of each group in everyone whom the rate counts."""
    bottom = np.array(rate_of(rate).bottom)

    def outside(table: Any) -> Any:
        return table.reshape(-1, 4).sum(axis=0) - counts.cells(table)

    table = counts.table if counts.weight is None else counts.weight
    rest = outside(table).astype(np.float64)
    part = stats.divide(counts.cells(table) @ bottom, table.reshape(-1, 4).sum(axis=0) @ bottom)
    if counts.weight2 is None:
        return rest, part
    rest = np.maximum(rest, 0.0)
    return rest * stats.divide(rest @ bottom, np.maximum(outside(counts.weight2), 0.0) @ bottom, 0.0)[:, None], part


def _diluted(ratio: Floats, part: Floats) -> Floats:
    inner = np.where(np.isinf(ratio), 1.0, ratio)
    return np.where(np.isinf(ratio), stats.divide(1.0, part, np.inf), inner / (part * inner + 1.0 - part))


# --------------------------------------------------------------------------------------------- the widest of all
def gap(counts: Counts, rate: str, *, how: How = "difference", level: float = 0.95) -> Gap:
    """The largest difference, or smallest ratio, of a rate between any two groups; groups without the rate are left out.

    The interval holds for all pairs at once and reaches 0, or 1, where the groups may be equal (newcombe1998, katz1978,
    zou2008, dunn1961). Raises DataError and UsageError.
    """
    if how not in get_args(How):
        raise UsageError(f"how: allowed are {list(get_args(How))}, got {how!r}")
    table = rates(counts, [rate])
    value, n = table.value[:, 0], table.n[:, 0]
    there = np.flatnonzero(~np.isnan(value))
    low, high = _simultaneous(rate, how, value[there], claimed(counts, rate)[there], level)
    groups = counts.groups
    estimate = float(max_difference(value) if how == "difference" else min_ratio(value))
    known = not np.isnan(estimate)
    return Gap(
        rate=rate,
        how=how,
        value=estimate,
        low=low if known else float("nan"),
        high=high if known else float("nan"),
        n=int(n.sum()),
        lowest=groups[int(np.nanargmin(value))] if there.size else (),
        highest=groups[int(np.nanargmax(value))] if there.size else (),
        left_out=tuple(groups[i] for i in np.flatnonzero(np.isnan(value))),
        level=level,
    )


def _simultaneous(rate: str, how: How, value: Floats, cells: Floats, level: float) -> tuple[float, float]:
    plain = rate_of(rate)
    if plain.composite is None:
        k, n = cells @ np.array(plain.top), cells @ np.array(plain.bottom)
        return stats.gap_interval(k, n, level) if how == "difference" else stats.ratio_interval(k, n, level)
    bounds = bounds_of(cells, rate, stats.bonferroni(level, stats.pairs(len(value))))
    if how == "difference":
        return stats.mover_gap(value, *bounds)
    if (value <= 0.0).any():
        return float("nan"), float("nan")
    low, high = stats.mover_gap(_log(value), *_logs(bounds))
    return float(np.exp(-high)), float(np.exp(-low))
