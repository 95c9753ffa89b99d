"""Fairness in the loss: penalties on the association of scores and groups, pure functions of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from audit.models.debias.given import checked, number, one_of
from audit.models.debias.lagrangian import differences
from audit.models.debias.selection import Criterion, Debiased, Rows, apart, batches, conditions, counted, logits, picked
from audit.models.options import whole
from audit.models.seeds import seeded
from audit.models.training import log_loss

Kind = Literal["covariance", "gap"]


def covariance(scores: Tensor, y: Tensor, a: Tensor, *, criterion: Criterion = "demographic_parity") -> Tensor:
    """The sum of squared covariances of scores (n,) with belonging to each group, among the rows of each rate (zafar2017)."""
    total = scores.sum() * 0
    for inside in conditions(y, criterion):
        score, group = scores[inside], a[inside]
        for level in sorted(set(a.tolist())):
            belongs = (group == level).to(score.dtype)
            if len(score):
                total = total + ((belongs - belongs.mean()) * score).mean().square()
    return total


def squared_gap(scores: Tensor, y: Tensor, a: Tensor, *, criterion: Criterion = "demographic_parity") -> Tensor:
    """The sum over rates and pairs of groups of the squared difference of mean P = sigmoid(score) (buyl2024)."""
    levels, codes = torch.unique(a, return_inverse=True)
    return differences(torch.sigmoid(scores), y, codes, criterion, len(levels)).square().sum()


PENALTIES: Mapping[Kind, Callable[..., Tensor]] = {"covariance": covariance, "gap": squared_gap}


def penalised(
    module: nn.Module,
    x: Any,
    y: Any,
    a: Any,
    *,
    kind: Kind = "gap",
    weight: float = 20.0,
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    epochs: int = 20,
    batch: int = 512,
    rate: float = 3e-3,
    held: float = 0.3,
    margin: float = 0.0,
    seed: int = 0,
) -> Debiased:
    """A copy of the module, trained on the log loss and `weight` times a penalty of its logits.

    module, x, y, a, eps, held, margin: as of `adversarial`; a penalty promises no bound, and `kept` says whether the
    choice of the epoch found one. Raises UsageError, DataError, ModelError.
    """
    one_of("kind", kind, get_args(Kind))
    number("weight", weight, "a number from 0 on", open=False)
    number("rate", rate, "a number above 0")
    for name, value in (("epochs", epochs), ("batch", batch)):
        whole(name, value)
    rows = checked(module, x, y, a, criterion=criterion, eps=eps, held=held, margin=margin)
    made = copy.deepcopy(module)
    with seeded(seed) as generator:
        learnt, kept = apart(rows, held, generator, criterion)

        def loss(said: Tensor, part: Rows) -> Tensor:
            penalty = PENALTIES[kind](said, part.y, part.a, criterion=criterion)
            return log_loss(said, part.y).mean() + weight * penalty

        passes = _passes(made, learnt, loss, epochs, batch, rate, generator)
        history, chosen = picked(made, passes, kept, criterion=criterion, eps=eps, margin=margin)
    return Debiased(
        module=made,
        history=history,
        chosen=chosen,
        first=1,
        criterion=criterion,
        eps=eps,
        seed=seed,
        rows=(len(learnt.y), len(kept.y)),
        fewest=min(counted(kept, criterion, int(rows.a.max()) + 1)),
    )


def _passes(
    module: nn.Module,
    rows: Rows,
    loss: Callable[[Tensor, Rows], Tensor],
    epochs: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
) -> Iterator[None]:
    optimiser = torch.optim.Adam([each for each in module.parameters() if each.requires_grad], lr=rate)
    module.train()
    for _ in range(epochs):
        for part in batches(rows, batch, generator):
            optimiser.zero_grad()
            loss(logits(module, part.x), part).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        yield
