"""DenseNet, in which every layer reads what all before it found."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.convolutions import normed, started
from audit.models.encoding import outputs_of
from audit.models.pictures import Pictured, light_glyphs, shape_of
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Optimiser, Training
from audit.registry import family


class Layer(nn.Module):
    """Batch norm, a rectifier and a 3 x 3 convolution to `growth` new channels, stacked upon what came in."""

    def __init__(self, given: int, growth: int) -> None:
        super().__init__()
        self.way = nn.Sequential(nn.BatchNorm2d(given), nn.ReLU(), nn.Conv2d(given, growth, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, given, h, w) to (n, given + growth, h, w)."""
        return torch.cat([x, self.way(x)], dim=1)


class DenseNet(Pictured):
    """A stem to 2 `growth` channels, blocks of `layers` dense layers, a transition between each two, the mean, a linear layer.

    A transition is batch norm, a rectifier, a 1 x 1 convolution to `compression` of the channels and a mean over 2 x 2.
    """

    def __init__(
        self, *, shape: Sequence[int], outputs: int, growth: int, layers: Sequence[int], compression: float, stem: int
    ) -> None:
        super().__init__(shape=shape, outputs=outputs, least=max(8, 2 ** len(layers)))
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "growth": growth,
            "layers": list(layers),
            "compression": compression,
            "stem": stem,
        }
        given = 2 * growth
        stride = stem if min(self.seen) >= 16 else 1
        parts: list[nn.Module] = [nn.Conv2d(shape[0], given, 3, stride=stride, padding=1, bias=False)]
        for block, count in enumerate(layers):
            if block:
                fewer = max(1, int(given * compression))
                parts += [nn.BatchNorm2d(given), nn.ReLU(), nn.Conv2d(given, fewer, 1, bias=False), nn.AvgPool2d(2)]
                given = fewer
            for _ in range(count):
                parts.append(Layer(given, growth))
                given += growth
        self.map_layer = (
            f"body.{len(parts) + 1}"  # the last rectifier: a layer's convolution gives its own channels alone
        )
        self.body = nn.Sequential(
            *parts, nn.BatchNorm2d(given), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, outputs)
        )


@family(
    "densenet",
    title="DenseNet",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("huang2017", "ioffe2015", "he2015"),
)
def densenet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    growth: int = 8,
    layers: Sequence[int] = (3, 3),
    compression: float = 0.5,
    stem: int = 2,
    epochs: int = 5,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> DenseNet:
    """Dense blocks of `layers` layers, each of which adds `growth` channels.

    compression: share of the channels that a transition keeps. stem: stride of the first convolution, 1 as in the paper's
    networks for small pictures or 2 for a quarter of the work; pictures below 16 x 16 are read at stride 1. optimiser,
    rate: see `audit.models.training.Training`. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    units([growth, *units(layers), stem])
    if not 0 < compression <= 1:
        raise UsageError(f"compression: a share in (0, 1], got {compression!r}")
    shape = shape_of(data, "densenet")
    with seeded(seed):
        module = started(
            DenseNet(
                shape=shape,
                outputs=outputs_of(data),
                growth=growth,
                layers=layers,
                compression=compression,
                stem=stem,
            )
        )
    return normed(module, data, device=device, training=training)
