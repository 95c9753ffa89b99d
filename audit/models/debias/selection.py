"""Rates of decisions by group, their gap with its doubt, and the choice of an epoch on rows held back."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, ModelError, UsageError
from audit.data.tables import listed

FOLLOWED = 0.02  # of the way to the module's weights that their mean goes with every step
FEW = 30  # rows of a group held back, below which a result says that they are few
Criterion = Literal["demographic_parity", "equalized_odds", "equal_opportunity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows x (n, ...), labels y (n,) of 0 and 1 and group codes a (n,) from 0 on, on one device."""

    x: Tensor
    y: Tensor
    a: Tensor

    def take(self, places: Tensor) -> Rows:
        """The rows at these places."""
        return Rows(x=self.x[places], y=self.y[places], a=self.a[places])


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Accuracy and gap on the rows held back after an epoch; bound: the gap and `margin` standard errors of it.

    selected: the share of the rows that is decided for.
    """

    number: int
    accuracy: float
    selected: float
    gap: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Debiased:
    """A trained copy of the module, every epoch's figures on the rows held back, and the epoch chosen by them.

    kept: whether its bound on the gap lies within eps. first: the number of the first epoch that could be chosen. The
    chosen epoch's figures are the best of many and so a little too good: report those of rows that neither training nor
    choice has seen.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    chosen: Epoch
    first: int
    criterion: Criterion
    eps: float
    seed: int
    rows: tuple[int, int]  # to learn from, and held back
    fewest: int  # rows held back of a group, that a rate counts

    @property
    def kept(self) -> bool:
        """Whether the chosen epoch kept the bound on the rows held back."""
        return self.chosen.bound <= self.eps

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the choice worth little: few rows, decisions that are all alike, few epochs to choose from."""
        found = []
        if self.fewest < FEW:
            found.append(
                f"Rows held back of the smallest group that a rate counts: {self.fewest}, too few to tell a gap from none."
            )
        if self.chosen.selected in (0.0, 1.0):
            found.append(
                f"Every one of the {self.rows[1]} rows held back gets the same decision, so that no gap says anything: the "
                "module decides nothing there."
            )
        number = len(self.history) - self.first + 1
        if number < 3:
            found.append(
                f"Epochs that could be chosen, from epoch {self.first} on of {len(self.history)}: {number}, too few for a choice."
            )
        return tuple(found)


def conditions(y: Any, criterion: Criterion) -> list[Any]:
    """Which rows each rate of the criterion counts: masks (n,) of the same kind as y."""
    if criterion == "demographic_parity":
        return [y == y]
    return [y == 1] if criterion == "equal_opportunity" else [y == 0, y == 1]


def gap(decisions: Any, y: Any, a: Any, criterion: Criterion, *, margin: float = 0.0) -> float:
    """The largest difference between two groups' rates, over the rates of the criterion, plus `margin` standard errors.

    decisions, y, a (n,): arrays or tensors. The error of a rate of k among n rows is that of (k + 1) / (n + 2), so that a
    rate of 0 or 1 has one too (agresti2000). Infinite where a group has no row that a rate counts and margin is above 0;
    raises DataError there with margin 0.
    """
    decided, labels, groups = (np.asarray(torch.as_tensor(each).cpu()) for each in (decisions, y, a))
    worst = 0.0
    for inside in conditions(labels, criterion):
        parts = [decided[inside & (groups == level)] for level in np.unique(groups)]
        if any(len(part) == 0 for part in parts):
            if margin > 0:
                return math.inf
            raise DataError(f"{criterion}: a group has no row that one of its rates counts")
        rates = [float(np.mean(part)) for part in parts]
        errors = [_variance(float(part.sum()), len(part)) for part in parts]
        for i in range(len(parts)):
            for j in range(i):
                worst = max(worst, abs(rates[i] - rates[j]) + margin * math.sqrt(errors[i] + errors[j]))
    return worst


def _variance(positive: float, rows: int) -> float:
    """Squared standard error of a rate, from the rate with a row more on either side."""
    shrunk = (positive + 1) / (rows + 2)
    return shrunk * (1 - shrunk) / (rows + 2)


def logits(module: nn.Module, x: Tensor) -> Tensor:
    """One logit a row (n,); raises ModelError for other shapes and for answers without gradients."""
    raw: Tensor = module(x)
    if raw.shape not in ((len(x),), (len(x), 1)):
        raise ModelError(f"module: one logit a row is needed, (n,) or (n, 1); it gave {tuple(raw.shape)}")
    if torch.is_grad_enabled() and not raw.requires_grad:
        raise ModelError("module: its answers carry no gradients")
    return raw.reshape(len(x))


def apart(rows: Rows, share: float, generator: torch.Generator, criterion: Criterion) -> tuple[Rows, Rows]:
    """Rows to learn from, and a share held back; raises DataError where either lacks a group that a rate counts."""
    order = torch.randperm(len(rows.y), generator=generator).to(rows.y.device)
    held = max(1, round(share * len(order)))
    parts = rows.take(order[held:]), rows.take(order[:held])
    for part, what in zip(parts, ("to learn from", "held back"), strict=True):
        sizes = counted(part, criterion, int(rows.a.max()) + 1)
        if min(sizes) == 0:
            raise DataError(
                f"held: of {len(part.y)} rows {what} each group needs one at least that a rate of {criterion} counts; "
                f"the groups have {listed(sizes)}"
            )
    return parts


def counted(rows: Rows, criterion: Criterion, groups: int) -> list[int]:
    """How many rows of each group (g) the rate counts of which it has fewest."""
    inside = conditions(rows.y, criterion)
    return [min(int((each & (rows.a == level)).sum()) for each in inside) for level in range(groups)]


def batches(rows: Rows, size: int, generator: torch.Generator) -> Iterator[Rows]:
    """All rows once, in a new order."""
    order = torch.randperm(len(rows.y), generator=generator).to(rows.y.device)
    for places in order.split(size):  # type: ignore[no-untyped-call]
        yield rows.take(places)


def rounds(rows: int, size: int, least: int) -> int:
    """How often an epoch passes over so many rows in batches of that size, to come to at least so many batches."""
    return math.ceil(least / math.ceil(rows / size))


def follow(mean: nn.Module, module: nn.Module) -> None:
    """Move a running mean of the weights: what is trained against something goes round a point that the mean lies near.

    The mean starts from the module's first, random weights, of which (1 - FOLLOWED)^s is left after s steps: 13 in 100
    after 100 steps, 2 after 200. The mean of a short training is partly untrained.
    """
    with torch.no_grad():
        for weight, new in zip(mean.parameters(), module.parameters(), strict=True):
            weight.lerp_(new, FOLLOWED)
        for kept, other in zip(mean.buffers(), module.buffers(), strict=True):
            kept.copy_(other)


def picked(
    module: nn.Module,
    passes: Iterator[None],
    held: Rows,
    *,
    criterion: Criterion,
    eps: float,
    margin: float,
    first: int = 1,
) -> tuple[tuple[Epoch, ...], Epoch]:
    """Run the epochs and leave the module as it was after the best: of those whose bound is within eps the most accurate.

    Where there is none, the smallest bound. bound: the gap on the rows held back and `margin` standard errors of it.
    first: the number of the first epoch that may be chosen. Raises UsageError where no epoch reaches it.
    """
    history: list[Epoch] = []
    best: tuple[tuple[bool, float], Epoch, Any] | None = None
    for number, _ in enumerate(passes, start=1):
        module.eval()
        with torch.no_grad():
            decided = (logits(module, held.x) > 0).long()
        epoch = Epoch(
            number=number,
            accuracy=float((decided == held.y).double().mean()),
            selected=float(decided.double().mean()),
            gap=gap(decided, held.y, held.a, criterion),
            bound=gap(decided, held.y, held.a, criterion, margin=margin),
        )
        history.append(epoch)
        if number < first:
            module.train()
            continue
        kept = epoch.bound <= eps
        worth = (kept, epoch.accuracy if kept else -epoch.bound)
        if best is None or worth > best[0]:
            best = worth, epoch, copy.deepcopy(module.state_dict())
        module.train()
    if best is None:
        raise UsageError(f"epochs: {len(history)} were run, none from epoch {first} on")
    module.load_state_dict(best[2])
    module.eval()
    return tuple(history), best[1]
