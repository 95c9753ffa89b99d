"""A table's columns matched by name with those that a model was trained on, and categories by the model's own levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import ModelError
from audit.data.rules import Literal as Condition
from audit.data.rules import Rules
from audit.data.tables import listed
from audit.data.tabular import Tabular


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """How a matrix in the order `given` becomes one in the order of the model's own columns.

    places (d,): where each own column is among the given ones. codes: the own index of each given level of a category,
    NaN for a level that the model never saw; None for numbers.
    """

    own: tuple[str, ...]
    given: tuple[str, ...]
    places: tuple[int, ...]
    codes: tuple[tuple[float, ...] | None, ...]

    @property
    def same(self) -> bool:
        """Whether nothing has to move."""
        return self.own == self.given and all(
            each is None or each == tuple(float(code) for code in range(len(each))) for each in self.codes
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (n, d) as given to rows (n, d) as the model reads them; gradients pass through."""
        columns = [self._recoded(x[:, place], codes) for place, codes in zip(self.places, self.codes, strict=True)]
        return torch.stack(columns, dim=1)

    @staticmethod
    def _recoded(column: Tensor, codes: tuple[float, ...] | None) -> Tensor:
        if codes is None:
            return column
        found = torch.full_like(column, float("nan"))  # missing, and what is no level
        for index, code in enumerate(codes):
            found = found.masked_fill(column == index, code)
        return found

    def moved(self, table: Tabular, wanted: Tabular) -> Tabular:
        """The table in the own columns, levels and all, which `wanted` has."""
        return wanted.with_values(self(torch.from_numpy(table.values)).numpy())

    def hook(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a module's forward gets instead."""
        return (self(arguments[0]), *arguments[1:])

    def rules(self, rules: Rules) -> Rules:
        """Rules over the model's own columns, as rules over the given ones."""
        clauses = tuple(
            replace(clause, literals=tuple(self._condition(each) for each in clause.literals))
            for clause in rules.clauses
        )
        return replace(rules, columns=self.given, clauses=tuple(clauses))

    def _condition(self, condition: Condition) -> Condition:
        codes, threshold = self.codes[condition.column], condition.threshold
        if codes is not None:
            threshold = float(codes.index(threshold)) if threshold in codes else -1.0  # of no row
        return replace(condition, column=self.places[condition.column], threshold=threshold)


def arranged(model: str, own: Tabular, given: Tabular) -> Arrangement:
    """The given table's way into the model's own columns; raises ModelError where they are not the same ones."""
    if len(set(given.columns)) < len(given.columns) or set(own.columns) != set(given.columns):
        raise ModelError(
            f"{model} was trained on the columns {listed(own.columns)}; the data has {listed(given.columns)} "
            "(data.features chooses among them)"
        )
    for name in own.columns:
        if (name in own.categories) != (name in given.categories):
            words = ("numbers", "categories") if name in given.categories else ("categories", "numbers")
            raise ModelError(f"{model} was trained on column {name!r} as {words[0]}; the data holds {words[1]}")
    codes = [
        _codes(own.categories[name], given.categories[name]) if name in own.categories else None for name in own.columns
    ]
    places = tuple(given.columns.index(name) for name in own.columns)
    return Arrangement(own=own.columns, given=given.columns, places=places, codes=tuple(codes))


def _codes(own: Sequence[str], given: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(own.index(level)) if level in own else float("nan") for level in given)


def strange_levels(own: Tabular, given: Tabular) -> list[str]:
    """A note for each category with levels that the model never saw."""
    found = {
        name: [level for level in given.categories[name] if level not in own.categories[name]]
        for name in own.categories
    }
    return [
        f"Column {name!r} holds levels that the model never saw and reads as missing: {listed(levels)}."
        for name, levels in found.items()
        if levels
    ]
