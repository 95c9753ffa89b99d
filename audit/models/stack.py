"""Stacks of linear layers over tables: their activations, their norms, and the standardisation folded into the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import Dataset, UsageError, suggest
from audit.data.tables import listed
from audit.models.encoding import Encoder, table_of
from audit.models.reference import Reference

Activation = Literal["relu", "sigmoid", "tanh", "leaky_relu", "prelu", "swish", "gelu"]
Norm = Literal["none", "batch", "layer"]
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
}
NORMS: Mapping[str, Callable[[int], nn.Module] | None] = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
FOLDED = "Standardisation is part of its first layer, which reads raw numbers: rows with missing values have no answer."


def chosen(name: str, value: str, allowed: Mapping[str, Any]) -> Any:
    """What the option's value stands for; raises UsageError with the nearest allowed one."""
    if value not in allowed:
        raise UsageError(f"{name}: one of {listed(allowed)}, got {value!r}{suggest(str(value), allowed)}")
    return allowed[value]


def units(hidden: Any) -> list[int]:
    """The widths of hidden layers; raises UsageError for what is no list of whole numbers from 1 on."""
    found: list[Any] = list(hidden) if isinstance(hidden, Sequence) else [None]
    if any(not isinstance(width, int) or isinstance(width, bool) or width < 1 for width in found):
        raise UsageError(f"hidden: a list of whole numbers of units from 1 on, got {hidden!r}")
    return found


def layers_of(
    widths: Sequence[int], *, activation: str = "relu", dropout: float = 0.0, norm: str = "none"
) -> nn.Sequential:
    """Linear layers of these widths, a norm, an activation and dropout behind each but the last; raises UsageError."""
    units(widths[1:-1])
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout: a share in [0, 1), got {dropout!r}")
    act, normed = chosen("activation", activation, ACTIVATIONS), chosen("norm", norm, NORMS)
    stack: list[nn.Module] = []
    for pair in pairwise(widths[:-1]):
        stack.append(nn.Linear(*pair))
        if normed is not None:
            stack.append(normed(pair[1]))
        stack.append(act())
        if dropout:
            stack.append(nn.Dropout(dropout))
    return nn.Sequential(*stack, nn.Linear(widths[-2], widths[-1]))


class Stacked(Reference):
    """A front that standardises, and layers that begin with nn.Linear.

    `settled` folds the front into them, where it can: then `front` is None and `layers` read raw rows (n, d).
    """

    front: Encoder | None
    layers: nn.Sequential

    def settled(self, data: Dataset) -> None:
        """Fold the standardisation into the first layer, where the table has numbers alone and none of them missing.

        The function is the same up to rounding; explainers then multiply the first layer only once (`audit.models.first_layer`).
        """
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        if self.front is None or not foldable(self.front, data):
            return
        with torch.no_grad():
            weight = first.weight.double() / self.front.scale.double()
            if first.bias is not None:
                first.bias.copy_(first.bias.double() - weight @ self.front.mean.double())
            first.weight.copy_(weight)
        self.front, self.notes = None, (*self.notes, FOLDED)
        self.config = {**self.config, "encoder": None, "width": first.in_features}

    def through(self, x: Tensor) -> Tensor:
        """What the layers say (n, k) of raw rows (n, d)."""
        out: Tensor = self.layers(x if self.front is None else self.front(x))
        return out


def foldable(front: Encoder, data: Dataset) -> bool:
    """Whether the front does nothing but shift and scale every column of the data."""
    values = table_of(data).values
    return len(front.numbers) == values.shape[1] and bool(np.isfinite(values).all())
