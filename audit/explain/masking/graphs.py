"""Edges, nodes or features around a node as players."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints, NotApplicable, UsageError, suggest
from audit.data.graphs import Graphs, neighbourhood
from audit.explain.masking.base import Coalitions, Players, digest, maskers

FILLS = {"edge": ("delete",), "node": ("delete", "mean"), "feature": ("mean",)}
UNITS = tuple(FILLS)
HOPS = 2  # as many layers as a network may have for its answer to be exact; most have two


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The graph around one row's node: features (k, d) with the node first, edges (m, 2) into these nodes.

    Edges from farther away come from one last, empty node: a network of no more layers than hops never sees what they
    carry, but it counts them, in degrees. edge_owner (m,): the player that holds an edge, -1 for none; node_owner (k,): the player that holds a node.
    """

    features: Floats
    edges: Ints
    edge_owner: Ints
    node_owner: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMasker:
    """What lies within some hops of each row's node: ties (both directions one player), other nodes, or features.

    An absent tie is cut. An absent node loses its ties, and its features become `centre` (d,), the mean over the graph;
    where how is "mean" its ties stay, so that nobody else's degree changes. An absent feature takes the mean in every
    node around.
    """

    inputs: Graphs
    unit: str
    hops: int
    around: tuple[Surroundings, ...]
    players: tuple[tuple[str, ...], ...]
    centre: Floats
    how: str

    @property
    def fillings(self) -> int:
        """One: what is cut is cut."""
        return 1

    @property
    def kind(self) -> str:
        """The kind of inputs."""
        return "graphs"

    @property
    def width(self) -> int:
        """Numbers that the largest surroundings hold, features and edges."""
        return max(each.features.size + each.edges.size for each in self.around)

    @property
    def background(self) -> str:
        """What fills in, in words, with a digest of the graph."""
        how = {"edge": "absent ties are cut", "node": "absent nodes lose their ties and take the mean features"}
        words = how.get(self.unit, "absent features take their mean over the graph")
        if self.unit == "node" and self.how == "mean":
            words = "absent nodes keep their ties and take the mean features"
        return f"{words} ({self.hops} hops), sha256 {digest(self.inputs.features)}"

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Graphs:
        """Rows (r,) under coalitions (c, players): r * c disjoint graphs, the coalition fastest."""
        parts = [self._copies(self.around[row], coalitions) for row in rows]
        nodes = np.cumsum([0, *(len(part[0]) for part in parts)])
        copies = np.concatenate([part[2] + k * len(coalitions) for k, part in enumerate(parts)])
        targets = [
            start + np.arange(len(coalitions)) * len(self.around[row].features)
            for start, row in zip(nodes, rows, strict=False)
        ]
        return Graphs(
            features=np.concatenate([part[0] for part in parts]),
            edges=np.concatenate([part[1] + start for part, start in zip(parts, nodes, strict=False)]),
            targets=np.concatenate(targets),
            copies=copies,
            columns=self.inputs.columns,
        )

    def _copies(self, around: Surroundings, coalitions: Coalitions) -> tuple[Floats, Ints, Ints]:
        """One row under all coalitions: features (c k, d), edges, and the copy of each node."""
        count, size = len(coalitions), len(around.features)
        # A last column, always present, stands for what no player holds: index -1.
        present = np.concatenate([coalitions, np.ones((count, 1), dtype=bool)], axis=1)
        copy = np.repeat(np.arange(count), size)
        features = np.broadcast_to(around.features, (count, *around.features.shape))
        kept = present[:, around.edge_owner]
        if self.unit == "feature":
            features = np.where(coalitions[:, None, :], features, self.centre)
        elif self.unit == "node":
            there = present[:, around.node_owner]
            features = np.where(there[:, :, None], features, self.centre)
            if self.how == "delete":
                kept = there[:, around.edges[:, 0]] & there[:, around.edges[:, 1]]
        place, edge = np.nonzero(kept)
        edges = around.edges[edge] + (place * size)[:, None]
        return features.reshape(count * size, -1), edges, copy

    def owners(self) -> Ints:
        """Graphs have no array of elements; raises NotApplicable."""
        raise NotApplicable("nodes and ties of a graph have no place in an array")

    def pool(self, elements: NDArray[Any]) -> Floats:
        """Features' numbers (n, d) as they are; raises NotApplicable where the players are ties or nodes."""
        if self.unit != "feature":
            raise NotApplicable(f"numbers of features cannot be told for players that are {self.unit}s")
        return np.asarray(elements, dtype=np.float64)

    def data(self) -> Floats:
        """The node's own features where they are the players, else NaN (n, most players)."""
        if self.unit == "feature":
            return self.inputs.values
        return np.full((len(self.players), max(len(names) for names in self.players)), np.nan)


@maskers.register
def _graphs(
    inputs: Graphs,
    background: Any,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> GraphMasker:
    unit = "edge" if players is None else players
    if not isinstance(unit, str) or unit not in UNITS:
        raise UsageError(f"players: of graphs one of {', '.join(UNITS)}, got {unit!r}{suggest(str(unit), UNITS)}")
    how = FILLS[unit][0] if fill is None else fill
    if how not in FILLS[unit]:
        allowed = " or ".join(map(repr, FILLS[unit]))
        raise UsageError(f"fill: {unit}s of a graph know {allowed}, got {fill!r}")
    if background is not None and not isinstance(background, Graphs):
        raise DataError(f"background: of graphs another graph, got {type(background).__name__}")
    hops = HOPS if size is None else size
    if hops < 1:
        raise UsageError(f"size: at least 1 hop, got {hops}")
    found = [_surroundings(inputs, row, hops, unit) for row in range(len(inputs))]
    source = inputs if background is None else background
    return GraphMasker(
        inputs=inputs,
        unit=unit,
        hops=hops,
        around=tuple(each for each, _ in found),
        players=tuple(names for _, names in found),
        centre=source.features.mean(axis=0),
        how=how,
    )


def _surroundings(inputs: Graphs, row: int, hops: int, unit: str) -> tuple[Surroundings, tuple[str, ...]]:
    # Players are those within the hops; what lies within `HOPS` stays there even so, as a network of two layers sees it.
    nodes, edges = neighbourhood(inputs, row, max(hops, HOPS))
    near = neighbourhood(inputs, row, hops)[0] if hops < HOPS else nodes
    place = np.full(len(inputs.features), len(nodes))
    place[nodes] = np.arange(len(nodes))
    local = place[inputs.edges[edges]]
    inside = (local < len(nodes)).all(axis=1)
    features = inputs.features[nodes]
    if not inside.all():
        features = np.concatenate([features, np.zeros((1, features.shape[1]))])
    edge_owner, node_owner = np.full(len(edges), -1), np.full(len(features), -1)
    names: tuple[str, ...] = inputs.columns
    if unit == "edge":
        inside = np.isin(inputs.edges[edges], near).all(axis=1)
        within = np.sort(inputs.edges[edges[inside]], axis=1)
        ties, owner = np.unique(within, axis=0, return_inverse=True)  # as `ties_between` has them
        if not len(ties):
            raise DataError(
                f"graph: node {inputs.targets[row]} has no ties within {hops} hops: nothing can be taken away"
            )
        edge_owner[inside] = owner.reshape(-1)
        names = tuple(f"{a}–{b}" for a, b in ties)
    elif unit == "node":
        if len(near) == 1:
            raise DataError(f"graph: node {inputs.targets[row]} has no neighbours within {hops} hops")
        node_owner[place[near[1:]]] = np.arange(len(near) - 1)
        names = tuple(f"node {number}" for number in near[1:])
    return (
        Surroundings(features=features, edges=local, edge_owner=edge_owner, node_owner=node_owner),
        names,
    )


def ties_between(edges: Ints, nodes: Ints) -> Ints:
    """The ties (t, 2) among edges (m, 2) whose ends are both of these nodes, smaller end first, in the order of players."""
    inside = np.isin(edges, nodes).all(axis=1)
    return np.unique(np.sort(edges[inside], axis=1), axis=0)
