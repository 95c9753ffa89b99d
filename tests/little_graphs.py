"""A small graph network of plain torch, and graphs for it."""

import itertools
from typing import Any

import numpy as np

from audit.core import Card
from audit.data.graphs import Graphs, graph
from audit.models.adapters.torch import TorchModel
from audit.models.base import Reading


def network(features: int, *, hidden: int = 8, classes: int = 1, layers: int = 2, seed: int = 0) -> Any:
    """A graph convolution with symmetric norms and loops, its weights set; norms are those of the unweighted graph."""
    import torch

    class Convolution(torch.nn.Module):
        def __init__(self):
            super().__init__()
            sizes = [features, *[hidden] * (layers - 1), classes]
            self.layers = torch.nn.ModuleList(
                torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)
            )

        def forward(self, x, edge_index, edge_weight=None):
            source, target = edge_index
            degree = torch.ones(len(x), dtype=x.dtype).index_add(0, target, torch.ones(len(target), dtype=x.dtype))
            norm = (degree[source] * degree[target]) ** -0.5
            norm = norm if edge_weight is None else norm * edge_weight
            for place, layer in enumerate(self.layers):
                h = layer(x)
                x = (h / degree[:, None]).index_add(0, target, h[source] * norm[:, None])
                x = torch.tanh(x) if place + 1 < len(self.layers) else x
            return x

    module = Convolution()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.as_tensor(rng.normal(size=tuple(parameter.shape)) * 1.2))
    return module


def model(module: Any, classes: int = 2) -> TorchModel:
    import torch

    names = tuple(str(k) for k in range(classes))
    card = Card(family="convolution", kind="torch", classes=names, output="logit", parameters_open=True)
    reading = Reading(output="logit", order=tuple(range(classes)))
    return TorchModel(card=card, module=module, device=torch.device("cpu"), reading=reading)


def random_graph(nodes: int = 14, ties: int = 20, features: int = 3, *, targets: Any = None, seed: int = 0) -> Graphs:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, nodes, size=(ties, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return graph(rng.normal(size=(nodes, features)), pairs, targets=targets)
