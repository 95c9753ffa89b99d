"""VGG, a deep stack of small convolutions."""

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


class VGG(Pictured):
    """Blocks of two 3 x 3 convolutions and a max pooling, one a width, then two fully connected layers."""

    def __init__(
        self, *, shape: Sequence[int], outputs: int, widths: Sequence[int], hidden: int, dropout: float
    ) -> None:
        blocks = units(widths)
        super().__init__(shape=shape, outputs=outputs, least=max(8, 2 ** len(blocks)))
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "widths": blocks,
            "hidden": hidden,
            "dropout": dropout,
        }
        layers: list[nn.Module] = []
        given = shape[0]
        for width in blocks:
            layers += [
                nn.Conv2d(given, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
            ]
            layers.append(nn.MaxPool2d(2))
            given = width
        high, wide = (side // 2 ** len(blocks) for side in self.seen)
        layers += [nn.Flatten(), nn.Linear(given * high * wide, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(hidden, outputs))


@family("vgg", title="VGG", world="glyphs", promise=light_glyphs, rows=2000, checks=SPARING, sources=("simonyan2015",))
def vgg(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    widths: Sequence[int] = (8, 16, 32),
    hidden: int = 64,
    dropout: float = 0.5,
    epochs: int = 6,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> VGG:
    """Blocks of two 3 x 3 convolutions of `widths` channels, each block halving the picture, and `hidden` units behind them.

    dropout: share of hidden units left out in training. optimiser, rate: see `audit.models.training.Training`. Raises
    UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    if not units([hidden, *widths])[1:]:
        raise UsageError("widths: a number of channels for each block, one at least, got none")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout: a share in [0, 1), got {dropout!r}")
    shape = shape_of(data, "vgg")
    with seeded(seed):
        module = VGG(shape=shape, outputs=outputs_of(data), widths=widths, hidden=hidden, dropout=dropout)
    return fitted(module, data, device=device, training=training)
