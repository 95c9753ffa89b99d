"""The oracle of a planted world as a double-precision torch model: its weights are set, not trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, ModelError, Spec
from audit.data.worlds import base
from audit.data.worlds.base import planted
from audit.models.adapters.torch import TorchModel, with_facts, wrap
from audit.registry import adapter


class Logistic(nn.Module):
    """x @ weights + bias + the weighted products of pairs of features, a logit (n,), all in float64."""

    def __init__(self, form: base.Oracle) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(form.weights, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64))
        self.products = nn.Parameter(torch.tensor([weight for _, _, weight in form.pairs], dtype=torch.float64))
        self.left = [left for left, _, _ in form.pairs]
        self.right = [right for _, right, _ in form.pairs]

    def forward(self, x: Tensor) -> Tensor:
        """The logit (n,) of rows x (n, d)."""
        return x @ self.weights + self.bias + (x[:, self.left] * x[:, self.right]) @ self.products


def module(form: base.Oracle) -> nn.Module:
    """The set weights of a world as a torch module that returns logits (n,)."""
    return Logistic(form)


def form_of(model: Any) -> base.Oracle | None:
    """The logistic form that a model is by its own weights, so that its explanations are known; None for other models."""
    found = getattr(model, "module", None)
    if not isinstance(found, Logistic):
        return None
    return base.Oracle(
        columns=model.card.features,
        weights=tuple(found.weights.tolist()),
        bias=found.bias.item(),
        pairs=tuple(zip(found.left, found.right, found.products.tolist(), strict=True)),
    )


@adapter("oracle", title="Oracle of a planted world")
def oracle(spec: Spec, dataset: Dataset) -> TorchModel:
    """The model that a planted world itself follows, with set weights: what a check finds on it is known beforehand.

    Needs data.world; raises ModelError without one.
    """
    if spec.data.world is None:
        raise ModelError('model.kind = "oracle" needs data.world: only a planted world has an oracle')
    form = planted(spec.data).oracle()
    if form.columns != dataset.names:
        raise ModelError(f"the oracle reads {form.columns}, the dataset has {dataset.names}")
    logits = replace(spec, model=replace(spec.model, output="logit", classes=()))
    model = wrap(module(form), dataset, logits)
    return with_facts(model, family="oracle", kind="oracle", name=f"oracle of the world {spec.data.world!r}")
