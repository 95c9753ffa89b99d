"""GoogLeNet, whose inception blocks look at several scales at once."""

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


def convolved(given: int, width: int, side: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the map's size (or divides it by the stride), batch norm, a rectifier."""
    return nn.Sequential(
        nn.Conv2d(given, width, side, stride=stride, padding=side // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class Block(nn.Module):
    """Four ways beside each other, their maps stacked: 1 x 1; 1 x 1 then 3 x 3; 1 x 1 then 5 x 5; max pooling then 1 x 1.

    Of the 4 `width` channels that come out, the 3 x 3 gives one half, the 1 x 1 a quarter, the others an eighth each: about
    the shares of the paper's first block. The 1 x 1 before the larger ones narrows what they read.
    """

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        few = max(1, width // 2)
        self.ways = nn.ModuleList(
            [
                convolved(given, width, 1),
                nn.Sequential(convolved(given, width, 1), convolved(width, 2 * width, 3)),
                nn.Sequential(convolved(given, few, 1), convolved(few, few, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolved(given, few, 1)),
            ]
        )
        self.width = 3 * width + 2 * few

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, given, h, w) to (n, self.width, h, w)."""
        return torch.cat([way(x) for way in self.ways], dim=1)


class Inception(Pictured):
    """A stem and a pooling, inception blocks with a pooling between each two, the mean, dropout, a linear layer.

    The blocks have `width`, 2 `width`, ... channels in their 1 x 1. Batch norm stands behind every convolution, as in the
    network's second version (ioffe2015); the auxiliary classifiers of the first served depths that this one has not.
    """

    def __init__(
        self, *, shape: Sequence[int], outputs: int, width: int, blocks: int, dropout: float, stem: int
    ) -> None:
        super().__init__(shape=shape, outputs=outputs, least=8)
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "width": width,
            "blocks": blocks,
            "dropout": dropout,
            "stem": stem,
        }
        given = 2 * width
        stride = stem if min(self.seen) >= 16 else 1
        layers: list[nn.Module] = [
            convolved(shape[0], given, 3, stride),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        for place in range(blocks):
            if place:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            block = Block(given, width * (place + 1))
            self.map_layer = f"body.{len(layers)}"
            layers.append(block)
            given = block.width
        self.body = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(given, outputs)
        )


@family(
    "inception",
    title="GoogLeNet (Inception)",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("szegedy2015", "ioffe2015", "he2015"),
)
def inception(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 6,
    blocks: int = 2,
    dropout: float = 0.0,
    stem: int = 2,
    epochs: int = 6,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> Inception:
    """A GoogLeNet of `blocks` inception blocks, the first with `width` channels in its 1 x 1 convolution.

    dropout: share of the last channels left out in training, .4 in the paper. stem: stride of the first convolution, 2 as
    in the paper or 1; pictures below 16 x 16 are read at stride 1. optimiser, rate: see `audit.models.training.Training`.
    Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    units([width, blocks, stem])
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout: a share in [0, 1), got {dropout!r}")
    shape = shape_of(data, "inception")
    with seeded(seed):
        module = started(
            Inception(shape=shape, outputs=outputs_of(data), width=width, blocks=blocks, dropout=dropout, stem=stem)
        )
    return normed(module, data, device=device, training=training)
