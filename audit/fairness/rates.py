"""Rates as a table, one row a rate, and the comparisons between groups, each written once over arrays.

Undefined is NaN here, inside arrays; whoever turns an array into evidence says why with `Rate.empty`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Better, DataError, Floats, Ints
from audit.fairness.counts import Counts, binary
from audit.stats import Bounds, divide, wilson, z_quantile

Cells = tuple[int, int, int, int]  # which of tn, fp, fn, tp are summed
_ALL, _SELECTED, _REJECTED, _POSITIVE, _NEGATIVE = (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A figure that is no share: its value from cells (..., 4) of tn, fp, fn, tp, and its interval at a level."""

    value: Callable[[Floats], Floats]
    bounds: Callable[[Floats, float], Bounds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of some cells in others; `empty` says why it is undefined when there is nothing to divide by.

    composite: how it is computed where it is no share; `bottom` then tells the people on whom it rests.
    """

    top: Cells
    bottom: Cells
    better: Better
    empty: str
    needs: frozenset[Literal["labels", "decisions"]] = frozenset({"labels", "decisions"})
    composite: Composite | None = None


_NO_CASE, _NO_POSITIVE, _NO_NEGATIVE = "there is no case", "there is no positive label", "there is no negative label"
_NO_SELECTED, _NO_REJECTED = "nobody was selected", "everybody was selected"
_ONE_CLASS = "there is no positive or no negative label"


def _f1(cells: Floats) -> Floats:
    return divide(2.0 * cells[..., 3], 2.0 * cells[..., 3] + cells[..., 1] + cells[..., 2])


def _f1_bounds(cells: Floats, level: float) -> Bounds:
    """f1 is 2j/(1+j) of the share j of true positives in all who are positive by label or by decision."""
    low, high = wilson(cells[..., 3], cells[..., 1:].sum(axis=-1), level)
    return 2.0 * low / (1.0 + low), 2.0 * high / (1.0 + high)


def _mean_of(first: str, second: str) -> Composite:
    """The mean of two rates over different people, with the interval of independent estimates (zou2008)."""

    def value(cells: Floats) -> Floats:
        return np.asarray(shares(cells, (first, second)).mean(axis=-1))

    def bounds(cells: Floats, level: float) -> Bounds:
        rates = shares(cells, (first, second))
        low, high = wilson(cells @ _mask("top", (first, second)), cells @ _mask("bottom", (first, second)), level)
        mean = rates.mean(axis=-1)
        below, above = (rates - low) / 2.0, (high - rates) / 2.0
        return mean - np.hypot(below[..., 0], below[..., 1]), mean + np.hypot(above[..., 0], above[..., 1])

    return Composite(value=value, bounds=bounds)


def _errors_ratio(cells: Floats) -> Floats:
    return divide(cells[..., 2], cells[..., 1])


def _errors_ratio_bounds(cells: Floats, level: float) -> Bounds:
    """fn/fp is the odds of the share of false negatives in all errors."""
    low, high = wilson(cells[..., 2], cells[..., 1] + cells[..., 2], level)
    return divide(low, 1.0 - low, np.inf), divide(high, 1.0 - high, np.inf)


def _mcc(cells: Floats) -> Floats:
    tn, fp, fn, tp = np.moveaxis(np.asarray(cells, dtype=np.float64), -1, 0)
    return divide(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def _mcc_bounds(cells: Floats, level: float) -> Bounds:
    """The delta method on Fisher's scale, 1/2 added to every cell (bishop1975)."""
    tn, fp, fn, tp = np.moveaxis(np.asarray(cells, dtype=np.float64) + 0.5, -1, 0)
    n, phi = tn + fp + fn + tp, _mcc(np.asarray(cells, dtype=np.float64) + 0.5)
    label, decision = (tp + fn) / n, (tp + fp) / n
    spread = label * (1.0 - label), decision * (1.0 - decision)
    skew = (2.0 * label - 1.0), (2.0 * decision - 1.0)
    variance = (
        1.0
        - phi**2
        + phi * (1.0 + phi**2 / 2.0) * skew[0] * skew[1] / np.sqrt(spread[0] * spread[1])
        - 0.75 * phi**2 * (skew[0] ** 2 / spread[0] + skew[1] ** 2 / spread[1])
    ) / n
    half = z_quantile(level) * np.sqrt(np.maximum(variance, 0.0)) / (1.0 - phi**2)
    own = _mcc(cells)  # an interval has to hold its own estimate
    return np.fmin(np.tanh(np.arctanh(phi) - half), own), np.fmax(np.tanh(np.arctanh(phi) + half), own)


RATES: Mapping[str, Rate] = {
    "selection_rate": Rate(top=_SELECTED, bottom=_ALL, better="none", empty=_NO_CASE, needs=frozenset({"decisions"})),
    "base_rate": Rate(top=_POSITIVE, bottom=_ALL, better="none", empty=_NO_CASE, needs=frozenset({"labels"})),
    "accuracy": Rate(top=(1, 0, 0, 1), bottom=_ALL, better="higher", empty=_NO_CASE),
    "tpr": Rate(top=(0, 0, 0, 1), bottom=_POSITIVE, better="higher", empty=_NO_POSITIVE),
    "fpr": Rate(top=(0, 1, 0, 0), bottom=_NEGATIVE, better="lower", empty=_NO_NEGATIVE),
    "fnr": Rate(top=(0, 0, 1, 0), bottom=_POSITIVE, better="lower", empty=_NO_POSITIVE),
    "tnr": Rate(top=(1, 0, 0, 0), bottom=_NEGATIVE, better="higher", empty=_NO_NEGATIVE),
    "ppv": Rate(top=(0, 0, 0, 1), bottom=_SELECTED, better="higher", empty=_NO_SELECTED),
    "npv": Rate(top=(1, 0, 0, 0), bottom=_REJECTED, better="higher", empty=_NO_REJECTED),
    "fdr": Rate(top=(0, 1, 0, 0), bottom=_SELECTED, better="lower", empty=_NO_SELECTED),
    "for": Rate(top=(0, 0, 1, 0), bottom=_REJECTED, better="lower", empty=_NO_REJECTED),
    "error_rate": Rate(top=(0, 1, 1, 0), bottom=_ALL, better="lower", empty=_NO_CASE),
}
# Figures that are no shares of people.
COMPOSITES: Mapping[str, Rate] = {
    "balanced_accuracy": Rate(
        top=(0, 0, 0, 0), bottom=_ALL, better="higher", empty=_ONE_CLASS, composite=_mean_of("tpr", "tnr")
    ),
    "f1": Rate(
        top=(0, 0, 0, 0),
        bottom=(0, 1, 1, 1),
        better="higher",
        empty="there is no positive label and nobody was selected",
        composite=Composite(value=_f1, bounds=_f1_bounds),
    ),
    "mcc": Rate(
        top=(0, 0, 0, 0),
        bottom=_ALL,
        better="higher",
        empty="all labels or all decisions are the same",
        composite=Composite(value=_mcc, bounds=_mcc_bounds),
    ),
}
# Figures of a group that are compared, but seldom looked at alone.
INDEXES: Mapping[str, Rate] = {
    "average_odds": Rate(
        top=(0, 0, 0, 0), bottom=_ALL, better="none", empty=_ONE_CLASS, composite=_mean_of("tpr", "fpr")
    ),
    "treatment_equality": Rate(
        top=(0, 0, 0, 0),
        bottom=(0, 1, 1, 0),
        better="none",
        empty="there is no false positive",
        composite=Composite(value=_errors_ratio, bounds=_errors_ratio_bounds),
    ),
}


FIGURES: Mapping[str, Rate] = {**RATES, **COMPOSITES, **INDEXES}


def rate_of(name: str) -> Rate:
    """The rate, composite or index of this name."""
    return FIGURES[name]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rates:
    """Rates (..., m) in the order of `names`.

    n: people in each denominator. effective: the n that an interval may claim, Kish's where rows are weighted.
    """

    names: tuple[str, ...]
    value: Floats
    n: Ints
    effective: Floats

    def column(self, name: str) -> tuple[Floats, Ints, Floats]:
        """Value, n and effective n (...,) of one rate."""
        i = self.names.index(name)
        return self.value[..., i], self.n[..., i], self.effective[..., i]


def defined(labels: bool, decisions: bool, among: Mapping[str, Rate] = RATES) -> tuple[str, ...]:
    """The names of the rates, or of others, that can be had from labels, decisions or both."""
    have = {name for name, there in (("labels", labels), ("decisions", decisions)) if there}
    return tuple(name for name, rate in among.items() if rate.needs <= have)


def rates(counts: Counts, names: Sequence[str] | None = None) -> Rates:
    """Rates of the known groups (g, m), rows in the order of `counts.groups`; all that are defined by default.

    Raises DataError for a rate that needs labels or decisions which were not counted.
    """
    wanted = defined(counts.labels, counts.decisions) if names is None else tuple(names)
    allowed = defined(counts.labels, counts.decisions, FIGURES)
    for name in wanted:
        if name not in allowed:
            raise DataError(f"rate {name!r} is not to be had from these counts, allowed are {list(allowed)}")
    cells = binary(counts).cells()
    n = cells @ _mask("bottom", wanted)
    if counts.weight is None or counts.weight2 is None:
        return Rates(names=wanted, value=shares(cells, wanted), n=n, effective=n.astype(np.float64))
    weight, weight2 = counts.cells(counts.weight), counts.cells(counts.weight2)
    effective = divide((weight @ _mask("bottom", wanted)) ** 2, weight2 @ _mask("bottom", wanted), 0.0)
    return Rates(names=wanted, value=shares(weight, wanted), n=n, effective=effective)


def shares(cells: NDArray[Any], names: Sequence[str]) -> Floats:
    """Rates (..., m) from cells (..., 4) of tn, fp, fn, tp; NaN for 0/0."""
    values = divide(cells @ _mask("top", names), cells @ _mask("bottom", names))
    for i, name in enumerate(names):
        composite = rate_of(name).composite
        if composite is not None:
            values[..., i] = composite.value(cells)
    return values


def bounds_of(cells: NDArray[Any], name: str, level: float) -> Bounds:
    """The interval of a rate from cells (..., 4) that sum to what it may claim: Wilson's where it is a share.

    f1 and the ratio of errors are shares on another scale, means of two rates take the interval of independent estimates
    (zou2008), and mcc the delta method on Fisher's scale (bishop1975).
    """
    rate = rate_of(name)
    if rate.composite is None:
        return wilson(cells @ np.array(rate.top), cells @ np.array(rate.bottom), level)
    there = ~np.isnan(rate.composite.value(cells))
    low, high = rate.composite.bounds(cells, level)
    return np.where(there, low, np.nan), np.where(there, high, np.nan)


def claimed(counts: Counts, name: str) -> Floats:
    """Cells (g, 4) that sum to what an interval of this rate may claim: people, or weights scaled to Kish's effective n."""
    binary(counts)
    if counts.weight is None or counts.weight2 is None:
        return counts.cells().astype(np.float64)
    weight, bottom = counts.cells(counts.weight), np.array(rate_of(name).bottom)
    scale = divide(weight @ bottom, counts.cells(counts.weight2) @ bottom, 0.0)
    return np.asarray(weight * scale[:, None])


def _mask(side: Literal["top", "bottom"], names: Sequence[str]) -> Ints:
    return np.array([getattr(rate_of(name), side) for name in names], dtype=np.int64).reshape(-1, 4).T


# ------------------------------------------------------------------------------------- comparisons of groups
def max_difference(value: Floats, axis: int = 0) -> Floats:
    """Largest minus smallest over the groups on `axis`, undefined groups left out; NaN below two that are defined."""
    low, high = _extremes(value, axis)
    return high - low


def min_ratio(value: Floats, axis: int = 0) -> Floats:
    """Smallest over largest, as max_difference; NaN where the largest is 0 or the smallest below 0 (an mcc may be)."""
    low, high = _extremes(value, axis)
    return divide(np.where(low < 0.0, np.nan, low), high)


def _extremes(value: Floats, axis: int) -> tuple[Floats, Floats]:
    there = ~np.isnan(value)
    low = np.min(value, axis=axis, initial=np.inf, where=there)
    high = np.max(value, axis=axis, initial=-np.inf, where=there)
    enough = there.sum(axis=axis) >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)
