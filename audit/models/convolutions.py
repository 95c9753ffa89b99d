"""What convolutional networks share: first weights that suit rectifiers, and statistics that suit the last weights."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from audit.core import Dataset
from audit.models.pictures import Pictured, fitted
from audit.models.training import Training

M = TypeVar("M", bound=nn.Module)
P = TypeVar("P", bound=Pictured)


def started(module: M) -> M:
    """The module, its convolutions drawn from a normal distribution of variance 2 / inputs (he2015), without bias."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
            if each.bias is not None:
                nn.init.zeros_(each.bias)
    return module


def restated(module: P, x: Tensor, batch: int) -> P:
    """The module, its batch norms told the mean and variance of the pictures (n, c, h, w) under the weights it has now.

    A running mean lags behind weights that moved quickly: after a few hundred steps that alone can cost a third of the
    accuracy. Nothing else changes; the module is in evaluation mode afterwards.
    """
    norms = [each for each in module.body.modules() if isinstance(each, nn.BatchNorm2d)]
    kept = [(norm, norm.momentum) for norm in norms]
    if not norms:
        return module
    module.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        for each in module.body.modules():
            if isinstance(each, nn.Dropout):
                each.eval()
        with torch.no_grad():
            for start in range(0, len(x), batch):
                if len(x) - start > 1 or not start:  # one last picture has no variance of its own
                    module(x[start : start + batch])
    finally:
        for norm, momentum in kept:
            norm.momentum = momentum
        module.eval()
    return module


def normed(module: P, data: Dataset, *, device: str, training: Training) -> P:
    """The module trained on the log loss, its batch norms restated; raises DataError, ModelError."""
    from audit.models.pictures import standardised

    module = fitted(module, data, device=device, training=training)
    return restated(module, standardised(module, data, device)[1], training.batch)
