"""Nodes of graphs as rows: one graph that they share, or a copy of it for each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from audit.core import DataError, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphs:
    """Nodes to be judged, and what surrounds them.

    features (nodes, d) and edges (m, 2), from a source to a target, both directions where ties have none; targets (n,):
    the node that each row asks about. copies (nodes,): which of several disjoint graphs a node belongs to, ascending; rows
    that share a graph share a copy. columns: names of the features.
    """

    features: Floats
    edges: Ints
    targets: Ints
    copies: Ints
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        nodes = len(self.features)
        if self.features.ndim != 2 or self.features.shape[1] != len(self.columns):
            raise DataError(f"graph: expected features (nodes, {len(self.columns)}), got shape {self.features.shape}")
        if not np.isfinite(self.features).all():
            place = int(np.flatnonzero(~np.isfinite(self.features).all(axis=0))[0])
            raise DataError(f"graph: features must be finite numbers; {self.columns[place]!r} has others")
        if self.edges.ndim != 2 or self.edges.shape[1] != 2:
            raise DataError(f"graph: expected edges (m, 2), got shape {self.edges.shape}")
        if self.copies.shape != (nodes,) or (np.diff(self.copies) < 0).any():
            raise DataError(f"graph: copies must be {nodes} ascending numbers, got shape {self.copies.shape}")
        for name, places in (("edges", self.edges), ("targets", self.targets)):
            if places.size and not 0 <= places.min() <= places.max() < nodes:
                raise DataError(
                    f"graph: {name} must name nodes from 0 to {nodes - 1}, got {places.min()} to {places.max()}"
                )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def values(self) -> Floats:
        """The features (n, d) of the nodes that are asked about."""
        return self.features[self.targets]

    def take(self, rows: Ints) -> Graphs:
        """The named rows (k,) with the copies that they lie in, and no others."""
        targets = self.targets[rows]
        kept = np.isin(self.copies, self.copies[targets])
        if kept.all():
            return replace(self, targets=targets)
        place = np.cumsum(kept) - 1
        return replace(
            self,
            features=self.features[kept],
            edges=place[self.edges[kept[self.edges[:, 0]]]],
            targets=place[targets],
            copies=self.copies[kept],
        )


def graph(
    features: Floats, edges: Ints, *, targets: Ints | None = None, columns: tuple[str, ...] = (), both_ways: bool = True
) -> Graphs:
    """One graph whose nodes are the rows; raises DataError.

    edges (m, 2): ties between nodes; both_ways: each is taken in both directions, and once only. targets: the nodes that
    are asked about, by default all.
    """
    features = np.asarray(features, dtype=np.float64)
    ties = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if both_ways:
        ties = np.unique(np.concatenate([ties, ties[:, ::-1]]), axis=0)
    return Graphs(
        features=features,
        edges=ties,
        targets=np.arange(len(features)) if targets is None else np.asarray(targets, dtype=np.int64),
        copies=np.zeros(len(features), dtype=np.int64),
        columns=columns or tuple(f"x{place}" for place in range(features.shape[-1])),
    )


def neighbourhood(inputs: Graphs, row: int, hops: int) -> tuple[Ints, Ints]:
    """The nodes within `hops` steps against the edges from a row's node, itself first, and the places of edges into them."""
    reached = np.zeros(len(inputs.features), dtype=bool)
    reached[inputs.targets[row]] = True
    front = reached.copy()
    for _ in range(hops):
        sources = inputs.edges[front[inputs.edges[:, 1]], 0]
        front = np.zeros_like(reached)
        front[sources] = True
        front &= ~reached
        if not front.any():
            break
        reached |= front
    nodes = np.flatnonzero(reached)
    nodes = np.concatenate([[inputs.targets[row]], nodes[nodes != inputs.targets[row]]])
    return nodes, np.flatnonzero(reached[inputs.edges[:, 1]])
