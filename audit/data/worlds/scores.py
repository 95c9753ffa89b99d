"""What truths are made of: rates of label and decision, by group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audit.core import Floats


def rates(cells: Floats, suffix: str = "") -> dict[str, float]:
    """Rates from P(label, decision), not normalised (2, 2); a rate among nobody is left out."""
    (tn, fp), (fn, tp) = cells
    total = cells.sum()
    found = {"base_rate": (fn + tp) / total, "selection_rate": (fp + tp) / total, "accuracy": (tn + tp) / total}
    found |= {name: over / under for name, over, under in (("tpr", tp, tp + fn), ("fpr", fp, fp + tn)) if under > 0}
    return {name + suffix: float(value) for name, value in found.items()}


def gaps(values: Mapping[str, float], levels: tuple[str, ...], attribute: str) -> dict[str, float]:
    """The largest less the smallest rate over the levels, as demographic_parity_difference.ATTRIBUTE and the like."""
    found = {}
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        each = np.array([values[f"{rate}.{level}"] for level in levels if f"{rate}.{level}" in values])
        found[f"{name}_difference.{attribute}"] = float(each.max() - each.min())
    return found
