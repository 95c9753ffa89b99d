"""One neuron: the logistic one, and others by their activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audit.core import Dataset
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.feedback import Rule
from audit.models.seeds import seeded
from audit.models.stack import ACTIVATIONS, FOLDED, Stacked, chosen
from audit.models.training import Optimiser, Training, log_loss, train
from audit.registry import family

NeuronActivation = Literal["logistic", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "swish", "gelu"]
NEURONS = {"logistic": None, **ACTIVATIONS}


class Neuron(Stacked):
    """w · x + b, which is the logit (n,) of a logistic neuron; of others the activation of it, scaled and shifted.

    encoder, width: as of `audit.models.families.mlp.MLP`.
    """

    def __init__(
        self, *, encoder: Mapping[str, Any] | None, activation: NeuronActivation = "logistic", width: int | None = None
    ) -> None:
        super().__init__()
        self.config = {"encoder": None if encoder is None else dict(encoder), "activation": activation, "width": width}
        self.front = None if encoder is None else Encoder(**encoder)
        self.notes = () if encoder is not None else (FOLDED,)
        wide = int(width or 0) if self.front is None else self.front.width
        kind = chosen("activation", activation, NEURONS)
        body = nn.Linear(wide, 1)
        self.layers = nn.Sequential(body) if kind is None else nn.Sequential(body, kind(), nn.Linear(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        return self.through(x)[:, 0]


@family("neuron", title="Single neuron", world="credit", sources=("cox1958regression", "martens2020"))
def neuron(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    activation: NeuronActivation = "logistic",
    epochs: int | None = None,
    batch: int | None = None,
    optimiser: Optimiser | None = None,
    rate: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    rule: Rule = "backpropagation",
) -> Neuron:
    """A neuron trained on the log loss; the logistic one is logistic regression without a penalty.

    activation: "logistic" has no read-out, its probability is the neuron's own output; behind any other stands an affine
    read-out that makes it a logit. epochs, batch, optimiser: by default natural-gradient steps of rate 1 on all rows for
    the logistic neuron, which end at the maximum of the likelihood, and Adam in batches for others. Raises UsageError.
    """
    front = encoder(data)
    with seeded(seed):
        module = Neuron(encoder=front.config, activation=activation)
        _started(module)
    module.front = front
    module.to(device)
    x, y = rows_of(data, device), labels_of(data, device)
    newton = activation == "logistic" and optimiser is None
    chosen_optimiser: Optimiser = optimiser or ("kfac" if newton else "adam")
    training = Training(
        epochs=epochs if epochs is not None else 60 if newton else 20,
        batch=batch if batch is not None else len(x) if newton else 256,
        optimiser=chosen_optimiser,
        rate=1.0 if newton and rate is None else rate,
        momentum=momentum,
        weight_decay=weight_decay,
        rule=rule,
        damping=1e-6 if newton else 1e-2,
        seed=seed,
    )
    train(module, x, y, training=training, loss=log_loss)
    module.settled(data)
    return module


def _started(module: Neuron) -> None:
    """Begin on the side where the activation bends least and its read-out points up: a dead unit never learns."""
    if len(module.layers) > 1:
        body, readout = module.layers[0], module.layers[-1]
        assert isinstance(body, nn.Linear)
        assert isinstance(readout, nn.Linear)
        with torch.no_grad():
            body.bias.fill_(0.5)
            readout.weight.fill_(1.0)
            readout.bias.zero_()
