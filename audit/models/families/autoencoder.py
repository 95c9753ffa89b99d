"""The autoencoder: a network that gives back its input from the few numbers it keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import Dataset, Model, UsageError
from audit.data.worlds.base import World
from audit.models.encoding import Encoder, encoder, rows_of
from audit.models.families.pca import ERROR_NOTE, least_error
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, train
from audit.registry import family


class Autoencoder(Reference):
    """Encoder of columns, hidden layers of ReLU, `width` numbers, and back; the score (n,) is the mean squared error.

    noise: sd of what is added to the standardised columns in training, while the clean ones are asked back. tied: the way
    back uses the transposed weights of the way in; without hidden layers only, which makes it linear.
    """

    output = "value"
    offers = frozenset({"reconstruction"})
    notes = (ERROR_NOTE,)

    def __init__(
        self, *, encoder: Mapping[str, Any], hidden: Sequence[int], width: int, noise: float, tied: bool
    ) -> None:
        super().__init__()
        self.config = {
            "encoder": dict(encoder), "hidden": list(hidden), "width": width, "noise": noise, "tied": tied
        }  # fmt: skip
        self.encoder = Encoder(**encoder)
        self.noise, self.tied = noise, tied
        widths = [self.encoder.width, *hidden, width]
        self.inwards = _stack(widths)
        first = self.inwards[0]
        assert isinstance(first, nn.Linear)
        self.outwards = _Back(first) if tied else _stack(widths[::-1])

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded rows (n, w) of raw rows (n, d), and what is given back of them (n, w)."""
        z = self.encoder(x)
        seen = z + self.noise * torch.randn_like(z) if self.training and self.noise else z
        return z, self.restore(seen)

    def restore(self, z: Tensor) -> Tensor:
        """What is given back (n, w) of encoded rows (n, w)."""
        restored: Tensor = self.outwards(self.inwards(z))
        return restored

    def forward(self, x: Tensor) -> Tensor:
        """Mean squared error (n,) of raw rows (n, d), in variances of the columns."""
        read, restored = self.reconstruct(x)
        return (read - restored).square().mean(dim=1)


class _Back(nn.Module):
    """The transpose of a linear layer with a bias of its own; the weights stay the layer's."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.shared = (layer,)  # a tuple: registered once, where it is used first
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, code: Tensor) -> Tensor:
        return code @ self.shared[0].weight + self.bias


def _stack(widths: Sequence[int]) -> nn.Sequential:
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def as_good_as_lines(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """No worse than the best linear code of the same width, for rows as they are and for clean rows from noisy ones.

    A projection on w of d axes passes the share w/d of white noise.
    """
    module, sd = model.module, 0.3  # type: ignore[attr-defined]
    width, columns = module.config["width"], module.encoder.width
    best = least_error(model, data, width)
    error = float(model.predict(data.inputs).mean())
    yield Promise(name="reconstruction error", value=error, high=best + 0.02, why=f"principal components {best:.4f}")
    noisy, linear = noisy_error(model, data, sd), best + sd**2 * width / columns
    yield Promise(
        name="error from noisy rows", value=noisy, high=linear + 0.02, why=f"principal components {linear:.4f}"
    )


def noisy_error(model: Model, data: Dataset, sd: float) -> float:
    """Mean squared error of what is given back of rows with noise of this sd in the standardised columns, from the clean."""
    module: Autoencoder = model.module  # type: ignore[attr-defined]
    with torch.no_grad():
        z = module.encoder(model.tensor(data.inputs))  # type: ignore[attr-defined]
        noise = np.random.default_rng(0).standard_normal(tuple(z.shape)) * sd
        restored = module.restore(z + torch.as_tensor(noise, dtype=z.dtype, device=z.device))
    return float((restored - z).square().mean())


@family(
    "autoencoder",
    title="Autoencoder",
    world="credit",
    offers=("reconstruction",),
    promise=as_good_as_lines,
    sources=("baldi1989", "hinton2006", "vincent2010"),
)
def autoencoder(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 3,
    hidden: Sequence[int] = (32,),
    noise: float = 0.1,
    tied: bool = False,
    epochs: int = 20,
    rate: float = 3e-3,
) -> Autoencoder:
    """Trained to give back clean rows from rows with noise of this sd (0: the rows themselves); labels are not read."""
    if tied and hidden:
        raise UsageError(f"tied: only without hidden layers (hidden = []), got hidden = {list(hidden)}")
    if noise < 0 or width < 1:
        raise UsageError(f"noise, width: a deviation from 0 on, and at least 1 number; got {noise} and {width}")
    front = encoder(data)
    with seeded(seed):
        module = Autoencoder(encoder=front.config, hidden=hidden, width=width, noise=noise, tied=tied)
    module.encoder.load_state_dict(front.state_dict())
    x = rows_of(data, device)
    train(module.to(device), x, x, training=Training(epochs=epochs, rate=rate, seed=seed), loss=lambda raw, _: raw)
    return module
