"""Reductions: a fair classifier as a mixture of classifiers that were trained on reweighted rows (agarwal2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Floats, Ints, ModelError
from audit.fairness.mitigation import Constraint, exponentiated_gradient
from audit.models.debias.given import number, one_of, rows_for, tried
from audit.models.debias.selection import Rows
from audit.models.options import whole
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train

NEGLIGIBLE = 1e-9  # a member of a smaller share changes no score that anybody reads


class Learner(Protocol):
    """What fairlearn asks of a classifier, and the module that it has become (raw rows (n, ...) to logits (n,))."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn the labels (n,) of rows (n, ...) of these weights (n,)."""
        ...

    def predict(self, X: Any) -> Any:
        """Decisions (n,), 0 or 1."""
        ...

    def module(self) -> nn.Module:
        """What was learnt: a logit above 0 where `predict` says 1."""
        ...


class Mixture(nn.Module):
    """A randomised classifier as one deterministic module: the probability that it decides for the positive class.

    members: modules of rows (n, ...) to logits (n,), each of which decides at a logit above 0. shares (m,): how likely each
    is drawn. always: the share of members that decide for the positive class whatever the row.
    """

    shares: Tensor
    always: Tensor

    def __init__(self, members: Sequence[nn.Module], *, shares: Sequence[float] = (), always: float = 0.0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("shares", torch.tensor(list(shares) or [0.0] * len(members), dtype=torch.float64))
        self.register_buffer("always", torch.tensor(always, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """P(positive decision) (n,) of rows (n, ...)."""
        score = self.always.expand(len(x))
        for share, member in zip(self.shares, self.members, strict=True):
            score = score + share * (member(x).reshape(len(x)) > 0)
        return score.clamp(0.0, 1.0)  # shares add up to 1 but for rounding


class TorchLearner:
    """Any differentiable module behind fairlearn's two methods; rows are named by their places in `x`.

    build() makes a fresh module of x (n, ...) to logits (n,); the same seed makes the same one.
    """

    def __init__(self, build: Callable[[], nn.Module], x: Tensor, training: Training) -> None:
        self.build, self.x, self.training = build, x, training
        self.learnt: nn.Module | None = None

    def __deepcopy__(self, memo: Any) -> TorchLearner:
        return TorchLearner(self.build, self.x, self.training)  # what fairlearn clones is the recipe, not the rows

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TorchLearner:
        """Train a fresh module on these places, labels and weights."""
        rows, labels = self._rows(X), torch.as_tensor(np.array(y), dtype=torch.long, device=self.x.device)
        weights = None
        if sample_weight is not None:
            weights = torch.as_tensor(np.array(sample_weight), dtype=rows.dtype, device=self.x.device)
        with seeded(self.training.seed):
            self.learnt = self.build().to(self.x.device)
        train(self.learnt, rows, labels, training=self.training, loss=log_loss, weights=weights)
        return self

    def predict(self, X: Any) -> Ints:
        """Decisions (n,) at these places."""
        with torch.no_grad():
            raw = self.module()(self._rows(X)).reshape(-1)
        return np.asarray((raw > 0).cpu().numpy(), dtype=np.int64)

    def module(self) -> nn.Module:
        """The trained module."""
        if self.learnt is None:
            raise ModelError("reductions: the learner was not fitted")
        return self.learnt

    def _rows(self, X: Any) -> Tensor:
        places = np.asarray(X, dtype=np.int64).reshape(-1)
        return self.x[torch.as_tensor(places, device=self.x.device)]


def reductions(
    build: Callable[[], nn.Module],
    x: Any,
    y: Any,
    a: Any,
    *,
    criterion: Constraint = "demographic_parity",
    eps: float = 0.05,
    training: Training,
    rounds: int = 12,
) -> Mixture:
    """A mixture of modules whose rates differ between groups by about `eps` on the rows that it was trained on.

    build() makes a module of x (n, ...) to logits (n,). x, y, a: as of `adversarial`; a tensor x says on which device.
    criterion: the rates that are held together, those of `adversarial` or "predictive_equality". rounds: of the
    exponentiated gradient, each of which trains a few modules. On unseen rows the gap may be larger. Raises UsageError,
    DataError, ModelError.
    """
    one_of("criterion", criterion, get_args(Constraint))
    number("eps", eps, "a gap above 0 and below 1", below=1.0)
    whole("rounds", rounds)
    rows = built_for(build, x, y, a, training)
    if (said := sorted(set(rows.y.tolist()))) != [0, 1]:
        raise DataError(f"y: both 0 and 1 are needed, got {said[:5]}")
    learner = TorchLearner(build, rows.x, training)
    places = np.arange(len(rows.x), dtype=np.int64)[:, None]
    fitted = exponentiated_gradient(
        learner,
        places,
        rows.y.cpu().numpy(),
        sensitive_features=rows.a.cpu().numpy(),
        constraint=criterion,
        limit=eps / 2,  # fairlearn bounds how far a group is from everybody: two groups may be twice as far apart
        max_iter=rounds,
    )
    return mixture(fitted).to(rows.x.device)


def built_for(build: Callable[[], nn.Module], x: Any, y: Any, a: Any, training: Training) -> Rows:
    """The rows for modules that `build` makes, which are tried on two of them; raises DataError, ModelError."""
    with seeded(training.seed):
        module = build()
        if not isinstance(module, nn.Module):
            raise ModelError(f"build: makes a torch.nn.Module, got {type(module).__name__}")
        if isinstance(x, Tensor):
            module = module.to(x.device)
        rows = rows_for(module, x, y, a)
        tried(module, rows)
    return rows


def mixture(fitted: Any) -> Mixture:
    """The module of a fitted ExponentiatedGradient over learners; it says what fairlearn's `_pmf_predict` says.

    fairlearn's own `predict` draws a member anew at every call. Raises ModelError.
    """
    members: list[nn.Module] = []
    shares: list[float] = []
    always = 0.0
    for place, share in fitted.weights_.items():
        if share <= NEGLIGIBLE:
            continue
        predictor = fitted.predictors_[place]
        if hasattr(predictor, "module"):
            members.append(predictor.module())
            shares.append(float(share))
        else:
            always += float(share) * _constant(predictor)
    return Mixture(members, shares=shares, always=always)


def _constant(predictor: Any) -> float:
    """What fairlearn's stand-in says where all of the relabelled rows are alike."""
    said: Floats = np.unique(np.asarray(predictor.predict(np.zeros((2, 1))), dtype=np.float64))
    if len(said) != 1 or said[0] not in (0.0, 1.0):
        raise ModelError(f"reductions: a learner without a module must decide for one class, it said {said.tolist()}")
    return float(said[0])
