"""The trace of a decision by rules: each clause, what it asks, what the row answers, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Cell, Floats, Table, UsageError
from audit.data.rules import Clause, Literal, Rules

if TYPE_CHECKING:
    from audit.drawing.notebook import Drawing

ALWAYS = "always"  # the condition of a clause without literals


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A literal beside the value (in words or as a number, None where it is missing) that it was asked of."""

    literal: Literal
    value: Cell
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A clause, its literals one by one, and whether all of them held."""

    clause: Clause
    steps: tuple[Step, ...]
    fired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How rules decide one row: every clause that was tried, in their order, and the decision (1 accepted, 0 denied)."""

    tried: tuple[Tried, ...]
    decision: int

    @property
    def because(self) -> str:
        """The decision and the clauses that it rests on, in words."""
        accepting = [str(k + 1) for k, each in enumerate(self.tried) if each.fired and each.clause.accepts]
        denying = [str(k + 1) for k, each in enumerate(self.tried) if each.fired and not each.clause.accepts]
        if self.decision:
            return f"accepted by clause {' and '.join(accepting)}; no clause denies"
        by = f"clause {' and '.join(denying)} denies" if denying else ""
        if accepting:
            return f"denied: {by}, though clause {' and '.join(accepting)} accepts"
        return f"denied: no clause accepts{', and ' + by if by else ''}"

    def table(self, title: str = "The trace of a decision") -> Table:
        """One row a literal: clause, condition, threshold, value, whether it held, and what the clause did."""
        lines: list[tuple[Cell, ...]] = []
        for number, each in enumerate(self.tried, 1):
            name = f"{number} {'accepts' if each.clause.accepts else 'denies'}"
            then = "fires" if each.fired else "does not fire"
            for step in each.steps:
                limit = step.literal.level or step.literal.threshold
                value = "missing" if step.value is None else step.value
                lines.append((name, str(step.literal), limit, value, "yes" if step.held else "no", then))
            if not each.steps:
                lines.append((name, ALWAYS, None, None, "yes", then))
        return Table(
            name="trace",
            title=f"{title}: {self.because}",
            columns=("clause", "condition", "threshold", "value", "held", "clause then"),
            rows=tuple(lines),
            view="trace",
        )

    def plot(self, title: str = "The trace of a decision") -> Drawing:
        """The picture of the table."""
        from audit.drawing.notebook import drawing

        return drawing(self.table(title))

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_()


def trace(rules: Rules, x: Floats, names: Mapping[str, Sequence[str]] | None = None) -> Trace:
    """The trace of one row x (d,); names: the levels of categories by column. Raises UsageError for another shape."""
    row = np.asarray(x, dtype=np.float64)
    if row.shape != (len(rules.columns),):
        raise UsageError(f"x: one row of {len(rules.columns)} numbers, one a column, got shape {row.shape}")
    tried = []
    for clause in rules.clauses:
        steps = tuple(
            Step(
                literal=each,
                value=_value(row[each.column], (names or {}).get(each.name)),
                held=bool(each.holds(row[None])[0]),
            )
            for each in clause.literals
        )
        tried.append(Tried(clause=clause, steps=steps, fired=all(step.held for step in steps)))
    return Trace(tried=tuple(tried), decision=int(rules.decide(row[None])[0]))


def _value(number: float, levels: Sequence[str] | None) -> Cell:
    if math.isnan(number):
        return None
    known = levels is not None and number == int(number) and 0 <= number < len(levels)
    return levels[int(number)] if known and levels is not None else float(number)
