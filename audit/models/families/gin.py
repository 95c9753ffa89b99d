"""The graph isomorphism network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.core import Dataset
from audit.models.graph_network import GraphNetwork, convolutions, fitted, whole
from audit.models.graph_promises import near_the_discriminant
from audit.models.options import share
from audit.models.sparing import SPARING
from audit.models.training import Training
from audit.registry import family


class GIN(GraphNetwork):
    """Two steps of MLP((1 + ε) x_i + Σ x_j), and a linear reading of the features and both steps side by side.

    Sums keep how often a neighbour occurs, where means and maxima do not: with perceptrons wide enough two nodes are told
    apart where colour refinement tells them apart (see `audit.models.weisfeiler_lehman`).
    """

    def __init__(self, *, features: int, classes: int, hidden: int = 16, dropout: float = 0.0) -> None:
        super().__init__(features=features, classes=classes, width=2 * whole("hidden", hidden, 1))
        self.config = {"features": features, "classes": classes, "hidden": hidden, "dropout": dropout}
        layers = convolutions("gin")
        self.first = layers.GINConv(_perceptron(features, hidden), train_eps=True)
        self.second = layers.GINConv(_perceptron(hidden, hidden), train_eps=True)
        self.dropout = nn.Dropout(share("dropout", dropout))
        self.last = nn.Linear(features + 2 * hidden, classes)
        self.hidden = hidden

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits (nodes,) of two classes, (nodes, k) of k, for features x (nodes, features) and edges (2, m)."""
        read = (x - self.mean) / self.scale
        found: Tensor = self.last(self.dropout(torch.cat([read, self.embedded(read, edges)], dim=1)))
        return found[:, 0] if self.classes == 1 else found

    def embedded(self, x: Tensor, edges: Tensor) -> Tensor:
        """Both steps side by side (nodes, 2 hidden)."""
        first = self.first(x, edges)
        return torch.cat([first, self.second(first, edges)], dim=1)


def _perceptron(width: int, hidden: int) -> nn.Sequential:
    """The perceptron of one step, its norm and its last activation with it."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
    )


@family(
    "gin",
    title="Graph isomorphism network",
    world="lending_network",
    offers=("graph",),
    promise=near_the_discriminant,
    rows=2000,
    checks=SPARING,
    sources=("xu2019", "weisfeiler1968", "kipf2016"),
)
def gin(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    labelled: int = 2000,
    hidden: int = 16,
    dropout: float = 0.0,
    epochs: int = 100,
    rate: float = 0.01,
    weight_decay: float = 0.05,
) -> GIN:
    """Two steps that add up what a node's neighbours hold, through perceptrons of `hidden` units, trained on one graph.

    labelled: how many rows' labels are used, drawn from the seed; where there are more rows, the others lend their features
    and ties. dropout: of what the last layer reads. weight_decay: sums learn by heart what means smooth away, so it is large.
    Every one of the epochs is a step of Adam on the whole graph. The paper reads whole
    graphs by the sum over nodes; here each node is read by itself. Raises UsageError, DataError, and ModelError without
    torch_geometric.
    """
    training = Training(epochs=epochs, batch=len(data), rate=rate, weight_decay=weight_decay, seed=seed)
    return fitted(
        lambda features, classes: GIN(features=features, classes=classes, hidden=hidden, dropout=dropout),
        data,
        "gin",
        training=training,
        labelled=labelled,
        device=device,
    )
