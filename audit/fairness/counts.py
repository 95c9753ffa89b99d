"""The tensor of counts over (attributes..., y, ŷ): one pass over the rows, after which no metric needs them again.

It adds up, so it streams, merges across shards, and is read from published tables as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Codes, DataError, Floats, Ints
from audit.fairness.encode import UNNAMED, encode_all
from audit.fairness.tensor import Tensor

CHUNK = 2**16  # rows a pass: the columns of one chunk stay in the cache
_CELLS = ("tn", "fp", "fn", "tp")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts(Tensor):
    """People by attributes, label and decision.

    table (*sizes, k, k): the last two axes are y and ŷ, of k = 2 classes where the outcome is yes or no. labels or
    decisions False: that axis was not observed and lies in place 0. weight and weight2 (same shape): sums of w and of w
    squared where rows are weighted.
    """

    sums: ClassVar[tuple[str, ...]] = ("table", "weight", "weight2")
    same: ClassVar[tuple[str, ...]] = ("labels", "decisions", "classes")
    table: Ints
    labels: bool = True
    decisions: bool = True
    weight: Floats | None = None
    weight2: Floats | None = None

    @property
    def classes(self) -> int:
        """How many classes labels and decisions may have."""
        return int(self.table.shape[-1])

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
        """The known groups as rows (g, k * k), of two classes tn, fp, fn, tp; of another tensor of this shape if given."""
        return self.known(self.table if table is None else table).reshape(-1, self.classes**2)

    def one_vs_rest(self, positive: int) -> Counts:
        """The counts of one class against all others, as of a yes-or-no outcome; raises DataError for no such class."""
        if not 0 <= positive < self.classes:
            raise DataError(f"class: allowed are 0 to {self.classes - 1}, got {positive}")
        is_it = np.eye(self.classes, dtype=np.int64)[:, [positive]]
        sides = np.hstack([1 - is_it, is_it])  # (k, 2): which classes are no and yes
        kept = np.hstack([np.eye(self.classes, 1, dtype=np.int64), np.zeros((self.classes, 1), dtype=np.int64)])
        y, decided = sides if self.labels else kept, sides if self.decisions else kept
        return self._map(lambda table: np.einsum("...ij,ia,jb->...ab", table, y, decided))


def count(
    y_true: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
    *,
    sensitive_features: Any = None,
    strata: Any = None,
    weights: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    classes: int = 2,
) -> Counts:
    """Count people by strata, sensitive features, label and decision, in one pass.

    y_true, y_pred (n,): 0 or 1, with more classes 0 to classes - 1; either may be None. sensitive_features, strata: a
    column, a frame (pandas, polars, pyarrow), an array (n, k), core.Codes, or a mapping of name to column. weights (n,):
    survey weights. frequency (n,): how many people a row stands for. Raises DataError.
    """
    groups = _beside(strata, encoded(sensitive_features))
    labels = class_codes(y_true, "y_true", classes, verify=False)
    decisions = class_codes(y_pred, "y_pred", classes, verify=False)
    size = length({"y_true": labels, "y_pred": decisions, **groups})
    each = amounts(frequency, "frequency", size)
    w = amounts(weights, "weights", size)
    parts = [(codes.values, len(codes.levels) + 1) for codes in groups.values()]
    outcomes = {name: y for name, y in (("y_true", labels), ("y_pred", decisions)) if y is not None}
    unverified = {len(parts) + place: name for place, name in enumerate(outcomes)}
    parts += [(y, classes) for y in outcomes.values()]
    shape = tuple(len(codes.levels) + 1 for codes in groups.values())
    seen = (1 if labels is None else classes, 1 if decisions is None else classes)

    def tensor(amount: Floats | None) -> NDArray[Any]:
        cells = tally(parts, size, amount, unverified).reshape(*shape, *seen)
        missing = [(0, 0)] * len(shape) + [(0, classes - length) for length in seen]
        return np.pad(cells, missing) if labels is None or decisions is None else cells

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
    size = length(groups)
    given = {"n": n, "selected": selected, "positive": positive, "tn": tn, "fp": fp, "fn": fn, "tp": tp}
    read = {name: amounts(column, name, size) for name, column in given.items()}
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


def tally(
    parts: Sequence[tuple[NDArray[Any], int]],
    size: int,
    amount: Floats | None = None,
    unverified: Mapping[int, str] = MappingProxyType({}),
) -> NDArray[Any]:
    """How often each combination of codes occurs, flat in C order; sums of `amount` (size,) where it is given.

    parts: codes (size,) and how many values each may take. Up to 256 combinations the codes of two neighbouring rows
    are read as one 16-bit number, which halves the slow part, the counting. unverified: the places of parts, with their
    names, whose range is checked on the way, while a chunk lies in the cache; raises DataError.
    """
    cells = int(np.prod([length for _, length in parts], dtype=np.int64)) if parts else 1
    dtype = np.uint8 if cells <= 2**8 else np.uint16 if cells <= 2**16 else np.int64
    found = np.zeros(cells, dtype=np.int64 if amount is None else np.float64)
    for start in range(0, size, CHUNK):
        rows = slice(start, min(start + CHUNK, size))
        for place, name in unverified.items():
            values, classes = parts[place]
            if values.dtype.kind in "ui" and not _within(values[rows], classes):
                raise DataError(_out_of_range(values, name, classes))
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


def _beside(strata: Any, groups: dict[str, Codes]) -> dict[str, Codes]:
    """Strata before groups; those without a name of their own are called stratum_0 and so on. Raises DataError."""
    named = {
        name.replace(UNNAMED, "stratum_") if name.startswith(UNNAMED) else name: codes
        for name, codes in encoded(strata).items()
    }
    if both := sorted(named.keys() & groups.keys()):
        raise DataError(f"strata: {', '.join(both)} is a sensitive feature as well; name it in one place")
    return {**named, **groups}


def binary(counts: Counts) -> Counts:
    """The counts themselves; raises DataError for more than two classes."""
    if counts.classes != 2:
        raise DataError(f"rates need a yes-or-no outcome, got {counts.classes} classes; choose one with one_vs_rest")
    return counts


def encoded(features: Any) -> dict[str, Codes]:
    """Attribute -> Codes; none for None."""
    return {} if features is None else encode_all(features)


def class_codes(column: ArrayLike | None, name: str, classes: int = 2, *, verify: bool = True) -> NDArray[Any] | None:
    """A column of classes 0, 1, ... as an array of whole numbers; raises DataError.

    verify False: the range of whole numbers is left to `tally`, which reads them anyway.
    """
    if column is None:
        return None
    if classes < 2:
        raise DataError(f"classes: at least 2 are needed, got {classes}")
    allowed = _allowed(classes)
    values = np.asarray(column)
    if values.ndim != 1:
        raise DataError(f"{name}: allowed is one column (n,), got shape {values.shape}")
    if values.dtype.kind not in "buif":
        hint = "; compare with the positive one" if classes == 2 else ""
        raise DataError(f"{name}: {allowed}, got values such as {values[:1].tolist()}{hint}")
    if values.dtype.kind == "f":
        odd = values[~np.isin(values, np.arange(classes))]
        if odd.size:
            raise DataError(f"{name}: {allowed}, got {odd[0]}")
        return values if classes == 2 else values.astype(np.int64)
    if verify and values.dtype.kind in "ui" and not _within(values, classes):
        raise DataError(_out_of_range(values, name, classes))
    return values


def _out_of_range(values: NDArray[Any], name: str, classes: int) -> str:
    return f"{name}: {_allowed(classes)}, got values from {values.min()} to {values.max()}"


def _allowed(classes: int) -> str:
    return "allowed are 0 and 1" if classes == 2 else f"allowed are 0 to {classes - 1}"


def _within(values: NDArray[Any], classes: int) -> bool:
    if classes == 2:  # one pass for both ends
        return np.bitwise_or.reduce(values, initial=0) in (0, 1)
    return bool(values.size == 0 or (values.min() >= 0 and values.max() < classes))


def length(columns: Mapping[str, Any]) -> int:
    """How many rows the columns have; None is no column. Raises DataError where they differ, or there is none."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if not lengths:
        raise DataError("nothing to count: y_true, y_pred and sensitive_features are all None")
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}")
    return next(iter(lengths.values()))


def amounts(column: ArrayLike | None, name: str, size: int) -> Floats | None:
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
