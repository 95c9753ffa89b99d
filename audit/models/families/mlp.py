"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from audit.core import Dataset
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import family


class MLP(Reference):
    """Encoder, hidden layers of ReLU, one logit (n,)."""

    def __init__(self, *, encoder: Mapping[str, Any], hidden: Sequence[int]) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "hidden": list(hidden)}
        self.encoder = Encoder(**encoder)
        widths = [self.encoder.width, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        logits: Tensor = self.layers(self.encoder(x))[:, 0]
        return logits


@family("mlp", title="Multilayer perceptron", world="credit", sources=("rumelhart1986",))
def mlp(
    data: Dataset, *, seed: int = 0, device: str = "cpu", hidden: Sequence[int] = (64, 64), epochs: int = 12
) -> MLP:
    """A perceptron with hidden layers of `hidden` units, trained by backpropagation."""
    front = encoder(data)
    with seeded(seed):
        module = MLP(encoder=front.config, hidden=hidden).to(device)
    module.encoder.load_state_dict(front.state_dict())
    x, y = rows_of(data, device), labels_of(data, device)
    train(module, x, y, training=Training(epochs=epochs, seed=seed), loss=log_loss)
    return module
