"""Recurrent networks over sequences: what the Elman network, the bidirectional one, LSTM and GRU share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import Dataset, Floats, UsageError
from audit.data.series import Series
from audit.data.tables import listed
from audit.models.encoding import inputs_of, labels_of, outputs_of
from audit.models.family_model import Reference
from audit.models.options import whole
from audit.models.promises import near_the_oracle
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Training, log_loss, train
from audit.registry import family

F = TypeVar("F", bound=Callable[..., Any])
Cell = Literal["elman", "lstm", "gru"]
CELLS: Mapping[str, Callable[..., nn.RNNBase]] = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Standard(nn.Module):
    """Sequences (n, steps, columns) standardised column by column; missing numbers, and all padding, become the mean, 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def learn(self, inputs: Series) -> None:
        """Take means and deviations from the steps that are no padding; 0 and 1 for a column that is never known."""
        known = np.where(within(inputs)[:, :, None], inputs.values, np.nan).reshape(-1, len(inputs.columns))
        count = np.maximum((~np.isnan(known)).sum(axis=0), 1)
        mean = np.nansum(known, axis=0) / count
        spread = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / count)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, standardised."""
        return torch.nan_to_num((x - self.mean) / self.scale)


class Recurrent(Reference):
    """One recurrent layer, or one each way, over standardised sequences, and logits (n,) or (n, outputs) of its last state.

    columns: of a step. hidden: units a direction. both: whether a second layer reads from the end to the beginning; each
    then tells what it holds when it has read all. Padding is never read: the last state is that of the last real step.
    """

    def __init__(self, *, cell: Cell, columns: int, hidden: int, outputs: int = 1, both: bool = False) -> None:
        super().__init__()
        self.config = {"cell": cell, "columns": columns, "hidden": hidden, "outputs": outputs, "both": both}
        if cell not in get_args(Cell):
            raise UsageError(f"cell: one of {listed(get_args(Cell))}, got {cell!r}")
        whole("hidden", hidden)
        self.front = Standard(columns)
        self.forwards = CELLS[cell](columns, hidden, batch_first=True)
        self.backwards = CELLS[cell](columns, hidden, batch_first=True) if both else None
        self.last = nn.Linear(hidden * (1 + both), outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (n,) or (n, outputs) of raw sequences x (n, steps, columns).

        lengths (n,): how many steps of each are real; by default those up to the last that holds any number.
        """
        lengths = lengths_of(x) if lengths is None else lengths
        z = self.front(x)
        states = [_ending(self.forwards, z, lengths)]
        if self.backwards is not None:
            # Every sequence from its own end: what lies behind it stays behind.
            step = torch.arange(z.shape[1], device=z.device)
            mirrored = (lengths[:, None] - 1 - step) % z.shape[1]
            states.append(_ending(self.backwards, z.gather(1, mirrored[:, :, None].expand_as(z)), lengths))
        logits: Tensor = self.last(torch.cat(states, dim=1))
        return logits[:, 0] if logits.shape[1] == 1 else logits


def _ending(layer: nn.Module, z: Tensor, lengths: Tensor) -> Tensor:
    """The state (n, hidden) behind the last real step of each sequence."""
    every: Tensor = layer(z)[0]
    return every[torch.arange(len(z), device=z.device), lengths - 1]


def lengths_of(x: Tensor) -> Tensor:
    """How many steps (n,), at least one, lie up to the last of x (n, steps, columns) that is not wholly NaN."""
    there = ~torch.isnan(x).all(dim=2)
    step = torch.arange(1, x.shape[1] + 1, device=x.device)
    return (there * step).amax(dim=1).clamp_min(1)


def within(inputs: Series) -> np.ndarray:
    """Whether each step (n, steps) is real and no padding."""
    return np.asarray(np.arange(inputs.values.shape[1]) < inputs.lengths[:, None])


def padded(inputs: Series, device: str = "cpu") -> Tensor:
    """Sequences as a float32 tensor (n, steps, columns) whose padding is NaN, which says how long each is."""
    values: Floats = np.where(within(inputs)[:, :, None], inputs.values, np.nan)
    return torch.as_tensor(values, dtype=torch.float32, device=device)


def recurrent_family(id: str, *, title: str, sources: tuple[str, ...]) -> Callable[[F], F]:
    """Register a family that is trained on payments and promises to be nearly as good as the oracle there."""
    promise = partial(near_the_oracle, below=0.02)
    return family(id, title=title, world="payments", promise=promise, checks=SPARING, rows=6000, sources=sources)


def recurrent(
    data: Dataset, id: str, *, cell: Cell, both: bool = False, hidden: int, training: Training, device: str
) -> Recurrent:
    """A recurrent network trained through time on the log loss; raises DataError, UsageError."""
    inputs = inputs_of(data, Series, id)
    columns, outputs = len(inputs.columns), outputs_of(data)
    with seeded(training.seed):
        module = Recurrent(cell=cell, columns=columns, hidden=hidden, outputs=outputs, both=both)
    module.front.learn(inputs)
    module.to(device)
    train(module, padded(inputs, device), labels_of(data, device), training=training, loss=log_loss)
    return module
