"""Group metrics for a notebook: one call, one result, whatever was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Floats, UsageError, suggest
from audit.fairness.comparisons import gap
from audit.fairness.counts import Counts, count
from audit.fairness.rates import COMPOSITES, RATES, bounds_of, claimed, defined, max_difference, min_ratio, shares
from audit.stats import bootstrap_counts, percentile_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Lower and upper bounds, stacked first: by_group (2, g, m), and overall, difference and ratio (2, m)."""

    by_group: Floats
    overall: Floats
    difference: Floats
    ratio: Floats
    level: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupMetrics:
    """Metrics of every group (g, m) and over all groups (m,); NaN where undefined.

    groups: one tuple of levels a row, all combinations of the attributes. difference: largest minus smallest; ratio:
    smallest over largest; groups without a value are left out of both. bootstrap: percentile bounds, where asked for.
    """

    metrics: tuple[str, ...]
    attributes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    by_group: Floats
    overall: Floats
    difference: Floats
    ratio: Floats
    counts: Counts
    bootstrap: Bounds | None = None

    def intervals(self, level: float = 0.95) -> Bounds:
        """Closed-form intervals: Wilson for rates, and bounds for difference and ratio that hold for all groups at once.

        Weighted rates use Kish's effective n. The bounds of the difference reach 0 where the groups may be equal, which
        a bootstrap of the largest difference never does.
        """
        everyone = self.counts.total()
        gaps = [gap(self.counts, name, level=level) for name in self.metrics]
        quotients = [gap(self.counts, name, how="ratio", level=level) for name in self.metrics]
        whole = [bounds_of(claimed(everyone, name)[0], name, level) for name in self.metrics]
        return Bounds(
            by_group=np.stack([bounds_of(claimed(self.counts, name), name, level) for name in self.metrics], axis=-1),
            overall=np.array(whole, dtype=np.float64).reshape(-1, 2).T,
            difference=np.array([(each.low, each.high) for each in gaps]).reshape(-1, 2).T,
            ratio=np.array([(each.low, each.high) for each in quotients]).reshape(-1, 2).T,
            level=level,
            method="Wilson; simultaneous Newcombe and Katz",
        )

    def frame(self) -> pd.DataFrame:
        """A pandas frame: a row a group, indexed by the attributes, and a column a metric."""
        import pandas as pd

        columns = [[group[i] for group in self.groups] for i in range(len(self.attributes))]
        index: Any = pd.MultiIndex.from_arrays(columns, names=self.attributes)
        if len(self.attributes) == 1:
            index = index.get_level_values(0)
        return pd.DataFrame(self.by_group, index=index, columns=list(self.metrics))


def group_metrics(
    y_true: ArrayLike | None,
    y_pred: ArrayLike | None,
    *,
    sensitive_features: Any,
    metrics: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    n_boot: int = 0,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> GroupMetrics:
    """Measure every group, and the largest difference and smallest ratio between groups.

    y_true, y_pred (n,): 0 or 1, or None where there is none. sensitive_features: as for `count`; several columns make the
    groups of their intersection. metrics: names of RATES and COMPOSITES, by default all that apply. n_boot: bootstrap replicates, drawn
    from `rng`, which is then needed. Raises DataError and UsageError.
    """
    counts = count(y_true, y_pred, sensitive_features=sensitive_features, weights=weights, frequency=frequency)
    names = _metric_names(metrics, counts)
    if n_boot and rng is None:
        raise UsageError("rng: n_boot needs a numpy Generator, got None; allowed is e.g. np.random.default_rng(7)")
    table = counts.table if counts.weight is None else counts.weight
    by_group = shares(counts.cells(table), names)
    return GroupMetrics(
        metrics=names,
        attributes=counts.attributes,
        groups=counts.groups,
        by_group=by_group,
        overall=shares(_everyone(table), names),
        difference=max_difference(by_group),
        ratio=min_ratio(by_group),
        counts=counts,
        bootstrap=_bootstrap(counts, names, n_boot, level, rng) if rng is not None and n_boot else None,
    )


def _metric_names(metrics: Sequence[str] | None, counts: Counts) -> tuple[str, ...]:
    known = {**RATES, **COMPOSITES}
    allowed = defined(counts.labels, counts.decisions, known)
    for name in metrics or ():
        if name not in allowed:
            why = "needs labels and decisions" if name in known else "is unknown"
            raise UsageError(f"metrics: {name!r} {why}, allowed are {list(allowed)}{suggest(name, allowed)}")
    return allowed if metrics is None else tuple(metrics)


def _everyone(table: NDArray[Any]) -> NDArray[Any]:
    """Cells (4,) of all groups together, the unknown included."""
    cells: NDArray[Any] = table.reshape(-1, 4).sum(axis=0)
    return cells


def _bootstrap(counts: Counts, names: tuple[str, ...], n_boot: int, level: float, rng: np.random.Generator) -> Bounds:
    draws = bootstrap_counts(counts.effective, n_boot, rng)
    known = (slice(None), *(slice(len(levels)) for levels in counts.levels))
    by_group = shares(draws[known].reshape(n_boot, -1, 4), names)
    overall = shares(draws.reshape(n_boot, -1, 4).sum(axis=1), names)
    parts = [
        by_group,
        overall[:, None],
        max_difference(by_group, axis=1)[:, None],
        min_ratio(by_group, axis=1)[:, None],
    ]
    bounds = np.stack(percentile_interval(np.concatenate(parts, axis=1), level))
    return Bounds(
        by_group=bounds[:, :-3],
        overall=bounds[:, -3],
        difference=bounds[:, -2],
        ratio=bounds[:, -1],
        level=level,
        method=f"count bootstrap, {n_boot} replicates",
    )
