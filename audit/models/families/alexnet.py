"""AlexNet, five convolutions and three fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from audit.core import Dataset, UsageError
from audit.models.encoding import outputs_of
from audit.models.pictures import Pictured, fitted, light_glyphs, shape_of
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Optimiser, Training
from audit.registry import family


class AlexNet(Pictured):
    """Five convolutions, the first, second and fifth pooled with overlap (3 x 3, stride 2), then three linear layers.

    Behind the first two, before pooling, responses are normalised over five neighbouring channels (k = 2, alpha = 1e-4,
    beta = .75), where asked.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        outputs: int,
        widths: Sequence[int],
        hidden: int,
        dropout: float,
        response_norm: bool,
        stride: int,
    ) -> None:
        super().__init__(shape=shape, outputs=outputs, least=16)
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "widths": list(widths),
            "hidden": hidden,
            "dropout": dropout,
            "response_norm": response_norm,
            "stride": stride,
        }
        first, second, third, fourth, fifth = widths
        layers: list[nn.Module] = [
            *convolved(shape[0], first, 5, stride),
            *normed(response_norm),
            *convolved(first, second, 5),
            *normed(response_norm),
        ]
        for pair in ((second, third), (third, fourth), (fourth, fifth)):
            layers += convolved(*pair, 3)
        layers += [nn.MaxPool2d(3, stride=2, padding=1), nn.Flatten()]
        high, wide = (-(-side // (8 * stride)) for side in self.seen)
        given = fifth * high * wide
        for width in (hidden, hidden):
            layers += [nn.Dropout(dropout), nn.Linear(given, width), nn.ReLU()]
            given = width
        self.body = nn.Sequential(*layers, nn.Linear(hidden, outputs))


def convolved(given: int, width: int, size: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that looks at every place, or every other one for a stride of 2, and what it fires."""
    return [nn.Conv2d(given, width, size, stride=stride, padding=size // 2), nn.ReLU()]


def normed(response_norm: bool) -> list[nn.Module]:
    """Local response normalisation, where asked, and overlapping pooling that halves the map."""
    # Torch divides alpha by the number of channels, the paper does not.
    norm: list[nn.Module] = [nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)] if response_norm else []
    return [*norm, nn.MaxPool2d(3, stride=2, padding=1)]


@family(
    "alexnet",
    title="AlexNet",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("krizhevsky2012",),
)
def alexnet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    widths: Sequence[int] = (8, 16, 24, 24, 16),
    hidden: int = 128,
    dropout: float = 0.5,
    response_norm: bool = True,
    stride: int = 2,
    epochs: int = 7,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = 1e-3,
) -> AlexNet:
    """Five convolutions of `widths` channels with overlapping pooling, and two layers of `hidden` units with dropout.

    stride: of the first convolution, 5 x 5 (the paper's is 11 x 11 at stride 4, for pictures seven times as wide); at 1 it
    looks at every place and costs about four times as much. response_norm: the paper's local response normalisation; DeepLIFT
    and LRP have no rule for it. optimiser, rate: see `audit.models.training.Training`. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    if len(units(widths)) != 5:
        raise UsageError(f"widths: five numbers of channels, one a convolution, got {len(widths)}")
    units([hidden])
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout: a share in [0, 1), got {dropout!r}")
    if stride < 1:
        raise UsageError(f"stride: a whole number from 1 on, got {stride!r}")
    shape, outputs = shape_of(data, "alexnet"), outputs_of(data)
    with seeded(seed):
        module = AlexNet(
            shape=shape,
            outputs=outputs,
            widths=widths,
            hidden=hidden,
            dropout=dropout,
            response_norm=response_norm,
            stride=stride,
        )
    return fitted(module, data, device=device, training=training)
