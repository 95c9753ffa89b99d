"""Torch modules are asked in evaluation mode and left in the mode they were in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; the mode of every submodule comes back after."""
    modes = [(each, each.training) for each in module.modules()]
    if not any(training for _, training in modes):  # setting it costs more than a small batch
        yield
        return
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training
