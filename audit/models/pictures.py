"""What classifiers of pictures share: how they read them, how they are trained, and what they promise on glyphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Model
from audit.data.images import Images
from audit.data.worlds.base import World
from audit.models.encoding import inputs_of, labels_of
from audit.models.family_model import Reference
from audit.models.promises import Promise
from audit.models.training import Training, log_loss, train

P = TypeVar("P", bound="Pictured")
SMALLEST = 8  # pixels a side
FLOOR = 0.97  # accuracy on light faces


class Pictured(Reference):
    """Pictures (n, c, h, w) to logits (n,) of two classes or (n, k) of k: `front`, then `body`, which gives (n, outputs).

    The front standardises every channel and brings small pictures to the size that the paper's layers need: enlarged by a
    whole factor, then framed with the mean. Its means and deviations come from the training rows and stay.
    """

    front: nn.Sequential
    body: nn.Module
    outputs: int

    def __init__(self, *, shape: Sequence[int], outputs: int, least: int = SMALLEST) -> None:
        super().__init__()
        self.front, self.seen, self.outputs = front(shape, least), seen(shape, least), outputs

    def train(self, mode: bool = True) -> Pictured:
        """As of every module, but for the front: what it knows of the training rows stays as it is."""
        super().train(mode)
        self.front.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) or (n, k) of raw pictures (n, c, h, w)."""
        raw: Tensor = self.body(self.front(x))
        return raw[:, 0] if self.outputs == 1 else raw


def front(shape: Sequence[int], least: int) -> nn.Sequential:
    """Layers that standardise pictures of a shape (c, h, w), enlarge small ones and frame them: at least so many pixels a side.

    Standardising is a batch norm in evaluation mode, for which methods that attach to layers have rules.
    """
    channels, high, wide = shape
    factor = _factor(shape, least)
    layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False, eps=0.0)]
    if factor > 1:
        layers.append(nn.Upsample(scale_factor=float(factor), mode="nearest"))
    below, right = (max(0, least - factor * side) for side in (high, wide))
    if below or right:
        layers.append(nn.ZeroPad2d((right // 2, right - right // 2, below // 2, below - below // 2)))
    return nn.Sequential(*layers).eval()


def seen(shape: Sequence[int], least: int) -> tuple[int, int]:
    """Height and width of what `front` gives."""
    _, high, wide = shape
    factor = _factor(shape, least)
    return max(least, factor * high), max(least, factor * wide)


def _factor(shape: Sequence[int], least: int) -> int:
    return max(1, round(least / min(shape[1:])))


def shape_of(data: Dataset, family: str) -> list[int]:
    """Channels, height and width of the pictures that a family is trained on; raises DataError for others and for tiny ones."""
    shape = list(inputs_of(data, Images, family).values.shape[1:])
    if min(shape[1:]) < SMALLEST:
        raise DataError(
            f"{family} reads pictures of {SMALLEST} x {SMALLEST} pixels and more, got {shape[1]} x {shape[2]}"
        )
    return shape


def standardised(module: P, data: Dataset, device: str = "cpu") -> tuple[P, Tensor]:
    """The module on a device, its front told the means and deviations of the data's channels, and the pictures (n, c, h, w)."""
    images: Any = data.inputs
    x = torch.as_tensor(images.values, dtype=torch.float32, device=device)
    module = module.to(device)
    norm = module.front[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    spread = images.values.var(axis=(0, 2, 3))
    norm.running_mean.copy_(torch.from_numpy(images.values.mean(axis=(0, 2, 3))))
    norm.running_var.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
    return module, x


def fitted(module: P, data: Dataset, *, device: str, training: Training) -> P:
    """The module, standardising as the data need and trained on the log loss; raises DataError, ModelError."""
    module, x = standardised(module, data, device)
    train(module, x, labels_of(data, device), training=training, loss=log_loss)
    return module


def light_glyphs(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """On unseen faces the model is right on light skin, and loses on dark skin, of which it saw little."""
    right = (model.predict(data.inputs) >= 0.5) == (data.y == 1)
    light = data.groups["tone"].values == 1
    why = "the best that can be reached is 1.000 on light and .997 on dark faces"
    yield Promise(name="accuracy on light faces", value=float(right[light].mean()), low=FLOOR, why=why)
    lost = float(right[light].mean() - right[~light].mean())
    yield Promise(name="accuracy lost on dark faces", value=lost, low=0.02, why="the bias that the world plants")
