"""Tabular inputs: a matrix of numbers that remembers which columns are categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabular:
    """Rows of features: values (n, d) float64 with NaN for missing; a categorical column holds indices into its levels."""

    values: Floats
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    integers: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Ints) -> Tabular:
        """The named rows (k,), in that order."""
        return self.with_values(self.values[rows])

    def with_values(self, values: Floats) -> Tabular:
        """The same columns over other values (m, d)."""
        return replace(self, values=values)

    def frame(self) -> pd.DataFrame:
        """A pandas frame with the original columns: categories as text, whole numbers as int64."""
        import pandas as pd

        return pd.DataFrame({name: self._column(i, name) for i, name in enumerate(self.columns)})

    def _column(self, index: int, name: str) -> np.ndarray:
        column = self.values[:, index]
        missing = np.isnan(column)
        if name in self.categories:
            text = np.array([*self.categories[name], None], dtype=object)
            return np.asarray(text[np.where(missing, len(text) - 1, column).astype(np.int64)])
        # Noise and other perturbations leave the whole numbers: they are not cut back to them.
        if name in self.integers and not missing.any() and (column == np.rint(column)).all():
            return column.astype(np.int64)
        return column


def noisy_columns(inputs: Tabular) -> Floats:
    """Standard deviation (d,) of each column that takes noise: numbers of more than two values; 0 for the others."""
    spread = np.zeros(inputs.values.shape[1])
    for index, name in enumerate(inputs.columns):
        column = inputs.values[:, index]
        there = column[np.isfinite(column)]
        if name not in inputs.categories and len(np.unique(there)) > 2:
            spread[index] = there.std()
    return spread
