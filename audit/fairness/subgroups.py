"""The worst subgroups: every combination of a few levels is looked at, and the search pays for having looked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit import stats
from audit.core import (
    Cell,
    Codes,
    Context,
    DataError,
    Evidence,
    Floats,
    Interval,
    Ints,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.fairness.encode import encode_all
from audit.fairness.measures import bounded, measured
from audit.fairness.rates import RATES
from audit.fairness.slices import require_binary
from audit.registry import check

Side = Literal["low", "high", "both"]
_BLOCK = 2**24  # numbers that one batch of permutations may hold
_MOST = 2**32  # cells of the matrix of literals
_ROWS = 2**15  # rows of a product that are widened to floating point at once
_SHUFFLED = 10  # people a cell from which drawing counts is cheaper than shuffling people
_LOSSES = ("brier", "absolute_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """People who share a few levels: their mean outcome against that of the rest.

    z: the difference in standard deviations of what shuffling the outcomes gives. p: how often the best of all subgroups
    looked at is as good by chance. interval: of the difference, valid for all of them at once. The figures named
    holdout are from people whom the search did not see, p there adjusted for the subgroups listed (Holm).
    """

    literals: tuple[tuple[str, str], ...]
    n: int
    rate: float
    rest: float
    difference: float
    z: float
    p: float | None
    interval: tuple[float, float] | None
    holdout_n: int | None = None
    holdout_difference: float | None = None
    holdout_p: float | None = None

    @property
    def name(self) -> str:
        """The levels in one phrase."""
        return " and ".join(f"{column} = {level}" for column, level in self.literals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The worst subgroups, how many were looked at, among how many people, and the mean outcome of everyone."""

    found: tuple[Subgroup, ...]
    candidates: int
    n: int
    overall: float
    permutations: int


def find_subgroups(
    outcome: ArrayLike,
    columns: Any,
    *,
    rng: np.random.Generator,
    depth: int = 3,
    min_support: int = 30,
    min_share: float = 0.01,
    side: Side = "both",
    top: int = 10,
    permutations: int = 200,
    holdout: float = 0.0,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    level: float = 0.95,
) -> Search:
    """Search all combinations of up to `depth` levels for the subgroups that lie furthest from the rest (sagadeeva2021).

    outcome (n,): 0 or 1, or a loss. columns: categorical columns as for `count`; numbers are binned with `bins`.
    Subgroups of fewer than min_support people, or than min_share of all, are not looked at, nor are their parts. side:
    which outcomes are worse. They are ranked by z, so that size and difference both count; one that only narrows another
    one listed is left out. p compares each z with the largest of all subgroups after shuffling the outcomes
    (westfall1993). holdout: the share of people kept aside to measure the subgroups found on the others. frequency: how
    many people a row stands for. Raises DataError and UsageError.
    """
    if depth < 1 or not 0.0 <= holdout < 1.0 or min_support < 1:
        raise UsageError(
            f"allowed are depth >= 1, min_support >= 1, 0 <= holdout < 1; got {depth, min_support, holdout}"
        )
    people = _people(outcome, encode_all(columns), weights, frequency)
    if holdout:
        seen, kept = _split(people.expanded(), holdout, rng)
    else:
        seen, kept = people, None
    support = max(float(min_support), min_share * float(seen.size.sum()))
    lattice = _lattice(seen, depth, support)
    observed = _observed(lattice, seen)
    null = _null(lattice, seen, side, permutations, rng)
    chosen = _chosen(observed.facing(side), observed.paths, lattice.literals, top)
    found = [_subgroup(observed, index, lattice, null, side, seen.names, level) for index in chosen]
    if kept is not None:
        found = _confirmed(found, kept)
    return Search(
        found=tuple(found),
        candidates=len(observed.m),
        n=int(people.size.sum()),
        overall=people.overall,
        permutations=permutations,
    )


def bins(values: ArrayLike, count: int = 4) -> Codes:
    """Numbers (n,) as codes of bins of equally many rows, missing ones unknown; up to `count` distinct values stay as they are."""
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    distinct = np.unique(numbers[known])
    if len(distinct) <= count:
        edges, levels = distinct, tuple(f"{value:.6g}" for value in distinct)
    else:
        shares = np.arange(1, count) / count
        inner = np.unique(np.quantile(numbers[known], shares, method="inverted_cdf"))
        edges = inner if inner[-1] == distinct[-1] else np.append(inner, distinct[-1])
        below = (f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges))
        levels = (f"up to {edges[0]:.6g}", *(f"above {text}" for text in below))
    place = np.where(known, np.searchsorted(edges, np.where(known, numbers, -np.inf)), len(levels))
    return Codes(values=place.astype(np.min_scalar_type(len(levels))), levels=levels)


# -------------------------------------------------------------------------------------------------- the people
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _People:
    """Units that share their codes (u, f): how many people, the sum of their values, of their weights and outcomes.

    value: what is shuffled, the outcome itself, or where people are weighted its weighted residual. each: the values of
    single people where a unit is one person; binary: they are 0 and 1.
    """

    names: tuple[tuple[str, tuple[str, ...]], ...]
    codes: NDArray[Any]
    size: Floats
    value: Floats
    weight: Floats
    outcome: Floats
    binary: bool

    @property
    def overall(self) -> float:
        return float(stats.divide(self.outcome.sum(), self.weight.sum(), 0.0))

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of the values over people."""
        n = float(self.size.sum())
        mean = float(self.value.sum()) / max(n, 1.0)
        if self.binary:
            return mean, mean * (1.0 - mean)
        return mean, float(((self.value - mean) ** 2).sum()) / max(n, 1.0)

    def take(self, rows: Ints) -> _People:
        """Some of the units."""
        parts = (self.codes, self.size, self.value, self.weight, self.outcome)
        codes, size, value, weight, outcome = (part[rows] for part in parts)
        return _People(
            names=self.names, codes=codes, size=size, value=value, weight=weight, outcome=outcome, binary=self.binary
        )

    def merged(self) -> _People:
        """Everyone of the same codes as one unit; only where values are 0 and 1, which counts then tell completely."""
        key, place = np.unique(_key(self.codes, self.names), return_inverse=True)
        first = np.zeros(len(key), dtype=np.int64)
        first[place[::-1]] = np.arange(len(place))[::-1]
        sums = [
            np.bincount(place, weights=part).astype(np.float64)
            for part in (self.size, self.value, self.weight, self.outcome)
        ]
        return _People(
            names=self.names,
            codes=self.codes[first],
            size=sums[0],
            value=sums[1],
            weight=sums[2],
            outcome=sums[3],
            binary=self.binary,
        )

    def expanded(self) -> _People:
        """One unit a person, in an order that does not depend on that of the rows."""
        if self.size.max(initial=0.0) <= 1.0:
            return self
        size = self.size.astype(np.int64)
        if not self.binary:
            rows = self.take(np.repeat(np.arange(len(size)), size))
            return _rescaled(rows, np.repeat(self.size, size))
        hits = self.value.astype(np.int64)
        rows = self.take(np.repeat(np.arange(len(size)), size))
        start = np.repeat(np.cumsum(size) - size, size)
        value = (np.arange(len(start)) - start < np.repeat(hits, size)).astype(np.float64)
        ones = np.ones(len(value))
        return _People(
            names=self.names, codes=rows.codes, size=ones, value=value, weight=ones, outcome=value, binary=True
        )


def _rescaled(rows: _People, by: Floats) -> _People:
    return _People(
        names=rows.names,
        codes=rows.codes,
        size=rows.size / by,
        value=rows.value / by,
        weight=rows.weight / by,
        outcome=rows.outcome / by,
        binary=rows.binary,
    )


def _people(
    outcome: ArrayLike, columns: Mapping[str, Codes], weights: ArrayLike | None, frequency: ArrayLike | None
) -> _People:
    y = np.asarray(outcome, dtype=np.float64)
    if y.ndim != 1 or not np.isfinite(y).all() or any(len(codes) != len(y) for codes in columns.values()):
        raise DataError(f"allowed are finite outcomes (n,) and columns of the same length, got shape {y.shape}")
    size = np.ones(len(y)) if frequency is None else np.asarray(frequency, dtype=np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    binary = bool(np.isin(y, (0.0, 1.0)).all()) and weights is None
    mean = float(stats.divide((w * size) @ y, (w * size).sum(), 0.0))
    value = y if binary else w * (y - mean)
    names = tuple((name, codes.levels) for name, codes in columns.items())
    codes = np.stack([column.values.astype(np.uint32) for column in columns.values()], axis=1)
    order = np.lexsort((w, y, _key(codes, names)))
    everyone = _People(
        names=names,
        codes=codes,
        size=size,
        value=value * size,
        weight=w * size,
        outcome=w * y * size,
        binary=binary,
    ).take(order[size[order] > 0.0])
    if binary:
        merged = everyone.merged()
        if len(merged.size) * _SHUFFLED <= everyone.size.sum():
            return merged
    return everyone.expanded()


def _key(codes: NDArray[Any], names: Sequence[tuple[str, tuple[str, ...]]]) -> Ints:
    """One number for each combination of codes, in their order."""
    key, span = np.zeros(len(codes), dtype=np.int64), 1
    for column, (_, levels) in enumerate(names):
        if span > 2**62 // (len(levels) + 1):
            found, key = np.unique(key, return_inverse=True)
            span = len(found)
        key = key * (len(levels) + 1) + codes[:, column]
        span *= len(levels) + 1
    return key


def _split(people: _People, holdout: float, rng: np.random.Generator) -> tuple[_People, _People]:
    order = rng.permutation(len(people.size))
    aside = round(holdout * len(order))
    return people.take(np.sort(order[aside:])), people.take(np.sort(order[:aside]))


# ------------------------------------------------------------------------------------------------- the lattice
Emit = Callable[[tuple[int, ...], Ints, NDArray[Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lattice:
    """The literals (column, level) with enough people, their matrix (u, l) of 0 and 1, and how deep to go."""

    literals: tuple[tuple[int, int], ...]
    onehot: NDArray[np.uint8]
    depth: int
    support: float

    def walk(self, block: NDArray[Any], emit: Emit) -> None:
        """Call emit(path, literals, sums (k, c)) for the sums of block (u, c), whose first column counts people."""
        self._visit(self.onehot, np.arange(len(self.literals)), block, (), emit)

    def _visit(
        self, onehot: NDArray[np.uint8], literals: Ints, block: NDArray[Any], path: tuple[int, ...], emit: Emit
    ) -> None:
        sums = _product(onehot, block)
        enough = np.flatnonzero(sums[:, 0] >= self.support)
        if not enough.size:
            return
        emit(path, literals[enough], sums[enough])
        if len(path) + 1 >= self.depth:
            return
        if len(enough) < len(literals):
            onehot, literals = onehot.take(enough, axis=1), literals[enough]
        column = np.array([self.literals[literal][0] for literal in literals])
        first = np.searchsorted(column, column, side="right")  # where the literals of later columns begin
        for place in np.flatnonzero(first < len(literals)):
            rows = np.flatnonzero(onehot[:, place])
            inner = onehot.take(rows, axis=0)[:, first[place] :]
            path_there = (*path, int(literals[place]))
            self._visit(inner, literals[first[place] :], block.take(rows, axis=0), path_there, emit)


def _product(onehot: NDArray[np.uint8], block: NDArray[Any]) -> NDArray[Any]:
    """Sums (l, c) of the rows of block (m, c) at each literal: a matrix product, in pieces."""
    sums = np.zeros((onehot.shape[1], block.shape[1]), dtype=block.dtype)
    for start in range(0, len(onehot), _ROWS):
        rows = slice(start, start + _ROWS)
        sums += onehot[rows].T.astype(block.dtype) @ block[rows]
    return sums


def _lattice(people: _People, depth: int, support: float) -> _Lattice:
    literals: list[tuple[int, int]] = []
    for column, (_, levels) in enumerate(people.names):
        sizes = np.bincount(people.codes[:, column], weights=people.size, minlength=len(levels) + 1)[: len(levels)]
        literals += [(column, int(level)) for level in np.flatnonzero((sizes >= support) & (sizes < people.size.sum()))]
    if len(literals) * len(people.size) > _MOST:
        raise UsageError(f"{len(literals)} levels of {len(people.size)} people are too many: raise min_share")
    onehot = np.zeros((len(people.size), len(literals)), dtype=np.uint8)
    for place, (column, level) in enumerate(literals):
        onehot[:, place] = people.codes[:, column] == level
    return _Lattice(literals=tuple(literals), onehot=onehot, depth=depth, support=support)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Observed:
    """Every subgroup looked at: its literals, people (c,), z, the standard error, and mean outcome in and outside."""

    paths: list[tuple[int, ...]]
    m: Floats
    z: Floats
    error: Floats
    rate: Floats
    rest: Floats

    def facing(self, side: Side) -> Floats:
        return _facing(self.z, side)


def _facing(z: NDArray[Any], side: Side) -> NDArray[Any]:
    """How far on the worse side."""
    return np.abs(z) if side == "both" else z if side == "high" else -z


def _observed(lattice: _Lattice, people: _People) -> _Observed:
    paths: list[tuple[int, ...]] = []
    sums: list[NDArray[Any]] = []

    def emit(path: tuple[int, ...], literals: Ints, found: NDArray[Any]) -> None:
        paths.extend((*path, int(literal)) for literal in literals)
        sums.append(found)

    lattice.walk(np.stack([people.size, people.value, people.weight, people.outcome], axis=1), emit)
    m, value, weight, outcome = (np.concatenate(sums) if sums else np.zeros((0, 4))).T
    n = float(people.size.sum())
    z = _z(m, value, n, people.moments)
    rest_weight = people.weight.sum() - weight
    rate = stats.divide(outcome, weight)
    rest = stats.divide(people.outcome.sum() - outcome, np.where(rest_weight > 1e-12 * n, rest_weight, 0.0))
    error = stats.divide(np.abs(rate - rest), np.abs(z))
    return _Observed(paths=paths, m=m, z=z, error=error, rate=rate, rest=rest)


def _z(m: Floats, value: NDArray[Any], n: float, moments: tuple[float, float]) -> Floats:
    """Sums in standard deviations of their permutation distribution; 0 where nothing varies."""
    mean, variance = moments
    spread = np.sqrt(np.maximum(m * (n - m), 0.0) / max(n - 1.0, 1.0) * variance)
    return np.asarray((value - m * mean) * stats.divide(1.0, spread, 0.0))


def _null(lattice: _Lattice, people: _People, side: Side, permutations: int, rng: np.random.Generator) -> Floats:
    """The largest z of all subgroups when the outcomes are shuffled, on the worse side and on any: (2, permutations)."""
    n, moments = float(people.size.sum()), people.moments
    largest = [np.zeros((2, 0))]
    batch = max(8, min(permutations, _BLOCK // max(len(people.size), 1)))
    for start in range(0, permutations, batch):
        draws = _shuffled(people, min(batch, permutations - start), rng)
        best = np.zeros((2, draws.shape[1]))

        def emit(path: tuple[int, ...], literals: Ints, found: NDArray[Any], best: Floats = best) -> None:
            sums = found.astype(np.float64)
            z = _z(sums[:, :1], sums[:, 1:], n, moments)
            np.maximum(best, [_facing(z, side).max(axis=0), np.abs(z).max(axis=0)], out=best)

        lattice.walk(np.concatenate([people.size[:, None].astype(np.float32), draws], axis=1), emit)
        largest.append(best)
    return np.concatenate(largest, axis=1)


def _shuffled(people: _People, times: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The values (u, times) after shuffling them over people."""
    if people.binary and people.size.max(initial=0.0) > 1.0:
        hits = stats.permuted_hits(people.size, round(float(people.value.sum())), times, rng)
        return np.ascontiguousarray(hits.T, dtype=np.float32)
    values = people.value.astype(np.float32)
    return np.ascontiguousarray(rng.permuted(np.tile(values, (times, 1)), axis=1).T)


def _chosen(score: Floats, paths: list[tuple[int, ...]], literals: Sequence[tuple[int, int]], top: int) -> list[int]:
    """The best candidates, without those that only narrow one already taken; ties go to the shorter, then the first."""
    taken: list[int] = []
    length = np.array([len(path) for path in paths], dtype=np.int64)
    for index in np.lexsort((np.arange(len(paths)), length, -np.round(score, 9))):
        if len(taken) == top or score[index] <= 0.0:
            break
        if not any(set(paths[other]) < set(paths[index]) for other in taken):
            taken.append(int(index))
    return taken


def _subgroup(
    seen: _Observed,
    index: int,
    lattice: _Lattice,
    null: Floats,
    side: Side,
    names: Sequence[tuple[str, Any]],
    level: float,
) -> Subgroup:
    difference = float(seen.rate[index] - seen.rest[index])
    literals = [lattice.literals[literal] for literal in seen.paths[index]]
    p = bounds = None
    if null.size:
        # sums in single precision may put a tie a little lower
        p = float(stats.permutation_p(seen.facing(side)[index] * (1.0 - 1e-5), null[0]))
        place = int(np.ceil(level * (null.shape[1] + 1))) - 1
        half = float(np.sort(null[1])[min(place, null.shape[1] - 1)] * seen.error[index])
        bounds = (difference - half, difference + half)
    return Subgroup(
        literals=tuple((names[column][0], names[column][1][level]) for column, level in literals),
        n=round(float(seen.m[index])),
        rate=float(seen.rate[index]),
        rest=float(seen.rest[index]),
        difference=difference,
        z=float(seen.z[index]),
        p=p,
        interval=bounds,
    )


def _confirmed(found: Sequence[Subgroup], kept: _People) -> list[Subgroup]:
    """The same subgroups measured on the people kept aside."""
    places = {name: (column, levels) for column, (name, levels) in enumerate(kept.names)}
    measured_again = []
    for each in found:
        inside = np.ones(len(kept.size), dtype=bool)
        for name, level in each.literals:
            column, levels = places[name]
            inside &= kept.codes[:, column] == levels.index(level)
        measured_again.append(_two_samples(kept, inside))
    adjusted = stats.holm(np.array([p for _, _, p in measured_again]))
    return [
        replace(
            each,
            holdout_n=n,
            holdout_difference=None if np.isnan(difference) else difference,
            holdout_p=None if np.isnan(p) else float(p),
        )
        for each, (n, difference, _), p in zip(found, measured_again, adjusted, strict=True)
    ]


def _two_samples(people: _People, inside: NDArray[np.bool_]) -> tuple[int, float, float]:
    """People inside, the difference of the mean outcomes, and its two-sided p value (Fisher's, or normal)."""
    m, n = float(inside.sum()), float(len(inside))
    rates = [stats.divide(people.outcome[part].sum(), people.weight[part].sum()) for part in (inside, ~inside)]
    difference = float(rates[0] - rates[1])
    if people.binary:
        k = people.value[inside].sum()
        p = float(stats.two_proportions_p(k, m, people.value.sum() - k, n - m))
    else:
        z = _z(np.array(m), people.value[inside].sum(), n, people.moments)
        p = float(stats.two_sided_p(z)) if 0.0 < m < n else np.nan
    return int(m), difference, p


# ------------------------------------------------------------------------------------------------------ check
@check(
    "fairness.subgroups",
    title="The worst subgroups",
    needs={"groups"},
    sources=("sagadeeva2021", "westfall1993", "holm1979", "fisher1922"),
)
def subgroups(
    subject: Subject,
    context: Context,
    *,
    rate: str = "",
    columns: tuple[str, ...] = (),
    depth: int = 3,
    min_support: int = 30,
    min_share: float = 0.01,
    top: int = 10,
    permutations: int = 200,
    holdout: float = 0.0,
) -> Iterator[Evidence]:
    """Which combinations of attributes and features does the model serve worst, and is that more than chance?

    All combinations of up to `depth` levels of the protected attributes and the features (numbers in four bins of
    equally many people), or of the `columns` named, are compared with the people outside them in one `rate`: any rate of
    decisions and labels, or the loss `brier` (of a score) or `absolute_error` (of a predicted number); by default
    accuracy where there are labels, else the selection rate. Subgroups of fewer than min_support people or than
    min_share of all are not looked at. They are ranked by their distance in standard deviations. The p value is adjusted
    for the whole search: it says how often the best of all subgroups is as far off when the outcomes are shuffled
    `permutations` times, and the interval of worst_subgroup_difference holds for all subgroups at once. With `holdout`,
    that share of the people is kept aside, and the subgroups found are measured on them.

    A subgroup defined by a feature that the decision rightly uses will be found too: it is a place to look at, not a
    reproach. Shuffling tests that the outcome depends on none of the columns; once one subgroup truly differs, the p
    values of those that overlap it say little of their own. The difference of the worst of many subgroups is larger than
    it will be in new data; the hold-out is not.
    """
    require_binary(subject)
    outcome, rows, name, side = _outcome_of(subject, rate)
    coded = _columns_of(subject, columns)
    data = subject.data
    found = find_subgroups(
        outcome[rows],
        {key: Codes(values=codes.values[rows], levels=codes.levels) for key, codes in coded.items()},
        rng=context.rng,
        depth=depth,
        min_support=min_support,
        min_share=min_share,
        side=side,
        top=top,
        permutations=permutations,
        holdout=holdout,
        weights=None if data.weights is None else data.weights[rows],
        frequency=None if data.frequency is None else data.frequency[rows],
        level=context.confidence,
    )
    yield from _worst(found, name, context.confidence)
    yield _listed(found, name)


def _outcome_of(subject: Subject, rate: str) -> tuple[Floats, Ints, str, Side]:
    """The outcome of each row, the rows that have one, its name, and which side is worse."""
    chosen = rate or ("accuracy" if subject.y is not None and subject.decision is not None else "selection_rate")
    if chosen in _LOSSES:
        truth = subject.y if chosen == "brier" else subject.data.target
        if subject.score is None or subject.score.ndim != 1 or truth is None:
            raise NotApplicable(
                f"{chosen} needs one score a person and {'labels' if chosen == 'brier' else 'a target'}"
            )
        error = np.abs(subject.score - truth)
        return (error**2 if chosen == "brier" else error), np.arange(len(error)), chosen, "high"
    if chosen not in RATES:
        raise DataError(f"fairness.subgroups: rate: allowed are {[*RATES, *_LOSSES]}, got {chosen!r}")
    have = {"labels": subject.y, "decisions": subject.decision}
    for need in sorted(RATES[chosen].needs):
        if have[need] is None:
            raise NotApplicable(f"{chosen} needs {need}, and there are none")
    one = next(column for column in have.values() if column is not None)
    y, decision = (np.zeros(len(one), dtype=np.int64) if column is None else column for column in have.values())
    cell = 2 * y + decision
    top, bottom = (np.array(getattr(RATES[chosen], part))[cell] for part in ("top", "bottom"))
    sides: Mapping[str, Side] = {"higher": "low", "lower": "high"}
    return top.astype(np.float64), np.flatnonzero(bottom), chosen, sides.get(RATES[chosen].better, "both")


def _columns_of(subject: Subject, wanted: Sequence[str]) -> Mapping[str, Codes]:
    """The attributes and the features, numbers in bins; only those wanted where any is named."""
    inputs = subject.data.inputs
    found: dict[str, Codes] = dict(subject.groups)
    if isinstance(inputs, Tabular):
        for place, name in enumerate(inputs.columns):
            if name not in found and (not wanted or name in wanted):
                found[name] = _feature(inputs.values[:, place], inputs.categories.get(name))
    for name in wanted:
        if name not in found:
            raise DataError(f"fairness.subgroups: columns: allowed are {list(found)}, got {name!r}")
    return {name: codes for name, codes in found.items() if not wanted or name in wanted}


def _feature(values: Floats, levels: tuple[str, ...] | None) -> Codes:
    if levels is None:
        return bins(values)
    place = np.where(np.isnan(values), len(levels), values).astype(np.min_scalar_type(len(levels)))
    return Codes(values=place, levels=levels)


def _worst(found: Search, name: str, level: float) -> Iterator[Evidence]:
    worst = found.found[0] if found.found else None
    why = (
        f"none of {found.candidates} subgroups lies apart from the rest"
        if found.candidates
        else "no subgroup has enough people"
    )
    share = name in RATES
    interval: Interval | None = None
    if worst and worst.interval:
        low, high = worst.interval
        kept = (max(-1.0, low), min(1.0, high)) if share else (low, high)
        interval = bounded(kept, level, f"max-T over {found.candidates} subgroups")
    note = f"{name} in {worst.name}: {worst.rate:.4g}, in the rest {worst.rest:.4g}" if worst else ""
    n = worst.n if worst else found.n
    yield measured(
        "worst_subgroup_difference",
        worst.difference if worst else np.nan,
        n=n,
        where={},
        unit="difference" if share else "",
        better="zero",
        interval=interval,
        note=note,
        why=why,
    )
    p = np.nan if worst is None or worst.p is None else worst.p
    method = f"max-T, {found.permutations} permutations, {found.candidates} subgroups"
    reason = why if worst is None else "no permutations were asked for"
    yield measured("worst_subgroup_p", p, n=found.n, where={}, unit="", note=method, why=reason)


def _listed(found: Search, name: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            *(each.name, each.n, each.rate, each.rest, each.difference, each.z, each.p),
            *(each.holdout_n, each.holdout_difference, each.holdout_p),
        )
        for each in found.found
    ]
    return Table(
        name="subgroups",
        title=f"Subgroups furthest from the rest in {name.replace('_', ' ')}",
        columns=(
            *("subgroup", "n", name, "the rest", "difference", "standard deviations", "adjusted p"),
            *("hold-out n", "hold-out difference", "hold-out p"),
        ),
        rows=tuple(rows),
        note=f"{found.candidates} subgroups of {found.n} people were looked at; those that only narrow one listed are left out.",
    )
