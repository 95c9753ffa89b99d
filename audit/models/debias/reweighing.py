"""Reweighing: rows of weights under which label and group are independent, and any module trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Ints
from audit.fairness import mitigation
from audit.models.debias.reductions import built_for
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train


def weights_of(y: Tensor, a: Ints) -> Tensor:
    """P(a) P(y) / P(a, y) of each row (n,) for labels y (n,) and groups a (n,), of mean 1 (kamiran2012)."""
    found = mitigation.reweighing(y.cpu().numpy(), sensitive_features=a)
    return torch.as_tensor(found, dtype=torch.float64, device=y.device)


def reweighed(build: Callable[[], nn.Module], x: Any, y: Any, a: Any, *, training: Training) -> nn.Module:
    """A module of x (n, ...) to logits, trained on rows of the weights that part label y (n,) and group a (n,).

    x, y, a: as of `adversarial`, with whole numbers y of any number of classes; a tensor x says on which device. The
    weights undo what the labels owe to the group as a whole; what the columns say of the group the module may still use.
    Raises DataError, ModelError.
    """
    rows = built_for(build, x, y, a, training)
    with seeded(training.seed):
        module = build().to(rows.x.device)
    weights = weights_of(rows.y, rows.a.cpu().numpy()).to(rows.x.dtype)
    train(module, rows.x, rows.y, training=training, loss=log_loss, weights=weights)
    return module
