"""What a module over a graph offers of its ties: those between the rows, and how likely it takes others to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from audit.core import Floats, Ints, ModelError
from audit.data.graphs import Graphs
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
