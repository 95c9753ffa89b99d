"""Companions of the counts for what is no decision: histograms of scores and moments of numbers by group; both add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import DataError, Floats, Ints
from audit.fairness.counts import Counts, amounts, class_codes, encoded, length, tally
from audit.fairness.tensor import Tensor
from audit.stats import divide


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreCounts(Tensor):
    """People by attributes, label and bin of their score.

    edges (m,): rising cut points; bin 0 holds scores below the first, bin i those from edges[i - 1] to below edges[i], bin
    m those from the last upwards. table (*sizes, 2, m + 1); labels False: everyone lies in place 0. weight, weight2: as in
    Counts.
    """

    sums: ClassVar[tuple[str, ...]] = ("table", "weight", "weight2")
    same: ClassVar[tuple[str, ...]] = ("labels", "edges")
    table: Ints
    edges: tuple[float, ...]
    labels: bool = True
    weight: Floats | None = None
    weight2: Floats | None = None

    def at(self, threshold: float) -> Counts:
        """The counts of decisions "score >= threshold", exact for a threshold that is an edge; raises DataError else."""
        if threshold not in self.edges:
            raise DataError(f"threshold: allowed are the edges of the bins, got {threshold}")
        cut = self.edges.index(threshold) + 1

        def decided(table: NDArray[Any]) -> NDArray[Any]:
            return np.stack([table[..., :cut].sum(axis=-1), table[..., cut:].sum(axis=-1)], axis=-1)

        return Counts(
            table=decided(self.table),
            attributes=self.attributes,
            levels=self.levels,
            labels=self.labels,
            weight=None if self.weight is None else decided(self.weight),
            weight2=None if self.weight2 is None else decided(self.weight2),
        )


def count_scores(
    y_true: ArrayLike | None,
    y_score: ArrayLike,
    *,
    sensitive_features: Any = None,
    edges: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
) -> ScoreCounts:
    """Count people by sensitive features, label and bin of their score.

    y_true (n,): 0 or 1, or None. y_score (n,): finite numbers. edges: rising cut points, by default 0.01, 0.02, ... 0.99
    and 1, to suit probabilities. The others as for `count`. Raises DataError.
    """
    score = np.asarray(y_score, dtype=np.float64)
    cuts = np.arange(1, 101) / 100.0 if edges is None else np.asarray(edges, dtype=np.float64)
    if cuts.ndim != 1 or not cuts.size or not (np.diff(cuts) > 0.0).all() or not np.isfinite(cuts).all():
        raise DataError(f"edges: allowed are finite, rising cut points (m,), got {np.asarray(edges).tolist()}")
    if score.ndim != 1 or not np.isfinite(score).all():
        raise DataError(f"y_score: allowed is one column (n,) of finite numbers, got shape {score.shape}")
    groups, labels = encoded(sensitive_features), class_codes(y_true, "y_true")
    size = length({"y_score": score, "y_true": labels, **groups})
    place = np.searchsorted(cuts, score, side="right")
    parts = [(codes.values, len(codes.levels) + 1) for codes in groups.values()]
    shape = tuple(levels for _, levels in parts)
    y = np.zeros(size, dtype=np.uint8) if labels is None else labels
    parts += [(y, 2), (place, len(cuts) + 1)]
    each, w = amounts(frequency, "frequency", size), amounts(weights, "weights", size)
    people = 1.0 if each is None else each

    def tensor(amount: Floats | None) -> NDArray[Any]:
        return tally(parts, size, amount).reshape(*shape, 2, len(cuts) + 1)

    return ScoreCounts(
        table=tensor(each).astype(np.int64, copy=False),
        edges=tuple(cuts.tolist()),
        attributes=tuple(groups),
        levels=tuple(codes.levels for codes in groups.values()),
        labels=labels is not None,
        weight=None if w is None else tensor(w * people),
        weight2=None if w is None else tensor(w * w * people),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments(Tensor):
    """People, sum and sum of squares of a number by attributes, for means and spreads without the rows.

    n (*sizes): people. weight, weight2 (*sizes): sums of w and of w squared, with w = 1 where rows are not weighted. sum,
    squares (*sizes): sums of w (x - origin) and of w (x - origin) squared. origin: taken off every number first, so that
    the spread of large ones keeps its digits.
    """

    sums: ClassVar[tuple[str, ...]] = ("n", "weight", "weight2", "sum", "squares")
    same: ClassVar[tuple[str, ...]] = ("origin",)
    n: Ints
    weight: Floats
    weight2: Floats
    sum: Floats
    squares: Floats
    origin: float = 0.0

    @property
    def mean(self) -> Floats:
        """Means (g,) of the known groups; NaN where there is nobody."""
        return self.origin + divide(self.known(self.sum), self.known(self.weight))

    @property
    def effective(self) -> Floats:
        """Kish's effective n (g,) of the known groups (kish1965)."""
        return divide(self.known(self.weight) ** 2, self.known(self.weight2), 0.0)

    @property
    def variance(self) -> Floats:
        """Variances (g,) of the known groups, of n - 1 degrees of freedom; NaN below two cases."""
        mean = divide(self.known(self.sum), self.known(self.weight))
        spread = np.maximum(divide(self.known(self.squares), self.known(self.weight)) - mean**2, 0.0)
        n = self.effective
        return np.where(n > 1.0, spread * divide(n, n - 1.0), np.nan)


def moments(
    values: ArrayLike,
    *,
    sensitive_features: Any = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    origin: float = 0.0,
) -> Moments:
    """Sum up a number (n,) by sensitive features: a target, a prediction, an error. The others as for `count`.

    Raises DataError.
    """
    x = np.asarray(values, dtype=np.float64) - origin
    if x.ndim != 1 or not np.isfinite(x).all():
        raise DataError(f"values: allowed is one column (n,) of finite numbers, got shape {x.shape}")
    groups = encoded(sensitive_features)
    size = length({"values": x, **groups})
    parts = [(codes.values, len(codes.levels) + 1) for codes in groups.values()]
    each, w = amounts(frequency, "frequency", size), amounts(weights, "weights", size)
    people = np.ones(size) if each is None else each
    one = np.ones(size) if w is None else w

    def tensor(amount: Floats) -> NDArray[Any]:
        return tally(parts, size, amount).reshape(tuple(levels for _, levels in parts))

    return Moments(
        attributes=tuple(groups),
        levels=tuple(codes.levels for codes in groups.values()),
        n=tensor(people).astype(np.int64),
        weight=tensor(people * one),
        weight2=tensor(people * one * one),
        sum=tensor(people * one * x),
        squares=tensor(people * one * x * x),
        origin=origin,
    )
