"""Tables from files and frames: one narwhals frame, whatever the data came in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from narwhals.exceptions import DuplicateError

from audit.core import DataError, suggest

Frame = nw.DataFrame[Any]


def load(path: Path) -> Frame:
    """The table in a csv, tsv, parquet, arrow, ipc or feather file, chosen by suffix; raises DataError."""
    if not path.is_file():
        raise DataError(f"data file {path.name!r} was not found in {path.parent}{_nearby(path)}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path.name}: the suffix {path.suffix!r} is not one of {', '.join(sorted(_READERS))}")
    try:
        table = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text ({error}): save it as UTF-8") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read as {path.suffix[1:].lower()}: {error}") from error
    return frame_of(table, path.name)


def frame_of(data: Any, name: str = "the frame") -> Frame:
    """Any frame that narwhals takes, as an eager narwhals frame with text column names; raises DataError."""
    try:
        frame = nw.from_native(data)
        eager: Frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        columns = list(eager.columns)
    except TypeError as error:
        raise DataError(f"{name}: expected a pandas, polars or pyarrow table, got {type(data).__name__}") from error
    except DuplicateError:
        raise DataError(f"{name}: column names must be unique; twice or more: {_twice(data)}") from None
    if any(not isinstance(column, str) for column in columns):
        eager = eager.rename({column: str(column) for column in columns})
    if not len(eager):
        raise DataError(f"{name} has no rows (columns: {', '.join(map(str, columns)) or 'none'})")
    return eager


def column(frame: Frame, name: str, role: str) -> pa.Array:
    """One column as an arrow array; raises DataError with a near suggestion where there is none."""
    if name not in frame.columns:
        raise DataError(
            f"{role}: there is no column {name!r}; columns: {listed(frame.columns)}{suggest(name, frame.columns)}"
        )
    try:
        array = frame.get_column(name).to_arrow()
    except pa.ArrowException as error:
        raise DataError(f"{role}: column {name!r} mixes types: {error}") from error
    whole: pa.Array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return whole


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(words: Iterable[object], most: int = 12) -> str:
    """At most twelve words as text, and how many more there are."""
    all_of_them = [repr(word) if isinstance(word, str) else str(word) for word in words]
    rest = len(all_of_them) - most
    return ", ".join(all_of_them[:most]) + (f" and {rest} more" if rest > 0 else "")


def _nearby(path: Path) -> str:
    return suggest(path.name, [each.name for each in path.parent.iterdir()]) if path.parent.is_dir() else ""


def _twice(data: Any) -> str:
    names = list(getattr(data, "column_names", None) or data.columns)
    return listed(sorted({str(name) for name in names if names.count(name) > 1}))


def _csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    # A header without a comma is split at what it has more of, so that European and tab-separated files open too.
    delimiter = "," if "," in header else max(",;\t", key=header.count)
    return pyarrow.csv.read_csv(
        path,
        # One thread is as fast here, and leaves no reader behind that could outlive a failed parse.
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    )


def _parquet(path: Path) -> pa.Table:
    # ParquetFile reads this file alone: read_table would take "sex=1" in the folder's name for a column.
    with pyarrow.parquet.ParquetFile(path) as file:
        return _without_index(file.read())


def _arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        try:
            return _without_index(pa.ipc.open_file(file).read_all())
        except pa.ArrowInvalid:
            file.seek(0)
            return _without_index(pa.ipc.open_stream(file).read_all())


def _without_index(table: pa.Table) -> pa.Table:
    """Drop the nameless row index that pandas stores beside the columns."""
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])


_READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".arrow": _arrow,
    ".ipc": _arrow,
    ".feather": _arrow,
}
