"""The players of a game: what an explanation may take away from an input, and what stands in its place.

Another modality is one more file with a class that satisfies `Masker`, and one `masker.register`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Inputs, NotApplicable, UsageError, suggest
from audit.data.tabular import Tabular

Coalitions = NDArray[np.bool_]
Players = Mapping[str, Sequence[str]]


class Masker(Protocol):
    """Turns inputs into players: absent players are filled in from `fillings` background examples."""

    @property
    def players(self) -> tuple[str, ...]:
        """Names of what may be taken away."""
        ...

    @property
    def fillings(self) -> int:
        """How many ways there are to fill in what is absent; a value is their mean."""
        ...

    @property
    def width(self) -> int:
        """Numbers that one filled input holds: what bounds the memory of a batch."""
        ...

    @property
    def description(self) -> str:
        """What fills the absent players in, in words."""
        ...

    def fill(self, inputs: Any, coalitions: Coalitions) -> Inputs:
        """Inputs (r,) under coalitions (c, players), True = present: r * c * fillings inputs, the filling fastest."""
        ...

    def data(self, inputs: Any) -> Floats:
        """One number (r, players) for what each player was, NaN where there is none."""
        ...


@functools.singledispatch
def masker(background: Any, players: Players | None = None) -> Masker:
    """The masker of a kind of background; raises NotApplicable where there is none for it."""
    raise NotApplicable(f"no masker for inputs of type {type(background).__name__}: there is one for tabular inputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularMasker:
    """Columns, or named groups of columns, as players; absent ones are filled from background rows together.

    membership (players, columns): which columns a player holds. Filling is interventional: the absent columns come from
    one background row, whatever the present columns are.
    """

    background: Tabular
    players: tuple[str, ...]
    membership: NDArray[np.bool_]

    @property
    def fillings(self) -> int:
        """Number of background rows."""
        return len(self.background)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.background.columns)

    @property
    def description(self) -> str:
        """The background in words, with a digest of its values."""
        digest = hashlib.sha256(np.ascontiguousarray(self.background.values).tobytes()).hexdigest()
        return f"{self.fillings} background rows, sha256 {digest[:12]}"

    def fill(self, inputs: Tabular, coalitions: Coalitions) -> Tabular:
        """Inputs (r,) under coalitions (c, players): r * c * fillings rows, the filling fastest."""
        if inputs.columns != self.background.columns:
            raise DataError(f"inputs have the columns {inputs.columns}, the background {self.background.columns}")
        present = coalitions.astype(np.uint8) @ self.membership.astype(np.uint8) > 0
        rows = inputs.values[:, None, None, :]
        filled = np.where(present[None, :, None, :], rows, self.background.values[None, None, :, :])
        return inputs.with_values(filled.reshape(-1, self.width))

    def data(self, inputs: Tabular) -> Floats:
        """The value (r, players) of each player that is one column, NaN for a group of columns."""
        first = inputs.values[:, self.membership.argmax(axis=1)]
        return np.where(self.membership.sum(axis=1) == 1, first, np.nan)


@masker.register
def _tabular(background: Tabular, players: Players | None = None) -> TabularMasker:
    if not len(background):
        raise UsageError("background: at least one row is needed, got none")
    held = _columns_of(background.columns, players or {})
    membership = np.array([[column in columns for column in background.columns] for columns in held.values()])
    return TabularMasker(background=background, players=tuple(held), membership=membership)


def _columns_of(columns: tuple[str, ...], players: Players) -> dict[str, tuple[str, ...]]:
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
