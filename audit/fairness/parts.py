"""Rows by group, for what a table of counts cannot hold: scores, numbers and ranks.

A topic gives one function from the rows of a group to its figures; this file makes the table of all groups, compares
them, and turns both into evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import ALL, Better, Codes, Curve, DataError, Floats, Ints, Measure, Subject
from audit.fairness.encode import encode_all
from audit.fairness.measures import bounded, measured

if TYPE_CHECKING:
    import pandas as pd

_SMALL = "; no interval, because a group is too small for one"
BLOCK = 2**22  # numbers that one step of a loop over pairs may hold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows of n people by group: `code` (n,) indexes `groups`, and len(groups) means unknown.

    people (n,): how many a row stands for. weight (n,): the same, times the survey weight where there is one.
    """

    attributes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    code: Ints
    people: Floats
    weight: Floats
    weighted: bool = False
    members: tuple[Ints, ...] = field(default=())

    @property
    def everywhere(self) -> Mapping[str, str]:
        """`where` of a measure that speaks of all groups at once."""
        return dict.fromkeys(self.attributes, ALL)

    def where(self, group: int) -> Mapping[str, str]:
        """`where` of one group."""
        return dict(zip(self.attributes, self.groups[group], strict=True))

    def label(self, group: int) -> str:
        """The name of one group."""
        return " × ".join(self.groups[group])

    def amounts(self, inside: Ints) -> Floats:
        """How much each of these rows counts: people, or weights that sum to Kish's effective n."""
        weight = self.weight[inside]
        if not self.weighted:
            return weight
        each = stats.divide(weight, self.people[inside], 0.0)
        return weight * float(stats.divide(weight.sum(), (each * weight).sum(), 0.0))

    def note(self, inside: Ints) -> str:
        """What a reader of a weighted figure should know."""
        return f"weighted, effective n {self.amounts(inside).sum():.1f}" if self.weighted else ""

    def sizes(self) -> Ints:
        """People (g,) of each group."""
        found = np.bincount(self.code, weights=self.people, minlength=len(self.groups) + 1)
        return found[: len(self.groups)].astype(np.int64)

    def everyone(self) -> Rows:
        """All rows as one group without a name, those of unknown groups included."""
        return _rows({}, self.people, self.weight, self.weighted)


def rows_by_group(
    sensitive_features: Any, *, weights: ArrayLike | None = None, frequency: ArrayLike | None = None
) -> Rows:
    """Rows by the groups of one or several sensitive features (as for `count`); raises DataError.

    weights (n,): survey weights. frequency (n,): how many people a row stands for.
    """
    columns = encode_all(sensitive_features)
    size = len(next(iter(columns.values())))
    people = column(frequency, "frequency", size, amount=True) if frequency is not None else np.ones(size)
    weight = people if weights is None else people * column(weights, "weights", size, amount=True)
    return _rows(columns, people, weight, weights is not None)


def rows_of(subject: Subject, attributes: Sequence[str]) -> Rows:
    """The rows of a subject by the groups of some attributes."""
    data = subject.data
    people = np.ones(len(subject)) if data.frequency is None else data.frequency.astype(np.float64)
    weight = people if data.weights is None else people * data.weights
    return _rows({name: subject.groups[name] for name in attributes}, people, weight, data.weights is not None)


def _rows(columns: Mapping[str, Codes], people: Floats, weight: Floats, weighted: bool) -> Rows:
    code, known = np.zeros(len(people), dtype=np.int64), np.ones(len(people), dtype=bool)
    for name, codes in columns.items():
        if len(codes) != len(people):
            raise DataError(f"{name}: allowed is one value for each of {len(people)} rows, got {len(codes)}")
        code = code * len(codes.levels) + codes.values
        known &= codes.known()
    groups = tuple(product(*(codes.levels for codes in columns.values())))
    code = np.where(known, code, len(groups))
    order = np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(len(groups) + 1))
    members = tuple(order[edges[g] : edges[g + 1]] for g in range(len(groups)))
    return Rows(
        attributes=tuple(columns),
        groups=groups,
        code=code,
        people=people,
        weight=weight,
        weighted=weighted,
        members=members,
    )


def column(values: ArrayLike, name: str, size: int | None = None, *, amount: bool = False) -> Floats:
    """A column (n,) of finite numbers, none negative where they are amounts; raises DataError."""
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "fiub" or size not in (None, len(found)):
        want = "n" if size is None else str(size)
        raise DataError(f"{name}: allowed is one column ({want},) of numbers, got {found.dtype} of shape {found.shape}")
    numbers: Floats = found.astype(np.float64)
    if not np.isfinite(numbers).all() or (amount and (numbers < 0.0).any()):
        allowed = "finite numbers of at least 0" if amount else "finite numbers"
        odd = numbers[~np.isfinite(numbers) | (numbers < 0.0 if amount else False)][0]
        raise DataError(f"{name}: allowed are {allowed}, got {odd}")
    return numbers


def labels(values: ArrayLike, size: int | None = None) -> Ints:
    """Labels (n,) of 0 and 1; raises DataError."""
    found = column(values, "y_true", size)
    if not np.isin(found, (0.0, 1.0)).all():
        raise DataError(f"y_true: allowed are 0 and 1, got {found[~np.isin(found, (0.0, 1.0))][0]:g}")
    return found.astype(np.int64)


# --------------------------------------------------------------------------------------------- figures of groups
class Kind(NamedTuple):
    """What a figure is: unit, direction, method of its interval, and why it may be undefined."""

    unit: str
    better: Better
    method: str
    empty: str


class Number(NamedTuple):
    """One figure of one group, NaN where undefined: value, bounds, and the people that it rests on."""

    value: float
    low: float
    high: float
    n: float


NOTHING = Number(np.nan, np.nan, np.nan, 0.0)
Measurer = Callable[[Ints, float], Sequence[Number]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figures:
    """Figures of every group (g, m) in the order of `names`: value, bounds and n; NaN where undefined."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    value: Floats
    low: Floats
    high: Floats
    n: Ints
    level: float

    def of(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Value, low and high (g,) of one figure."""
        i = self.names.index(name)
        return self.value[:, i], self.low[:, i], self.high[:, i]

    def frame(self) -> pd.DataFrame:
        """A pandas frame: a row a group and figure, with value, low, high and n."""
        import pandas as pd

        places = list(product(range(len(self.groups)), range(len(self.names))))
        columns: dict[str, Any] = {
            name: [self.groups[g][i] for g, _ in places] for i, name in enumerate(self.attributes)
        }
        columns["figure"] = [self.names[m] for _, m in places]
        columns |= {name: getattr(self, name).ravel() for name in ("value", "low", "high", "n")}
        return pd.DataFrame(columns)


def figures(rows: Rows, names: Sequence[str], measure: Measurer, level: float) -> Figures:
    """The figures of every group; `measure` gives them, in the order of `names`, from the rows of one group."""
    table = np.array([measure(inside, level) for inside in rows.members], dtype=np.float64)
    table = table.reshape(len(rows.groups), len(names), 4)
    value, low, high, n = np.moveaxis(table, -1, 0)
    return Figures(
        names=tuple(names),
        attributes=rows.attributes,
        groups=rows.groups,
        value=value,
        low=low,
        high=high,
        n=n.astype(np.int64),
        level=level,
    )


def figure_measures(rows: Rows, found: Figures, kinds: Mapping[str, Kind]) -> Iterator[Measure]:
    """Every figure of every group as a measure, group by group."""
    for group, inside in enumerate(rows.members):
        for i, name in enumerate(found.names):
            kind = kinds[name]
            yield measured(
                name,
                found.value[group, i],
                n=found.n[group, i],
                where=rows.where(group),
                unit=kind.unit,
                better=kind.better,
                interval=bounded((found.low[group, i], found.high[group, i]), found.level, kind.method),
                note=rows.note(inside),
                why=kind.empty,
            )


# ------------------------------------------------------------------------------------------ comparisons of groups
def square_and_add(
    value: ArrayLike, low: ArrayLike, high: ArrayLike, value0: ArrayLike, low0: ArrayLike, high0: ArrayLike
) -> tuple[Floats, Floats]:
    """Interval of the difference of two independent figures from the intervals of both (zou2008).

    Newcombe's interval is the case of two proportions; figures that are bounded keep their differences bounded.
    """
    v, lo, hi, v0, lo0, hi0 = (np.asarray(a, dtype=np.float64) for a in (value, low, high, value0, low0, high0))
    difference = v - v0
    return difference - np.hypot(v - lo, hi0 - v0), difference + np.hypot(hi - v, v0 - lo0)


def largest_difference(value: Floats, low: Floats, high: Floats) -> tuple[float, float, float]:
    """Largest minus smallest figure (g,), and bounds from those of all ordered pairs; NaN below two groups.

    low and high are made at Bonferroni's level for all pairs, so that the pairs hold together. The lower bound is 0
    where all groups may be equal.
    """
    there = ~np.isnan(value)
    v, lo, hi = value[there], low[there], high[there]
    if len(v) < 2:
        return np.nan, np.nan, np.nan
    if np.isnan(lo + hi).any():
        return float(np.ptp(v)), np.nan, np.nan
    least, most = 0.0, 0.0
    step = max(1, BLOCK // len(v))
    for start in range(0, len(v), step):
        mine = slice(start, start + step)
        lower, upper = square_and_add(v[mine, None], lo[mine, None], hi[mine, None], v, lo, hi)
        own = np.arange(len(v))[mine, None] == np.arange(len(v))
        least, most = max(least, float(lower.max())), max(most, float(np.where(own, 0.0, upper).max()))
    return float(np.ptp(v)), least, most


def together(rows: Rows, level: float) -> float:
    """The level of each group's interval at which all pairs of groups hold together at `level` (dunn1961)."""
    return stats.bonferroni(level, stats.pairs(int(np.count_nonzero(rows.sizes()))))


def difference_unit(unit: str) -> str:
    """Of shares, percentage points; of anything else, its own unit."""
    return "difference" if unit == "proportion" else unit


def difference_measures(
    rows: Rows, found: Figures, names: Sequence[str], base: int | None, kinds: Mapping[str, Kind]
) -> Iterator[Measure]:
    """Each figure of every other group less that of the reference group."""
    for group, inside in enumerate(rows.members):
        if base is None or group == base:
            continue
        for name in names:
            value, low, high = found.of(name)
            bounds = square_and_add(value[group], low[group], high[group], value[base], low[base], high[base])
            yield measured(
                f"{name}_difference",
                value[group] - value[base],
                n=found.n[group, found.names.index(name)],
                where=rows.where(group),
                unit=difference_unit(kinds[name].unit),
                better="zero",
                interval=bounded(bounds, found.level, f"{kinds[name].method}, square-and-add"),
                note=against(rows, base, inside),
                why=f"in {rows.label(group if np.isnan(value[group]) else base)} {kinds[name].empty}",
            )


def gap_measures(
    rows: Rows, wide: Figures, names: Sequence[str], kinds: Mapping[str, Kind], level: float
) -> Iterator[Measure]:
    """The largest difference of each figure between any two groups; `wide` was made at the level of `together`."""
    for name in names:
        value, low, high = wide.of(name)
        gap, least, most = largest_difference(value, low, high)
        yield measured(
            f"{name}_difference",
            gap,
            n=wide.n[:, wide.names.index(name)].sum(),
            where=rows.everywhere,
            unit=difference_unit(kinds[name].unit),
            better="zero",
            interval=bounded((least, most), level, "all pairs, Bonferroni"),
            note=ends(rows, value) + (_SMALL if np.isnan(most) and not np.isnan(gap) else ""),
            why=f"fewer than two groups have this figure: elsewhere {kinds[name].empty}",
        )


def ratio_measures(
    rows: Rows, wide: Figures, names: Sequence[str], kinds: Mapping[str, Kind], level: float
) -> Iterator[Measure]:
    """The smallest over the largest figure of all groups; `wide` was made at the level of `together`."""
    for name in names:
        value, low, high = wide.of(name)
        zero = bool((value == 0.0).any())
        with np.errstate(divide="ignore"):
            logs = [np.log(np.maximum(side, 0.0)) for side in (value, low, high)]
        gap, least, most = (np.nan, np.nan, np.nan) if zero else largest_difference(logs[0], logs[1], logs[2])
        yield measured(
            f"{name}_ratio",
            np.nan if zero else float(np.exp(-gap)),
            n=wide.n[:, wide.names.index(name)].sum(),
            where=rows.everywhere,
            unit="ratio",
            better="one",
            interval=None if zero else bounded((np.exp(-most), np.exp(-least)), level, "all pairs, Bonferroni"),
            note=ends(rows, value),
            why=f"it is 0 in a group, or fewer than two groups have this figure: elsewhere {kinds[name].empty}",
        )


def ends(rows: Rows, value: Floats) -> str:
    """Between which groups the extremes lie."""
    if np.count_nonzero(~np.isnan(value)) < 2:
        return ""
    return f"lowest: {rows.label(int(np.nanargmin(value)))}, highest: {rows.label(int(np.nanargmax(value)))}"


def against(rows: Rows, base: int, inside: Ints) -> str:
    """The note of a comparison with a reference group."""
    return "; ".join(part for part in (f"reference: {rows.label(base)}", rows.note(inside)) if part)


def reference_group(subject: Subject, rows: Rows, score: Floats) -> int | None:
    """The group that others are compared with: the named one, else the highest mean score of those with min_n people.

    None where there is no group with cases. Raises DataError for a named group that is not there.
    """
    named = named_group(subject, rows)
    if named is not None:
        return named
    size = len(rows.groups) + 1
    weight = np.bincount(rows.code, weights=rows.weight, minlength=size)[:-1]
    mean = stats.divide(np.bincount(rows.code, weights=rows.weight * score, minlength=size)[:-1], weight)
    return best_group(mean, rows.sizes(), subject.min_n)


def named_group(subject: Subject, rows: Rows) -> int | None:
    """The reference group that the configuration names, None where it names none; raises DataError."""
    if not rows.attributes or not all(name in subject.reference for name in rows.attributes):
        return None
    wanted = tuple(subject.reference[name] for name in rows.attributes)
    if wanted not in rows.groups:
        known = ", ".join(rows.label(group) for group in range(min(len(rows.groups), 20)))
        raise DataError(
            f"reference group of {', '.join(rows.attributes)}: allowed are {known}; got {', '.join(wanted)}"
        )
    return rows.groups.index(wanted)


def best_group(value: Floats, n: Ints, min_n: int) -> int | None:
    """The highest value among groups of at least min_n people, else among all; ties go to the first; None without any."""
    defined = ~np.isnan(value)
    large = defined & (n >= min_n)
    eligible = large if large.any() else defined
    rounded = np.round(value, 12)  # sums over rows differ in the last digits from one order of rows to another
    return int(np.argmax(np.where(eligible, rounded, -np.inf))) if eligible.any() else None


# ------------------------------------------------------------------------------------------------ pieces of figures
def mean_number(values: Floats, weight: Floats, people: float, level: float) -> Number:
    """A weighted mean with its t interval."""
    total = float(weight.sum())
    if total <= 0.0:
        return NOTHING
    low, high = stats.mean_interval_counts(values, weight, level)
    return Number(float(weight @ values) / total, low, high, people)


def distance_interval(value: float, plain: float, draws: Floats, equal: Floats, level: float) -> tuple[float, float]:
    """Bootstrap interval of a distance, which noise can only make larger (davison1997).

    draws (replicates,) scatter around `plain` as `value` does around the truth; equal (replicates,) are what is found
    where there is no distance. The lower bound is freed of the bootstrap's own bias, and is 0 where the value is no
    larger than chance makes it: a plain percentile interval never holds a distance of 0.
    """
    if np.isnan(value) or not len(draws):
        return np.nan, np.nan
    low, high = (float(bound) + value - plain for bound in stats.percentile_interval(draws, level))
    by_chance = value <= float(stats.percentile_interval(equal, level)[1])
    low = 0.0 if by_chance else low - max(0.0, float(np.nanmean(draws)) - plain)
    return max(0.0, min(value, low)), max(value, high)


def curve(
    name: str, x: Floats, y: Floats, *, labels: tuple[str, str], where: Mapping[str, str], n: int, **more: Any
) -> Curve:
    """A curve through points (k,), NaN in y as a gap."""
    heights = tuple(None if np.isnan(each) else float(each) for each in y)
    return Curve(
        name=name, x=tuple(x.tolist()), y=heights, x_label=labels[0], y_label=labels[1], where=where, n=n, **more
    )
