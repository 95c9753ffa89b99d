"""How reference models are trained: optimiser, learning rule and regularisation, from one seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from audit.core import DataError, ModelError, UsageError, suggest
from audit.data.tables import listed
from audit.models.feedback import Rule, feeding_back
from audit.models.kfac import KFAC
from audit.models.options import whole
from audit.models.seeds import seeded

Optimiser = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "kfac"]
Loss = Callable[[Tensor, Tensor], Tensor]
RATES: Mapping[Optimiser, float] = {
    "sgd": 0.2,
    "momentum": 0.03,
    "nesterov": 0.03,
    "adam": 3e-3,
    "adamw": 3e-3,
    "kfac": 0.03,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """epochs over the rows in batches, with an optimiser at a learning rate, weights learnt by a rule.

    rate: None for the optimiser's own (`RATES`). momentum: of "momentum" and "nesterov". weight_decay: added to the
    gradient as an L2 penalty; decoupled from the step's scaling for "adamw" and "kfac". damping: of "kfac". clip: the
    longest gradient, over all parameters together, that a step takes; None for any. warmup: the share of the steps over
    which the rate rises linearly, to fall linearly to 0 over the others; None for the same rate throughout. Raises
    UsageError for what is not allowed.
    """

    epochs: int = 12
    batch: int = 256
    optimiser: Optimiser = "adam"
    rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    rule: Rule = "backpropagation"
    damping: float = 1e-2
    clip: float | None = None
    warmup: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("optimiser", get_args(Optimiser)), ("rule", get_args(Rule))):
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(f"{name}: one of {listed(allowed)}, got {value!r}{suggest(str(value), allowed)}")
        for name, least in (("epochs", 0), ("batch", 1)):
            whole(name, getattr(self, name), least)
        if not 0 < self.step < math.inf:
            raise UsageError(f"rate: a number above 0, or None for the optimiser's own, got {self.rate!r}")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise UsageError(f"clip: a number above 0, or None for no clipping, got {self.clip!r}")
        if self.warmup is not None and not 0 <= self.warmup < 1:
            raise UsageError(f"warmup: a share in [0, 1), or None for one rate throughout, got {self.warmup!r}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum: a number in [0, 1), got {self.momentum!r}")
        for name in ("weight_decay", "damping"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}: a number from 0 on, got {getattr(self, name)!r}")

    @property
    def step(self) -> float:
        """The learning rate, the optimiser's own where none is given."""
        return RATES[self.optimiser] if self.rate is None else self.rate


def train(
    module: nn.Module, x: Tensor, y: Tensor, *, training: Training, loss: Loss, weights: Tensor | None = None
) -> list[float]:
    """Train a module in place on rows x (n, ...) and targets y (n, ...); the mean loss of each epoch.

    loss(raw, y) gives one loss a row (b,). weights (n,): of the rows, a row of weight 2 counts as two. Everything lies on
    one device. The module is in evaluation mode afterwards. Raises DataError where lengths or weights do not fit,
    ModelError where the loss is not finite or the rule does not suit the module.
    """
    shares = _shares(x, y, weights)
    history: list[float] = []
    module.train()
    try:
        with (
            seeded(training.seed) as generator,
            feeding_back(module, training.rule, x[:2], seed=training.seed),
            _stepper(module, training, loss, training.epochs * -(-len(x) // training.batch)) as step,
        ):
            for epoch in range(training.epochs):
                total = torch.zeros((), dtype=torch.float64, device=x.device)
                order = torch.randperm(len(x), generator=generator).to(x.device)
                for rows in order.split(training.batch):  # type: ignore[no-untyped-call]
                    total += step(x[rows], y[rows], None if shares is None else shares[rows]) * len(rows)
                history.append(total.item() / len(x))
                if not math.isfinite(history[-1]):
                    raise ModelError(
                        f"training: the loss of epoch {epoch + 1} is {history[-1]} with {training.optimiser} at rate "
                        f"{training.step:g}; a lower rate may help"
                    )
    finally:
        module.eval()
    return history


def _shares(x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor | None:
    """The weights with mean 1: then every batch's gradient is an unbiased one of the weighted mean over all rows."""
    if len(x) == 0 or len(x) != len(y):
        raise DataError(
            f"training: needs as many targets as rows, and at least one; got {len(x)} rows, {len(y)} targets"
        )
    if weights is None:
        return None
    if weights.shape != (len(x),) or not bool((weights >= 0).all()) or not 0 < float(weights.sum()) < math.inf:
        raise DataError(f"weights: {len(x)} numbers from 0 on, finite and not all 0; got shape {tuple(weights.shape)}")
    return weights / weights.mean()


Step = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@contextmanager
def _stepper(module: nn.Module, training: Training, loss: Loss, steps: int) -> Iterator[Step]:
    """One of `steps` steps of the optimiser on a batch: rows, targets, shares to the mean loss before the step."""
    optimiser = _optimiser(module, training)
    scheduler = _scheduler(optimiser, training, steps)
    kfac = KFAC(damping=training.damping) if training.optimiser == "kfac" else None

    def step(x: Tensor, y: Tensor, shares: Tensor | None) -> Tensor:
        raw = module(x)
        each = loss(raw, y)
        mean = (each if shares is None else each * shares).mean()
        if kfac is not None:
            kfac.observe(loss, raw, y, shares)
        optimiser.zero_grad()
        mean.backward()  # type: ignore[no-untyped-call]
        if kfac is not None:
            kfac.precondition()
        if training.clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), training.clip)
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        return mean.detach()

    with nullcontext() if kfac is None else kfac.watching(module):
        yield step


def _optimiser(module: nn.Module, training: Training) -> torch.optim.Optimizer:
    parameters, rate, decay = list(module.parameters()), training.step, training.weight_decay
    if training.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if training.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    with_momentum = training.optimiser in ("momentum", "nesterov")
    return torch.optim.SGD(  # of K-FAC too, whose gradients come preconditioned
        parameters,
        lr=rate,
        weight_decay=decay,
        momentum=training.momentum if with_momentum else 0.0,
        nesterov=training.optimiser == "nesterov",
    )


def _scheduler(
    optimiser: torch.optim.Optimizer, training: Training, steps: int
) -> torch.optim.lr_scheduler.LambdaLR | None:
    """What lets the rate rise over the first steps and fall over the others; None where it stays."""
    if training.warmup is None:
        return None
    rising = training.warmup * steps

    def share(done: int) -> float:
        return min((done + 1) / (rising + 1), (steps - done) / max(steps - rising, 1.0))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def log_loss(raw: Tensor, y: Tensor) -> Tensor:
    """The log loss (b,) of logits (b,) or (b, 1) of two classes, or (b, k) of k."""
    if raw.ndim == 1 or raw.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(raw.reshape(len(raw)), y.to(raw.dtype), reduction="none")
    return nn.functional.cross_entropy(raw, y, reduction="none")
