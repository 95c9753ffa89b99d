"""A node among its neighbours, as a table made for its picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.core import Cell, Floats, Ints, Table
from audit.data.graphs import Graphs, neighbourhood
from audit.explain.attribution import Attribution
from audit.explain.masking.graphs import HOPS, ties_between
from audit.explain.views import defined, ends, error

MOST = 60  # nodes in the record, the asked one with them


def around(
    nodes: Attribution,
    inputs: Graphs,
    row: int,
    *,
    title: str,
    ties: Attribution | None = None,
    groups: Sequence[str] = (),
    hops: int = HOPS,
) -> Table:
    """One row's node, its neighbours with what each moves, and the ties between them with what each moves.

    nodes, ties: attributions of the same rows to players "node" and "edge" within `hops`. groups (nodes of the graph,):
    the group of each, "" where it is unknown. Of many neighbours those that move most are kept, nearest first.
    """
    found, edges = neighbourhood(inputs, row, hops)
    steps = _steps(inputs, row, hops, found)
    values, errors = nodes.values[row, : len(found) - 1], error(nodes)[row, : len(found) - 1]
    kept = _kept(inputs, found, steps, np.nan_to_num(np.abs(values)))
    named = {int(node): f"node {node}" for node in found}
    said = [groups[node] if len(groups) else "" for node in found]
    lines: list[tuple[Cell, ...]] = [(named[int(found[0])], None, 0, said[0], None, None)]
    lines += [
        (named[int(found[k])], None, int(steps[k]), said[k], defined(values[k - 1]), defined(errors[k - 1]))
        for k in kept
    ]
    shown = {int(found[0]), *(int(found[k]) for k in kept)}
    pairs = ties_between(inputs.edges[edges], found)
    for k, (one, other) in enumerate(pairs.tolist()):
        if one in shown and other in shown:
            told = (None, None) if ties is None else (defined(ties.values[row, k]), defined(error(ties)[row, k]))
            lines.append((named[one], named[other], None, None, *told))
    left = len(found) - len(shown)
    note = ends(nodes, row) + (f"; {left} more nodes move less or are further away" if left else "")
    columns = ("node", "tied to", "hops", "group", "value", "SE")
    return Table(name="case", title=title, columns=columns, rows=tuple(lines), note=note, view="neighbourhood")


def _steps(inputs: Graphs, row: int, hops: int, nodes: Ints) -> Ints:
    """How many steps each node (k,) is away from the row's."""
    steps = np.full(len(nodes), hops)
    for far in range(hops - 1, -1, -1):
        near = neighbourhood(inputs, row, far)[0] if far else nodes[:1]
        steps[np.isin(nodes, near)] = far
    return steps


def _kept(inputs: Graphs, nodes: Ints, steps: Ints, size: Floats) -> list[int]:
    """Places of the neighbours that are shown: near ones first, of them those that move most, none without its way in."""
    shown: set[int] = {int(nodes[0])}
    kept: list[int] = []
    for far in range(1, int(steps.max(initial=0)) + 1):
        there = np.flatnonzero(steps == far)
        for k in there[np.argsort(-size[there - 1], kind="stable")]:
            out = inputs.edges[inputs.edges[:, 0] == nodes[k], 1]
            if len(kept) < MOST - 1 and shown & set(out.tolist()):
                kept.append(int(k))
        shown |= {int(nodes[k]) for k in kept}
    return kept
