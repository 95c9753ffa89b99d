"""Attributions of pictures with captions: the picture's part as a map, the words' part as coloured words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from audit.core import Floats, Table
from audit.data.captioned import Captioned
from audit.explain import views
from audit.explain.attribution import Attribution


def pair(found: Attribution, inputs: Captioned, row: int, *, title: str, name: str) -> Iterator[Table]:
    """The map of one row's picture and the words of its caption, as far as they are players; they are shaded apart.

    Each note gives the sum of its side, so that the two can be compared.
    """
    picture, words = sides(found, inputs, row)
    if picture is not None:
        map = views.heat_map(picture, 0, title=f"{title}, picture")
        yield replace(map, name=name, note=_told(picture, "the picture's parts"))
    if words is not None:
        table = views.case(words, 0, title=f"{title}, caption")
        yield replace(table, name=f"{name}_caption", note=_told(words, "the words"))


def sides(found: Attribution, inputs: Captioned, row: int) -> tuple[Attribution | None, Attribution | None]:
    """One row's attribution to its picture and to its words, None for a side that is no player."""
    assert found.owners is not None
    owner = found.owners[row]
    parts = int(owner[: inputs.pixels].max(initial=-1)) + 1
    names = found.players[row]
    shape = inputs.images.values.shape[1:]
    map = _part(found, row, slice(0, parts), kind="images")
    map = replace(map, owners=owner[: inputs.pixels].reshape(1, *shape))
    words = _part(found, row, slice(parts, len(names)), kind="texts")
    return (map if parts else None), (words if len(names) > parts else None)


def _part(found: Attribution, row: int, part: slice, *, kind: str) -> Attribution:
    def of(values: Floats | None) -> Floats | None:
        return None if values is None else values[row : row + 1, part]

    return replace(
        found,
        values=found.values[row : row + 1, part],
        base=found.base[row : row + 1],
        outputs=found.outputs[row : row + 1],
        players=(found.players[row][part],),
        targets=found.targets[row : row + 1],
        se_sampling=of(found.se_sampling),
        se_background=of(found.se_background),
        se_mean_abs=None,
        data=None,
        owners=None,
        complete=False,
        fit=None,
        kind=kind,
    )


def _told(part: Attribution, what: str) -> str:
    total = float(np.nansum(part.values))
    return f"{what} together {total:+.4g}; {views.ends(part, 0)}"
