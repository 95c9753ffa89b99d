"""What the clauses of a rule network may ask of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.data.rules import Literal, Op
from audit.data.tabular import Tabular

OUTER = (0.15, 0.85)  # quantiles between which thresholds are set


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A question that clauses may ask, its answer yes or no: column > threshold, or column is the level of that index."""

    column: int
    threshold: float
    level: str | None = None

    def literal(self, columns: Sequence[str], *, yes: bool) -> Literal:
        """The literal of one answer."""
        sides: tuple[Op, Op] = ("<=", ">") if self.level is None else ("is not", "is")
        name = columns[self.column]
        return Literal(column=self.column, name=name, op=sides[yes], threshold=self.threshold, level=self.level or "")


def conditions(table: Tabular, *, thresholds: int = 5, left_out: Sequence[str] = ()) -> tuple[Condition, ...]:
    """What clauses may ask of a table.

    Quantiles of its numbers, midpoints where there are few values, levels of its categories. A category of two levels is asked about once. A column that does not vary is not asked about.
    """
    found: list[Condition] = []
    for column, name in enumerate(table.columns):
        values = table.values[~np.isnan(table.values[:, column]), column]
        distinct = np.unique(values)
        if name in left_out or len(distinct) < 2:
            continue
        if name in table.categories:
            there = distinct[1:] if len(distinct) == 2 else distinct
            found += [Condition(column=column, threshold=float(k), level=table.categories[name][int(k)]) for k in there]
        elif len(distinct) <= thresholds + 1:
            cuts = (distinct[1:] + distinct[:-1]) / 2
            found += [Condition(column=column, threshold=float(cut)) for cut in cuts]
        else:
            cuts = np.unique(np.quantile(values, np.linspace(*OUTER, thresholds)))
            found += [Condition(column=column, threshold=float(cut)) for cut in cuts]
    return tuple(found)
