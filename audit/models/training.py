"""How reference models are trained: optimiser, learning rule and regularisation, from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from audit.core import ModelError, UsageError
from audit.models.seeds import seeded

Optimiser = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "kfac"]
Rule = Literal["backpropagation", "feedback_alignment", "direct_feedback_alignment"]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """epochs over the rows in batches, with an optimiser at a learning rate, weights learnt by a rule."""

    epochs: int = 12
    batch: int = 256
    optimiser: Optimiser = "adam"
    rate: float = 3e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    rule: Rule = "backpropagation"
    seed: int = 0


def train(
    module: nn.Module, x: Tensor, y: Tensor, *, training: Training, loss: Loss, weights: Tensor | None = None
) -> list[float]:
    """Train a module in place on rows x (n, ...) and targets y (n, ...); the mean loss of each epoch.

    loss(raw, y) gives one loss a row (b,). weights (n,): of the rows. Raises ModelError where the loss is not finite.
    """
    if training.optimiser != "adam" or training.rule != "backpropagation":
        raise UsageError("to come")
    optimiser = torch.optim.Adam(module.parameters(), lr=training.rate, weight_decay=training.weight_decay)
    history: list[float] = []
    module.train()
    with seeded(training.seed) as generator:
        for _ in range(training.epochs):
            total = 0.0
            order = torch.randperm(len(x), generator=generator).to(x.device)
            for rows in order.split(training.batch):  # type: ignore[no-untyped-call]
                each = loss(module(x[rows]), y[rows])
                mean = each.mean() if weights is None else (each * weights[rows]).sum() / weights[rows].sum()
                optimiser.zero_grad()
                mean.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += mean.item() * len(rows)
            history.append(total / len(x))
            if not history[-1] < float("inf"):
                raise ModelError(f"training: the loss of epoch {len(history)} is {history[-1]}; lower the rate")
    module.eval()
    return history


def log_loss(raw: Tensor, y: Tensor) -> Tensor:
    """The log loss (b,) of logits (b,) or (b, 1) of two classes, or (b, k) of k."""
    if raw.ndim == 1 or raw.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(raw.reshape(len(raw)), y.to(raw.dtype), reduction="none")
    return nn.functional.cross_entropy(raw, y, reduction="none")
