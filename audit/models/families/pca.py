"""Principal components: the linear reference of what can be kept of a table in a few numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Floats, Model, UsageError
from audit.data.worlds.base import World
from audit.models.encoding import Encoder, encoder, rows_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.registry import family

ERROR_NOTE = (
    "The score is the mean squared error with which a row is given back: it is no chance of a class, and figures that "
    "compare it with labels speak of something the model never saw."
)


def principal(values: Floats, width: int) -> tuple[Floats, Floats, Floats]:
    """Mean (d,), the first `width` principal axes (width, d) and the variances along all of them, by SVD of values (n, d).

    The sign of an axis is that of its largest entry. Raises DataError.
    """
    rows, columns = values.shape
    if not 1 <= width <= min(rows, columns):
        raise DataError(f"width: from 1 to {min(rows, columns)} for {rows} rows of {columns} columns, got {width}")
    mean = values.mean(axis=0)
    _, singular, axes = np.linalg.svd(values - mean, full_matrices=False)
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return mean, axes[:width], singular**2 / max(rows - 1, 1)


class PCA(Reference):
    """Encoder, projection on principal axes and back; the score (n,) is the mean squared error of the restoration."""

    output = "value"
    offers = frozenset({"reconstruction"})
    notes = (ERROR_NOTE,)

    def __init__(self, *, encoder: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "width": width}
        self.encoder = Encoder(**encoder)
        self.centre = nn.Parameter(torch.zeros(self.encoder.width), requires_grad=False)
        self.axes = nn.Parameter(torch.zeros(width, self.encoder.width), requires_grad=False)

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded rows (n, w) of raw rows (n, d), and what is left of them on the axes (n, w)."""
        z = self.encoder(x)
        return z, self.centre + (z - self.centre) @ self.axes.T @ self.axes

    def forward(self, x: Tensor) -> Tensor:
        """Mean squared error (n,) of raw rows (n, d), in variances of the columns."""
        read, restored = self.reconstruct(x)
        return (read - restored).square().mean(dim=1)


def lost_beside(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The mean error on unseen data is that of the axes of these very data, but for sampling.

    Axes of nearly equal variance are told apart by chance: noise columns of the credit world beside one that is none.
    """
    best = least_error(model, data, model.module.axes.shape[0])  # type: ignore[attr-defined]
    error = float(model.predict(data.inputs).mean())
    yield Promise(
        name="reconstruction error", value=error, low=best - 1e-6, high=best + 0.02, why=f"least possible {best:.4f}"
    )


def least_error(model: Model, data: Dataset, width: int) -> float:
    """The least mean squared error of any linear code of so many numbers for what the model reads of the data."""
    read, _ = model.reconstruct(data.inputs)  # type: ignore[attr-defined]
    _, _, variances = principal(read, width)
    return float(variances[width:].sum() * (len(read) - 1) / read.size)


@family(
    "pca",
    title="Principal components",
    world="credit",
    offers=("reconstruction",),
    promise=lost_beside,
    sources=("pearson1901", "eckart1936"),
)
def pca(data: Dataset, *, seed: int = 0, device: str = "cpu", width: int = 3) -> PCA:
    """The principal axes of the encoded table, in closed form: nothing is drawn, so the seed changes nothing.

    Raises DataError, UsageError.
    """
    if width < 1:
        raise UsageError(f"width: 1 or more, got {width}")
    front = encoder(data)
    module = PCA(encoder=front.config, width=width)
    module.encoder.load_state_dict(front.state_dict())
    with torch.no_grad():
        mean, axes, _ = principal(module.encoder(rows_of(data)).double().numpy(), width)
        module.centre.copy_(torch.from_numpy(mean))
        module.axes.copy_(torch.from_numpy(axes))
    return module.to(device).eval()
