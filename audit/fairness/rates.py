"""Rates as a table, one row a rate, and the comparisons between groups, each written once over arrays.

Undefined is NaN here, inside arrays; whoever turns an array into evidence says why with `Rate.empty`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Better, DataError, Floats, Ints
from audit.fairness.counts import Counts
from audit.stats import divide

Cells = tuple[int, int, int, int]  # which of tn, fp, fn, tp are summed
_ALL, _SELECTED, _REJECTED, _POSITIVE, _NEGATIVE = (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of some cells in others; `empty` says why it is undefined when there is nothing to divide by."""

    top: Cells
    bottom: Cells
    better: Better
    empty: str
    needs: frozenset[Literal["labels", "decisions"]] = frozenset({"labels", "decisions"})


_NO_CASE, _NO_POSITIVE, _NO_NEGATIVE = "there is no case", "there is no positive label", "there is no negative label"
_NO_SELECTED, _NO_REJECTED = "nobody was selected", "everybody was selected"

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
}


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


def defined(labels: bool, decisions: bool) -> tuple[str, ...]:
    """The names of the rates that can be had from labels, decisions or both."""
    have = {name for name, there in (("labels", labels), ("decisions", decisions)) if there}
    return tuple(name for name, rate in RATES.items() if rate.needs <= have)


def rates(counts: Counts, names: Sequence[str] | None = None) -> Rates:
    """Rates of the known groups (g, m), rows in the order of `counts.groups`; all that are defined by default.

    Raises DataError for a rate that needs labels or decisions which were not counted.
    """
    allowed = defined(counts.labels, counts.decisions)
    wanted = allowed if names is None else tuple(names)
    for name in wanted:
        if name not in allowed:
            raise DataError(f"rate {name!r} is not to be had from these counts, allowed are {list(allowed)}")
    cells = counts.cells()
    n = cells @ _mask("bottom", wanted)
    if counts.weight is None or counts.weight2 is None:
        return Rates(names=wanted, value=shares(cells, wanted), n=n, effective=n.astype(np.float64))
    weight, weight2 = counts.cells(counts.weight), counts.cells(counts.weight2)
    effective = divide((weight @ _mask("bottom", wanted)) ** 2, weight2 @ _mask("bottom", wanted), 0.0)
    return Rates(names=wanted, value=shares(weight, wanted), n=n, effective=effective)


def shares(cells: NDArray[Any], names: Sequence[str]) -> Floats:
    """Rates (..., m) from cells (..., 4) of tn, fp, fn, tp; NaN for 0/0."""
    return divide(cells @ _mask("top", names), cells @ _mask("bottom", names))


def _mask(side: Literal["top", "bottom"], names: Sequence[str]) -> Ints:
    return np.array([getattr(RATES[name], side) for name in names], dtype=np.int64).reshape(-1, 4).T


# ------------------------------------------------------------------------------------- comparisons of groups
def max_difference(value: Floats, axis: int = 0) -> Floats:
    """Largest minus smallest over the groups on `axis`, undefined groups left out; NaN below two that are defined."""
    low, high = _extremes(value, axis)
    return high - low


def min_ratio(value: Floats, axis: int = 0) -> Floats:
    """Smallest over largest, as max_difference; NaN where the largest is 0."""
    return divide(*_extremes(value, axis))


def _extremes(value: Floats, axis: int) -> tuple[Floats, Floats]:
    there = ~np.isnan(value)
    low = np.min(value, axis=axis, initial=np.inf, where=there)
    high = np.max(value, axis=axis, initial=-np.inf, where=there)
    enough = there.sum(axis=axis) >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def theil_index(cells: NDArray[Any]) -> Floats:
    """Theil's inequality index (...,) of the benefits ŷ - y + 1 from cells (..., 4), 0 = equal (speicher2018).

    NaN without cases, or where every case is a false negative and there is no benefit to share.
    """
    benefit = np.array([1.0, 2.0, 0.0, 1.0])
    n = cells.sum(axis=-1)
    mean = divide(cells @ benefit, n)
    share = divide(np.broadcast_to(benefit, cells.shape), mean[..., None])
    spread = share * np.log(share, out=np.zeros(cells.shape), where=share > 0.0)
    return divide((cells * spread).sum(axis=-1), n)
