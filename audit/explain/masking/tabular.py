"""Columns, or named groups of columns, as players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints, UsageError, suggest
from audit.data.tabular import Tabular
from audit.explain.masking.base import Coalitions, Players, digest, maskers

FILLS = ("background",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularMasker:
    """Columns, or named groups of columns; absent ones are filled from background rows together.

    membership (players, columns): which columns a player holds. Filling is interventional: the absent columns come from
    one background row, whatever the present columns are.
    """

    inputs: Tabular
    rows: Tabular
    names: tuple[str, ...]
    membership: NDArray[np.bool_]

    @property
    def players(self) -> tuple[tuple[str, ...], ...]:
        """The same names for every row."""
        return (self.names,) * len(self.inputs)

    @property
    def fillings(self) -> int:
        """Number of background rows."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows.columns)

    @property
    def background(self) -> str:
        """The background in words, with a digest of its values."""
        return f"{self.fillings} background rows, sha256 {digest(self.rows.values)}"

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Tabular:
        """Rows (r,) under coalitions (c, players): r * c * fillings rows, the filling fastest."""
        present = coalitions.astype(np.uint8) @ self.membership.astype(np.uint8) > 0
        others = self.rows.values[None] if draws is None else self.rows.values[draws]
        values = self.inputs.values[rows][:, None, None, :]
        filled = np.where(present[None, :, None, :], values, others[None])
        return self.inputs.with_values(filled.reshape(-1, self.width))

    def pool(self, elements: NDArray[np.float64]) -> Floats:
        """Sums (n, players) of numbers (n, columns) over the columns of each player."""
        return np.asarray(elements @ self.membership.T.astype(np.float64))

    def data(self) -> Floats:
        """The value (n, players) of each player that is one column, NaN for a group of columns."""
        first = self.inputs.values[:, self.membership.argmax(axis=1)]
        return np.where(self.membership.sum(axis=1) == 1, first, np.nan)


@maskers.register
def _tabular(
    inputs: Tabular,
    background: Tabular | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
) -> TabularMasker:
    rows = inputs if background is None else background
    if not isinstance(rows, Tabular) or inputs.columns != rows.columns:
        what = rows.columns if isinstance(rows, Tabular) else type(rows).__name__
        raise DataError(f"inputs have the columns {inputs.columns}, the background {what}")
    if not len(rows):
        raise UsageError("background: at least one row is needed, got none")
    if fill not in (None, *FILLS):
        raise UsageError(f"fill: of tables one of {', '.join(FILLS)}, got {fill!r}{suggest(str(fill), FILLS)}")
    if isinstance(players, str):
        raise UsageError(f"players: of tables a mapping from a name to its columns, got {players!r}")
    held = _columns_of(rows.columns, players or {})
    membership = np.array([[column in columns for column in rows.columns] for columns in held.values()])
    return TabularMasker(inputs=inputs, rows=rows, names=tuple(held), membership=membership)


def _columns_of(columns: tuple[str, ...], players: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Player to columns: the named groups at the place of their first column, every other column for itself."""
    owner: dict[str, str] = {}
    for name, group in players.items():
        if not group:
            raise UsageError(f"players: {name!r} holds no column")
        for column in group:
            if column not in columns:
                raise UsageError(f"players: {name!r} names column {column!r}, not there{suggest(column, columns)}")
            if column in owner:
                raise UsageError(f"players: column {column!r} is in {owner[column]!r} and in {name!r}")
            owner[column] = name
    clash = sorted(set(players) & (set(columns) - set(owner)))
    if clash:
        raise UsageError(f"players: {clash[0]!r} is also the name of a column outside that group")
    held: dict[str, tuple[str, ...]] = {}
    for column in columns:
        name = owner.get(column, column)
        held[name] = (*held.get(name, ()), column)
    return held
