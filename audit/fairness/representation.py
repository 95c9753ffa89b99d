"""Representation: the shares of groups in a data set or in generated samples, against what they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import ALL, Context, DataError, Evidence, Floats, Measure, Subject, UsageError
from audit.fairness.counts import count
from audit.fairness.measures import bounded, measured
from audit.registry import check

REPLICATES = 2000
_SINGULAR = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shares:
    """Shares of groups (g,) with intervals, beside the target's; total_variation is half the sum of their distances.

    low, high (g,): bounds of each share. total_variation_bounds: (low, high); NaN without cases.
    """

    share: Floats
    low: Floats
    high: Floats
    target: Floats
    total_variation: float
    total_variation_bounds: tuple[float, float]
    level: float
    method: str


def group_shares(counts: ArrayLike, target: ArrayLike | None = None, *, level: float = 0.95) -> Shares:
    """The share of each group with Wilson's interval, and the total variation distance to a target.

    counts (g,): people or samples, effective numbers allowed. target (g,): shares that sum to 1, by default equal ones.
    The bounds of the distance are the least and largest within the simultaneous Wilson intervals of all shares (dunn1961):
    they reach down to 0 where the target is compatible with the counts. Raises UsageError.
    """
    n = _counts(counts)
    aim = _target(target, len(n))
    total = float(n.sum())
    share = stats.divide(n, total)
    low, high = stats.wilson(n, total, level)
    box = stats.wilson(n, total, stats.bonferroni(level, len(n) if len(n) > 2 else 1))
    return Shares(
        share=share,
        low=low,
        high=high,
        target=aim,
        total_variation=float(np.abs(share - aim).sum() / 2.0),
        total_variation_bounds=_distance_bounds(box[0], box[1], aim),
        level=level,
        method="Wilson; all shares at once",
    )


def _distance_bounds(low: Floats, high: Floats, target: Floats) -> tuple[float, float]:
    """Least and largest total variation of any shares in the box that sum to 1."""
    if not np.isfinite([*low, *high]).all():
        return np.nan, np.nan
    least = max(float(np.maximum(low - target, 0.0).sum()), float(np.maximum(target - high, 0.0).sum()))
    most = min(float(np.maximum(high - target, 0.0).sum()), float(np.maximum(target - low, 0.0).sum()))
    return least, min(1.0, max(least, most))


def total_variation(left: ArrayLike, right: ArrayLike) -> float:
    """Half the sum of the absolute differences of two lists of shares (g,): 0 = equal, 1 = disjoint."""
    return float(np.abs(np.asarray(left, dtype=np.float64) - np.asarray(right, dtype=np.float64)).sum() / 2.0)


def rogan_gladen(
    observed: ArrayLike,
    confusion: ArrayLike,
    *,
    target: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 0,
    rng: np.random.Generator | None = None,
) -> Shares:
    """Shares corrected for the errors of the annotator who told the groups (rogan1978).

    observed (g,): samples by annotated group. confusion (g, g): a validation sample, counts of true (rows) by annotated
    (columns) groups. The shares solve observed = confusionᵀ share; where noise drives one below 0 they are projected on
    the nearest shares. Bounds by the delta method, which carries the sampling error of both tables (efron1993: by
    a count bootstrap of both with `replicates` > 0, drawn from `rng`). Raises UsageError, also for an annotator who
    cannot tell the groups apart.
    """
    n, table = _counts(observed), np.asarray(confusion, dtype=np.float64)
    if table.shape != (len(n), len(n)) or not np.isfinite(table).all() or (table < 0).any():
        raise UsageError(f"confusion: allowed are counts ({len(n)}, {len(n)}), got shape {table.shape}")
    if (table.sum(axis=1) <= 0).any() or n.sum() <= 0:
        raise UsageError("confusion, observed: at least one case in each true group, and one observed, is needed")
    aim, share = _target(target, len(n)), _corrected(n, table)
    if replicates:
        if rng is None:
            raise UsageError("rng: replicates need a numpy Generator, got None")
        low, high, bounds = _bootstrap(n, table, aim, replicates, rng, level)
        method = f"count bootstrap, {replicates} replicates"
    else:
        half = stats.z_quantile(level) * _delta_error(n, table, share)
        low, high, method = np.clip(share - half, 0.0, 1.0), np.clip(share + half, 0.0, 1.0), "delta"
        wide = stats.z_quantile(stats.bonferroni(level, len(n) if len(n) > 2 else 1)) / stats.z_quantile(level) * half
        bounds = _distance_bounds(np.clip(share - wide, 0.0, 1.0), np.clip(share + wide, 0.0, 1.0), aim)
    shown = _nearest_shares(share)
    return Shares(
        share=shown,
        low=np.minimum(low, shown),
        high=np.maximum(high, shown),
        target=aim,
        total_variation=total_variation(shown, aim),
        total_variation_bounds=bounds,
        level=level,
        method=method,
    )


def _corrected(observed: Floats, table: Floats) -> Floats:
    """The solution of observed = confusionᵀ share, whatever its signs; raises UsageError."""
    rates = table / table.sum(axis=1, keepdims=True)
    if abs(np.linalg.det(rates)) < _SINGULAR:
        raise UsageError("confusion: the annotator cannot tell the groups apart, so nothing can be corrected")
    return np.asarray(np.linalg.solve(rates.T, observed / observed.sum()))


def _delta_error(observed: Floats, table: Floats, share: Floats) -> Floats:
    """Standard errors (g,): multinomial variance of the observed, and of each row of the validation sample."""
    rows = table.sum(axis=1, keepdims=True)
    rates, q = table / rows, observed / observed.sum()
    inverse = np.linalg.inv(rates.T)
    spread = (np.diag(q) - np.outer(q, q)) / observed.sum()
    for group, p in enumerate(share):
        row = rates[group]
        spread = spread + p**2 * (np.diag(row) - np.outer(row, row)) / rows[group, 0]
    return np.sqrt(np.maximum(np.diag(inverse @ spread @ inverse.T), 0.0))


def _nearest_shares(values: Floats) -> Floats:
    """The nearest point with no share below 0 that sums to 1 (Euclidean projection on the simplex)."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1.0) / np.arange(1, len(values) + 1)
    kept = int(np.flatnonzero(ordered > excess)[-1])
    return np.asarray(np.maximum(values - excess[kept], 0.0))


def _bootstrap(
    observed: Floats, table: Floats, target: Floats, replicates: int, rng: np.random.Generator, level: float
) -> tuple[Floats, Floats, tuple[float, float]]:
    draws = stats.bootstrap_counts(observed, replicates, rng).astype(np.float64)
    tables = np.stack([stats.bootstrap_counts(row, replicates, rng) for row in table], axis=1).astype(np.float64)
    shares = []
    for counts, drawn in zip(draws, tables, strict=True):
        rates = drawn / drawn.sum(axis=1, keepdims=True)
        if abs(np.linalg.det(rates)) >= _SINGULAR:
            shares.append(_nearest_shares(np.linalg.solve(rates.T, counts / counts.sum())))
    found = np.array(shares)
    low, high = stats.percentile_interval(found, level)
    least, most = stats.percentile_interval(np.abs(found - target).sum(axis=1) / 2.0, level)
    return low, high, (float(least), float(most))


def _counts(counts: ArrayLike) -> Floats:
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or not len(n) or not np.isfinite(n).all() or (n < 0).any():
        raise UsageError(f"counts: allowed are numbers of at least 0 (g,), got {n.tolist()}")
    return n


def _target(target: ArrayLike | None, groups: int) -> Floats:
    if target is None:
        return np.full(groups, 1.0 / groups)
    aim = np.asarray(target, dtype=np.float64)
    if aim.shape != (groups,) or (aim < 0).any() or not abs(float(aim.sum()) - 1.0) <= 1e-6:
        raise UsageError(f"target: allowed are {groups} shares that sum to 1, got {aim.tolist()}")
    return np.asarray(aim / aim.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retrieval:
    """Who is shown first, query by query (q,): skews are logarithms of a group's share over its target share.

    max_skew: of the group shown most beyond its target; min_skew: of the one shown least, minus infinity where one is not
    shown at all; ndkl: divergence of the first i results from the target, over all i.
    """

    max_skew: Floats
    min_skew: Floats
    ndkl: Floats

    def means(self, level: float = 0.95) -> Mapping[str, tuple[float, float, float]]:
        """Mean over the queries and its t interval, by name; infinite or NaN where a query is (student1908)."""
        found = {}
        for name in ("max_skew", "min_skew", "ndkl"):
            values: Floats = getattr(self, name)
            mean = float(values.mean()) if len(values) else np.nan
            found[name] = (mean, *(stats.mean_interval(values, level) if np.isfinite(mean) else (np.nan, np.nan)))
        return found


def retrieval(groups: ArrayLike, target: ArrayLike | None = None, *, k: int = 10) -> Retrieval:
    """MaxSkew@k, MinSkew@k and NDKL@k of ranked results, for many queries at once (geyik2019).

    groups (q, r): the group of each result, best first, as numbers 0 to g - 1; -1 = unknown, left out. target (g,): the
    shares that are wanted, by default equal ones; a group that is wanted nowhere makes its skew infinite where it
    is shown. Queries whose first k results are all unknown get NaN. Raises UsageError.
    """
    shown = np.asarray(groups)
    if shown.ndim != 2 or shown.dtype.kind not in "iu" or not 1 <= k <= shown.shape[1]:
        raise UsageError(f"groups: allowed are whole numbers (q, r) with r of at least k = {k}, got {shown.shape}")
    size = int(shown.max(initial=0)) + 1 if target is None else len(np.asarray(target))
    if shown.max(initial=0) >= size or shown.min(initial=0) < -1:
        raise UsageError(f"groups: allowed are -1 to {size - 1}, got {shown.min()} to {shown.max()}")
    aim = _target(target, size)
    counts = np.cumsum(shown[:, :k, None] == np.arange(size), axis=1)
    share = stats.divide(counts, counts.sum(axis=2, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 shown, or 0 wanted, are infinities that belong here
        ratio = np.log(share / aim)
        divergence = np.where(share == 0.0, 0.0, share * ratio).sum(axis=2)
    discount = np.where(np.isnan(divergence), 0.0, 1.0 / np.log2(np.arange(2, k + 2)))
    top = np.where(((share[:, -1] > 0.0) | (aim > 0.0)), ratio[:, -1], np.nan)
    return Retrieval(
        max_skew=np.max(top, axis=1, initial=-np.inf, where=~np.isnan(top)) + 0.0 * share[:, -1, 0],
        min_skew=np.min(top, axis=1, initial=np.inf, where=~np.isnan(top)) + 0.0 * share[:, -1, 0],
        ndkl=stats.divide((np.nan_to_num(divergence, posinf=np.inf) * discount).sum(axis=1), discount.sum(axis=1)),
    )


# ------------------------------------------------------------------------------------------------ the check
@check(
    "fairness.representation",
    title="Groups in the data",
    needs={"groups"},
    sources=("wilson1927", "dunn1961"),
)
def representation_check(
    subject: Subject, context: Context, *, target: Sequence[Sequence[str | float]] = ()
) -> Iterator[Evidence]:
    """Is each group there in the data, or among the generated samples, as often as it should be?

    group_share is the share of each group among those whose group is known (Wilson's interval), share_difference its
    distance from the target, total_variation half the sum of all distances: the share of people who would have to belong
    to another group. Its interval is what simultaneous intervals of all shares allow, and reaches 0 where the
    target is compatible with the data. target names shares as rows of [attribute, group, share]; where an attribute has
    none, the target is equal shares.

    Equal shares are seldom what a population has: name the ones that matter, of the customers or of a census. The figures
    take the recorded group as true; if annotators or a classifier told it, correct the shares for their errors with
    audit.fairness.rogan_gladen.
    """
    aims = _aims(subject, target)
    for attribute, codes in subject.groups.items():
        data = subject.data
        counts = count(sensitive_features={attribute: codes}, weights=data.weights, frequency=data.frequency)
        people = counts.cells().sum(axis=1)
        effective = counts.cells(counts.effective).sum(axis=1)
        if not len(codes.levels):
            yield measured(
                "total_variation", np.nan, n=0, where={attribute: ALL}, better="zero", why="no group is known"
            )
            continue
        found = group_shares(effective, aims.get(attribute), level=context.confidence)
        origin = "as configured" if attribute in aims else "equal shares"
        yield from _measures(found, attribute, codes.levels, int(people.sum()), f"target: {origin}")


def _aims(subject: Subject, target: Sequence[Sequence[str | float]]) -> Mapping[str, Floats]:
    aims: dict[str, Floats] = {}
    for row in target:
        if len(row) != 3 or str(row[0]) not in subject.groups:
            raise UsageError(
                f"target: allowed are rows of [attribute, group, share] of {list(subject.groups)}, got {row}"
            )
        attribute, group, share = str(row[0]), str(row[1]), float(row[2])
        levels = subject.groups[attribute].levels
        if group not in levels:
            raise DataError(f"target: {attribute!r} has the groups {list(levels)}, got {group!r}")
        aims.setdefault(attribute, np.zeros(len(levels)))[levels.index(group)] = share
    return aims


def _measures(found: Shares, attribute: str, levels: Sequence[str], n: int, note: str) -> Iterator[Measure]:
    for index, group in enumerate(levels):
        where, aim = {attribute: group}, found.target[index]
        bounds = (found.low[index], found.high[index])
        interval = bounded(bounds, found.level, "Wilson")
        why = "there is no case of known group"
        yield measured("group_share", found.share[index], n=n, where=where, interval=interval, why=why)
        yield measured(
            "share_difference",
            found.share[index] - aim,
            n=n,
            where=where,
            unit="difference",
            better="zero",
            interval=bounded((bounds[0] - aim, bounds[1] - aim), found.level, "Wilson"),
            note=note,
            why=why,
        )
    yield measured(
        "total_variation",
        found.total_variation,
        n=n,
        where={attribute: ALL},
        better="zero",
        interval=bounded(found.total_variation_bounds, found.level, "all shares at once, Wilson, Bonferroni"),
        note=note,
        why="there is no case of known group",
    )
