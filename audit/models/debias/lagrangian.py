"""A bound on the gap kept while training: one signed multiplier a difference, moved by the gap of hard decisions."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from audit.models.debias.given import checked, number
from audit.models.debias.selection import (
    Criterion,
    Debiased,
    Rows,
    apart,
    batches,
    conditions,
    counted,
    follow,
    logits,
    picked,
    rounds,
)
from audit.models.options import whole
from audit.models.seeds import seeded
from audit.models.training import log_loss

STEEP = 4.0  # sigmoid(4 logit) stands in for a decision where a gradient is needed
RISE, MOST = 0.05, 5.0  # how far a multiplier moves for a gap of 1, and its bound
LEAST = 6  # steps of the module in an epoch: of few rows it takes several passes


def lagrangian(
    module: nn.Module,
    x: Any,
    y: Any,
    a: Any,
    *,
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    epochs: int = 60,
    batch: int = 1000,
    rate: float = 3e-3,
    held: float = 0.3,
    margin: float = 1.0,
    seed: int = 0,
) -> Debiased:
    """A copy of the module, trained so that the rates of its decisions differ by at most `eps` between groups (cotter2019).

    module, x, y, a, held, margin: as of `adversarial`, and so are the epochs that may be chosen, from epochs // 2 + 1 on
    (`first` of the result); an epoch is at least 6 steps. The gradient sees steep sigmoids, the multipliers see the
    decisions themselves. Raises UsageError, DataError, ModelError.
    """
    rows = checked(module, x, y, a, criterion=criterion, eps=eps, held=held, margin=margin)
    for name, value in (("epochs", epochs), ("batch", batch)):
        whole(name, value)
    number("rate", rate, "a number above 0")
    first = epochs // 2 + 1
    made, mean = copy.deepcopy(module), copy.deepcopy(module)
    with seeded(seed) as generator:
        learnt, kept = apart(rows, held, generator, criterion)
        optimiser = torch.optim.Adam([each for each in made.parameters() if each.requires_grad], lr=rate)
        passes = _passes(
            made, mean, learnt, optimiser, criterion, aim(eps, kept, criterion, margin), epochs, batch, generator
        )
        history, chosen = picked(mean, passes, kept, criterion=criterion, eps=eps, margin=margin, first=first)
    return Debiased(
        module=mean,
        history=history,
        chosen=chosen,
        first=first,
        criterion=criterion,
        eps=eps,
        seed=seed,
        rows=(len(learnt.y), len(kept.y)),
        fewest=min(counted(kept, criterion, int(rows.a.max()) + 1)),
    )


def _passes(
    module: nn.Module,
    mean: nn.Module,
    rows: Rows,
    optimiser: torch.optim.Optimizer,
    criterion: Criterion,
    eps: float,
    epochs: int,
    batch: int,
    generator: torch.Generator,
) -> Iterator[None]:
    module.train()
    multipliers: Tensor | None = None
    turns = rounds(len(rows.y), batch, LEAST)
    for _ in range(epochs):
        for part in (each for _ in range(turns) for each in batches(rows, batch, generator)):
            said = logits(module, part.x)
            soft = differences(torch.sigmoid(STEEP * said), part.y, part.a, criterion, int(rows.a.max()) + 1)
            hard = differences((said > 0).to(said.dtype), part.y, part.a, criterion, int(rows.a.max()) + 1)
            multipliers = torch.zeros_like(hard) if multipliers is None else multipliers
            loss = log_loss(said, part.y).mean() + (multipliers * soft).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            follow(mean, module)
            multipliers = moved(multipliers, hard, eps)
        yield


def moved(multipliers: Tensor, hard: Tensor, eps: float) -> Tensor:
    """The multipliers (m,) after a batch whose decisions differ by `hard` (m,): dual ascent on |hard| <= eps.

    One signed multiplier a difference. While it holds one side of the bound it moves by what that side is broken or kept
    by, and stops at 0: linear in `hard`, so that the noise of batches cancels, which it does not in max(0, violation).
    """
    free = RISE * (hard - hard.clamp(-eps, eps))
    above = (multipliers + RISE * (hard - eps)).clamp(0.0, MOST)
    below = (multipliers + RISE * (hard + eps)).clamp(-MOST, 0.0)
    return torch.where(multipliers > 0, above, torch.where(multipliers < 0, below, free))


def aim(eps: float, held: Rows, criterion: Criterion, margin: float) -> float:
    """The bound to train for: `margin` standard errors of the rows held back below eps, but not below half of it.

    The errors are those of two rates of one half over the two smallest groups that a rate counts.
    """
    least = eps
    for inside in conditions(held.y, criterion):
        sizes = sorted(int((inside & (held.a == level)).sum()) for level in sorted(set(held.a.tolist())))
        error = math.sqrt(sum(0.25 / max(size, 1) for size in sizes[:2]))
        least = min(least, eps - margin * error)
    return max(least, eps / 2)


def differences(values: Tensor, y: Tensor, a: Tensor, criterion: Criterion, groups: int) -> Tensor:
    """Differences (m,) of the mean value (n,) between every two groups, rate by rate; 0 where a group has no row."""
    found = []
    for inside in conditions(y, criterion):
        parts = [values[inside & (a == level)] for level in range(groups)]
        for one, other in combinations(range(groups), 2):
            there = len(parts[one]) and len(parts[other])
            found.append(parts[other].mean() - parts[one].mean() if there else values.sum() * 0)
    return torch.stack(found)
