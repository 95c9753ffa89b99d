"""Attention between the nodes of a graph: what each node around another one gets of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, NotApplicable, UsageError
from audit.data.graphs import Graphs, neighbourhood
from audit.explain.games import Game

if TYPE_CHECKING:
    from audit.models.attentions import Attentions


def weights_of_nodes(game: Game, make: Callable[[Attentions, Floats, Any], Floats], query: Any) -> Floats:
    """The weights (n, most players) that fall on the nodes which are players, NaN behind a row's last.

    They are read from the node that is asked about; what falls on that node itself is left out, and nodes farther away
    than the model has layers get 0. make: see `audit.explain.attention_reading.explained`. Raises NotApplicable where
    the players are no nodes, UsageError for a query other than the node itself.
    """
    masker: Any = game.masker
    inputs = masker.inputs
    assert isinstance(inputs, Graphs)
    if masker.unit != "node":
        raise NotApplicable(f'attention in a graph is between nodes: it needs players="node", got "{masker.unit}"')
    if query not in (None, "first"):
        raise UsageError(f'query: of a graph "first", the node that is asked about, got {query!r}')
    out = np.full((len(inputs), max(len(names) for names in masker.players)), np.nan)
    model: Any = game.model
    for row in range(len(inputs)):
        some = inputs.take(np.array([row]))
        found = model.attentions(some)
        start = np.eye(found.layers[-1].shape[-2])[:1]
        shares = np.zeros(len(some.features))
        shares[neighbourhood(some, 0, len(found.layers))[0]] = make(found, start, some)[0]
        players = neighbourhood(some, 0, masker.hops)[0][1:]  # in the masker's order
        out[row, : len(players)] = shares[players]
    return out
