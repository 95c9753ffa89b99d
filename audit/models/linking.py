"""What a module over a graph offers of its ties: those between the rows, how likely it takes others to be, its attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audit.core import Floats, Ints, ModelError
from audit.data.graphs import Graphs, neighbourhood
from audit.models.attentions import Attentions, Kind
from audit.models.modes import evaluating

if TYPE_CHECKING:
    from audit.models.adapters.torch import TorchModel


def edges_between(graphs: Graphs) -> Ints:
    """The ties (m, 2) between the nodes that are asked about, as row numbers."""
    row = np.full(len(graphs.features), -1, dtype=np.int64)
    row[graphs.targets] = np.arange(len(graphs))
    ties = row[graphs.edges]
    return np.asarray(ties[(ties >= 0).all(axis=1)])


def linked(model: TorchModel, graphs: Graphs, pairs: Ints) -> Floats | None:
    """The chance (k,) that each pair of rows (k, 2) is tied, by module.link(features, edge_index, pairs (2, k)).

    None where the module has no such method. Raises ModelError for what is no probability.
    """
    predict = getattr(model.module, "link", None)
    if predict is None:
        return None
    features = model.tensor(graphs.features)
    edges, asked = (
        torch.as_tensor(places.T.copy(), device=model.device) for places in (graphs.edges, graphs.targets[pairs])
    )
    with torch.no_grad(), evaluating(model.module):
        found: Floats = predict(features, edges, asked).double().cpu().numpy()
    if found.shape != (len(pairs),) or not ((found >= 0) & (found <= 1)).all():
        raise ModelError(
            f"{model.family}.link: expected a probability for each of {len(pairs)} pairs, got shape {found.shape}"
            + (f" from {found.min():g} to {found.max():g}" if found.size else "")
        )
    return found


def attended(model: TorchModel, graphs: Graphs) -> Attentions:
    """The weights (n, heads, nodes, nodes) of every layer around each row's node, from those that attend to those attended.

    The nodes are those that a network of so many layers sees, the row's own first, as `neighbourhood` has them; rows with
    fewer are filled up with zeros, and so are the weights on nodes that are too far away to be seen. By
    module.attention(features, edge_index): of each layer its edges (2, m) and their weights (m, heads).
    """
    attention: Any = model.module.attention
    with torch.no_grad(), evaluating(model.module):
        edges = torch.as_tensor(graphs.edges.T.copy(), device=model.device)
        told = [(e.cpu().numpy(), w.double().cpu().numpy()) for e, w in attention(model.tensor(graphs.features), edges)]
    seen = [neighbourhood(graphs, row, len(told))[0] for row in range(len(graphs))]
    count = max(map(len, seen), default=0)
    layers = [np.zeros((len(seen), weights.shape[1], count, count)) for _, weights in told]
    for row, nodes in enumerate(seen):
        place = np.full(len(graphs.features), -1)
        place[nodes] = np.arange(len(nodes))
        for layer, (ends, weights) in zip(layers, told, strict=True):
            source, target = place[ends]
            inside = (source >= 0) & (target >= 0)
            near = np.zeros((count, count, weights.shape[1]))
            np.add.at(near, (target[inside], source[inside]), weights[inside])
            layer[row] = near.transpose(2, 0, 1)
    kinds: tuple[Kind, ...] = tuple("self" for _ in told)
    return Attentions(layers=tuple(layers), kinds=kinds, names=tuple(f"layer {k + 1}" for k in range(len(told))))
