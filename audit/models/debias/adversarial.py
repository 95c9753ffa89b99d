"""Adversarial debiasing of any differentiable module: a second network must not read the group from its answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import UsageError
from audit.models.debias.given import checked, number
from audit.models.debias.selection import (
    Criterion,
    Debiased,
    Rows,
    apart,
    batches,
    counted,
    follow,
    logits,
    picked,
    rounds,
)
from audit.models.options import whole
from audit.models.seeds import seeded
from audit.models.stack import layers_of
from audit.models.training import log_loss

LEAST = 20  # steps of the module in an epoch: of few rows it takes several passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the two networks are trained against each other; learning rates are Adam's."""

    alpha: float
    epochs: int
    batch: int
    rate: float
    steps: int
    before: tuple[int, int]  # epochs of the predictor alone, and then of the adversary alone
    criterion: Criterion

    def __post_init__(self) -> None:
        number("alpha", self.alpha, "a number from 0 on", open=False)
        number("rate", self.rate, "a number above 0")
        for name in ("epochs", "batch", "steps"):
            whole(name, getattr(self, name))
        two = isinstance(self.before, tuple | list) and len(self.before) == 2
        if not two or not all(isinstance(each, int) and each >= 0 for each in self.before):
            raise UsageError(f"before: two whole numbers from 0 on, got {self.before!r}")


def adversarial(
    module: nn.Module,
    x: Any,
    y: Any,
    a: Any,
    *,
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    alpha: float = 3.0,
    epochs: int = 20,
    batch: int = 256,
    rate: float = 3e-3,
    steps: int = 3,
    hidden: Sequence[int] = (32, 32),
    before: tuple[int, int] = (4, 4),
    held: float = 0.3,
    margin: float = 2.0,
    seed: int = 0,
) -> Debiased:
    """A copy of the module, trained so that an adversary cannot tell the group from its logit (zhang2018).

    module: raw rows (n, ...) to logits (n,) or (n, 1); it should standardise what it reads. x (n, ...), y (n,) of 0 and 1,
    a (n,) the group of each row, two or more, as codes or text: arrays or tensors, x also a table. The adversary reads the logit, for equalised odds y
    beside it, for equal opportunity rows of y = 1 only; `steps` of its steps at about 3 times the rate to one of the
    module's. alpha: the strength. before: epochs of the module alone, then of the adversary alone. An epoch is at least
    one pass over the rows and 20 steps of the module; the weights that are kept are a running mean (`follow`). held: the
    share of rows on which the epoch is chosen: the most accurate whose gap plus `margin` standard errors is at most `eps`,
    else the one of the smallest. Only epochs from epochs // 2 + 1 on may be chosen (`first` of the result). Raises
    UsageError, DataError, ModelError.
    """
    rows = checked(module, x, y, a, criterion=criterion, eps=eps, held=held, margin=margin)
    recipe = Recipe(alpha=alpha, epochs=epochs, batch=batch, rate=rate, steps=steps, before=before, criterion=criterion)
    made, mean = copy.deepcopy(module), copy.deepcopy(module)
    with seeded(seed) as generator:
        learnt, kept = apart(rows, held, generator, criterion)
        width = 2 if criterion == "equalized_odds" else 1
        # Leaky: one number goes in, and units of an adversary that all fall silent never come back.
        rival = layers_of([width, *hidden, int(rows.a.max()) + 1], activation="leaky_relu").to(
            rows.x.device, next(made.parameters()).dtype
        )
        passes = _passes(made, mean, rival, learnt, recipe, generator)
        # Early epochs keep a bound by accident, before the adversary has learnt to look.
        first = epochs // 2 + 1
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
    module: nn.Module, mean: nn.Module, rival: nn.Module, rows: Rows, recipe: Recipe, generator: torch.Generator
) -> Iterator[None]:
    """Both networks pretrained, then one epoch of them against each other at every turn."""
    parameters = [each for each in module.parameters() if each.requires_grad]
    ours = torch.optim.Adam(parameters, lr=recipe.rate)
    theirs = torch.optim.Adam(rival.parameters(), lr=recipe.rate * 10 / 3)
    module.train()
    for _ in range(recipe.before[0]):
        for part in batches(rows, recipe.batch, generator):
            ours.zero_grad()
            log_loss(logits(module, part.x), part.y).mean().backward()  # type: ignore[no-untyped-call]
            ours.step()
    for _ in range(recipe.before[1]):
        for part in batches(rows, recipe.batch, generator):
            _rivals_step(module, rival, theirs, part, recipe.criterion)
    for done in range(recipe.epochs):
        # At a constant rate the two go round each other: a smaller one lets them come to rest.
        left = 1 - done / recipe.epochs
        for optimiser, first in ((ours, recipe.rate), (theirs, recipe.rate * 10 / 3)):
            optimiser.param_groups[0]["lr"] = first * left
        for place, part in enumerate(_repeated(rows, recipe, generator), start=1):
            _rivals_step(module, rival, theirs, part, recipe.criterion)
            if place % recipe.steps == 0:
                _step(module, rival, ours, part, recipe)
                follow(mean, module)
        yield


def _repeated(rows: Rows, recipe: Recipe, generator: torch.Generator) -> Iterator[Rows]:
    """As many passes over the rows as the adversary takes steps to one of the module's, more where rows are few."""
    for _ in range(recipe.steps * rounds(len(rows.y), recipe.batch, LEAST)):
        yield from batches(rows, recipe.batch, generator)


def _rivals_step(
    module: nn.Module, rival: nn.Module, theirs: torch.optim.Optimizer, part: Rows, how: Criterion
) -> None:
    with torch.no_grad():
        said = logits(module, part.x)
    loss = rivals_loss(rival, said, part, how)
    theirs.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    theirs.step()


def _step(module: nn.Module, rival: nn.Module, ours: torch.optim.Optimizer, part: Rows, recipe: Recipe) -> None:
    parameters = [each for each in module.parameters() if each.requires_grad]
    said = logits(module, part.x)
    own = torch.autograd.grad(log_loss(said, part.y).mean(), parameters, retain_graph=True, allow_unused=True)
    other = torch.autograd.grad(rivals_loss(rival, said, part, recipe.criterion), parameters, allow_unused=True)
    for each, step in zip(
        parameters, direction(_filled(own, parameters), _filled(other, parameters), recipe.alpha), strict=True
    ):
        each.grad = step
    ours.step()


def _filled(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, like, strict=True)]


def direction(own: Sequence[Tensor], other: Sequence[Tensor], alpha: float) -> list[Tensor]:
    """The gradient to follow: own, less its projection on the adversary's, less alpha times the adversary's (zhang2018).

    own, other: gradients of all parameters, of the module's loss and of the adversary's. The projection is over all of
    them at once, as over one vector, so that <direction, other> = -alpha <other, other>.
    """
    along = torch.stack([(g.double() * h.double()).sum() for g, h in zip(own, other, strict=True)]).sum()
    length = torch.stack([h.double().square().sum() for h in other]).sum()
    share = torch.where(length > 0, along / length.clamp_min(torch.finfo(torch.float64).tiny), 0.0) + alpha
    return [g - share.to(g.dtype) * h for g, h in zip(own, other, strict=True)]


def rivals_loss(rival: nn.Module, said: Tensor, part: Rows, criterion: Criterion) -> Tensor:
    """The adversary's mean log loss of the group, from logits (b,) and, for equalised odds, y."""
    read, groups = said[:, None], part.a
    if criterion == "equalized_odds":
        read = torch.cat([read, part.y[:, None].to(read.dtype)], dim=1)
    if criterion == "equal_opportunity":
        read, groups = read[part.y == 1], groups[part.y == 1]
        if len(groups) == 0:
            nothing: Tensor = (rival(said[:, None]) * 0).sum()  # to learn from in this batch
            return nothing
    return nn.functional.cross_entropy(rival(read), groups)
