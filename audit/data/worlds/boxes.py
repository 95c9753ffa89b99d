"""Rules as weighted boxes: sums of products of intervals, whose means and Shapley values have closed forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import factorial, inf

import numpy as np

from audit.core import DataError, Floats
from audit.data.rules import Clause, Literal, Rules

Box = tuple[
    tuple[int, float, float], ...
]  # (column, low, high): low < x <= high in each of these columns, in their order
Boxes = Mapping[Box, float]  # the function Σ weight [x lies in the box]; the box () holds everywhere
MOST = 4096


def boxes(rules: Rules) -> Boxes:
    """The decision of rules as a sum of boxes, by inclusion and exclusion; raises DataError beyond 4096 boxes."""
    accepted = _union(clause for clause in rules.clauses if clause.accepts)
    denied = _union(clause for clause in rules.clauses if not clause.accepts)
    return plus(accepted, product(accepted, denied), -1.0)


def _union(clauses: Iterable[Clause]) -> Boxes:
    """Where at least one clause holds: a + b - a b, clause by clause."""
    found: Boxes = {}
    for clause in clauses:
        one: Boxes = {(): 1.0}
        for literal in clause.literals:
            one = product(one, _held(literal))
        found = plus(plus(found, one), product(found, one), -1.0)
        if len(found) > MOST:
            raise DataError(f"rules: at most {MOST} boxes can be summed; {len(found)} overlapping clauses were found")
    return found


def _held(literal: Literal) -> Boxes:
    """Where a literal holds, in rows without missing values."""
    edge = literal.threshold
    if literal.op in (">", "<="):
        return {((literal.column, edge, inf) if literal.op == ">" else (literal.column, -inf, edge),): 1.0}
    only: Boxes = {((literal.column, float(np.nextafter(edge, -inf)), edge),): 1.0}
    return only if literal.op == "is" else plus({(): 1.0}, only, -1.0)


def plus(left: Boxes, right: Boxes, weight: float = 1.0) -> Boxes:
    """The sum left + weight · right, without the boxes that cancel."""
    total = dict(left)
    for box, value in right.items():
        total[box] = total.get(box, 0.0) + weight * value
    return {box: value for box, value in total.items() if value}


def product(left: Boxes, right: Boxes) -> Boxes:
    """The product left · right: every pair of boxes is cut, and empty cuts are nothing."""
    total: dict[Box, float] = {}
    for one, a in left.items():
        for other, b in right.items():
            cut = _cut(one, other)
            if cut is not None:
                total[cut] = total.get(cut, 0.0) + a * b
    return {box: value for box, value in total.items() if value}


def _cut(one: Box, other: Box) -> Box | None:
    sides = {column: (low, high) for column, low, high in one}
    for column, low, high in other:
        before = sides.get(column, (-inf, inf))
        sides[column] = (max(low, before[0]), min(high, before[1]))
    if any(low >= high for low, high in sides.values()):
        return None
    return tuple((column, *sides[column]) for column in sorted(sides))


def shapley(found: Boxes, x: Floats, background: Floats) -> Floats:
    """Interventional Shapley values (n, d) of a sum of boxes for rows x (n, d) against background rows (m, d).

    Against one background row a box is a product game. Let P be its columns inside for x only, N those inside for the
    background row only. Where some column is outside for both the game is 0 for every coalition; otherwise each of P
    gets (|P|-1)! |N|! / (|P|+|N|)! and each of N gets -|P|! (|N|-1)! / (|P|+|N|)! (shapley1953).
    """
    values = np.zeros(x.shape)
    for box, weight in found.items():
        if box:
            columns = [column for column, _, _ in box]
            values[:, columns] += weight * _shares(_inside(box, x), _inside(box, background))
    return values


def _inside(box: Box, x: Floats) -> np.ndarray:
    """Whether each column of the box holds in rows x (n, k)."""
    return np.column_stack([(x[:, column] > low) & (x[:, column] <= high) for column, low, high in box])


def _shares(mine: np.ndarray, theirs: np.ndarray) -> Floats:
    """The values (n, k) of the product game, averaged over the background; equal patterns are worked out once."""
    rows, row = np.unique(mine, axis=0, return_inverse=True)
    others, count = np.unique(theirs, axis=0, return_counts=True)
    values = np.zeros(rows.shape)
    for i, here in enumerate(rows):
        for there, times in zip(others, count, strict=True):
            if (here | there).all():
                only, lacking = here & ~there, there & ~here
                p, q = int(only.sum()), int(lacking.sum())
                total = factorial(p + q)
                values[i, only] += times * factorial(max(p - 1, 0)) * factorial(q) / total
                values[i, lacking] -= times * factorial(p) * factorial(max(q - 1, 0)) / total
    return np.asarray(values[row.reshape(-1)] / len(theirs))
