"""Rates of decisions by group, their gap with its doubt, and the choice of an epoch on rows held back."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, ModelError, UsageError, suggest
from audit.data.tables import listed

FOLLOWED = 0.02  # of the way to the module's weights that their mean goes with every step
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
    """Accuracy and gap on the rows held back after an epoch; bound: the gap and `margin` standard errors of it."""

    number: int
    accuracy: float
    gap: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Debiased:
    """A trained copy of the module, every epoch's figures on the rows held back, and the epoch chosen by them.

    kept: whether its bound on the gap lies within eps. The chosen epoch's figures are the best of many and so a little
    too good: report those of rows that neither training nor choice has seen.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    chosen: Epoch
    criterion: Criterion
    eps: float
    seed: int
    rows: tuple[int, int]  # to learn from, and held back

    @property
    def kept(self) -> bool:
        """Whether the chosen epoch kept the bound on the rows held back."""
        return self.chosen.bound <= self.eps


def conditions(y: Any, criterion: Criterion) -> list[Any]:
    """Which rows each rate of the criterion counts: masks (n,) of the same kind as y."""
    if criterion == "demographic_parity":
        return [y == y]
    return [y == 1] if criterion == "equal_opportunity" else [y == 0, y == 1]


def gap(decisions: Any, y: Any, a: Any, criterion: Criterion, *, margin: float = 0.0) -> float:
    """The largest difference between two groups' rates, over the rates of the criterion, plus `margin` standard errors.

    decisions, y, a (n,): arrays or tensors. Infinite where a group has no row that a rate counts and margin is above 0;
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
        errors = [rate * (1 - rate) / len(part) for rate, part in zip(rates, parts, strict=True)]
        for i in range(len(parts)):
            for j in range(i):
                worst = max(worst, abs(rates[i] - rates[j]) + margin * math.sqrt(errors[i] + errors[j]))
    return worst


def checked(module: nn.Module, x: Any, y: Any, a: Any, *, criterion: str, eps: float) -> Rows:
    """The rows as tensors on the module's device; raises UsageError, DataError, ModelError for what cannot be trained."""
    allowed = get_args(Criterion)
    if criterion not in allowed:
        raise UsageError(f"criterion: one of {listed(allowed)}, got {criterion!r}{suggest(str(criterion), allowed)}")
    if not 0 < eps < 1:
        raise UsageError(f"eps: a gap above 0 and below 1, got {eps!r}")
    learnt = [each for each in module.parameters() if each.requires_grad]
    if not learnt:
        raise ModelError("module: needs parameters with gradients to be debiased, it has none")
    place = learnt[0].device
    rows = torch.as_tensor(x).to(place)
    labels, groups = (torch.as_tensor(each).to(place) for each in (y, a))
    if labels.shape != (len(rows),) or groups.shape != (len(rows),):
        raise DataError(f"y and a: one each of {len(rows)} rows, got {tuple(labels.shape)} and {tuple(groups.shape)}")
    for name, values in (("x", rows), ("y", labels), ("a", groups)):
        if not bool(torch.isfinite(values).all()) and (name != "x" or _reads_no_nan(module)):
            raise DataError(f"{name}: NaN or infinite values cannot be learnt from")
    rows = rows.to(learnt[0].dtype) if rows.dtype.is_floating_point else rows
    if (said := sorted(set(labels.tolist()))) != [0, 1]:
        raise DataError(f"y: both 0 and 1 are needed, got {listed([str(value) for value in said[:5]])}")
    levels, codes = torch.unique(groups, return_inverse=True)
    if len(levels) < 2:
        raise DataError(f"a: two groups are needed, every row is of group {levels.tolist()[0]}")
    return Rows(x=rows, y=labels.long(), a=codes)


def _reads_no_nan(module: nn.Module) -> bool:
    """Whether no encoder inside replaces missing values."""
    from audit.models.encoding import Encoder

    return not any(isinstance(each, Encoder) for each in module.modules())


def logits(module: nn.Module, x: Tensor) -> Tensor:
    """One logit a row (n,); raises ModelError for other shapes and for answers without gradients."""
    raw: Tensor = module(x)
    if raw.shape not in ((len(x),), (len(x), 1)):
        raise ModelError(f"module: one logit a row is needed, (n,) or (n, 1); it gave {tuple(raw.shape)}")
    if torch.is_grad_enabled() and not raw.requires_grad:
        raise ModelError("module: its answers carry no gradients")
    return raw.reshape(len(x))


def apart(rows: Rows, share: float, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Rows to learn from, and a share held back; raises UsageError."""
    if not 0 < share < 1:
        raise UsageError(f"held: a share of the rows above 0 and below 1, got {share!r}")
    order = torch.randperm(len(rows.y), generator=generator).to(rows.y.device)
    held = max(1, round(share * len(order)))
    return rows.take(order[held:]), rows.take(order[:held])


def batches(rows: Rows, size: int, generator: torch.Generator) -> Iterator[Rows]:
    """All rows once, in a new order."""
    order = torch.randperm(len(rows.y), generator=generator).to(rows.y.device)
    for places in order.split(size):  # type: ignore[no-untyped-call]
        yield rows.take(places)


def rounds(rows: int, size: int, least: int) -> int:
    """How often an epoch passes over so many rows in batches of that size, to come to at least so many batches."""
    return math.ceil(least / math.ceil(rows / size))


def follow(mean: nn.Module, module: nn.Module) -> None:
    """Move a running mean of the weights: what is trained against something goes round a point that the mean lies near."""
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
    first: the number of the first epoch that may be chosen.
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
