"""The residual network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.encoding import outputs_of
from audit.models.pictures import Pictured, fitted, light_glyphs, shape_of
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Optimiser, Training
from audit.registry import family


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm beside a shortcut: the identity, where the map changes a 1 x 1 convolution."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(given, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = stride == 1 and given == width
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(given, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, given, h, w) to (n, width, h / stride, w / stride)."""
        out: Tensor = self.relu(self.shortcut(x) + self.way(x))  # the way last: Grad-CAM looks at the last convolution
        return out


class ResNet(Pictured):
    """A stem, stages of basic blocks, of which all but the first halve the map and double the channels, the mean, a linear layer."""

    def __init__(self, *, shape: Sequence[int], outputs: int, width: int, blocks: Sequence[int], stem: int) -> None:
        super().__init__(shape=shape, outputs=outputs, least=8)
        self.config = {"shape": list(shape), "outputs": outputs, "width": width, "blocks": list(blocks), "stem": stem}
        stride = stem if min(self.seen) >= 16 else 1
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        given = width
        for stage, count in enumerate(blocks):
            for place in range(count):
                wide = width * 2**stage
                layers.append(Block(given, wide, 2 if stage and not place else 1))
                given = wide
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, outputs))


@family(
    "resnet",
    title="Residual network",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("he2016", "ioffe2015"),
)
def resnet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 8,
    blocks: Sequence[int] = (1, 1, 1),
    stem: int = 2,
    epochs: int = 6,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> ResNet:
    """Stages of `blocks` basic blocks, from `width` channels on: (1, 1, 1) is ResNet-8, (3, 3, 3) ResNet-20.

    stem: stride of the first convolution, 1 as in the paper or 2 for a quarter of the work; pictures below 16 x 16 are
    read at stride 1. optimiser, rate: see `audit.models.training.Training`. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    if not units([width, stem, *blocks])[2:]:
        raise UsageError("blocks: how many each stage has, one stage at least, got none")
    shape = shape_of(data, "resnet")
    with seeded(seed):
        module = ResNet(shape=shape, outputs=outputs_of(data), width=width, blocks=blocks, stem=stem)
    return fitted(module, data, device=device, training=training)
