"""The graph attention network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.core import Dataset
from audit.models.graph_network import GraphNetwork, convolutions, fitted, whole
from audit.models.graph_promises import near_simple_convolutions
from audit.models.options import share
from audit.models.sparing import SPARING
from audit.models.training import Training
from audit.registry import family


class GAT(GraphNetwork):
    """Two layers of attention over ties and loops: the first of several heads side by side, the second of one.

    A node's weights on itself and on those with an edge to it are a softmax of LeakyReLU(a · [W x_i, W x_j]).
    """

    offers = frozenset({"graph", "attention"})

    def __init__(self, *, features: int, classes: int, hidden: int = 4, heads: int = 4, dropout: float = 0.2) -> None:
        wide = whole("hidden", hidden, 1) * whole("heads", heads, 1)
        super().__init__(features=features, classes=classes, width=wide)
        self.config = {
            "features": features,
            "classes": classes,
            "hidden": hidden,
            "heads": heads,
            "dropout": dropout,
        }
        layers, lost = convolutions("gat"), share("dropout", dropout)
        self.first = layers.GATConv(features, hidden, heads=heads, dropout=lost)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(lost)
        self.second = layers.GATConv(wide, classes, heads=1, dropout=lost)

    def embedded(self, x: Tensor, edges: Tensor) -> Tensor:
        """The hidden layer (nodes, heads · hidden)."""
        found: Tensor = self.elu(self.first(x, edges))
        return found

    def judged(self, z: Tensor, edges: Tensor) -> Tensor:
        """Logits (nodes, classes) of the hidden layer."""
        found: Tensor = self.second(self.dropout(z), edges)
        return found

    def attention(self, x: Tensor, edges: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Of each layer its edges (2, m), loops at their end, and their weights (m, heads), which sum to 1 at each target."""
        x = (x - self.mean) / self.scale
        with torch.no_grad():
            hidden, first = self.first(x, edges, return_attention_weights=True)
            _, second = self.second(self.elu(hidden), edges, return_attention_weights=True)
        return first, second


@family(
    "gat",
    title="Graph attention network",
    world="lending_network",
    offers=("graph", "attention"),
    promise=near_simple_convolutions,
    rows=2000,
    checks=SPARING,
    sources=("velickovic2018", "kipf2016", "wu2019"),
)
def gat(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    labelled: int = 2000,
    hidden: int = 4,
    heads: int = 4,
    dropout: float = 0.2,
    epochs: int = 150,
    rate: float = 0.01,
    weight_decay: float = 5e-4,
) -> GAT:
    """Two layers of attention, `heads` of `hidden` units each in the first, trained on one graph by some nodes' labels.

    labelled: how many rows' labels are used, drawn from the seed; where there are more rows, the others lend their features
    and ties. With few of them the gap between groups is one of the draw: at 300 it strays by .1. dropout:
    of the hidden layer and of the attention weights. Every one of the epochs is a step of Adam on the whole graph. The
    paper has 8 heads of 8 units, dropout .6 also of the inputs, and a rate of .005. Raises UsageError, DataError, and
    ModelError without torch_geometric.
    """
    training = Training(epochs=epochs, batch=len(data), rate=rate, weight_decay=weight_decay, seed=seed)
    return fitted(
        lambda features, classes: GAT(features=features, classes=classes, hidden=hidden, heads=heads, dropout=dropout),
        data,
        "gat",
        training=training,
        labelled=labelled,
        device=device,
    )
