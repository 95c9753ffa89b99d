"""Sequences of measurements, of one length or padded to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from audit.core import DataError, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Sequences: values (n, steps, columns) float64; lengths (n,): what lies behind them is padding, never a player."""

    values: Floats
    columns: tuple[str, ...]
    lengths: Ints

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[2] != len(self.columns):
            raise DataError(
                f"series: expected numbers (n, steps, {len(self.columns)} columns), got shape {self.values.shape}"
            )
        if (
            self.lengths.shape != self.values.shape[:1]
            or ((self.lengths < 1) | (self.lengths > self.values.shape[1])).any()
        ):
            raise DataError(f"series: lengths must be {len(self.values)} numbers from 1 to {self.values.shape[1]}")

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Ints) -> Series:
        """The named sequences (k,), in that order."""
        return replace(self, values=self.values[rows], lengths=self.lengths[rows])

    def with_values(self, values: Floats, lengths: Ints) -> Series:
        """Other sequences (m, steps, columns) of the same columns."""
        return replace(self, values=values, lengths=lengths)


def series(values: Floats, columns: tuple[str, ...] | None = None) -> Series:
    """Sequences of one length (n, steps, columns); raises DataError for another shape."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3:
        raise DataError(f"series: expected numbers (n, steps, columns), got shape {values.shape}")
    names = columns or tuple(f"x{place}" for place in range(values.shape[2]))
    return Series(values=values, columns=names, lengths=np.full(len(values), values.shape[1]))
