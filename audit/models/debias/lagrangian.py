"""A bound on the gap kept while training: one signed multiplier a difference, moved by the gap of hard decisions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import UsageError
from audit.models.debias.selection import Criterion, Debiased, Rows, apart, batches, checked, conditions, logits, picked
from audit.models.seeds import seeded
from audit.models.training import log_loss

STEEP = 4.0  # sigmoid(4 logit) stands in for a decision where a gradient is needed
RISE, FALL, MOST = 0.02, 0.008, 3.0  # of the multiplier: towards the violation, back when there is none, and its bound
NEAR = 0.8  # a gap below this part of eps lets the multiplier fall


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

    module, x, y, a, held, margin: as of `adversarial`. The gradient sees steep sigmoids, the multipliers see the
    decisions themselves. Raises UsageError, DataError, ModelError.
    """
    rows = checked(module, x, y, a, criterion=criterion, eps=eps)
    for name, value in (("epochs", epochs), ("batch", batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name}: a whole number from 1 on, got {value!r}")
    made = copy.deepcopy(module)
    with seeded(seed) as generator:
        learnt, kept = apart(rows, held, generator)
        optimiser = torch.optim.Adam([each for each in made.parameters() if each.requires_grad], lr=rate)
        passes = _passes(made, learnt, optimiser, criterion, eps, epochs, batch, generator)
        history, chosen = picked(made, passes, kept, criterion=criterion, eps=eps, margin=margin)
    return Debiased(
        module=made,
        history=history,
        chosen=chosen,
        criterion=criterion,
        eps=eps,
        seed=seed,
        rows=(len(learnt.y), len(kept.y)),
    )


def _passes(
    module: nn.Module,
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
    for _ in range(epochs):
        for part in batches(rows, batch, generator):
            said = logits(module, part.x)
            soft = differences(torch.sigmoid(STEEP * said), part.y, part.a, criterion, int(rows.a.max()) + 1)
            hard = differences((said > 0).to(said.dtype), part.y, part.a, criterion, int(rows.a.max()) + 1)
            multipliers = torch.zeros_like(hard) if multipliers is None else multipliers
            loss = log_loss(said, part.y).mean() + (multipliers * soft).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            multipliers = moved(multipliers, hard, eps)
        yield


def moved(multipliers: Tensor, hard: Tensor, eps: float) -> Tensor:
    """The multipliers (m,) after a batch whose decisions differ by `hard` (m,): towards the violation, else back to 0.

    One signed multiplier a difference: two one-sided ones would both be driven up by the noise of batches.
    """
    up = multipliers + RISE * (hard - hard.clamp(-eps, eps))
    back = up.sign() * (up.abs() - FALL).clamp_min(0.0)
    return torch.where(hard.abs() < NEAR * eps, back, up).clamp(-MOST, MOST)


def differences(values: Tensor, y: Tensor, a: Tensor, criterion: Criterion, groups: int) -> Tensor:
    """Differences (m,) of the mean value (n,) between every two groups, rate by rate; 0 where a group has no row."""
    found = []
    for inside in conditions(y, criterion):
        parts = [values[inside & (a == level)] for level in range(groups)]
        for one, other in combinations(range(groups), 2):
            there = len(parts[one]) and len(parts[other])
            found.append(parts[other].mean() - parts[one].mean() if there else values.sum() * 0)
    return torch.stack(found)
