"""Attributions as tables, each made for its picture, and the picture itself for a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Cell, Floats, Table, UsageError
from audit.drawing.notebook import Drawing, drawing

if TYPE_CHECKING:
    from audit.explain.attribution import Attribution

MOST = 12  # players in a swarm
SHOWN = 128  # rows in a swarm: more points hide each other
SIDE = 64  # pixels a side of a picture in the record
_AGAIN = re.compile(r" \(\d+\)$")  # what tells a word that comes twice from itself


def error(found: Attribution) -> Floats:
    """Standard error (rows, players) of both kinds together, as far as they are known; NaN where neither is."""
    parts = [part for part in (found.se_sampling, found.se_background) if part is not None]
    known = [np.nan_to_num(part) for part in parts] or [np.zeros_like(found.values)]
    nowhere = np.all([np.isnan(part) for part in parts], axis=0) if parts else np.ones(found.values.shape, dtype=bool)
    return np.where(nowhere, np.nan, np.sqrt(sum(part**2 for part in known)))


def ends(found: Attribution, row: int) -> str:
    """Base and output of a row in words."""
    return f"base {found.base[row]:.4g}, output {found.outputs[row]:.4g} ({found.scale})"


def case(found: Attribution, row: int, *, title: str = "", was: Sequence[Cell] | None = None) -> Table:
    """One row's attributions: a waterfall, largest first; of a text its tokens in their order; of an image a map.

    Of a sequence whose players are steps or windows, a time line.

    was: what each player was, in words; by default the numbers that the attribution holds. Raises UsageError for a row
    that is not there.
    """
    if not 0 <= row < len(found.values):
        raise UsageError(f"row: from 0 to {len(found.values) - 1}, got {row}")
    heading = title or f"Row {row}: {found.method}"
    if found.kind == "images" and found.owners is not None:
        return heat_map(found, row, title=heading)
    if _along_time(found, row):
        return time_line(found, row, title=heading)
    names = found.players[row]
    values, errors = found.values[row, : len(names)], error(found)[row, : len(names)]
    if found.kind == "texts":
        lines = [(word(names[k]), defined(values[k]), defined(errors[k])) for k in range(len(names))]
        return Table(
            name="tokens",
            title=heading,
            columns=("token", "value", "SE"),
            rows=tuple(lines),
            note=ends(found, row),
            view="tokens",
        )
    if was is None:
        was = [None] * len(names) if found.data is None else [defined(x) for x in found.data[row, : len(names)]]
    order = np.argsort(-np.abs(values), kind="stable")
    rows = tuple((names[k], was[k], defined(values[k]), defined(errors[k])) for k in order)
    lost = int(np.isnan(values).sum())
    note = ends(found, row) + (f"; undefined for {lost} of {len(names)} players" if lost else "")
    if not found.complete:
        # Parts that do not add up have no way from the base to the output.
        return Table(
            name="case",
            title=heading,
            columns=("player", "value", "low", "high", "what it was"),
            rows=tuple((name, value, *_ends(value, se), what) for name, what, value, se in rows),
            note=note,
            view="bars",
        )
    columns = ("player", "what it was", "value", "SE")
    return Table(name="case", title=heading, columns=columns, rows=rows, note=note, view="waterfall")


def _ends(value: float | None, se: float | None) -> tuple[float | None, float | None]:
    """About two standard errors around a value."""
    return (None, None) if value is None or se is None else (value - 1.96 * se, value + 1.96 * se)


def word(name: str) -> str:
    """The word itself, of a player that is a word and may come twice."""
    return _AGAIN.sub("", name)


def heat_map(found: Attribution, row: int, *, title: str) -> Table:
    """A map of one picture: every pixel shows the value of the player that holds it; nothing where it is undefined.

    Large pictures are thinned out to `SIDE` pixels a side.
    """
    if found.owners is None or found.sequences is not None:
        raise UsageError("a heat map needs an attribution of images")
    owner = found.owners[row].reshape(-1, *found.owners.shape[-2:])[0]
    owner = owner[:: step_of(owner.shape), :: step_of(owner.shape)]
    values = np.append(found.values[row], 0.0)[owner]
    rows = tuple(tuple(defined(value) for value in line) for line in values)
    columns = tuple(str(place) for place in range(values.shape[1]))
    return Table(name="map", title=title, columns=columns, rows=rows, note=ends(found, row), view="image")


def _along_time(found: Attribution, row: int) -> bool:
    """Whether a row is a sequence each of whose players holds all that happens at its time."""
    if found.sequences is None or found.owners is None or not found.players[row]:
        return False
    return bool((found.owners[row] == found.owners[row][:, :1]).all())


def time_line(found: Attribution, row: int, *, title: str) -> Table:
    """One sequence in the order of its time: what its columns were (over a window their mean), and what that moved."""
    if found.sequences is None or found.owners is None:
        raise UsageError("a time line needs an attribution of sequences")
    names, inputs, owner = found.players[row], found.sequences, found.owners[row][:, 0]
    values, errors = found.values[row], error(found)[row]
    lines = []
    for k, name in enumerate(names):
        held = inputs.values[row, owner == k]
        known = ~np.isnan(held)
        sums = np.where(known, held, 0.0).sum(axis=0)
        means = (float(s / n) if n else None for s, n in zip(sums, known.sum(axis=0), strict=True))
        lines.append((name, *means, defined(values[k]), defined(errors[k])))
    return Table(
        name="timeline",
        title=title,
        columns=("step", *inputs.columns, "value", "SE"),
        rows=tuple(lines),
        note=ends(found, row),
        view="timeline",
    )


def step_of(shape: tuple[int, ...]) -> int:
    """Every how manieth pixel is kept, so that a picture has at most `SIDE` a side."""
    return -(-max(shape) // SIDE)


def swarm(found: Attribution, *, title: str = "", most: int = MOST) -> Table:
    """Every row's value of the players that move the output most, for a beeswarm; players must be shared by all rows.

    The order of the players is that of all rows; points are those of the first `SHOWN`.
    """
    names = found.features
    size = np.nanmean(np.abs(found.values), axis=0) if np.isfinite(found.values).any() else np.zeros(len(names))
    data = np.full_like(found.values, np.nan) if found.data is None else found.data
    lines = tuple(
        (names[k], defined(data[row, k]), defined(found.values[row, k]))
        for k in np.argsort(-size, kind="stable")[:most]
        for row in range(min(len(found.values), SHOWN))
    )
    cut = len(found.values) > SHOWN
    told = f"the first {SHOWN} of {len(found.values)} rows" if cut else f"{len(found.values)} rows"
    return Table(
        name="beeswarm",
        title=title or f"Attributions of {told}: {found.method}",
        columns=("player", "what it was", f"value ({found.scale})"),
        rows=lines,
        note=f"Points show {told}; the order of the players is that of all." if cut else "",
        view="beeswarm",
    )


def plot(found: Attribution, row: int | None = None) -> Drawing:
    """The picture of one row, or of all rows together where none is named; raises UsageError for an unknown row."""
    if row is None and len(found.values) == 1:
        row = 0
    return drawing(swarm(found) if row is None else case(found, row))


def defined(value: float) -> float | None:
    """A number, None for NaN."""
    return None if np.isnan(value) else float(value)
