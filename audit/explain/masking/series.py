"""Steps, windows or columns of sequences as players."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Floats, Ints, UsageError
from audit.data.series import Series
from audit.explain.masking.base import Coalitions, Players, maskers, no_size, one_of, origin, whole
from audit.explain.masking.units import Units, blend, shared

PLAYERS = ("step", "window", "column", "cell")
FILLS = ("background", "mean", "previous")
WINDOWS = 10  # in the longest sequence, unless a size is given


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesMasker(Units):
    """Parts of sequences; padding belongs to no player and stays.

    others (fillings, steps, columns): what fills in. carried: whether the last present value of a column does, and the
    others only before the first.
    """

    inputs: Series
    rows: Series
    others: Floats
    carried: bool

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Series:
        """Rows (r,) under coalitions (c, players): r * c * fillings sequences, the filling fastest."""
        values, kept = self.inputs.values[rows], self.kept(rows, coalitions)
        fillings = self.fillings if draws is None else draws.shape[1]
        others = self._last(values, kept) if self.carried else shared(self.others, draws)
        lengths = np.repeat(self.inputs.lengths[rows], len(coalitions) * fillings)
        return self.inputs.with_values(blend(values, kept, others, fillings), lengths)

    def _last(self, values: Floats, kept: Coalitions) -> Floats:
        """The last present value (r, c, 1, steps, columns) at or before each step, the others where there is none."""
        shape = (len(values), *kept.shape[1:3], values.shape[2])
        step = np.where(kept, np.arange(shape[2])[:, None], -1)
        last = np.broadcast_to(np.maximum.accumulate(step, axis=2), shape)
        found = np.take_along_axis(values[:, None], np.maximum(last, 0), axis=2)
        return np.where(last >= 0, found, self.others)[:, :, None]


@maskers.register
def _series(
    inputs: Series,
    background: Series | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> SeriesMasker:
    rows = inputs if background is None else background
    if not isinstance(rows, Series) or rows.columns != inputs.columns:
        what = rows.columns if isinstance(rows, Series) else type(rows).__name__
        raise DataError(f"sequences have the columns {inputs.columns}, the background {what}")
    if not len(rows):
        raise UsageError("background: at least one sequence is needed, got none")
    how = one_of("fill", "series", fill, FILLS)
    source = origin(rows, "sequences", words)
    middle = f"the mean of each column over {source}"
    owner, names = _units(inputs, one_of("players", "series", players, PLAYERS), size)
    others = repeated(rows, inputs.values.shape[1]) if how == "background" else mean_step(rows)[None, None]
    return SeriesMasker(
        inputs=inputs,
        rows=rows,
        players=names,
        owner=owner,
        fillings=len(others),
        background={
            "background": source,
            "mean": middle,
            "previous": f"the last present value of the column, before the first {middle}",
        }[how],
        others=others,
        carried=how == "previous",
    )


def repeated(rows: Series, steps: int) -> Floats:
    """Sequences (n, steps, columns) of that many steps: a shorter one begins again where it ends, its padding left out."""
    place = np.arange(steps) % rows.lengths[:, None]
    return np.asarray(np.take_along_axis(rows.values, place[:, :, None], axis=1))


def mean_step(rows: Series) -> Floats:
    """The mean (columns,) over all sequences and steps, without padding and what is missing; NaN where nothing is left."""
    within = np.arange(rows.values.shape[1])[:, None] < rows.lengths[:, None, None]
    known = within & ~np.isnan(rows.values)
    total, count = np.where(known, rows.values, 0.0).sum(axis=(0, 1)), known.sum(axis=(0, 1))
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _units(inputs: Series, unit: str, size: int | None) -> tuple[Ints, tuple[tuple[str, ...], ...]]:
    """Who owns what: owner (n or 1, steps, columns or 1), and names for every sequence."""
    steps, columns = inputs.values.shape[1:]
    if unit in ("step", "column"):
        no_size(size, f'players = "{unit}" have none, "window" and "cell" do')
    width = {"step": 1, "column": max(steps, 1)}.get(unit) or whole(size, max(1, math.ceil(steps / WINDOWS)))
    window = np.arange(steps)[:, None] // width
    if unit in ("column", "cell"):
        window = window * columns + np.arange(columns)
    alike = len(set(inputs.lengths.tolist())) == 1
    lengths = inputs.lengths[:1] if alike else inputs.lengths
    owner = np.where(np.arange(steps)[:, None] < lengths[:, None, None], window, -1).astype(np.int64)
    names = {length: _names(inputs.columns, unit, width, length) for length in set(inputs.lengths.tolist())}
    return owner, tuple(names[length] for length in inputs.lengths.tolist())


def _names(columns: tuple[str, ...], unit: str, width: int, length: int) -> tuple[str, ...]:
    if unit == "column":
        return columns
    spans = [(start, min(start + width, length) - 1) for start in range(0, length, width)]
    windows = [f"step {start}" if start == end else f"steps {start}-{end}" for start, end in spans]
    return tuple(f"{name}, {window}" for window in windows for name in columns) if unit == "cell" else tuple(windows)
