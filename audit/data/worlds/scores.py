"""What truths are made of: rates of label and decision, by group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audit.core import Floats


def rates(cells: Floats, suffix: str = "") -> dict[str, float]:
    """Rates from P(label, decision), not normalised (2, 2); a rate among nobody is left out."""
    (tn, fp), (fn, tp) = cells
    total = cells.sum()
    shares = [("base_rate", fn + tp, total), ("selection_rate", fp + tp, total), ("accuracy", tn + tp, total)]
    shares += [("tpr", tp, tp + fn), ("fpr", fp, fp + tn)]
    return {name + suffix: float(over / under) for name, over, under in shares if under > 0}


def difference(values: Mapping[str, float], name: str, high: str, low: str) -> dict[str, float]:
    """values[high] less values[low] as NAME; nothing where one of them is left out."""
    return {name: values[high] - values[low]} if high in values and low in values else {}


def gaps(values: Mapping[str, float], levels: tuple[str, ...], attribute: str) -> dict[str, float]:
    """The largest less the smallest rate over the levels, as demographic_parity_difference.ATTRIBUTE and the like.

    Nothing where the rate of a level is left out.
    """
    found = {}
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        if all(f"{rate}.{level}" in values for level in levels):
            each = np.array([values[f"{rate}.{level}"] for level in levels])
            found[f"{name}_difference.{attribute}"] = float(each.max() - each.min())
    return found
