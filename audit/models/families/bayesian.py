"""The mean-field Bayesian network: every weight is a normal distribution of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import family

FIRST_SD = 0.05  # of a weight before training: small, so that the first epochs see the data through the noise


class MeanField(nn.Linear):
    """A linear layer whose weights and biases are independent normals; in evaluation it uses their means.

    In training it draws its outputs, not its weights: their law given the inputs is normal as well, and each row has
    noise of its own (local reparametrisation, kingma2015).
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        self.log_sd = nn.Parameter(torch.full((out, width), math.log(FIRST_SD)))
        self.bias_log_sd = nn.Parameter(torch.full((out,), math.log(FIRST_SD)))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, out) of inputs (n, width)."""
        mean = super().forward(x)
        if not self.training:
            return mean
        variance = nn.functional.linear(x.square(), (2 * self.log_sd).exp(), (2 * self.bias_log_sd).exp())
        return mean + variance.sqrt() * torch.randn_like(mean)

    def drawn(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Outputs (n, out) under one draw of the weights, the same for every row."""
        weight, bias = (
            mean + log_sd.exp() * torch.randn(mean.shape, generator=generator).to(mean)
            for mean, log_sd in ((self.weight, self.log_sd), (self.bias, self.bias_log_sd))
        )
        return nn.functional.linear(x, weight, bias)

    def divergence(self, prior_sd: float) -> Tensor:
        """Kullback-Leibler divergence () of the weights' law from independent N(0, prior_sd²), in nats."""
        total = self.weight.new_zeros(())
        for mean, log_sd in ((self.weight, self.log_sd), (self.bias, self.bias_log_sd)):
            ratio = (2 * log_sd).exp() / prior_sd**2
            total = total + (ratio + mean.square() / prior_sd**2 - 1 - ratio.log()).sum() / 2
        return total


class Bayesian(Reference):
    """Encoder, hidden layers of ReLU, one logit (n,), every layer `MeanField`."""

    offers = frozenset({"uncertainty"})
    notes = (
        "Predictions use the mean of every weight and are the same each time; the uncertainty is read from draws.",
    )

    def __init__(self, *, encoder: Mapping[str, Any], hidden: Sequence[int]) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "hidden": list(hidden)}
        self.encoder = Encoder(**encoder)
        widths = [self.encoder.width, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (MeanField(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, MeanField(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        logits: Tensor = self.layers(self.encoder(x))[:, 0]
        return logits

    def draws(self, x: Tensor, count: int, seed: int) -> Tensor:
        """Logits (count, n) of raw rows (n, d) under `count` draws of all weights, fixed by the seed."""
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([self._drawn(self.encoder(x), generator) for _ in range(count)])

    def _drawn(self, z: Tensor, generator: torch.Generator) -> Tensor:
        for layer in self.layers:
            z = layer.drawn(z, generator) if isinstance(layer, MeanField) else layer(z)
        return z[:, 0]

    def divergence(self, prior_sd: float) -> Tensor:
        """The sum () over its layers."""
        each = [layer.divergence(prior_sd) for layer in self.layers if isinstance(layer, MeanField)]
        return torch.stack(each).sum()


@family(
    "bayesian",
    title="Mean-field Bayesian network",
    world="credit",
    offers=("uncertainty",),
    sources=("graves2011", "blundell2015", "kingma2015"),
)
def bayesian(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    hidden: Sequence[int] = (32,),
    prior_sd: float = 1.0,
    epochs: int = 25,
    rate: float = 1e-2,
) -> Bayesian:
    """Variational inference: the mean log loss plus the divergence from the prior over the number of rows is minimised."""
    if not 0 < prior_sd < math.inf:
        raise UsageError(f"prior_sd: a number above 0, got {prior_sd!r}")
    front = encoder(data)
    with seeded(seed):
        module = Bayesian(encoder=front.config, hidden=hidden).to(device)
    module.encoder.load_state_dict(front.state_dict())
    x, y = rows_of(data, device), labels_of(data, device)

    def loss(raw: Tensor, y: Tensor) -> Tensor:
        return log_loss(raw, y) + module.divergence(prior_sd) / len(x)

    train(module, x, y, training=Training(epochs=epochs, rate=rate, seed=seed), loss=loss)
    return module
