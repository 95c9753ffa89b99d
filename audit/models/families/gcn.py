"""The graph convolutional network."""

from __future__ import annotations

from torch import Tensor, nn

from audit.core import Dataset
from audit.models.graph_network import GraphNetwork, convolutions, fitted, whole
from audit.models.graph_promises import near_simple_convolutions
from audit.models.options import share
from audit.models.sparing import SPARING
from audit.models.training import Training
from audit.registry import family


class GCN(GraphNetwork):
    """Two graph convolutions over ties and loops, each node's part weighted by 1 / √(its degree · the other's)."""

    def __init__(self, *, features: int, classes: int, hidden: int = 16, dropout: float = 0.5) -> None:
        super().__init__(features=features, classes=classes, width=whole("hidden", hidden, 1))
        self.config = {"features": features, "classes": classes, "hidden": hidden, "dropout": dropout}
        layers = convolutions("gcn")
        self.first = layers.GCNConv(features, hidden)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(share("dropout", dropout))
        self.second = layers.GCNConv(hidden, classes)

    def embedded(self, x: Tensor, edges: Tensor) -> Tensor:
        """The hidden layer (nodes, hidden)."""
        found: Tensor = self.relu(self.first(x, edges))
        return found

    def judged(self, z: Tensor, edges: Tensor) -> Tensor:
        """Logits (nodes, classes) of the hidden layer."""
        found: Tensor = self.second(self.dropout(z), edges)
        return found


@family(
    "gcn",
    title="Graph convolutional network",
    world="lending_network",
    offers=("graph",),
    promise=near_simple_convolutions,
    rows=2000,
    checks=SPARING,
    sources=("kipf2017", "kipf2016", "wu2019"),
)
def gcn(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    labelled: int = 2000,
    hidden: int = 16,
    dropout: float = 0.5,
    epochs: int = 200,
    rate: float = 0.01,
    weight_decay: float = 5e-4,
) -> GCN:
    """Two graph convolutions with a hidden layer of `hidden` units, trained on one graph by some nodes' labels.

    labelled: how many rows' labels are used, drawn from the seed; where there are more rows, the others lend their features
    and ties. With few of them the gap between groups is one of the draw: at 300 it strays by .1. dropout:
    of the hidden layer. Every one of the epochs is a step of Adam on the whole graph; weight_decay is of all weights,
    where the paper has it of the first layer. Raises UsageError, DataError, and ModelError without torch_geometric.
    """
    training = Training(epochs=epochs, batch=len(data), rate=rate, weight_decay=weight_decay, seed=seed)
    return fitted(
        lambda features, classes: GCN(features=features, classes=classes, hidden=hidden, dropout=dropout),
        data,
        "gcn",
        training=training,
        labelled=labelled,
        device=device,
    )
