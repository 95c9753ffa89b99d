"""Rules: clauses of threshold literals that accept or deny, read by people and by machines alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """One column against a threshold; the same number is never both above and at most."""

    column: int
    name: str
    op: OneOf[">", "<="]
    threshold: float

    def holds(self, x: Floats) -> NDArray[np.bool_]:
        """Whether it holds (n,) in rows x (n, d)."""
        above = x[:, self.column] > self.threshold
        return above if self.op == ">" else ~above

    def __str__(self) -> str:
        return f"{self.name} {'>' if self.op == '>' else '≤'} {self.threshold:.4g}"


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
