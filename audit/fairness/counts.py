"""The tensor of counts over (attributes..., y, ŷ): one pass over the rows, after which no metric needs them again.

It adds up, so it streams, merges across shards, and is read from published tables as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Codes, DataError, Floats, Ints
from audit.fairness.encode import encode_all

CHUNK = 2**18  # rows a pass: the codes of one chunk stay in the cache
_CELLS = ("tn", "fp", "fn", "tp")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """People by attributes, label and decision.

    table (*sizes, 2, 2): the axis of an attribute is one longer than its levels, the last place holding those whose
    group is unknown; the last two axes are y and ŷ. labels or decisions False: that axis was not observed and lies in
    place 0. weight and weight2 (same shape): sums of w and of w squared where rows are weighted.
    """

    table: Ints
    attributes: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    labels: bool = True
    decisions: bool = True
    weight: Floats | None = None
    weight2: Floats | None = None

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Every combination of known levels, in the order of the rows of `cells`."""
        return tuple(itertools.product(*self.levels))

    @property
    def n(self) -> int:
        """People counted, those of unknown groups included."""
        return int(self.table.sum())

    @property
    def unknown(self) -> int:
        """People whose level is unknown in at least one of the attributes."""
        return self.n - int(self.cells().sum())

    @property
    def effective(self) -> NDArray[Any]:
        """The tensor that a bootstrap draws from: people, or weights scaled to sum to Kish's effective n."""
        if self.weight is None or self.weight2 is None:
            return self.table
        squares = float(self.weight2.sum())
        return self.weight * (float(self.weight.sum()) / squares if squares else 0.0)

    def cells(self, table: NDArray[Any] | None = None) -> NDArray[Any]:
        """The known groups as rows (g, 4) of tn, fp, fn, tp; of another tensor of this shape where one is given."""
        known = (self.table if table is None else table)[tuple(slice(len(levels)) for levels in self.levels)]
        return known.reshape(-1, 4)

    def total(self) -> Counts:
        """Everyone, without attributes, those of unknown groups included."""
        return self.marginal(())

    def marginal(self, attributes: Sequence[str]) -> Counts:
        """The counts over some of the attributes, in the order asked for; raises DataError for one that is not there."""
        for name in attributes:
            if name not in self.attributes:
                raise DataError(f"attribute {name!r} is not counted here, allowed are {list(self.attributes)}")
        kept = [self.attributes.index(name) for name in attributes]
        lost = tuple(i for i in range(len(self.attributes)) if i not in kept)
        axes = [*kept, *lost, len(self.attributes), len(self.attributes) + 1]
        summed = tuple(range(len(kept), len(kept) + len(lost)))
        return self._map(
            lambda table: table.transpose(axes).sum(axis=summed),
            attributes=tuple(attributes),
            levels=tuple(self.levels[i] for i in kept),
        )

    def __add__(self, other: Counts) -> Counts:
        """The counts of both: levels are united. Raises DataError where they count different things."""
        for what in ("attributes", "labels", "decisions"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise DataError(f"counts cannot be merged: {what} are {mine} and {theirs}")
        if (self.weight is None) != (other.weight is None):
            raise DataError("counts cannot be merged: one is weighted and the other is not")
        levels = tuple(tuple(dict.fromkeys(a + b)) for a, b in zip(self.levels, other.levels, strict=True))
        mine, theirs = self._over(levels), other._over(levels)
        return replace(
            mine,
            table=mine.table + theirs.table,
            weight=None if mine.weight is None or theirs.weight is None else mine.weight + theirs.weight,
            weight2=None if mine.weight2 is None or theirs.weight2 is None else mine.weight2 + theirs.weight2,
        )

    def _over(self, levels: tuple[tuple[str, ...], ...]) -> Counts:
        """The same counts over more levels."""
        places = [
            [*(wide.index(level) for level in narrow), len(wide)]
            for narrow, wide in zip(self.levels, levels, strict=True)
        ]
        shape = (*(len(wide) + 1 for wide in levels), 2, 2)

        def spread(table: NDArray[Any]) -> NDArray[Any]:
            wide = np.zeros(shape, dtype=table.dtype)
            wide[np.ix_(*places, [0, 1], [0, 1])] = table
            return wide

        return self._map(spread, levels=levels)

    def _map(self, change: Any, **facts: Any) -> Counts:
        return replace(
            self,
            table=change(self.table),
            weight=None if self.weight is None else change(self.weight),
            weight2=None if self.weight2 is None else change(self.weight2),
            **facts,
        )


def count(
    y_true: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
    *,
    sensitive_features: Any = None,
    strata: Any = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
) -> Counts:
    """Count people by strata, sensitive features, label and decision, in one pass.

    y_true, y_pred (n,): 0 or 1; either may be None. sensitive_features, strata: a column, a frame (pandas, polars,
    pyarrow), an array (n, k), core.Codes, or a mapping of name to column. weights (n,): survey weights. frequency (n,):
    how many people a row stands for. Raises DataError.
    """
    groups = {**({} if strata is None else encode_all(strata)), **_encoded(sensitive_features)}
    labels, decisions = _binary(y_true, "y_true"), _binary(y_pred, "y_pred")
    size = _length({"y_true": labels, "y_pred": decisions, **groups})
    each = _amounts(frequency, "frequency", size)
    w = _amounts(weights, "weights", size)
    parts = [(codes.values, len(codes.levels) + 1) for codes in groups.values()]
    parts += [(y, 2) for y in (labels, decisions) if y is not None]
    shape = tuple(len(codes.levels) + 1 for codes in groups.values())
    seen = (1 if labels is None else 2, 1 if decisions is None else 2)

    def tensor(amount: Floats | None) -> NDArray[Any]:
        cells = tally(parts, size, amount).reshape(*shape, *seen)
        missing = [(0, 0)] * len(shape) + [(0, 2 - length) for length in seen]
        return np.pad(cells, missing) if seen != (2, 2) else cells

    people = 1.0 if each is None else each
    return Counts(
        table=tensor(each).astype(np.int64, copy=False),
        attributes=tuple(groups),
        levels=tuple(codes.levels for codes in groups.values()),
        labels=labels is not None,
        decisions=decisions is not None,
        weight=None if w is None else tensor(w * people),
        weight2=None if w is None else tensor(w * w * people),
    )


def from_counts(
    sensitive_features: Any,
    *,
    n: ArrayLike | None = None,
    selected: ArrayLike | None = None,
    positive: ArrayLike | None = None,
    tn: ArrayLike | None = None,
    fp: ArrayLike | None = None,
    fn: ArrayLike | None = None,
    tp: ArrayLike | None = None,
) -> Counts:
    """Counts from a published table with one row a group: the columns n and selected, n and positive, or tn, fp, fn, tp.

    Columns (rows,) of whole numbers of people. Raises DataError.
    """
    groups = encode_all(sensitive_features)
    size = _length(groups)
    given = {"n": n, "selected": selected, "positive": positive, "tn": tn, "fp": fp, "fn": fn, "tp": tp}
    read = {name: _amounts(column, name, size) for name, column in given.items()}
    columns = {name: column for name, column in read.items() if column is not None}
    labels, decisions, cells = _published(columns)
    for name, cell in zip(_CELLS, cells, strict=True):
        if (cell < 0).any():
            raise DataError(
                f"a row of the table has fewer cases in all than in one of its parts ({name} = {cell.min():g})"
            )
    parts = [(codes.values, len(codes.levels) + 1) for codes in groups.values()]
    shape = tuple(length for _, length in parts)
    table = np.stack([tally(parts, size, cell).reshape(shape) for cell in cells], axis=-1).reshape(*shape, 2, 2)
    return Counts(
        table=table.astype(np.int64),
        attributes=tuple(groups),
        levels=tuple(codes.levels for codes in groups.values()),
        labels=labels,
        decisions=decisions,
    )


def _published(columns: Mapping[str, Floats]) -> tuple[bool, bool, list[Floats]]:
    """Whether labels and decisions are known, and the columns tn, fp, fn, tp."""
    names = set(columns)
    if names == set(_CELLS):
        return True, True, [columns[name] for name in _CELLS]
    if names == {"n", "selected"}:
        rest = columns["n"] - columns["selected"]
        return False, True, [rest, columns["selected"], 0 * rest, 0 * rest]
    if names == {"n", "positive"}:
        rest = columns["n"] - columns["positive"]
        return True, False, [rest, 0 * rest, columns["positive"], 0 * rest]
    allowed = "n and selected, n and positive, or tn, fp, fn and tp"
    raise DataError(f"allowed are the columns {allowed}; got {sorted(names)}")


def tally(parts: Sequence[tuple[NDArray[Any], int]], size: int, amount: Floats | None = None) -> NDArray[Any]:
    """How often each combination of codes occurs, flat in C order; sums of `amount` (size,) where it is given.

    parts: codes (size,) and how many values each may take. Up to 256 combinations the codes of two neighbouring rows
    are read as one 16-bit number, which halves the slow part, the counting.
    """
    cells = int(np.prod([length for _, length in parts], dtype=np.int64)) if parts else 1
    dtype = np.uint8 if cells <= 2**8 else np.uint16 if cells <= 2**16 else np.int64
    found = np.zeros(cells, dtype=np.int64 if amount is None else np.float64)
    for start in range(0, size, CHUNK):
        rows = slice(start, min(start + CHUNK, size))
        code = _mixed(parts, rows, dtype)
        if amount is not None:
            found += np.bincount(code, weights=amount[rows], minlength=cells)
        elif dtype is np.uint8 and len(code) >= 2**15:
            found += _pairwise(code, cells)
        else:
            found += np.bincount(code, minlength=cells)
    return found


def _mixed(parts: Sequence[tuple[NDArray[Any], int]], rows: slice, dtype: Any) -> NDArray[Any]:
    """One number a row: the codes as digits."""
    if not parts:
        return np.zeros(rows.stop - rows.start, dtype=dtype)
    code = parts[0][0][rows].astype(dtype)
    for values, length in parts[1:]:
        code *= length
        code += values[rows].astype(dtype, copy=False)
    return code


def _pairwise(code: NDArray[np.uint8], cells: int) -> Ints:
    even = len(code) // 2 * 2
    pairs = np.bincount(code[:even].view(np.uint16), minlength=cells * 256).reshape(cells, 256)
    found: Ints = pairs.sum(axis=1) + pairs[:, :cells].sum(axis=0)
    if even < len(code):
        found[code[-1]] += 1
    return found


def _encoded(features: Any) -> dict[str, Codes]:
    return {} if features is None else encode_all(features)


def _binary(column: ArrayLike | None, name: str) -> NDArray[Any] | None:
    """A column of 0 and 1 as an array of whole numbers; raises DataError."""
    if column is None:
        return None
    values = np.asarray(column)
    if values.ndim != 1:
        raise DataError(f"{name}: allowed is one column (n,), got shape {values.shape}")
    if values.dtype.kind not in "buif":
        raise DataError(
            f"{name}: allowed are 0 and 1, got values such as {values[:1].tolist()}; compare with the positive one"
        )
    if values.dtype.kind == "f" and not np.isin(values, (0.0, 1.0)).all():
        odd = values[~np.isin(values, (0.0, 1.0))][0]
        raise DataError(f"{name}: allowed are 0 and 1, got {odd}")
    if values.dtype.kind in "ui" and np.bitwise_or.reduce(values, initial=0) not in (0, 1):  # one pass for min and max
        raise DataError(f"{name}: allowed are 0 and 1, got values from {values.min()} to {values.max()}")
    return values


def _length(columns: Mapping[str, Any]) -> int:
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if not lengths:
        raise DataError("nothing to count: y_true, y_pred and sensitive_features are all None")
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}")
    return next(iter(lengths.values()))


def _amounts(column: ArrayLike | None, name: str, size: int) -> Floats | None:
    """Weights or numbers of people: finite, not negative, one a row."""
    if column is None:
        return None
    values = np.asarray(column, dtype=np.float64)
    if values.shape != (size,):
        raise DataError(f"{name}: allowed is one number for each of {size} rows, got shape {values.shape}")
    if not (np.isfinite(values).all() and (values >= 0.0).all()):
        raise DataError(f"{name}: allowed are finite numbers of at least 0, got {values.min()} to {values.max()}")
    if name != "weights" and (values != np.floor(values)).any():
        raise DataError(f"{name}: allowed are whole numbers of people, got fractions")
    return values
