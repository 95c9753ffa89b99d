"""Means over rows and shares of rows as measures of an explainer."""

from __future__ import annotations

import numpy as np

from audit import stats
from audit.core import Better, Floats, Interval, Measure


def mean(
    name: str,
    each: Floats,
    *,
    explainer: str,
    level: float,
    better: Better = "none",
    unit: str = "",
    note: str = "",
    why: str = "undefined in every row",
    what: str = "rows",
    least: float = -np.inf,
    most: float = np.inf,
) -> Measure:
    """The mean of figures (n,), NaN left out, with Student's t interval over them; None with `why` where none is left.

    least, most: what a figure can be; the interval is cut there, and where all figures are alike it is that of a share.
    """
    there = np.asarray(each, dtype=np.float64)
    there = there[np.isfinite(there)]
    where = {"explainer": explainer}
    if not len(there):
        return Measure(name=name, value=None, unit=unit, where=where, better=better, note=why)
    low, high = stats.mean_interval(there, level)
    value = float(there.mean())
    interval, method = None, f"t over {what}"
    if np.ptp(there) == 0 and np.isfinite([least, most]).all():
        # A dozen equal figures do not prove that all are: as sure as a share of that many cases can be.
        found = stats.wilson((value - least) / (most - least) * len(there), len(there), level)
        low, high = (least + (most - least) * float(side) for side in found)
        method = f"Wilson over {what}, which are all alike"
    if np.isfinite([low, high]).all():
        interval = Interval(
            low=min(max(float(low), least), value),
            high=max(min(float(high), most), value),
            level=level,
            method=method,
        )
    return Measure(
        name=name, value=value, unit=unit, n=len(there), interval=interval, where=where, better=better, note=note
    )


def share(
    name: str,
    hits: np.ndarray,
    *,
    explainer: str,
    level: float,
    better: Better = "none",
    note: str = "",
    why: str = "undefined in every row",
    what: str = "rows",
) -> Measure:
    """The share of cases (n,) that are True, with Wilson's interval over `what`; None with `why` where there are none."""
    where = {"explainer": explainer}
    if not len(hits):
        return Measure(name=name, value=None, unit="proportion", where=where, better=better, note=why)
    count, n = int(hits.sum()), len(hits)
    low, high = stats.wilson(count, n, level)
    interval = Interval(low=float(low), high=float(high), level=level, method=f"Wilson over {what}")
    return Measure(
        name=name,
        value=count / n,
        unit="proportion",
        n=n,
        interval=interval,
        where=where,
        better=better,
        note=note,
    )


def several(measure: Measure) -> str:
    """A measure's value with its interval in words."""
    if measure.value is None:
        return measure.note
    inside = "" if measure.interval is None else f" ({measure.interval.low:.3g} to {measure.interval.high:.3g})"
    return f"{measure.value:.3g}{inside}"
