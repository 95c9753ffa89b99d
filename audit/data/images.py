"""Pictures as a model reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pictures: values (n, channels, height, width) float64, on the scale that the model reads.

    black, white: the values that a page draws as black and as white. mask (n, height, width): where the class is known to
    be seen, if that is known; no model reads it.
    """

    values: Floats
    black: float = 0.0
    white: float = 1.0
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or not np.isfinite(self.values).all():
            raise DataError(
                f"images: expected finite numbers (n, channels, height, width), got shape {self.values.shape}"
                + ("" if self.values.ndim != 4 else " with values that are not finite")
            )
        if 0 in self.values.shape[1:]:
            raise DataError(f"images: pictures without a pixel or a channel, got shape {self.values.shape}")
        count, _, *sides = self.values.shape
        if self.mask is not None and (self.mask.shape != (count, *sides) or self.mask.dtype != np.bool_):
            raise DataError(
                f"images: expected a mask of True and False {(count, *sides)}, got {self.mask.dtype} {self.mask.shape}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Ints) -> Images:
        """The named pictures (k,), in that order."""
        return replace(self, values=self.values[rows], mask=None if self.mask is None else self.mask[rows])

    def with_values(self, values: Floats) -> Images:
        """Other pictures (m, channels, height, width) on the same scale; nothing is known of where to look in them."""
        return replace(self, values=values, mask=None)
