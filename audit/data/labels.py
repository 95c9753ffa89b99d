"""Outcome columns: the label as class indices and the decision as 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from audit.core import Codes, DataError, Ints, suggest
from audit.data.columns import codes, find, key_of, text_of
from audit.data.tables import listed

MOST_CLASSES = 50
Positive = str | bool | int | float


def label(array: pa.Array, name: str, positive: Positive, expected: Sequence[str] = ()) -> tuple[Ints, tuple[str, ...]]:
    """Class index of each row (n,) and the names of the classes; the positive class has index 1.

    `expected` names all classes where the data may lack some, or where there are more than two. Raises DataError for
    missing values, for a positive value that does not occur, and for more than 50 distinct values.
    """
    coded = _complete(array, name, "data.label")
    found = coded.levels
    classes = _classes(name, found, positive, expected)
    places = [find(level, classes) for level in found]
    if None in places:
        strange = [level for level, place in zip(found, places, strict=True) if place is None]
        raise DataError(f"data.label: column {name!r} has values that model.classes does not name: {listed(strange)}")
    return np.array(places, dtype=np.int64)[coded.values], classes


def _classes(name: str, found: tuple[str, ...], positive: Positive, expected: Sequence[str]) -> tuple[str, ...]:
    names = list(expected) or list(found)
    place = find(positive, names)
    if place is None and len(names) == 1:
        return names[0], text_of(positive)  # no row is positive: one class, and the other is known by name only
    if place is None:
        hint = suggest(text_of(positive), names) if isinstance(positive, str) else ""
        raise DataError(
            f"data.label: column {name!r} has the values {listed(names)}; data.positive = {positive!r} is none of them{hint}"
        )
    chosen = names.pop(place)
    return (*(names[:1] or [f"not {chosen}"]), chosen, *names[1:])


def decision(array: pa.Array, name: str, positive: Positive) -> Ints:
    """The recorded decision (n,) as 0 and 1.

    The positive decision is the value `positive` where it occurs, else 1, True or "1". Raises DataError.
    """
    coded = _complete(array, name, "data.decision")
    if len(coded.levels) > 2:
        raise DataError(f"data.decision: column {name!r} must have two values, it has {listed(coded.levels)}")
    for value in (positive, 1):
        place = find(value, coded.levels)
        if place is not None:
            return np.asarray(coded.values == place, dtype=np.int64)
    if len(coded.levels) == 1 and key_of(coded.levels[0]) == 0.0:
        return np.zeros(len(coded), dtype=np.int64)
    raise DataError(
        f"data.decision: column {name!r} has the values {listed(coded.levels)}; "
        f"neither data.positive = {positive!r} nor 1 is among them"
    )


def _complete(array: pa.Array, name: str, role: str) -> Codes:
    """Codes of a column in which no row is missing and few values differ."""
    distinct = len(array.unique())
    if distinct > MOST_CLASSES:
        raise DataError(
            f"{role}: column {name!r} has {distinct} distinct values, more than {MOST_CLASSES}: "
            "it looks like a regression target; a number to predict is named as [data] target"
        )
    coded = codes(array, name, unknown=("",))
    missing = np.flatnonzero(~coded.known())
    if missing.size:
        raise DataError(
            f"{role}: column {name!r} is missing in {missing.size} of {len(coded)} rows, first in row {missing[0]} (from 0)"
        )
    return coded
