"""U-Net, which marks every pixel of what it looks for, and reads the class from the same maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Model, UsageError
from audit.data.images import Images
from audit.data.worlds.base import World
from audit.models.convolutions import restated, started
from audit.models.encoding import inputs_of, labels_of, outputs_of
from audit.models.pictures import Pictured, light_glyphs, shape_of, standardised
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Optimiser, Training, log_loss, train
from audit.registry import family
from audit.stats import overlaps

EVIDENCE = 128  # pixels: of so many, the mean evidence is a logit
WARMUP = 0.1  # share of the steps after which the rate falls again
FLOOR = 0.8  # mean overlap on light faces


def twice(given: int, width: int) -> nn.Sequential:
    """Two 3 x 3 convolutions that keep the map's size, each with batch norm and a rectifier."""
    parts: list[nn.Module] = []
    for read in (given, width):
        parts += [nn.Conv2d(read, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*parts)


class Paths(nn.Module):
    """A contracting path and an expanding one, of which each step also reads the contracting map of its own size.

    As the paper's but for two things: convolutions are padded where the paper's shrink the map, and batch norm stands
    behind each of them, without which a few hundred steps leave the class at chance.

    Pictures (n, given, h, w) become maps (n, maps, h, w). A step down is a max pooling that halves the map, then twice the
    channels; a step up a transposed convolution that doubles it. Sides that are no multiple of 2 ** depth are framed with
    noughts below and on the right, and cut off the maps again.
    """

    def __init__(self, given: int, sides: Sequence[int], width: int, depth: int, maps: int) -> None:
        super().__init__()
        high, wide = (-side % 2**depth for side in sides)
        self.sides = tuple(sides)
        self.frame = nn.ZeroPad2d((0, wide, 0, high)) if high or wide else nn.Identity()
        widths = [width * 2**step for step in range(depth + 1)]
        self.down = nn.ModuleList(twice(*pair) for pair in zip([given, *widths], widths, strict=False))
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(depth))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * each, each, 2, stride=2) for each in reversed(widths[:-1]))
        self.joined = nn.ModuleList(twice(2 * each, each) for each in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, maps, h, w) of pictures (n, given, h, w)."""
        out, beside = self.frame(x), []
        for down, pool in zip(self.down, self.pools, strict=False):
            out = down(out)
            beside.append(out)
            out = pool(out)
        out = self.down[-1](out)
        for up, joined in zip(self.up, self.joined, strict=True):
            out = joined(torch.cat([beside.pop(), up(out)], dim=1))
        high, wide = self.sides
        found: Tensor = self.last(out)[:, :, :high, :wide]
        return found


class UNet(Pictured):
    """Logits (n,) or (n, k) of the class, and by `segment` the chance of every pixel.

    The last 1 x 1 convolution gives one map of what is looked for, and one of evidence for each logit; a logit is the sum
    of its evidence over the picture, for every `EVIDENCE` pixels. So a prediction runs through the whole network,
    shortcuts included, and what explanations, gradients and operations say of it, they say of the network that segments.
    """

    body: Paths

    def __init__(self, *, shape: Sequence[int], outputs: int, width: int, depth: int) -> None:
        super().__init__(shape=shape, outputs=outputs, least=8)
        self.config = {"shape": list(shape), "outputs": outputs, "width": width, "depth": depth}
        self.offers = frozenset({"segmentation"})
        self.body = Paths(shape[0], self.seen, width, depth, 1 + outputs)

    def maps(self, x: Tensor) -> Tensor:
        """Log-odds of every pixel, then evidence for each logit (n, 1 + outputs, h, w), of raw pictures (n, c, h, w)."""
        out: Tensor = self.body(self.front(x))
        return out

    def logits(self, maps: Tensor) -> Tensor:
        """Logits (n, outputs) of what `maps` gave."""
        return maps[:, 1:].mean(dim=(2, 3)) * (maps[0, 0].numel() / EVIDENCE)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) or (n, k) of raw pictures (n, c, h, w)."""
        raw = self.logits(self.maps(x))
        return raw[:, 0] if self.outputs == 1 else raw

    def segment(self, x: Tensor) -> Tensor:
        """The chance (n, h, w) that each pixel of raw pictures (n, c, h, w) belongs to what is looked for."""
        return torch.sigmoid(self.maps(x)[:, 0])


class Both(nn.Module):
    """A U-Net as it is trained: logits and the log-odds of all pixels in one row (n, outputs + h w)."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Rows (n, outputs + h w) of raw pictures (n, c, h, w)."""
        maps = self.network.maps(x)
        return torch.cat([self.network.logits(maps), maps[:, 0].flatten(1)], dim=1)


def joint(outputs: int, weight: float) -> Any:
    """The log loss of the class and, `weight` times, the mean log loss of the pixels; targets (b, 1 + h w)."""

    def loss(raw: Tensor, y: Tensor) -> Tensor:
        pixels = nn.functional.binary_cross_entropy_with_logits(raw[:, outputs:], y[:, 1:], reduction="none")
        return log_loss(raw[:, :outputs], y[:, 0].long()) + weight * pixels.mean(dim=1)

    return loss


def marked(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The class as every classifier of pictures promises it, and the mouth found on light faces."""
    yield from light_glyphs(model, data, world)
    images: Any = data.inputs
    segmenting: Any = model
    iou = overlaps(segmenting.segment(images) >= 0.5, images.mask).iou
    light = data.groups["tone"].values == 1
    why = "17 pixels: marking one row too low reads about a third"
    yield Promise(name="overlap on light faces", value=float(iou[light].mean()), low=FLOOR, why=why)


@family(
    "unet",
    title="U-Net",
    world="glyphs",
    knobs={"outline": 1.0},
    offers=("segmentation",),
    promise=marked,
    rows=2000,
    checks=SPARING,
    sources=("ronneberger2015", "ioffe2015", "he2015"),
)
def unet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 6,
    depth: int = 2,
    weight: float = 0.5,
    epochs: int = 3,
    batch: int = 32,
    optimiser: Optimiser = "adam",
    rate: float | None = 1e-2,
) -> UNet:
    """A U-Net of `depth` halvings, `width` channels at full size, that learns the mask of the pictures and their class at once.

    Its prediction is the chance of the class, so that every check of classifiers applies to it; what it marks is judged by
    performance.segmentation. weight: of the pixels' loss, as a multiple of one that weighs the pixels of a mean mask as
    much as one label. optimiser, rate: see `audit.models.training.Training`. Raises UsageError, and DataError for
    pictures without masks.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, warmup=WARMUP, seed=seed)
    units([width, depth])
    if not weight >= 0:
        raise UsageError(f"weight: a number from 0 on, got {weight!r}")
    shape, mask = shape_of(data, "unet"), inputs_of(data, Images, "unet").mask
    if mask is None or not mask.any():
        raise DataError("unet learns which pixels to mark: the pictures need a mask (Images.mask), got none")
    with seeded(seed):
        module = started(UNet(shape=shape, outputs=outputs_of(data), width=width, depth=depth))
    share = float(np.count_nonzero(mask) / mask.size)
    with torch.no_grad():  # it begins with what every pixel is on average, and need not learn that first
        module.body.last.weight.mul_(0.1)
        assert module.body.last.bias is not None
        module.body.last.bias[0] = math.log(share / (1 - share)) if share < 1 else 0.0
    module, x = standardised(module, data, device)
    pixels = torch.as_tensor(mask.reshape(len(mask), -1), dtype=torch.float32, device=device)
    y = torch.cat([labels_of(data, device)[:, None].float(), pixels], dim=1)
    train(Both(module), x, y, training=training, loss=joint(module.outputs, weight / share))
    return restated(module, x, batch)
