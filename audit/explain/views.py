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
_AGAIN = re.compile(r" \(\d+\)$")  # what tells a word that comes twice from itself
UNITS = {"identity": "probability", "logit": "log-odds"}


def error(found: Attribution) -> Floats:
    """Standard error (rows, players) of both kinds together; 0 where the method has none."""
    parts = [np.zeros_like(found.values) if part is None else part for part in (found.se_sampling, found.se_background)]
    return np.asarray(np.hypot(*parts))


def ends(found: Attribution, row: int) -> str:
    """Base and output of a row in words."""
    return f"base {found.base[row]:.4g}, output {found.outputs[row]:.4g} ({UNITS[found.link]})"


def case(found: Attribution, row: int, *, title: str = "", was: Sequence[Cell] | None = None) -> Table:
    """One row's attributions: a waterfall, largest first; of a text its tokens in their order; of an image a map.

    was: what each player was, in words; by default the numbers that the attribution holds. Raises UsageError for a row
    that is not there.
    """
    if not 0 <= row < len(found.values):
        raise UsageError(f"row: from 0 to {len(found.values) - 1}, got {row}")
    heading = title or f"Row {row}: {found.method}"
    if found.kind == "images" and found.owners is not None:
        return heat_map(found, row, title=heading)
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
    columns = ("player", "what it was", "value", "SE")
    return Table(name="case", title=heading, columns=columns, rows=rows, note=ends(found, row), view="waterfall")


def word(name: str) -> str:
    """The word itself, of a player that is a word and may come twice."""
    return _AGAIN.sub("", name)


def heat_map(found: Attribution, row: int, *, title: str) -> Table:
    """The attribution of the player that owns each pixel, spread evenly over its pixels' area."""
    if found.owners is None:
        raise UsageError("a heat map needs an attribution of images")
    owner = found.owners[row].reshape(-1, *found.owners.shape[-2:])[0]
    values = np.append(np.nan_to_num(found.values[row]), 0.0)[owner]
    columns = tuple(str(place) for place in range(values.shape[1]))
    rows = tuple(tuple(float(value) for value in line) for line in values)
    return Table(name="map", title=title, columns=columns, rows=rows, note=ends(found, row), view="image")


def swarm(found: Attribution, *, title: str = "", most: int = MOST) -> Table:
    """Every row's value of the players that move the output most, for a beeswarm; players must be shared by all rows."""
    names = found.features
    size = np.nanmean(np.abs(found.values), axis=0) if np.isfinite(found.values).any() else np.zeros(len(names))
    data = np.full_like(found.values, np.nan) if found.data is None else found.data
    lines = tuple(
        (names[k], defined(data[row, k]), defined(found.values[row, k]))
        for k in np.argsort(-size, kind="stable")[:most]
        for row in range(len(found.values))
    )
    unit = UNITS[found.link]
    return Table(
        name="beeswarm",
        title=title or f"Attributions of {len(found.values)} rows: {found.method}",
        columns=("player", "what it was", f"value ({unit})"),
        rows=lines,
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
