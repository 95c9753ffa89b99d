"""EfficientNet: inverted bottlenecks of depthwise convolutions, squeezed and excited, scaled by one number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.convolutions import normed
from audit.models.encoding import outputs_of
from audit.models.pictures import Pictured, light_glyphs, shape_of
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Optimiser, Training
from audit.registry import family

# Of each stage: expansion, side of the depthwise convolution, stride, channels, blocks. The paper's seven in small.
STAGES = ((1, 3, 1, 8, 1), (4, 3, 2, 12, 1), (4, 5, 2, 16, 2))
STEM, HEAD = 8, 64


def convolved(
    given: int, width: int, side: int, *, stride: int = 1, groups: int = 1, dilation: int = 1, active: bool = True
) -> nn.Sequential:
    """A convolution that keeps the map's size (or divides it by the stride), batch norm and, if active, a swish."""
    padding = dilation * (side // 2)
    convolution = nn.Conv2d(given, width, side, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), *([nn.SiLU()] if active else []))


class Squeeze(nn.Module):
    """Squeeze and excitation (hu2018): every channel times a gate in (0, 1) that reads the means of all channels."""

    def __init__(self, width: int, few: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, few, 1), nn.SiLU(), nn.Conv2d(few, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, width, h, w), scaled."""
        out: Tensor = x * self.gate(x)
        return out


class Bottleneck(nn.Module):
    """MBConv (sandler2018): widened by a 1 x 1, a depthwise convolution, squeezed, narrowed by a 1 x 1, added to what came."""

    def __init__(
        self, given: int, width: int, *, side: int, stride: int, expansion: int, squeeze: float, dilation: int
    ) -> None:
        super().__init__()
        wide = given * expansion
        parts: list[nn.Module] = [] if expansion == 1 else [convolved(given, wide, 1)]
        parts.append(convolved(wide, wide, side, stride=stride, groups=wide, dilation=dilation))
        if squeeze:
            parts.append(Squeeze(wide, max(1, int(given * squeeze))))
        self.way = nn.Sequential(*parts, convolved(wide, width, 1, active=False))
        self.added = stride == 1 and given == width

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, given, h, w) to (n, width, h / stride, w / stride)."""
        out: Tensor = self.way(x)
        return x + out if self.added else out


class EfficientNet(Pictured):
    """A stem of stride 2, stages of MBConv blocks, a 1 x 1 to 8 times the stem's channels, the mean, a linear layer.

    The factors that phi sets multiply channels (rounded to whole fours), blocks of a stage (rounded up) and sides of the
    picture. A dilation above 1 spreads the depthwise convolutions of the last stage, which then keeps its map's size.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        outputs: int,
        channels: float,
        blocks: float,
        sides: float,
        squeeze: float,
        dilation: int,
    ) -> None:
        super().__init__(shape=shape, outputs=outputs, least=8)
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "channels": channels,
            "blocks": blocks,
            "sides": sides,
            "squeeze": squeeze,
            "dilation": dilation,
        }
        size = (max(8, round(self.seen[0] * sides)), max(8, round(self.seen[1] * sides)))
        parts: list[nn.Module] = (
            [nn.Upsample(size=size, mode="bilinear", align_corners=False)] if size != self.seen else []
        )
        given = fours(STEM * channels)
        parts.append(convolved(shape[0], given, 3, stride=2))
        for stage, (expansion, side, stride, width, count) in enumerate(STAGES):
            apart = dilation if stage == len(STAGES) - 1 else 1
            for place in range(math.ceil(count * blocks)):
                wide, step = fours(width * channels), stride if not place and apart == 1 else 1
                parts.append(
                    Bottleneck(
                        given, wide, side=side, stride=step, expansion=expansion, squeeze=squeeze, dilation=apart
                    )
                )
                given = wide
        parts.append(convolved(given, fours(HEAD * channels), 1))
        self.body = nn.Sequential(
            *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fours(HEAD * channels), outputs)
        )


def fours(width: float) -> int:
    """A number of channels rounded to whole fours, at least 4."""
    return max(4, 4 * round(width / 4))


@family(
    "efficientnet",
    title="EfficientNet",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("tan2019", "sandler2018", "hu2018", "yu2016"),
)
def efficientnet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    phi: float = 0.0,
    depth: float = 1.2,
    width: float = 1.1,
    resolution: float = 1.15,
    squeeze: float = 0.25,
    dilation: int = 1,
    epochs: int = 5,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> EfficientNet:
    """An EfficientNet at the scale `phi`: depth, width and resolution to the power of phi times its blocks, channels, pixels.

    phi: 0 for the smallest; each 1 more about doubles the operations, for depth x width² x resolution² is about 2. squeeze:
    channels of the squeezed layer as a share of the block's inputs, 0 for none. dilation: 1, or pixels between the taps of
    the last stage (yu2016), whose map then keeps its size. optimiser, rate: see `audit.models.training.Training`. The
    paper's stochastic depth and dropout, made for far deeper networks, are left out. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    units([dilation])
    for name, value in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not 1 <= value <= 4:
            raise UsageError(f"{name}: a factor in [1, 4], got {value!r}")
    if not 0 <= phi <= 8:
        raise UsageError(f"phi: a number in [0, 8], got {phi!r}")
    if not 0 <= squeeze <= 1:
        raise UsageError(f"squeeze: a share in [0, 1], got {squeeze!r}")
    shape = shape_of(data, "efficientnet")
    with seeded(seed):
        module = EfficientNet(
            shape=shape,
            outputs=outputs_of(data),
            channels=width**phi,
            blocks=depth**phi,
            sides=resolution**phi,
            squeeze=squeeze,
            dilation=dilation,
        )
    return normed(module, data, device=device, training=training)
