"""Columns, or named groups of columns, as players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints, UsageError, suggest
from audit.data.tabular import Tabular
from audit.explain.masking.base import Coalitions, Players, maskers, no_size, one_of, origin, summands, whole
from audit.explain.masking.conditional import Conditional, gaussian, nearest
from audit.explain.masking.units import Units, agree, blend, shared

FILLS = ("background", "mean", "gaussian", "nearest")
PLAYERS = ("column", "one-hot")


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularMasker(Units):
    """Columns, or named groups of columns; absent ones are filled in together.

    names: of the players, the same in every row. others (fillings, columns): what fills in whatever the present columns
    are (interventional). conditional: what fills in given the present columns, instead of the others.
    """

    inputs: Tabular
    rows: Tabular
    names: tuple[str, ...]
    others: Floats
    conditional: Conditional | None = None

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Which columns a player holds (players, columns)."""
        return np.asarray(self.owner[0] == np.arange(len(self.names))[:, None])

    def present(self, coalitions: Coalitions) -> NDArray[np.bool_]:
        """Which columns are there (c, columns) under coalitions (c, players)."""
        agree(coalitions, {len(self.names)})
        return np.asarray(coalitions[:, self.owner[0]])

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Tabular:
        """Rows (r,) under coalitions (c, players): r * c * fillings rows, the filling fastest."""
        values, present = self.inputs.values[rows], self.present(coalitions)
        given = self.conditional
        others = shared(self.others, draws) if given is None else given(values, present, draws)
        fillings = self.fillings if draws is None else draws.shape[1]
        return self.inputs.with_values(blend(values, present[None], others, fillings))


@summands.register
def _summands(
    masker: TabularMasker, rows: Ints, coalitions: Coalitions, draws: Ints | None = None
) -> tuple[Floats, Floats] | None:
    if masker.conditional is not None:
        return None
    present = masker.present(coalitions)[:, None]
    others = shared(masker.others, draws)[0]
    return np.where(present, masker.inputs.values[rows][None], 0.0), np.where(present, 0.0, others)


@maskers.register
def _tabular(
    inputs: Tabular,
    background: Tabular | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> TabularMasker:
    rows = inputs if background is None else background
    _same_kind(inputs, rows)
    how = one_of("fill", "tables", fill, FILLS)
    others, source, given = _filler(rows, how, size, seed, origin(rows, "rows", words))
    held = _held(inputs, rows, players)
    owner = {column: place for place, columns in enumerate(held.values()) for column in columns}
    return TabularMasker(
        inputs=inputs,
        rows=rows,
        players=(tuple(held),) * len(inputs),
        names=tuple(held),
        owner=np.array([[owner[column] for column in inputs.columns]], dtype=np.int64),
        fillings=len(others) if given is None else given.count,
        background=source,
        others=others,
        conditional=given,
    )


def _filler(
    rows: Tabular, how: str, size: int | None, seed: int, source: str
) -> tuple[Floats, str, Conditional | None]:
    """What fills in whatever is present, the background in words, and what fills in given what is present."""
    if how == "gaussian":
        words = f"draws given the present columns, from a normal law fitted to {source}"
        return rows.values, words, gaussian(rows, whole(size, 64), seed)
    if how == "nearest":
        count = whole(size, min(10, len(rows)))
        words = f"the {count} nearest in the present columns of {source}"
        return rows.values, words, nearest(rows, count, seed)
    no_size(size, f'fill = "{how}" of tables has none')
    if how == "mean":
        return mean_row(rows).values, f"the mean of {source} (categories: the most frequent level)", None
    return rows.values, source, None


def mean_row(rows: Tabular) -> Tabular:
    """The mean row of a table, without what is missing; a categorical column takes its most frequent level.

    A column without any value stays missing.
    """
    centre = np.full(len(rows.columns), np.nan)
    for index, name in enumerate(rows.columns):
        known = rows.values[~np.isnan(rows.values[:, index]), index]
        if len(known) and name in rows.categories:
            levels, counts = np.unique(known, return_counts=True)
            centre[index] = levels[counts.argmax()]
        elif len(known):
            centre[index] = known.mean()
    return rows.with_values(centre[None, :])


def one_hot_groups(
    table: Tabular, separators: Sequence[str] = ("=", "_", ":", ".", "-", " ")
) -> dict[str, tuple[str, ...]]:
    """Columns of a table that are one category each, one-hot coded: the name before a separator to its columns.

    Columns are a block where they share the text before one of the separators, hold only 0 and 1, and exactly one of
    them is 1 in every row; of several such texts the shortest counts. A block that leaves its first level out cannot be
    told from switches that have nothing to do with each other: name it yourself.
    """
    bits = [
        name
        for index, name in enumerate(table.columns)
        if name not in table.categories and len(table) and np.isin(table.values[:, index], (0.0, 1.0)).all()
    ]
    prefixes: dict[str, list[str]] = {}
    for name in bits:
        for end in range(1, len(name) - 1):
            if any(name.startswith(mark, end) for mark in separators):
                prefixes.setdefault(name[:end], []).append(name)
    place = {name: index for index, name in enumerate(table.columns)}
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for prefix in sorted(prefixes, key=lambda text: (len(text), place[prefixes[text][0]])):
        block = prefixes[prefix]
        if len(block) < 2 or taken & set(block):
            continue
        if (table.values[:, [place[name] for name in block]].sum(axis=1) == 1).all():
            found[f"{prefix} (one-hot)" if prefix in place else prefix] = tuple(block)
            taken |= set(block)
    return found


def _same_kind(inputs: Tabular, rows: Tabular) -> None:
    if not isinstance(rows, Tabular) or inputs.columns != rows.columns:
        what = rows.columns if isinstance(rows, Tabular) else type(rows).__name__
        raise DataError(f"inputs have the columns {inputs.columns}, the background {what}")
    for name in (*inputs.categories, *rows.categories):
        ours, theirs = inputs.categories.get(name), rows.categories.get(name)
        if ours != theirs:
            raise DataError(f"column {name!r} has the categories {ours} in the inputs, {theirs} in the background")
    if not len(rows):
        raise UsageError("background: at least one row is needed, got none")


def _held(inputs: Tabular, rows: Tabular, players: Players | None) -> dict[str, tuple[str, ...]]:
    """Player to its columns."""
    if players is None or isinstance(players, str):
        unit = one_of("players", "tables a mapping from a name to its columns, or", players, PLAYERS)
        both = rows.with_values(np.concatenate([inputs.values, rows.values]))
        players = one_hot_groups(both) if unit == "one-hot" else {}
    return _columns_of(inputs.columns, players)


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
