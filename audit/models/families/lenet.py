"""LeNet-5, the convolutional network that read cheques."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audit.core import Dataset
from audit.models.encoding import outputs_of
from audit.models.pictures import Pictured, fitted, light_glyphs, shape_of
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Optimiser, Training
from audit.registry import family

# Which of the six maps of S2 each of the sixteen maps of C3 reads (lecun1998, table I).
TABLE = (
    *((k, (k + 1) % 6, (k + 2) % 6) for k in range(6)),
    *(tuple((k + j) % 6 for j in range(4)) for k in range(6)),
    *((k, k + 1, (k + 3) % 6, (k + 4) % 6) for k in range(3)),
    (0, 1, 2, 3, 4, 5),
)


class Squash(nn.Module):
    """1.7159 tanh(2 x / 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of any shape."""
        out: Tensor = 1.7159 * self.tanh(2 / 3 * x)
        return out


class LeNet(Pictured):
    """C1, S2, C3, S4, C5, F6 and a linear output; C5 looks everywhere in pictures beyond 32 x 32, and its mean is taken."""

    def __init__(self, *, shape: Sequence[int], outputs: int) -> None:
        super().__init__(shape=shape, outputs=outputs, least=32)
        self.config = {"shape": list(shape), "outputs": outputs}
        self.third = nn.Conv2d(6, 16, 5)
        with torch.no_grad():
            self.third.weight.mul_(table()[..., None, None])
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], 6, 5),
            *subsampled(6),
            self.third,
            *subsampled(16),
            nn.Conv2d(16, 120, 5),
            Squash(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(120, 84),
            Squash(),
            nn.Linear(84, outputs),
        )


def subsampled(maps: int) -> list[nn.Module]:
    """A layer S: the mean of 2 x 2 times a trained coefficient, plus a trained bias, squashed.

    Coefficient and bias, a convolution of 1 x 1, come before the mean, which makes no difference to it.
    """
    return [nn.Conv2d(maps, maps, 1, groups=maps), nn.AvgPool2d(2), Squash()]


def table() -> Tensor:
    """1 where a map of C3 reads a map of S2 (16, 6)."""
    found = torch.zeros(16, 6)
    for row, maps in enumerate(TABLE):
        found[row, list(maps)] = 1.0
    return found


@family(
    "lenet", title="LeNet-5", world="glyphs", promise=light_glyphs, rows=2000, checks=SPARING, sources=("lecun1998",)
)
def lenet(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    epochs: int = 7,
    batch: int = 64,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
) -> LeNet:
    """LeNet-5 with its partly connected third layer, trained subsampling and scaled tanh; 60,000 weights before the output.

    The output is linear and trained on the log loss, in place of the paper's distances to drawn codes. Pictures below
    32 x 32 are enlarged and framed. optimiser, rate: see `audit.models.training.Training`. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, seed=seed)
    shape = shape_of(data, "lenet")
    with seeded(seed):
        module = LeNet(shape=shape, outputs=outputs_of(data))
    allowed = table()[..., None, None].to(device)
    module = module.to(device)
    # What a map of C3 does not read has a weight of 0 at first, and keeps it.
    kept = module.third.weight.register_hook(lambda slope: slope * allowed)  # type: ignore[no-untyped-call]
    try:
        return fitted(module, data, device=device, training=training)
    finally:
        kept.remove()
