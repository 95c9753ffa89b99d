"""Colour refinement: which graphs, and which nodes, a network that passes messages can tell apart at all (weisfeiler1968)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from audit.core import DataError, Ints, UsageError
from audit.fairness.graphs import undirected


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two graphs (nodes, ties (m, 2)) of nodes that look alike; `told`: whether colour refinement tells them apart."""

    name: str
    first: tuple[int, tuple[tuple[int, int], ...]]
    second: tuple[int, tuple[tuple[int, int], ...]]
    told: bool


def _cycle(nodes: int, start: int = 0) -> tuple[tuple[int, int], ...]:
    return tuple((start + k, start + (k + 1) % nodes) for k in range(nodes))


PAIRS = (
    Pair(
        name="two triangles and a hexagon",
        first=(6, (*_cycle(3), *_cycle(3, 3))),
        second=(6, _cycle(6)),
        told=False,
    ),
    Pair(
        name="decalin and bicyclopentyl",  # two rings that share a side, two that are joined by one
        first=(10, (*_cycle(10), (0, 5))),
        second=(10, (*_cycle(5), *_cycle(5, 5), (0, 5))),
        told=False,
    ),
    Pair(
        name="path and star of four",
        first=(4, ((0, 1), (1, 2), (2, 3))),
        second=(4, ((0, 1), (0, 2), (0, 3))),
        told=True,
    ),
    Pair(  # all nodes of one are alike, and means over neighbours who are alike do not tell how many they are
        name="hexagon and prism",
        first=(6, _cycle(6)),
        second=(6, (*_cycle(3), *_cycle(3, 3), (0, 3), (1, 4), (2, 5))),
        told=True,
    ),
)


def refined(nodes: int, ties: ArrayLike, colours: ArrayLike | None = None, *, rounds: int | None = None) -> Ints:
    """The colour (nodes,) of each node after refinement: equal where equal colours had equal multisets of colours around.

    colours (nodes,): whole numbers to begin with, by default all alike. rounds: by default until nothing changes. Colours
    are numbered within this call only: put graphs side by side as one to compare them, or ask `same`. Raises DataError,
    UsageError.
    """
    if rounds is not None and rounds < 0:
        raise UsageError(f"rounds: 0 or more, or None, got {rounds}")
    edges = undirected(ties, nodes)
    found = np.zeros(nodes, dtype=np.int64) if colours is None else np.asarray(colours)
    if found.shape != (nodes,) or found.dtype.kind not in "iub":
        raise DataError(f"colours: {nodes} whole numbers, got {found.dtype} of shape {found.shape}")
    near: list[list[int]] = [[] for _ in range(nodes)]
    for one, other in edges.tolist():
        near[one].append(other)
        near[other].append(one)
    found = np.unique(found, return_inverse=True)[1]
    for _ in range(nodes if rounds is None else rounds):
        said = [(found[k], tuple(sorted(found[near[k]].tolist()))) for k in range(nodes)]
        number = {words: place for place, words in enumerate(sorted(set(said)))}
        after = np.array([number[words] for words in said], dtype=np.int64)
        if len(number) == len(np.unique(found)):  # colours are only ever split, so as many are the same ones
            break
        found = after
    return found


def same(first: tuple[int, ArrayLike], second: tuple[int, ArrayLike], *, rounds: int | None = None) -> bool:
    """Whether colour refinement finds as many nodes of each colour in both graphs (nodes, ties): it cannot tell them apart."""
    n = first[0]
    ties = np.concatenate([undirected(first[1], n), undirected(second[1], second[0]) + n])
    colours = refined(n + second[0], ties, rounds=rounds).tolist()
    return Counter(colours[:n]) == Counter(colours[n:])
