"""Pictures as a model reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from audit.core import DataError, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pictures: values (n, channels, height, width) float64, on the scale that the model reads.

    black, white: the values that a page draws as black and as white.
    """

    values: Floats
    black: float = 0.0
    white: float = 1.0

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or not np.isfinite(self.values).all():
            raise DataError(
                f"images: expected finite numbers (n, channels, height, width), got shape {self.values.shape}"
                + ("" if self.values.ndim != 4 else " with values that are not finite")
            )
        if 0 in self.values.shape[1:]:
            raise DataError(f"images: pictures without a pixel or a channel, got shape {self.values.shape}")

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Ints) -> Images:
        """The named pictures (k,), in that order."""
        return self.with_values(self.values[rows])

    def with_values(self, values: Floats) -> Images:
        """Other pictures (m, channels, height, width) on the same scale."""
        return replace(self, values=values)
