"""Reweighing: rows of weights under which label and group are independent, and any module trained on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from audit.core import Ints
from audit.fairness import mitigation
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train


def weights_of(y: Tensor, a: Ints) -> Tensor:
    """P(a) P(y) / P(a, y) of each row (n,) for labels y (n,) and groups a (n,), of mean 1 (kamiran2012)."""
    found = mitigation.reweighing(y.cpu().numpy(), sensitive_features=a)
    return torch.as_tensor(found, dtype=torch.float64, device=y.device)


def reweighed(build: Callable[[], nn.Module], x: Tensor, y: Tensor, a: Ints, *, training: Training) -> nn.Module:
    """A module of x (n, ...) to logits, trained on rows of the weights that part label y (n,) and group a (n,).

    The weights undo what the labels owe to the group as a whole; what the columns say of the group the module may still
    use. Raises DataError, ModelError.
    """
    with seeded(training.seed):
        module = build().to(x.device)
    train(module, x, y, training=training, loss=log_loss, weights=weights_of(y, a).to(x.dtype))
    return module
