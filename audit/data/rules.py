"""Rules: clauses of literals that accept or deny, read by people and by machines alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal as OneOf

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, suggest

Op = OneOf[">", "<=", "is", "is not"]
OPPOSITE: Mapping[Op, Op] = {">": "<=", "<=": ">", "is": "is not", "is not": "is"}
_SIGNS = {"<=": "≤"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """One column against a threshold, or against the index of a level, whose name is `level`.

    A literal and its opposite never hold together, and one of them always does: what is missing is not above a threshold
    and is no level.
    """

    column: int
    name: str
    op: Op
    threshold: float
    level: str = ""

    def holds(self, x: Floats) -> NDArray[np.bool_]:
        """Whether it holds (n,) in rows x (n, d)."""
        values = x[:, self.column]
        yes = values > self.threshold if self.op in (">", "<=") else values == self.threshold
        return yes if self.op in (">", "is") else ~yes

    def opposite(self) -> Literal:
        """The literal that holds where this one does not."""
        return replace(self, op=OPPOSITE[self.op])

    def __str__(self) -> str:
        against = f"{self.threshold:.4g}" if self.op in (">", "<=") else self.level or f"{self.threshold:g}"
        return f"{self.name} {_SIGNS.get(self.op, self.op)} {against}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Literals that must all hold; then the clause accepts, or denies whatever others accept."""

    literals: tuple[Literal, ...]
    accepts: bool = True

    def holds(self, x: Floats) -> NDArray[np.bool_]:
        """Whether every literal holds (n,)."""
        held = np.ones(len(x), dtype=bool)
        for literal in self.literals:
            held &= literal.holds(x)
        return held

    def tidy(self) -> Clause:
        """The same clause without the literals that others of it imply, in the order of columns."""
        kept: dict[tuple[int, str, float], Literal] = {}
        for literal in self.literals:
            key = (literal.column, literal.op, 0.0 if literal.op in (">", "<=") else literal.threshold)
            tighter = max if literal.op == ">" else min
            other = kept.get(key, literal)
            kept[key] = tighter(literal, other, key=lambda each: each.threshold)
        named = {(each.column, each.threshold) for each in kept.values() if each.op == "is"}
        left = [each for each in kept.values() if each.op != "is not" or not _other(each, named)]
        return replace(self, literals=tuple(sorted(left, key=lambda each: (each.column, each.op, each.threshold))))

    def __str__(self) -> str:
        body = " & ".join(map(str, self.literals)) or "always"
        return body if self.accepts else f"not ({body})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A decision: positive where some accepting clause holds and no denying one."""

    columns: tuple[str, ...]
    clauses: tuple[Clause, ...]

    def fired(self, x: Floats) -> NDArray[np.bool_]:
        """Which clauses hold (n, clauses) in rows x (n, d)."""
        if not self.clauses:
            return np.zeros((len(x), 0), dtype=bool)
        return np.column_stack([clause.holds(x) for clause in self.clauses])

    def decide(self, x: Floats) -> NDArray[np.int64]:
        """The decision 0 or 1 (n,) on rows x (n, d)."""
        fired = self.fired(x)
        accepting = np.array([clause.accepts for clause in self.clauses], dtype=bool)
        return np.asarray(fired[:, accepting].any(axis=1) & ~fired[:, ~accepting].any(axis=1), dtype=np.int64)

    def __str__(self) -> str:
        accepting = [f"({clause})" for clause in self.clauses if clause.accepts]
        denying = [str(clause) for clause in self.clauses if not clause.accepts]
        return " & ".join([f"({' | '.join(accepting) or 'never'})", *denying])


def _other(literal: Literal, named: Iterable[tuple[int, float]]) -> bool:
    """Whether another level of the column is asked for, which says already that it is not this one."""
    return any(column == literal.column and level != literal.threshold for column, level in named)


_CONDITION = re.compile(r"\s*(?P<name>.+?)\s*(?P<op><=|≤|>|=)\s*(?P<number>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


def clause_of(text: str, columns: Sequence[str], *, accepts: bool = True) -> Clause:
    """The clause that a text such as "income > 0 & zip <= -0.5" speaks of; "=" asks for one value or the index of a level.

    Raises DataError for an unknown column and for what is no condition.
    """
    literals = []
    for part in text.split("&"):
        found = _CONDITION.fullmatch(part)
        if found is None:
            raise DataError(f"a condition: COLUMN > NUMBER, COLUMN <= NUMBER or COLUMN = NUMBER, got {part.strip()!r}")
        name = found["name"]
        if name not in columns:
            raise DataError(
                f"condition {part.strip()!r}: columns: {', '.join(columns)}; got {name!r}{suggest(name, columns)}"
            )
        op: Op = ">" if found["op"] == ">" else "is" if found["op"] == "=" else "<="
        literals.append(Literal(column=list(columns).index(name), name=name, op=op, threshold=float(found["number"])))
    return Clause(literals=tuple(literals), accepts=accepts)
