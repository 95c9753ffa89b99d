"""Scores before any threshold: whether they rank each group's people rightly, and how far groups lie apart in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Context, Evidence, Floats, Ints, Measure, NotApplicable, Subject, Table
from audit.fairness import parts
from audit.fairness.measures import bounded, measured
from audit.fairness.parts import NOTHING, Figures, Kind, Number, Rows
from audit.registry import check

BINS = 256  # scores up to which a bootstrap draws from the scores themselves
MATRIX = 20  # groups up to which every pair is listed
KINDS = {
    "score_mean": Kind("", "none", "t", "there is no case"),
    "auc": Kind("", "higher", "DeLong", "there is no positive or no negative label"),
}
_NO_PAIR = "one of the two groups has no positive or no negative label"


# ----------------------------------------------------------------------------------------------- over arrays
def auc_by_group(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sensitive_features: Any,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    level: float = 0.95,
) -> Figures:
    """Area under the ROC curve and mean score of every group, with DeLong's and Student's intervals (delong1988).

    y_true (n,): 0 or 1. y_score (n,). sensitive_features: as for `count`. Raises DataError.
    """
    rows = parts.rows_by_group(sensitive_features, weights=weights, frequency=frequency)
    y, score = parts.labels(y_true, len(rows.code)), parts.column(y_score, "y_score", len(rows.code))
    return parts.figures(rows, ("auc", "score_mean"), _measurer(rows, score, y), level)


def auc_difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """Difference of two AUCs of different people, each (value, low, high), with its interval (zou2008)."""
    low, high = parts.square_and_add(*first, *second)
    return first[0] - second[0], float(low), float(high)


def xauc(y_true: ArrayLike, y_score: ArrayLike, *, sensitive_features: Any) -> tuple[Floats, Floats]:
    """The chance (g, g) that a positive of the row's group scores above a negative of the column's, and its variance.

    Ties count half; the diagonal is each group's own AUC; the variance is that of the two-sample U-statistic. NaN where
    a group lacks the label (kallus2019, delong1988).
    """
    rows = parts.rows_by_group(sensitive_features)
    y, score = parts.labels(y_true, len(rows.code)), parts.column(y_score, "y_score", len(rows.code))
    return cross(*by_score(rows, score, y))


def abroca(y_true: ArrayLike, y_score: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Area between the ROC curves of two groups, given as masks (n,), exact for piecewise linear curves (gardner2019).

    NaN where a group lacks one of the labels.
    """
    y, score = parts.labels(y_true), parts.column(y_score, "y_score")
    _, place = np.unique(score, return_inverse=True)
    return area_between(*(_two(place, y, np.asarray(mask, dtype=np.float64)) for mask in (first, second)))


def ks_distance(first: ArrayLike, second: ArrayLike) -> float:
    """The largest difference between the distribution functions of two sets of numbers (kolmogorov1933)."""
    return distances(*_pair(first, second))[0]


def wasserstein_distance(first: ArrayLike, second: ArrayLike) -> float:
    """The mean distance that the numbers of one set move to become the other, in their unit (vallender1974)."""
    return distances(*_pair(first, second))[1]


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats, Floats]:
    a, b = parts.column(first, "first"), parts.column(second, "second")
    values, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    return values, _histogram(place[: len(a)], len(values)), _histogram(place[len(a) :], len(values))


def _histogram(place: Ints, size: int, weight: Floats | None = None) -> Floats:
    return np.bincount(place, weights=weight, minlength=size).astype(np.float64)


def distances(values: Floats, first: Floats, second: Floats) -> tuple[float, float]:
    """Kolmogorov's and Wasserstein's distance between counts (..., m) at ascending values (m,); NaN without cases."""
    ks, moved = _distances(values, first, second)
    return float(ks), float(moved)


def _distances(values: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    share = [np.cumsum(stats.divide(each, each.sum(axis=-1, keepdims=True)), axis=-1) for each in (first, second)]
    apart = np.abs(share[0] - share[1])
    return np.minimum(apart.max(axis=-1), 1.0), apart[..., :-1] @ np.diff(values)


def by_score(rows: Rows, score: Floats, y: Ints) -> tuple[Floats, Floats]:
    """Amounts of positives and of negatives (g, m) of every group at each distinct score, in ascending order."""
    values, place = np.unique(score, return_inverse=True)
    both = np.zeros((2, len(rows.groups), len(values)))
    for group, inside in enumerate(rows.members):
        amount = rows.amounts(inside)
        for label in (0, 1):
            both[label, group] = _histogram(place[inside], len(values), amount * (y[inside] == label))
    return both[1], both[0]


def cross(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Cross-group AUC (g, g) and its variance from amounts (g, m) at ascending scores; rows: positives, columns: negatives."""
    p, q = positives.sum(axis=1), negatives.sum(axis=1)
    share_p, share_q = stats.divide(positives, p[:, None], 0.0), stats.divide(negatives, q[:, None], 0.0)
    below = np.cumsum(share_q, axis=1) - 0.5 * share_q
    above = 1.0 - np.cumsum(share_p, axis=1) + 0.5 * share_p
    there = (p[:, None] > 0.0) & (q > 0.0)
    auc = np.where(there, share_p @ below.T, np.nan)
    spread_p = np.maximum(share_p @ (below**2).T - auc**2, 0.0)
    spread_q = np.maximum((share_q @ (above**2).T).T - auc**2, 0.0)
    enough = there & (p[:, None] > 1.0) & (q > 1.0)
    variance = stats.divide(spread_p, np.broadcast_to(p[:, None] - 1.0, auc.shape)) + stats.divide(spread_q, q - 1.0)
    return auc, np.where(enough, variance, np.nan)


def area_between(first: Floats, second: Floats) -> float:
    """Area between two ROC curves from amounts (2, m) of negatives and positives at the same ascending scores."""
    if (first.sum(axis=1) <= 0.0).any() or (second.sum(axis=1) <= 0.0).any():
        return np.nan
    curves = [_roc(first), _roc(second)]
    grid = np.unique(np.concatenate([curve[0] for curve in curves]))
    starts, stops = zip(*(_ends(*curve, grid) for curve in curves), strict=True)
    left, right = starts[0] - starts[1], stops[0] - stops[1]
    # a trapezium where the curves do not cross between two points of the grid, else two triangles
    total, crossing = np.abs(left) + np.abs(right), left * right < 0.0
    area = np.where(crossing, stats.divide(left**2 + right**2, total, 0.0), total) / 2.0
    return float(area @ np.diff(grid))


def _roc(amounts: Floats) -> tuple[Floats, Floats, Floats]:
    """The points of a curve: false positive rates, and the rate of true positives on arriving there and on leaving."""
    fpr, tpr = np.concatenate([np.zeros((2, 1)), np.cumsum(amounts[:, ::-1], axis=1)], axis=1) / amounts.sum(
        axis=1, keepdims=True
    )
    new = np.flatnonzero(np.diff(fpr)) + 1
    first, last = np.concatenate([[0], new]), np.concatenate([new - 1, [len(fpr) - 1]])
    fpr = fpr[first]
    fpr[-1] = 1.0
    return fpr, tpr[first], tpr[last]


def _ends(fpr: Floats, arriving: Floats, leaving: Floats, grid: Floats) -> tuple[Floats, Floats]:
    """The curve just after the start and just before the end of each step of a grid that holds all its points."""
    step = np.searchsorted(fpr, grid[:-1], side="right") - 1
    slope = (arriving[step + 1] - leaving[step]) / (fpr[step + 1] - fpr[step])
    return leaving[step] + slope * (grid[:-1] - fpr[step]), leaving[step] + slope * (grid[1:] - fpr[step])


def _two(place: Ints, y: Ints, amount: Floats) -> Floats:
    """Amounts (2, m) of negatives and positives at each place."""
    size = int(place.max()) + 1 if len(place) else 1
    return np.stack([_histogram(place, size, amount * (y == label)) for label in (0, 1)])


def _measurer(rows: Rows, score: Floats, y: Ints | None) -> parts.Measurer:
    def measure(inside: Ints, level: float) -> list[Number]:
        amount, people = rows.amounts(inside), float(rows.people[inside].sum())
        mean = parts.mean_number(score[inside], amount, people, level)
        return [mean] if y is None else [_auc(score[inside], y[inside], amount, people, level), mean]

    return measure


def _auc(score: Floats, y: Ints, amount: Floats, people: float, level: float) -> Number:
    if not len(score):
        return NOTHING
    value, variance = stats.delong(score, y, amount)
    positives = float(amount @ (y == 1))
    low, high = stats.auc_interval(value, variance, min(positives, float(amount.sum()) - positives), level)
    return Number(value, low, high, people)


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.scores",
    title="Scores by group",
    needs={"scores", "groups"},
    sources=(
        "delong1988", "kallus2019", "gardner2019", "kolmogorov1933", "massart1990", "vallender1974", "zou2008",
        "davison1997", "student1908", "dunn1961",
    ),
)  # fmt: skip
def scores(subject: Subject, context: Context, *, replicates: int = 400) -> Iterator[Evidence]:
    """Does the score rank the people of each group rightly, and how far apart do the groups lie in it?

    score_mean is each group's mean score (t interval). Where labels are known, auc is the chance that a random positive
    person of the group scores above a random negative one (DeLong), xauc that a positive one of the group scores above
    a negative one of the reference group, and xauc_disparity is this less its mirror image, the chance of the reference
    group's positives against the group's negatives: a group that is held back has a small xauc. abroca is the area
    between the ROC curves of both groups. ks_distance is the largest difference between the shares of both groups above
    any threshold, so no threshold has a larger demographic parity difference; wasserstein_distance is how far scores
    have to move on average for both groups to have the same. The reference is the group named in the configuration, else
    the one with the highest mean score among those of at least min_n people. Differences over all groups ("*") are
    largest minus smallest, with intervals for all pairs at once; distances over all groups are the largest to the
    reference. Intervals of abroca and wasserstein_distance are bootstraps of `replicates` draws (over 256 bins where there
    are more distinct scores) whose lower end is 0 where groups drawn from one and the same distribution come to lie as
    far apart; that of ks_distance is Massart's bound.

    Equal AUC does not mean equal errors at the threshold in use, and scores may differ because base rates do. The area
    between the curves and the distances are never quite 0 in finite data.
    """
    score = one_score(subject)
    y = subject.y if len(subject.data.classes) == 2 else None
    names = ("score_mean",) if y is None else ("auc", "score_mean")
    everyone = parts.rows_of(subject, ())
    found = parts.figures(everyone, names, _measurer(everyone, score, y), context.confidence)
    yield from parts.figure_measures(everyone, found, KINDS)
    for attributes in context.track(subject.slices, "scores by group"):
        rows = parts.rows_of(subject, attributes)
        measure, level = _measurer(rows, score, y), context.confidence
        base = parts.reference_group(subject, rows, score)
        found = parts.figures(rows, names, measure, level)
        yield from parts.figure_measures(rows, found, KINDS)
        yield from parts.difference_measures(rows, found, names, base, KINDS)
        yield from parts.gap_measures(
            rows, parts.figures(rows, names, measure, parts.together(rows, level)), names, KINDS, level
        )
        if y is not None:
            yield from _crossed(rows, score, y, base, level)
        yield from distance_measures(rows, score, y, base, context, replicates)


def one_score(subject: Subject) -> Floats:
    """The score (n,) of a yes-or-no subject; raises NotApplicable for anything else."""
    if subject.score is None or subject.score.ndim != 1:
        raise NotApplicable("needs one score for each person; there is one for each class")
    if subject.y is None and subject.data.target is not None:
        raise NotApplicable("the scores predict a number; fairness.regression measures them")
    return subject.score


def _crossed(rows: Rows, score: Floats, y: Ints, base: int | None, level: float) -> Iterator[Evidence]:
    """Cross-group AUC of every group against the reference, and its disparity."""
    if base is None:
        return
    worst: list[tuple[float, float, float, int]] = []
    wide = stats.bonferroni(level, max(1, int(np.count_nonzero(rows.sizes())) - 1))
    counts = [_split(rows, group, score, y) for group in range(len(rows.groups))]
    for group, inside in enumerate(rows.members):
        if group == base:
            continue
        pair = [
            _cross_number(counts[group][1], counts[base][0], level),
            _cross_number(counts[base][1], counts[group][0], level),
        ]
        facts: dict[str, Any] = {"n": rows.people[inside].sum(), "where": rows.where(group), "why": _NO_PAIR}
        note = parts.against(rows, base, inside)
        yield measured(
            "xauc", pair[0].value, unit="", interval=bounded(pair[0][1:3], level, "DeLong"), note=note, **facts
        )
        value, low, high = auc_difference(pair[0][:3], pair[1][:3])
        yield measured(
            "xauc_disparity", value, unit="", better="zero",
            interval=bounded((low, high), level, "DeLong, square-and-add"), note=note, **facts,
        )  # fmt: skip
        again = [
            _cross_number(counts[group][1], counts[base][0], wide),
            _cross_number(counts[base][1], counts[group][0], wide),
        ]
        worst.append((*auc_difference(again[0][:3], again[1][:3]), group))
    yield _worst(rows, base, worst, level)
    if len(rows.groups) <= MATRIX:
        yield _matrix(rows, score, y)


def _split(rows: Rows, group: int, score: Floats, y: Ints) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Scores and amounts of the negatives and of the positives of a group."""
    inside = rows.members[group]
    amount = rows.amounts(inside)
    negative, positive = y[inside] != 1, y[inside] == 1
    return (score[inside][negative], amount[negative]), (score[inside][positive], amount[positive])


def _cross_number(positives: tuple[Floats, Floats], negatives: tuple[Floats, Floats], level: float) -> Number:
    """AUC of these positives against those negatives."""
    score, amount = (np.concatenate(pair) for pair in zip(positives, negatives, strict=True))
    y = np.repeat([1, 0], [len(positives[0]), len(negatives[0])])
    return _auc(score, y, amount, float(len(y)), level)


def _worst(rows: Rows, base: int, pairs: list[tuple[float, float, float, int]], level: float) -> Measure:
    """The largest disparity to the reference in absolute value."""
    known = [pair for pair in pairs if not np.isnan(pair[0])]
    bounds = [(max(0.0, low, -high), max(abs(low), abs(high))) for _, low, high, _ in known]
    top = max(known, key=lambda pair: abs(pair[0]), default=(np.nan, np.nan, np.nan, base))
    return measured(
        "xauc_disparity",
        abs(top[0]),
        n=rows.sizes().sum(),
        where=rows.everywhere,
        unit="",
        better="zero",
        interval=bounded((max(b[0] for b in bounds), max(b[1] for b in bounds)), level, "DeLong, Bonferroni")
        if known
        else None,
        note=f"largest in {rows.label(top[3])}; reference: {rows.label(base)}" if known else "",
        why="fewer than two groups have both labels",
    )


def _matrix(rows: Rows, score: Floats, y: Ints) -> Table:
    auc, _ = cross(*by_score(rows, score, y))
    sizes = rows.sizes()
    body: list[tuple[Cell, ...]] = [
        (" × ".join(rows.attributes), rows.label(a), rows.label(b), None if np.isnan(auc[a, b]) else float(auc[a, b]),
         int(min(sizes[a], sizes[b])))
        for a in range(len(rows.groups)) for b in range(len(rows.groups))
    ]  # fmt: skip
    return Table(
        name="xauc",
        title="The chance that a positive person of one group scores above a negative person of another",
        columns=("attribute", "positives of", "negatives of", "xauc", "n"),
        rows=tuple(body),
        note="n is the size of the smaller group. An empty cell: one of the groups lacks the label.",
    )


# ----------------------------------------------------------------------------------------------------- distances
def distance_measures(
    rows: Rows, score: Floats, y: Ints | None, base: int | None, context: Context, replicates: int
) -> Iterator[Measure]:
    """Distances of every group's scores to those of the reference group, and the largest of each."""
    if base is None:
        return
    level = context.confidence
    groups = [group for group in range(len(rows.groups)) if group != base and len(rows.members[group])]
    wide = stats.bonferroni(level, max(1, len(groups)))
    held: dict[str, list[tuple[float, tuple[float, float], int]]] = {}
    for group in groups:
        for name, (number, again) in _apart(rows, score, y, (group, base), context.rng, replicates, (level, wide)):
            held.setdefault(name, []).append((number.value, (again.low, again.high), group))
            yield _distance(name, number, rows.where(group), level, parts.against(rows, base, rows.members[group]))
    for name, found in held.items():
        known = [each for each in found if not np.isnan(each[0])]
        top = max(known, key=lambda each: each[0], default=(np.nan, (np.nan, np.nan), base))
        low, high = (max((each[1][side] for each in known), default=np.nan) for side in (0, 1))
        note = f"largest in {rows.label(top[2])}; reference: {rows.label(base)}" if known else ""
        yield _distance(name, Number(top[0], low, high, float(rows.sizes().sum())), rows.everywhere, level, note)


def _distance(name: str, number: Number, where: Any, level: float, note: str) -> Measure:
    unit = {"ks_distance": "difference", "abroca": "difference"}.get(name, "")
    method = "Massart" if name == "ks_distance" else "count bootstrap, 0 where chance suffices"
    return measured(
        name, number.value, n=int(number.n), where=where, unit=unit, better="zero",
        interval=bounded((number.low, number.high), level, method), note=note, why=_NO_PAIR,
    )  # fmt: skip


def _apart(
    rows: Rows,
    score: Floats,
    y: Ints | None,
    pair: tuple[int, int],
    rng: np.random.Generator,
    replicates: int,
    levels: tuple[float, float],
) -> Iterator[tuple[str, list[Number]]]:
    """The distances between two groups, with bounds at two levels."""
    sides = [rows.members[group] for group in pair]
    inside = np.concatenate(sides)
    values, place = np.unique(score[inside], return_inverse=True)
    halves = np.split(place, [len(sides[0])])
    amounts = [rows.amounts(side) for side in sides]
    labels = [np.zeros(len(side), dtype=np.int64) if y is None else y[side] for side in sides]
    size, n = len(values), float(rows.people[sides[0]].sum())
    full = [_cells(half, label, amount, size) for half, label, amount in zip(halves, labels, amounts, strict=True)]
    ks, moved = distances(values, full[0].sum(axis=0), full[1].sum(axis=0))
    bands = [massart([amount.sum() for amount in amounts], level) for level in levels]
    yield "ks_distance", [Number(ks, max(0.0, ks - band), min(1.0, ks + band), n) for band in bands]
    coarse, middles = _coarse(full, values)
    draws = _draws(coarse, coarse, replicates, rng)
    if y is not None:
        pooled = [stats.divide(table.sum(axis=1, keepdims=True) * both, both.sum(axis=1, keepdims=True), 0.0)
                  for table, both in ((table, coarse[0] + coarse[1]) for table in coarse)]  # fmt: skip
        area, plain = area_between(full[0], full[1]), area_between(coarse[0], coarse[1])
        drawn, equal = (_areas(each) for each in (draws, _draws(pooled, coarse, replicates, rng)))
        yield "abroca", _numbers(area, plain, drawn, equal, n, levels)
    totals = [table.sum(axis=0) for table in coarse]
    equal = _moved(middles, _draws([totals[0] + totals[1]] * 2, coarse, replicates, rng))
    plain = distances(middles, totals[0], totals[1])[1]
    yield (
        "wasserstein_distance",
        _numbers(moved, plain, _moved(middles, [d.sum(axis=1) for d in draws]), equal, n, levels),
    )


def _draws(tables: list[Floats], sizes: list[Floats], replicates: int, rng: np.random.Generator) -> list[Floats]:
    """Draws (replicates, ...) from both tables, as many cases in each as `sizes` hold."""
    scaled = [stats.divide(table, table.sum(), 0.0) * size.sum() for table, size in zip(tables, sizes, strict=True)]
    return [stats.bootstrap_counts(table, replicates, rng).astype(np.float64) for table in scaled]


def _areas(draws: list[Floats]) -> Floats:
    found: Floats = np.array([area_between(first, second) for first, second in zip(draws[0], draws[1], strict=True)])
    return np.asarray(found[~np.isnan(found)])


def _moved(middles: Floats, draws: list[Floats]) -> Floats:
    moved: Floats = _distances(middles, draws[0], draws[1])[1]
    return moved


def _numbers(
    value: float, plain: float, draws: Floats, equal: Floats, n: float, levels: tuple[float, float]
) -> list[Number]:
    return [Number(value, *parts.distance_interval(value, plain, draws, equal, level), n) for level in levels]


def massart(n: list[float], level: float) -> float:
    """How far the distance of two distribution functions of n cases each may lie from the truth (massart1990).

    Each function is held with half of the error: conservative, and valid for any n and any distribution.
    """
    if min(n) <= 0.0:
        return np.nan
    return float(sum(np.sqrt(np.log(4.0 / (1.0 - level)) / (2.0 * each)) for each in n))


def _cells(place: Ints, y: Ints, amount: Floats, size: int) -> Floats:
    return np.stack([_histogram(place, size, amount * (y == label)) for label in (0, 1)])


def _coarse(full: list[Floats], values: Floats) -> tuple[list[Floats], Floats]:
    """The same tables over at most BINS bins of about equally many cases, and the mean value of each bin."""
    if len(values) <= BINS:
        return full, values
    total = sum(table.sum(axis=0) for table in full)
    reached = np.cumsum(total) - 0.5 * total
    place = np.minimum((reached / total.sum() * BINS).astype(np.int64), BINS - 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    mass = np.add.reduceat(total, starts)
    middles = stats.divide(np.add.reduceat(total * values, starts), mass, 0.0)
    middles = np.where(mass > 0.0, middles, values[starts])
    return [np.add.reduceat(table, starts, axis=1) for table in full], middles
