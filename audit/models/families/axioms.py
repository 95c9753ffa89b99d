"""A perceptron that is taught by axioms: formulas about its answers whose truth is the loss."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, Model, UsageError
from audit.data.worlds.base import Stratified
from audit.data.worlds.frontier import best_accuracy
from audit.models.encoding import Encoder, encoder, group_of, labels_of, rows_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.symbolic.logic import Semantics, conjunction, equivalence, forall, negation
from audit.models.training import Training, train
from audit.registry import family

SHARPNESS = 4.0  # of the truth of "is selected": near 0 or 1 but about the threshold, as the decision is
WARM, BATCH = (
    4,
    1000,
)  # epochs on the labels alone, from which fairness does not lead to one answer for all; rows a step
BOUND, BELOW = 0.05, 0.04  # what is promised of the gap, and of the accuracy beneath the best that the gap allows


class AxiomNet(Reference):
    """Encoder, hidden layers of ReLU, one logit (n,); the axioms are in its training, not in its answers."""

    def __init__(self, *, encoder: Mapping[str, Any], hidden: Sequence[int]) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "hidden": list(hidden)}
        self.encoder = Encoder(**encoder)
        widths = [self.encoder.width, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        logits: Tensor = self.layers(self.encoder(x))[:, 0]
        return logits


def labelled(logits: Tensor, y: Tensor, p: float = 1.0) -> Tensor:
    """Truth of "every positive is accepted, and no negative is": two quantified axioms, averaged by their rows."""
    truth = torch.sigmoid(logits)
    share = (y == 1).to(truth.dtype).mean()
    return share * forall(truth[y == 1], p) + (1 - share) * forall(negation(truth[y != 1]), p)


def equal(logits: Tensor, group: Tensor, semantics: Semantics = "lukasiewicz") -> Tensor:
    """Truth of "everyone in one group is selected as far as everyone in the other": over all pairs of groups together."""
    truth = torch.sigmoid(SHARPNESS * logits)
    satisfied = [forall(truth[group == code], 1.0) for code in torch.unique(group)]
    found = truth.new_ones(())
    for one, other in pairwise(satisfied):
        found = conjunction(found, equivalence(one, other, semantics), semantics)
    return found


def keeps_its_axiom(model: Model, data: Dataset, world: Stratified) -> Iterator[Promise]:
    """The selection rates of unseen people differ by little, and the accuracy is near the best that such a gap allows."""
    assert data.y is not None
    decided, group = model.predict(data.inputs) >= 0.5, group_of(data)
    rates = [float(decided[group == code].mean()) for code in sorted(set(group.tolist()))]
    best = best_accuracy(world, BOUND)
    yield Promise(name="selection gap", value=max(rates) - min(rates), high=BOUND, why="the axiom is equal selection")
    right = float((decided == (data.y == 1)).mean())
    yield Promise(name="accuracy", value=right, low=best - BELOW, why=f"the best under this gap is {best:.4f}")


@family(
    "axioms",
    title="Perceptron taught by axioms, fairness among them",
    world="credit",
    promise=keeps_its_axiom,
    sources=("badreddine2022",),
)
def axioms(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    hidden: Sequence[int] = (64, 64),
    epochs: int = 15,
    fairness: float = 10.0,
    attribute: str | None = None,
    semantics: Semantics = "lukasiewicz",
    p: float = 1.0,
) -> AxiomNet:
    """A perceptron whose loss is how far two axioms fail: answers agree with labels, and groups are selected alike.

    fairness: weight of the second axiom against the first. attribute: the protected attribute it speaks of, by default
    the first. p: how much the worst cases of the first count. Raises UsageError and DataError.
    """
    if fairness < 0:
        raise UsageError(f"fairness: a weight of 0 or more, got {fairness}")
    front = encoder(data)
    with seeded(seed):
        module = AxiomNet(encoder=front.config, hidden=hidden).to(device)
    module.encoder.load_state_dict(front.state_dict())
    facts = [labels_of(data, device)]
    if fairness:
        facts.append(torch.as_tensor(group_of(data, attribute), device=device))

    def loss(raw: Tensor, told: Tensor, weight: float) -> Tensor:
        failed = torch.stack([1 - labelled(raw, told[:, 0], p), 1 - equal(raw, told[:, -1], semantics)])
        weights = failed.new_tensor([1.0, weight])
        # The axioms together, again as a mean of squared errors: forall, with weights.
        whole = ((weights * failed**2).sum() / weights.sum()).clamp(min=1e-12) ** 0.5
        return whole.expand(len(raw))

    x, told = rows_of(data, device), torch.stack(facts, dim=1)
    for weight, count in ((0.0, WARM), (fairness, epochs)):
        training = Training(epochs=count, batch=BATCH, seed=seed)
        train(module, x, told, training=training, loss=functools.partial(loss, weight=weight))
    return module
