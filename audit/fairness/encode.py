"""Columns of any kind into codes: made once, kept small, never touched again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Codes, DataError

UNNAMED = "sensitive_feature_"


def encode_all(features: Any) -> dict[str, Codes]:
    """Attribute -> Codes, from a frame or series (pandas, polars, pyarrow), an array (n,) or (n, k), or a mapping.

    A column without a name becomes "sensitive_feature_0" and so on. Raises DataError.
    """
    if isinstance(features, Codes):
        return {f"{UNNAMED}0": features}
    if isinstance(features, Mapping):
        return {str(name): encode(column, str(name)) for name, column in features.items()}
    series = _columns(features)
    if series is not None:
        return {name: encode(column, name) for name, column in series.items()}
    array = np.asarray(features)
    if array.ndim not in (1, 2):
        raise DataError(f"sensitive_features: allowed are columns (n,) or (n, k), got an array of shape {array.shape}")
    table = array[:, None] if array.ndim == 1 else array
    return {f"{UNNAMED}{i}": encode(table[:, i], f"{UNNAMED}{i}") for i in range(table.shape[1])}


def encode(column: Any, name: str = "column") -> Codes:
    """One column (n,) as Codes, levels sorted, missing values unknown; a pandas categorical keeps its levels and codes.

    Raises DataError for a column that cannot be read as categories.
    """
    if isinstance(column, Codes):
        return column
    held: Any = getattr(column, "array", None)  # a pandas series over a categorical: its codes are taken as they are
    if hasattr(held, "codes") and hasattr(held, "categories"):
        return Codes(values=_small(held.codes, len(held.categories)), levels=_texts(held.categories))
    return _from_arrow(_arrow(column, name))


def _columns(features: Any) -> dict[str, Any] | None:
    """The named columns of a frame or series of any library; None for anything else."""
    if isinstance(features, np.ndarray | list | tuple):
        return None
    if hasattr(features, "iloc") and hasattr(features, "columns"):  # pandas, whose frames need no translation
        return {str(name): column for name, column in features.items()}
    import narwhals.stable.v2 as nw

    held = nw.from_native(features, eager_only=True, allow_series=True, pass_through=True)
    if isinstance(held, nw.DataFrame):
        return {str(name): held[name].to_native() for name in held.columns}
    if isinstance(held, nw.Series):
        return {str(held.name) if held.name not in (None, "") else f"{UNNAMED}0": features}
    return None


def _arrow(column: Any, name: str) -> Any:
    import pyarrow as pa

    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    if hasattr(column, "to_arrow"):  # polars
        return column.to_arrow()
    values = column if hasattr(column, "__arrow_array__") or hasattr(column, "iloc") else np.asarray(column)
    if getattr(values, "ndim", 1) != 1:
        raise DataError(f"{name}: allowed is one column (n,), got an array of shape {values.shape}")
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # values of several types: their text tells them apart
        return pa.array([None if value is None or value != value else str(value) for value in values])


def _from_arrow(array: Any) -> Codes:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries() if pa.types.is_dictionary(array.type) else array
        array = array.combine_chunks()
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    found = coded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=lambda i: _sort_key(found[i]))
    rank = np.full(len(found) + 1, len(found), dtype=_dtype(len(found)))
    rank[order] = np.arange(len(found))
    places = coded.indices.fill_null(len(found)) if coded.null_count else coded.indices
    return Codes(values=rank[places.to_numpy(zero_copy_only=False)], levels=_texts(found[i] for i in order))


def _sort_key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _texts(levels: Any) -> tuple[str, ...]:
    """The levels as a configuration spells them: 1.0 is "1"."""
    from audit.data.columns import text_of

    return tuple(text_of(level) for level in levels)


def _dtype(levels: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if levels < 2**8 else np.uint16 if levels < 2**16 else np.uint32


def _small(codes: NDArray[Any], levels: int) -> NDArray[Any]:
    """Categorical codes without -1, in place where there is none."""
    if codes.size and codes.min() < 0:
        return np.where(codes < 0, levels, codes).astype(_dtype(levels))
    return codes
