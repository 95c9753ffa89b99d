"""How much of two sets of pixels is the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats
from audit.stats.intervals import divide


class Overlaps(NamedTuple):
    """Of each pair of masks: intersection over union, and twice the intersection over the sum of both; NaN for 0/0."""

    iou: Floats
    dice: Floats


def overlaps(found: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Overlaps:
    """Jaccard's index and Dice's coefficient (n,) of masks (n, height, width) (jaccard1912, dice1945)."""
    both = (found & mask).sum(axis=(1, 2))
    either = (found | mask).sum(axis=(1, 2))
    return Overlaps(iou=divide(both, either), dice=divide(2 * both, either + both))
