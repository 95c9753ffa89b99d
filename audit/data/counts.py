"""Published counts: a table with one row for each group becomes a Dataset that weighs rows by people."""

from __future__ import annotations

import numpy as np

from audit.core import Codes, DataError, Dataset, Ints, Origin, Spec, suggest
from audit.data.columns import attributes, codes, floats, group_codes
from audit.data.tables import Frame, column, listed

# What each count column counts: (label, decision) of the people in it.
CONFUSION = {"tp": (1, 1), "fp": (0, 1), "fn": (1, 0), "tn": (0, 0)}
SELECTION = ("n", "selected")


def dataset(frame: Frame, spec: Spec, origin: Origin) -> Dataset:
    """Rows of (group, label, decision) with their number of people in `frequency`; raises DataError.

    The table holds the group columns and either tp, fp, tn and fn, or n and selected (then there is no label).
    """
    places = {name.lower(): name for name in frame.columns}
    confusion = [name for name in CONFUSION if name in places]
    selection = [name for name in SELECTION if name in places]
    if bool(confusion) == bool(selection) or len(confusion) not in (0, 4) or len(selection) not in (0, 2):
        raise DataError(
            f"{origin.name}: a table of counts holds either the columns tp, fp, tn, fn or the columns n, selected; "
            f"found {listed(confusion + selection) or 'neither'}; columns: {listed(frame.columns)}"
            + "".join(suggest(name, frame.columns) for name in (*CONFUSION, *SELECTION) if name not in places)
        )
    numbers = {name: _counts(frame, places[name]) for name in confusion or selection}
    cells = _confusion(numbers) if confusion else _selection(numbers)
    frequency = np.concatenate([count for _, _, count in cells])
    if not frequency.any():
        raise DataError(f"{origin.name}: every count is 0")
    rows, blocks = len(frame), len(cells)
    return Dataset(
        inputs=None,
        groups={
            name: _repeated(group_codes(column(frame, name, "groups.attributes"), name, spec.groups), blocks)
            for name in attributes(spec.groups)
        },
        origin=origin,
        y=_block([label for label, _, _ in cells], rows) if confusion else None,
        decision=_block([decision for _, decision, _ in cells], rows),
        frequency=frequency,
        strata={name: _repeated(codes(column(frame, name, "data.strata"), name), blocks) for name in spec.data.strata},
        notes=(f"Published counts: {rows} rows stand for {int(frequency.sum())} people.",),
    )


Cell = tuple[int, int, Ints]


def _confusion(numbers: dict[str, Ints]) -> list[Cell]:
    return [(*CONFUSION[name], count) for name, count in numbers.items()]


def _selection(numbers: dict[str, Ints]) -> list[Cell]:
    n, selected = numbers["n"], numbers["selected"]
    wrong = np.flatnonzero(selected > n)
    if wrong.size:
        row = wrong[0]
        raise DataError(f"selected is larger than n in row {row} (from 0): {selected[row]} of {n[row]}")
    return [(0, 1, selected), (0, 0, n - selected)]


def _counts(frame: Frame, name: str) -> Ints:
    values = floats(column(frame, name, "counts"), name, "counts")
    for wrong, what in ((values < 0, "negative"), (values != np.floor(values), "not a whole number")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"counts: column {name!r} is {what} in row {row} (from 0): {values[row]:g}")
    return values.astype(np.int64)


def _block(values: list[int], rows: int) -> Ints:
    return np.repeat(np.array(values, dtype=np.int64), rows)


def _repeated(coded: Codes, blocks: int) -> Codes:
    return Codes(values=np.tile(coded.values, blocks), levels=coded.levels)
