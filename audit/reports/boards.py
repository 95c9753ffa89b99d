"""Figures that are read beside each other: measures by whom they speak of, gaps by attribute, trade-offs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from audit.core import ALL, Cell, Curve, Table
from audit.drawing import format as fmt
from audit.reports.arrange import Shelf, Slot

COLUMNS = 9  # columns of a table that a sheet of paper holds
ABREAST = 4  # columns of figures that fit beside each other on a sheet of paper
TALL = 12  # rows of a table after which the rest is folded on a screen
OUTCOMES: Mapping[str, str] = {
    "disparity": "▲",
    "no material disparity": "=",
    "inconclusive": "≈",
    "undefined": "∅",
}
_GAPS = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "predictive_parity_difference",
)
_POLICY = "policy"


# ---------------------------------------------------------------------------------------------- key figures
@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Measures (rows) of several populations (columns): `slots` maps (name, column) to a slot; notes are numbered."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    slots: Mapping[tuple[str, str], Slot]
    notes: Mapping[str, int]


def boards(shelf: Shelf) -> tuple[Board, ...]:
    """The figures of a check that speak of more than one population, a few columns at a time; () if there is only one."""
    columns = tuple(dict.fromkeys(_whom(slot) for slot in shelf.figures))
    if len(columns) < 2 or _repeats(shelf.figures):
        return ()
    sheets = -(-len(columns) // ABREAST)
    return tuple(
        _board(shelf.figures, columns[k * len(columns) // sheets : (k + 1) * len(columns) // sheets])
        for k in range(sheets)
    )


def _board(figures: Sequence[Slot], columns: tuple[str, ...]) -> Board:
    slots = {(slot.measure.name, _whom(slot)): slot for slot in figures if _whom(slot) in columns}
    notes = dict.fromkeys(
        slot.measure.note for slot in slots.values() if slot.measure.note and not fmt.is_suppressed(slot.measure)
    )
    names = tuple(dict.fromkeys(name for name, _ in slots))
    return Board(columns=columns, names=names, slots=slots, notes={note: place for place, note in enumerate(notes, 1)})


def _whom(slot: Slot) -> str:
    return fmt.who(slot.measure.where)


def _repeats(figures: Sequence[Slot]) -> bool:
    return len({(slot.measure.name, _whom(slot)) for slot in figures}) < len(figures)


def sheets(table: Table) -> tuple[tuple[int, ...], ...]:
    """The columns of a table, sheet by sheet where they are too many; those that name the rows stand on every sheet."""
    width = len(table.columns)
    if width <= COLUMNS:
        return (tuple(range(width)),)
    named = [all(cell is None or isinstance(cell, str) for cell in column) for column in zip(*table.rows, strict=True)]
    keys = tuple(range((named.index(False) if False in named else 1) if named else 1))[: COLUMNS // 2]
    rest, most = width - len(keys), COLUMNS - 1 - len(keys)
    count = -(-rest // most)
    edges = [len(keys) + rest * k // count for k in range(count + 1)]
    return tuple((*keys, *range(first, last)) for first, last in itertools.pairwise(edges))


# ------------------------------------------------------------------------------------------------ the gaps
@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """One gap between groups as it stands in the record; `hidden` says why its figures are not shown."""

    metric: str
    n: int | None = None
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    p: float | None = None
    outcome: str = ""
    ends: str = ""
    hidden: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The gaps between the groups of one attribute; `tested` says whether they were held against chance."""

    attribute: str
    rows: tuple[GapRow, ...]
    tested: bool
    note: str = ""


def overviews(shelves: Sequence[Shelf]) -> tuple[Overview, ...]:
    """The gaps by attribute: from the tests of the family where there are any, else as the checks measured them."""
    found = {shelf.outcome.check: shelf for shelf in shelves}
    tests = found.get("fairness.significance")
    tables = [table for table in tests.tables if table.name == "significance"] if tests else []
    if tables:
        return tuple(_tested(tables[0]))
    return tuple(_measured([shelf for shelf in shelves if shelf.outcome.check.startswith("fairness.")]))


def _tested(table: Table) -> Iterator[Overview]:
    rows: dict[str, list[GapRow]] = {}
    for cells in table.rows:
        row = dict(zip(table.columns, cells, strict=True))
        rows.setdefault(str(row.get("attribute")), []).append(_row(row))
    for attribute, gaps in rows.items():
        yield Overview(attribute=attribute, rows=tuple(gaps), tested=True, note=table.note)


def _row(row: Mapping[str, Cell]) -> GapRow:
    n = row.get("n")
    hidden = next((cell for cell in row.values() if isinstance(cell, str) and cell.startswith(fmt.SUPPRESSED)), "")
    return GapRow(
        metric=str(row.get("metric")),
        n=n if isinstance(n, int) else None,
        gap=_number(row.get("gap")),
        low=_number(row.get("low")),
        high=_number(row.get("high")),
        chance=_number(row.get("expected_by_chance")),
        p=_number(row.get("p_adjusted")),
        outcome="" if hidden else str(row.get("outcome") or ""),
        ends=_ends(row) if not hidden else "",
        hidden=hidden,
    )


def _ends(row: Mapping[str, Cell]) -> str:
    """Between whom the gap lies, and who was left out of it."""
    ends = [row.get("lowest"), row.get("highest")]
    if not all(ends):
        return ""
    few = f"; too few cases: {row['left_out']}" if row.get("left_out") else ""
    return " to ".join(map(str, ends)) + few


def _number(cell: Cell) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None


def _measured(shelves: Sequence[Shelf]) -> Iterator[Overview]:
    rows: dict[str, dict[str, GapRow]] = {}
    for slot in (slot for shelf in shelves for slot in shelf.figures):
        measure, span = slot.measure, slot.measure.interval
        if measure.name not in _GAPS or set(measure.where.values()) != {ALL}:
            continue
        gap = GapRow(
            metric=measure.name,
            n=measure.n,
            gap=measure.value,
            low=span.low if span else None,
            high=span.high if span else None,
            ends=measure.note if measure.value is not None else "",
            hidden=measure.note if fmt.is_suppressed(measure) else "",
        )
        rows.setdefault(" × ".join(measure.where), {}).setdefault(measure.name, gap)
    for attribute, gaps in rows.items():
        yield Overview(attribute=attribute, rows=tuple(gaps.values()), tested=False)


# ---------------------------------------------------------------------------------------------- trade-offs
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A policy as a point: its gap and its accuracy, both as measured."""

    name: str
    gap: Slot
    accuracy: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """What each limit on a gap leaves of the accuracy, for one or more policies, and the policies that were measured."""

    title: str
    curves: tuple[Curve, ...]
    choices: tuple[Choice, ...]


def is_trade_off(family: Sequence[Curve]) -> bool:
    """Whether curves tell what a smaller gap costs."""
    return family[0].name.startswith("trade_off_")


def singles(shelf: Shelf) -> tuple[tuple[Curve, ...], ...]:
    """The families of one curve, which stand beside each other."""
    return tuple(family for family in shelf.curves if len(family) == 1 and not is_trade_off(family))


def trade_offs(shelf: Shelf) -> tuple[TradeOff, ...]:
    """The trade-offs of a check, one for each gap and attribute."""
    piles: dict[tuple[str, str], list[Curve]] = {}
    for family in shelf.curves:
        for curve in family if is_trade_off(family) else ():
            people = fmt.who({name: group for name, group in curve.where.items() if name != _POLICY})
            piles.setdefault((curve.name, people), []).append(curve)
    return tuple(
        TradeOff(
            title=f"Accuracy against {fmt.brief(_gap(name)).lower()}, {people}",
            curves=tuple(curves),
            choices=_choices(shelf, name, curves[0]),
        )
        for (name, people), curves in piles.items()
    )


def _gap(name: str) -> str:
    """The gap that a trade-off is about, by the name of its curve."""
    return f"{name.removeprefix('trade_off_')}_difference"


def _choices(shelf: Shelf, name: str, curve: Curve) -> tuple[Choice, ...]:
    """The policies whose accuracy and whose gap of this kind were both measured for the same groups."""
    gap = _gap(name)
    groups = {key: group for key, group in curve.where.items() if key != _POLICY}
    known: dict[str, dict[str, Slot]] = {}
    for slot in (slot for panel in shelf.panels for slot in panel.slots.values()):
        where = dict(slot.measure.where)
        policy = where.pop(_POLICY, None)
        if policy is not None and where == groups and slot.measure.value is not None:
            known.setdefault(policy, {})[slot.measure.name] = slot
    return tuple(
        Choice(name=policy, gap=slots[gap], accuracy=slots["accuracy"])
        for policy, slots in known.items()
        if gap in slots and "accuracy" in slots
    )
