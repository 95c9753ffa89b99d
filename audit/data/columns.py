"""Columns to arrays: categories to codes, numbers to floats, features to one matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.core import ALL, Codes, DataError, Floats, GroupSpec
from audit.data.tables import Frame, column, listed
from audit.data.tabular import Tabular

MOST_NUMERIC_LEVELS = 50
UNKNOWN = "unknown"  # the group of those whose group is unknown, where it is wanted
TINY = 1e-100  # of weights, whose squares must stay numbers


def text_of(value: object) -> str:
    """A value as the text of a level: 1.0 and 1 are both "1", True is "True"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def key_of(value: object) -> object:
    """What makes two spellings of a value the same: 1, 1.0, "1", "1.0", True and "true" share a key."""
    text = text_of(value).strip()
    if text in ("True", "true", "TRUE", "False", "false", "FALSE"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return text


def find(value: object, levels: Sequence[str]) -> int | None:
    """Position of a value among levels: the same text, else the one level that is another spelling of it."""
    text = text_of(value)
    if text in levels:
        return levels.index(text)
    same = [index for index, level in enumerate(levels) if key_of(level) == key_of(value)]
    return same[0] if len(same) == 1 else None


def attributes(spec: GroupSpec) -> tuple[str, ...]:
    """The protected attributes of [groups], those that are only named in an intersection last."""
    together = (name for names in spec.intersect for name in names)
    return tuple(dict.fromkeys((*spec.attributes, *together)))


def codes(array: pa.Array, name: str, unknown: Iterable[str] = ()) -> Codes:
    """A column as codes in the smallest unsigned type, its levels sorted as text.

    Nulls, NaN and the values in `unknown` become the unknown code; levels that no row has are left out. Raises
    DataError for the reserved level "*" and for numbers with more than 50 distinct values.
    """
    indices, words = _dictionary(array, name)
    levels = tuple(sorted({word for word in words if word is not None} - set(unknown)))
    if ALL in levels:
        raise DataError(f"column {name!r}: a group may not be called {ALL!r}, which stands for all groups")
    kind = np.min_scalar_type(len(levels))
    place: dict[str | None, int] = {level: code for code, level in enumerate(levels)}
    lookup = np.array([*(place.get(word, len(levels)) for word in words), len(levels)], dtype=kind)
    return Codes(values=lookup.take(indices, mode="clip"), levels=levels)


def group_codes(array: pa.Array, name: str, spec: GroupSpec) -> Codes:
    """A protected attribute as codes; with `missing = "group"`, the unknown are a group called "unknown"."""
    coded = codes(array, name, spec.unknown)
    if spec.missing != "group" or coded.known().all():
        return coded
    levels = coded.levels if UNKNOWN in coded.levels else (*coded.levels, UNKNOWN)
    places = [*range(len(coded.levels)), levels.index(UNKNOWN)]
    return Codes(values=np.array(places, dtype=np.min_scalar_type(len(levels)))[coded.values], levels=levels)


def _dictionary(array: pa.Array, name: str) -> tuple[NDArray[Any], list[str | None]]:
    """Indices (n,) into a list of texts, None for a level that no row has; the index len(list) stands for null."""
    if pa.types.is_dictionary(array.type) and not _is_text(array.type.value_type):
        array = array.dictionary_decode()
    plain = array.type
    if pa.types.is_nested(plain) or pa.types.is_binary(plain) or pa.types.is_large_binary(plain):
        raise DataError(
            f"column {name!r} holds {plain} values (text that is not UTF-8?): expected text, numbers or booleans"
        )
    if pa.types.is_floating(plain):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, plain), array)
    encoded = array if pa.types.is_dictionary(plain) else array.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    numeric = not (pa.types.is_dictionary(plain) or _is_text(plain) or pa.types.is_boolean(plain))
    if numeric and len(values) > MOST_NUMERIC_LEVELS:
        raise DataError(
            f"column {name!r} has {len(values)} distinct {plain} values, more than {MOST_NUMERIC_LEVELS}: "
            "bin it (age to age bands, say) before it is used as groups"
        )
    indices = pc.fill_null(encoded.indices.cast(pa.int32()), len(values)).to_numpy(zero_copy_only=False)
    # Only a dictionary that came with the data can name levels that no row has, or hold a null.
    used = np.bincount(indices, minlength=len(values)) if encoded is array else np.ones(len(values))
    words = [None if value is None or not used[index] else text_of(value) for index, value in enumerate(values)]
    return indices, words


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def floats(array: pa.Array, name: str, role: str) -> Floats:
    """A column of finite numbers (n,); raises DataError that names the first row (from 0) that is not."""
    if not _is_number(array.type):
        raise DataError(f"{role}: column {name!r} must hold numbers, it holds {array.type}: {_example(array)}")
    values = _as_floats(array)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        what = "is missing" if np.isnan(values[wrong[0]]) else "is infinite"
        raise DataError(
            f"{role}: column {name!r} {what} in {wrong.size} of {len(values)} rows, first in row {wrong[0]}"
        )
    return values


def weights(array: pa.Array, name: str) -> Floats:
    """A column of weights (n,): finite, none negative, not all zero; raises DataError."""
    values = floats(array, name, "data.weight")
    negative = np.flatnonzero(values < 0)
    if negative.size:
        row = negative[0]
        raise DataError(
            f"data.weight: column {name!r} is negative in {negative.size} rows, first in row {row}: {values[row]}"
        )
    if not values.any():
        raise DataError(f"data.weight: column {name!r} is zero in every row")
    if values.max() > 1 / TINY or values[values > 0].min() < TINY:
        raise DataError(f"data.weight: column {name!r} must lie between {TINY:g} and {1 / TINY:g} where it is not 0")
    return values


def features(frame: Frame, names: Sequence[str]) -> Tabular:
    """The named columns as one matrix; text and categories become indices into their sorted levels."""
    values = np.empty((len(frame), len(names)))
    categories: dict[str, tuple[str, ...]] = {}
    integers = set()
    for index, name in enumerate(names):
        array = column(frame, name, "data.features")
        if pa.types.is_dictionary(array.type) and not _is_text(array.type.value_type):
            array = array.dictionary_decode()
        kind = array.type
        if _is_number(kind):
            values[:, index] = _as_floats(array)
            if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
                integers.add(name)
        elif _is_text(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind):
            coded = codes(array, name)
            values[:, index] = np.where(coded.known(), coded.values.astype(np.float64), np.nan)
            categories[name] = coded.levels
        else:
            raise DataError(
                f"data.features: column {name!r} holds {kind} values; turn it into numbers or text, or leave it out"
            )
    return Tabular(values=values, columns=tuple(names), categories=categories, integers=frozenset(integers))


def can_be_feature(frame: Frame, name: str) -> bool:
    """Whether `features` takes the column: numbers, booleans, text or categories."""
    kind = column(frame, name, "data.features").type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_number(plain) or _is_text(plain) or bool(pa.types.is_null(plain))


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _as_floats(array: pa.Array) -> Floats:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    values: Floats = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    return values


def _example(array: pa.Array) -> str:
    """The first values that are no numbers; where text holds numbers only, the first values."""
    values = array.slice(0, 100_000).to_pylist()
    strange = [value for value in values if isinstance(value, str) and not isinstance(key_of(value), float)]
    return "such as " + listed((strange or values)[:3])
