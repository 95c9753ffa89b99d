"""A linear causal graph: equations, what they leave of each person, and the same person of another group (kusner2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Floats, Ints, suggest
from audit.data.tables import listed
from audit.data.tabular import Tabular

Graph = Mapping[str, Mapping[str, float | None]]  # of each node its parents, and the coefficient, None to be fitted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Equations:
    """Each column as a linear function of its parents and a residual of its own: x = bias + weights x + e.

    columns (d): the nodes. order (d,): parents before children. weights (d, d): row a child, column a parent.
    """

    columns: tuple[str, ...]
    order: Ints
    weights: Floats
    bias: Floats

    def residuals(self, values: Floats) -> Floats:
        """What the equations leave unexplained (n, d) of rows (n, d): abduction."""
        return np.asarray(values - self.bias - values @ self.weights.T)

    def values(self, residuals: Floats) -> Floats:
        """Rows (n, d) from residuals (n, d): prediction."""
        found = np.zeros_like(residuals)
        for node in self.order:
            found[:, node] = residuals[:, node] + self.bias[node] + found @ self.weights[node]
        return found

    def counterfactual(self, values: Floats, node: str, to: Floats) -> Floats:
        """The same people (n, d) had the node been `to` (n,) from the start: abduction, action, prediction."""
        residuals, place = self.residuals(values), self.columns.index(node)
        found = np.zeros_like(residuals)
        for each in self.order:
            found[:, each] = residuals[:, each] + self.bias[each] + found @ self.weights[each]
            if each == place:
                found[:, each] = to
        return found

    def descendants(self, node: str) -> tuple[str, ...]:
        """The columns that the node moves, in causal order."""
        moved = {self.columns.index(node)}
        found = []
        for each in self.order:
            if any(self.weights[each, parent] != 0 for parent in moved) and each not in moved:
                moved.add(int(each))
                found.append(self.columns[each])
        return tuple(found)


def equations(table: Tabular, graph: Graph) -> Equations:
    """The equations of a graph over a table's columns; what is not given is fitted by least squares, node by node.

    graph: of each child its parents, with their coefficient or None for one to be fitted; a column that is no child has no
    parents. Rows with a missing value among a node and its parents do not count for it. Raises DataError for unknown or
    categorical columns, for cycles, and where there are too few rows.
    """
    columns = table.columns
    for name in (*graph, *(parent for parents in graph.values() for parent in parents)):
        if name not in columns:
            raise DataError(f"graph: the table has {listed(columns)}; got {name!r}{suggest(name, columns)}")
        if name in table.categories:
            raise DataError(f"graph: a linear equation reads numbers; {name!r} is a category")
    order = _ordered(columns, graph)
    weights, bias = np.zeros((len(columns), len(columns))), np.zeros(len(columns))
    for node, name in enumerate(columns):
        parents = graph.get(name, {})
        places = np.array([columns.index(parent) for parent in parents], dtype=np.int64)
        given = np.array([np.nan if value is None else float(value) for value in parents.values()])
        weights[node, places], bias[node] = _fitted(table.values, node, places, given, name)
    return Equations(columns=columns, order=order, weights=weights, bias=bias)


def _fitted(values: Floats, node: int, parents: Ints, given: Floats, name: str) -> tuple[Floats, float]:
    """Coefficients (p,) of the parents and the intercept, least squares for those that are NaN."""
    there = np.isfinite(values[:, [node, *parents]]).all(axis=1)
    free = np.isnan(given)
    if there.sum() <= free.sum():
        raise DataError(f"graph: {name!r} needs more than {int(free.sum())} complete rows, got {int(there.sum())}")
    x = values[there][:, parents]
    rest = values[there, node] - x[:, ~free] @ given[~free]
    design = np.column_stack([x[:, free], np.ones(len(x))])
    solved = np.linalg.lstsq(design, rest, rcond=None)[0]
    found = given.copy()
    found[free] = solved[:-1]
    return found, float(solved[-1])


def _ordered(columns: tuple[str, ...], graph: Graph) -> Ints:
    """Places of the columns, parents before children; raises DataError for a cycle."""
    order: list[str] = []
    while len(order) < len(columns):
        ready = [name for name in columns if name not in order and all(p in order for p in graph.get(name, {}))]
        if not ready:
            raise DataError(f"graph: {listed(sorted(set(columns) - set(order)))} cause one another in a circle")
        order += ready
    return np.array([columns.index(name) for name in order], dtype=np.int64)
