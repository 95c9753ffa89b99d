"""Every threshold at once: rates and gaps along the score, and the best threshold for everyone or for each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit import stats
from audit.core import Cell, Context, Curve, Evidence, Floats, Ints, Measure, NotApplicable, Subject, Table, UsageError
from audit.fairness import parts
from audit.fairness.measures import bounded, measured
from audit.fairness.parts import Rows
from audit.fairness.rates import max_difference, shares
from audit.fairness.scores import one_score
from audit.registry import check

Constraint = Literal["none", "demographic_parity", "equal_opportunity", "equalized_odds"]
CONSTRAINTS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("tpr",),
    "equalized_odds": ("tpr", "fpr"),
}
CELLS = 2**22  # numbers that a sweep may hold: beyond, it takes fewer thresholds
WINDOWS = 4096  # starts of the window that rates have to lie in
GRID = 200  # the same along each of two rates
COARSE = 60  # the same for a curve over many limits
MOST = 100  # groups up to which such a curve is drawn for thresholds of groups
POINTS = 25  # of a curve: more would not be seen
LIMITS = tuple(round(0.02 * i, 2) for i in range(16))
SLACK = 1e-9  # rates are quotients of sums, exact to about this


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """What each threshold does: people with a score of `thresholds` (t,), ascending, or more are selected.

    cells (t, g, 4): tn, fp, fn, tp of every group, weights counted by their effective number. The last threshold is
    infinite: nobody is selected. n (g,): people.
    """

    thresholds: Floats
    cells: Floats
    n: Ints
    groups: tuple[tuple[str, ...], ...]

    def rates(self, *names: str) -> Floats:
        """Rates (t, g, m) of every group, NaN where undefined; names of RATES."""
        return shares(self.cells, names)

    def accuracy(self) -> Floats:
        """The share of right decisions (t,) over all groups."""
        return stats.divide(self.cells[..., [0, 3]].sum(axis=(1, 2)), self.cells.sum(axis=(1, 2)))

    def gap(self, constraint: str) -> Floats:
        """The largest difference (t,) between groups of what a constraint speaks of; NaN below two groups that have it."""
        return _gap(self.cells, constraint)

    def feasible(self, constraint: str, max_gap: float) -> NDArray[np.bool_]:
        """The thresholds (t,) at which the gap is at most `max_gap`; also where there is none to measure."""
        return ~(self.gap(constraint) > max_gap + SLACK)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """One threshold for each group (g,), and what it does on the people it was chosen on: cells (g, 4)."""

    name: str
    constraint: str
    thresholds: Floats
    cells: Floats
    groups: tuple[tuple[str, ...], ...]

    @property
    def accuracy(self) -> float:
        """The share of right decisions."""
        return float(stats.divide(self.cells[:, [0, 3]].sum(), self.cells.sum()))

    def gap(self, constraint: str | None = None) -> float:
        """The gap under the policy's own or another constraint; NaN below two groups that have it."""
        return float(_gap(self.cells[None], constraint or self.constraint)[0])

    def decide(self, y_score: ArrayLike, sensitive_features: Any) -> Ints:
        """Decisions (n,) for other people of the same groups; raises UsageError for a group without a threshold."""
        rows, score = parts.rows_by_group(sensitive_features), np.asarray(y_score, dtype=np.float64)
        known = dict(zip(self.groups, self.thresholds.tolist(), strict=True))
        decision = np.zeros(len(score), dtype=np.int64)
        for group, inside in zip(rows.groups, rows.members, strict=True):
            if len(inside) and group not in known:
                raise UsageError(f"no threshold was chosen for the group {group}; allowed are {list(known)}")
            decision[inside] = score[inside] >= known.get(group, np.inf)
        if sum(map(len, rows.members)) < len(score):
            raise UsageError("people whose group is unknown cannot be decided by thresholds of groups")
        return decision


def _gap(cells: Floats, constraint: str) -> Floats:
    names = CONSTRAINTS[constraint]
    if not names:
        return np.full(len(cells), np.nan)
    gaps = max_difference(shares(cells, names), axis=1)
    return np.asarray(np.fmax.reduce(gaps, axis=1))


# ------------------------------------------------------------------------------------------------- the sweep
def sweep(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sensitive_features: Any,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    points: int | None = None,
) -> Sweep:
    """All thresholds at once: one sort, then sums.

    y_true (n,): 0 or 1. y_score (n,). sensitive_features: as for `count`; people of unknown groups are left out. points:
    at most so many thresholds, at equal shares of people; by default every distinct score, while they fit in 32 MB.
    Raises DataError.
    """
    rows = parts.rows_by_group(sensitive_features, weights=weights, frequency=frequency)
    size = len(rows.code)
    return _sweep(rows, parts.labels(y_true, size), parts.column(y_score, "y_score", size), points)


def _sweep(rows: Rows, y: Ints, score: Floats, points: int | None = None) -> Sweep:
    known = np.flatnonzero(rows.code < len(rows.groups))
    groups = max(1, len(rows.groups))
    most = points or max(2, CELLS // (4 * groups))
    thresholds = np.unique(score[known])
    if len(thresholds) > most:
        thresholds = np.unique(np.quantile(score[known], np.linspace(0.0, 1.0, most), method="inverted_cdf"))
    thresholds = np.append(thresholds, np.inf)
    reached = np.searchsorted(thresholds, score[known], side="right")  # how many thresholds select the person
    length = len(thresholds) + 1
    code = (rows.code[known] * 2 + y[known]) * length + reached
    found = np.bincount(code, weights=rows.amounts(known), minlength=groups * 2 * length)
    rejected = np.cumsum(found.reshape(groups, 2, length), axis=2)
    selected = rejected[..., -1:] - rejected
    selected[np.abs(selected) < SLACK] = 0.0
    cells = np.stack([rejected[:, 0], selected[:, 0], rejected[:, 1], selected[:, 1]], axis=-1)[:, : len(thresholds)]
    return Sweep(
        thresholds=thresholds,
        cells=cells.transpose(1, 0, 2)[:, : len(rows.groups)],
        n=rows.sizes(),
        groups=rows.groups,
    )


# ------------------------------------------------------------------------------------------------ the policies
def single_threshold(found: Sweep, constraint: Constraint = "none", max_gap: float = 1.0) -> Policy:
    """The most accurate single threshold with a gap of at most `max_gap`; of equals, that of the smallest gap.

    There is always one: selecting everybody treats all groups alike (corbettdavies2017).
    """
    _known(constraint)
    gap = np.nan_to_num(found.gap(constraint))
    right = np.where(found.feasible(constraint, max_gap), np.round(found.accuracy(), 12), -1.0)
    best = int(np.lexsort((found.thresholds, np.round(gap, 12), -right))[0])
    return _policy(found, "single threshold", constraint, np.full(len(found.groups), best, dtype=np.int64))


def group_thresholds(
    found: Sweep, constraint: Constraint = "none", max_gap: float = 0.0, *, grid: int = GRID
) -> Policy:
    """The most accurate thresholds, one a group and without chance, with a gap of at most `max_gap` (hardt2016).

    Searched, not fitted: the rates of all groups have to lie in one window of that width, whose place is tried at every
    rate that occurs (at most 4,096 of them; for equalized odds `grid` times `grid`), and within a window each group takes its
    most accurate threshold. Groups without the rate are not bound.
    """
    _known(constraint)
    names = CONSTRAINTS[constraint]
    right = found.cells[..., 0] + found.cells[..., 3]
    if not names:
        return _policy(found, "threshold of each group", constraint, right.argmax(axis=0))
    rates = found.rates(*names)
    starts = _starts(rates, grid)
    chosen = np.zeros((len(starts), len(found.groups)), dtype=np.int64)
    total = np.zeros(len(starts))
    for group in range(len(found.groups)):
        low, high = _windows(rates[:, group], starts, max_gap)
        there = low < high
        chosen[there, group] = _best_within(right[:, group], low[there], high[there])
        total[there] += right[chosen[there, group], group]
        total[~there] = -np.inf
    return _policy(found, "threshold of each group", constraint, chosen[int(np.argmax(np.round(total, 9)))])


def trade_off(
    found: Sweep, constraint: Constraint, limits: Sequence[float] = LIMITS, *, by_group: bool = True
) -> Floats:
    """The best accuracy (l,) that each limit on the gap leaves, by thresholds of groups or by a single one."""
    if not by_group:
        accuracy, gap = found.accuracy(), np.nan_to_num(found.gap(constraint))
        return np.array([accuracy[gap <= limit + SLACK].max() for limit in limits])
    return np.array([group_thresholds(found, constraint, limit, grid=COARSE).accuracy for limit in limits])


def _known(constraint: str) -> None:
    if constraint not in CONSTRAINTS:
        raise UsageError(f"constraint: allowed are {', '.join(CONSTRAINTS)}; got {constraint!r}")


def _policy(found: Sweep, name: str, constraint: str, chosen: Ints) -> Policy:
    cells = found.cells[chosen, np.arange(len(found.groups))]
    return Policy(
        name=name, constraint=constraint, thresholds=found.thresholds[chosen], cells=cells, groups=found.groups
    )


def _starts(rates: Floats, grid: int) -> Floats:
    """Where the windows begin (s, m): at the rates that occur, or evenly thinned where they are many."""
    most = WINDOWS if rates.shape[2] == 1 else grid
    sides = []
    for i in range(rates.shape[2]):
        values = np.unique(rates[..., i][~np.isnan(rates[..., i])])
        values = values if len(values) else np.zeros(1)
        kept = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(np.int64))
        sides.append(values[kept])
    return np.stack([side.ravel() for side in np.meshgrid(*sides, indexing="ij")], axis=1)


def _windows(rates: Floats, starts: Floats, width: float) -> tuple[Ints, Ints]:
    """The thresholds low <= i < high (s,) of a group whose rates (t, m), falling along t, lie in each window."""
    low, high = np.zeros(len(starts), dtype=np.int64), np.full(len(starts), len(rates), dtype=np.int64)
    for i in range(rates.shape[1]):
        falling = -rates[:, i]
        if np.isnan(falling).any():
            continue
        low = np.maximum(low, np.searchsorted(falling, -(starts[:, i] + width + SLACK), side="left"))
        high = np.minimum(high, np.searchsorted(falling, -(starts[:, i] - SLACK), side="right"))
    return low, high


def _best_within(values: Floats, low: Ints, high: Ints) -> Ints:
    """The place of the first largest value (t,) in each range low <= i < high, by a table of powers of two."""
    if not len(low):
        return np.zeros(0, dtype=np.int64)
    rounded = np.round(values, 9)
    tables = [np.arange(len(values))]
    while 2 ** len(tables) <= len(values):
        last, half = tables[-1], 2 ** (len(tables) - 1)
        left, right = last[:-half], last[half:]
        tables.append(np.where(rounded[left] >= rounded[right], left, right))
    power = np.log2(high - low).astype(np.int64)
    best = np.empty(len(low), dtype=np.int64)
    for k in np.unique(power):
        mine = power == k
        left, right = tables[k][low[mine]], tables[k][high[mine] - 2**k]
        best[mine] = np.where(rounded[left] >= rounded[right], left, right)
    return best


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.thresholds",
    title="Thresholds and what they cost",
    needs={"labels", "scores", "groups"},
    sources=("hardt2016", "corbettdavies2017", "wilson1927", "newcombe1998", "dunn1961"),
)
def thresholds(
    subject: Subject, context: Context, *, max_gap: float = 0.05, intersections: bool = False
) -> Iterator[Evidence]:
    """Which threshold would treat groups alike, and what would it cost in accuracy?

    Every threshold on the score is tried at once. The curves give accuracy and the differences between groups
    (demographic parity, equal opportunity, equalized odds) along the threshold, and the best accuracy that each limit on
    a difference leaves, for a single threshold and for one in each group. For the limit `max_gap`, feasible_thresholds
    lists the ranges in which a single threshold keeps it, and best_thresholds the most accurate thresholds under each
    policy, with accuracy (Wilson's interval) and difference (interval for all pairs of groups) at that point. Thresholds
    of groups are found by a search without chance, so that two equal people of a group are always decided alike; the
    search is exact for one rate and on a grid of 200 times 200 for equalized odds. Each attribute is taken by itself, and
    with `intersections` their combinations as well.

    The thresholds are chosen on the same people that they are measured on, so on others they will do somewhat worse.
    Different thresholds for different groups may be unlawful however much they equalise. max_gap is a question asked of
    the data and no promise; promises are gates.
    """
    score, y = one_score(subject), subject.y
    if y is None or len(subject.data.classes) > 2:
        raise NotApplicable("needs a yes-or-no outcome")
    for attributes in context.track(subject.slices, "thresholds"):
        rows = parts.rows_of(subject, attributes)
        if not rows.sizes().any() or (len(attributes) > 1 and not intersections):
            continue
        found = _sweep(rows, y, score)
        policies = [_in_use(found, subject.threshold), single_threshold(found), group_thresholds(found)]
        for constraint in _bound():
            policies += [single_threshold(found, constraint, max_gap), group_thresholds(found, constraint, max_gap)]
        yield from _curves(rows, found)
        for policy in policies:
            yield from _policy_measures(rows, policy, context.confidence)
        yield _policy_table(rows, policies, max_gap)
        yield _feasible_table(rows, found, max_gap)


def _bound() -> tuple[Constraint, ...]:
    return "demographic_parity", "equal_opportunity", "equalized_odds"


def _in_use(found: Sweep, threshold: float) -> Policy:
    """The threshold that the subject was given, which selects like the next score above it."""
    place = int(np.searchsorted(found.thresholds, threshold))
    chosen = _policy(found, "threshold in use", "none", np.full(len(found.groups), place, dtype=np.int64))
    return Policy(
        name=chosen.name,
        constraint="none",
        thresholds=np.full(len(found.groups), threshold),
        cells=chosen.cells,
        groups=chosen.groups,
    )


def _curves(rows: Rows, found: Sweep) -> Iterator[Curve]:
    n = int(found.n.sum())
    shown = np.unique(np.linspace(0, len(found.thresholds) - 2, min(POINTS, len(found.thresholds) - 1)).astype(int))
    at, where = found.thresholds[shown], rows.everywhere
    yield parts.curve(
        "accuracy", at, found.accuracy()[shown], labels=("threshold", "accuracy"), where=where, n=n, unit="proportion"
    )
    for constraint in _bound():
        name, gap = f"{constraint}_difference", found.gap(constraint)[shown]
        if np.isnan(gap).all():
            continue
        words = name.replace("_", " ")
        yield parts.curve(name, at, gap, labels=("threshold", words), where=where, n=n, unit="difference")
        for by_group, policy in ((False, "single threshold"), (True, "threshold of each group")):
            if by_group and len(found.groups) > MOST:
                continue
            yield parts.curve(
                f"trade_off_{constraint}",
                np.array(LIMITS),
                trade_off(found, constraint, by_group=by_group),
                labels=(f"largest {words} allowed", f"best accuracy, {policy}"),
                where={**where, "policy": policy},
                n=n,
                unit="proportion",
            )


def _policy_measures(rows: Rows, policy: Policy, level: float) -> Iterator[Measure]:
    where = {**rows.everywhere, "policy": _title(policy)}
    right, total = float(policy.cells[:, [0, 3]].sum()), float(policy.cells.sum())
    facts: dict[str, Any] = {"n": rows.sizes().sum(), "where": where}
    why = "there is no case"
    interval = bounded(stats.wilson(right, total, level), level, "Wilson")
    yield measured("accuracy", policy.accuracy, better="higher", interval=interval, why=why, **facts)
    for constraint in _bound() if policy.constraint == "none" else (policy.constraint,):
        yield measured(
            f"{constraint}_difference",
            policy.gap(constraint),
            unit="difference",
            better="zero",
            interval=bounded(_gap_bounds(policy.cells, constraint, level), level, "all pairs, Bonferroni"),
            why="fewer than two groups have this rate",
            **facts,
        )


def _gap_bounds(cells: Floats, constraint: str, level: float) -> tuple[float, float]:
    """Bounds of the gap; where it is the larger of two, each takes half of the error."""
    names = CONSTRAINTS[constraint]
    tops, bottoms = {"selection_rate": [1, 3], "tpr": [3], "fpr": [1]}, {"tpr": [2, 3], "fpr": [0, 1]}
    each = 1.0 - (1.0 - level) / len(names)
    found = [
        stats.gap_interval(
            cells[:, tops[name]].sum(axis=1), cells[:, bottoms.get(name, [0, 1, 2, 3])].sum(axis=1), each
        )
        for name in names
    ]
    return float(np.fmax.reduce([low for low, _ in found])), float(np.fmax.reduce([high for _, high in found]))


def _title(policy: Policy) -> str:
    return policy.name if policy.constraint == "none" else f"{policy.name}, {policy.constraint.replace('_', ' ')}"


def _policy_table(rows: Rows, policies: Sequence[Policy], max_gap: float) -> Table:
    sizes, names = rows.sizes(), ("selection_rate", "tpr", "fpr", "accuracy")
    body: list[tuple[Cell, ...]] = []
    for policy in policies:
        found = shares(policy.cells, names)
        for group in np.flatnonzero(sizes):
            cut = float(policy.thresholds[group])
            figures = [None if np.isnan(value) else float(value) for value in found[group]]
            body.append(
                (" × ".join(rows.attributes), _title(policy), rows.label(int(group)), int(sizes[group]),
                 cut if np.isfinite(cut) else None, *figures)
            )  # fmt: skip
    return Table(
        name="best_thresholds",
        title=f"The most accurate thresholds with a difference of at most {max_gap:g}",
        columns=("attribute", "policy", "group", "n", "threshold", *names),
        rows=tuple(body),
        note="Selected are scores of the threshold or more; an empty threshold selects nobody. "
        "Chosen and measured on the same people.",
    )


def _feasible_table(rows: Rows, found: Sweep, max_gap: float) -> Table:
    accuracy, n = found.accuracy(), int(found.n.sum())
    body: list[tuple[Cell, ...]] = []
    for constraint in _bound():
        inside = found.feasible(constraint, max_gap)[:-1]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int64)))
        for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
            body.append(
                (" × ".join(rows.attributes), constraint, n, float(found.thresholds[first]),
                 float(found.thresholds[last]), float(accuracy[first : last + 1].max()))
            )  # fmt: skip
    return Table(
        name="feasible_thresholds",
        title=f"Single thresholds with a difference of at most {max_gap:g}",
        columns=("attribute", "constraint", "n", "from", "to", "best accuracy"),
        rows=tuple(body),
    )
