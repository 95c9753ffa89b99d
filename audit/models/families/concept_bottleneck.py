"""The concept bottleneck: what a network sees must pass through concepts that people can name, and overrule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Floats, Model, UsageError, suggest
from audit.data.rules import clause_of
from audit.data.tables import listed
from audit.data.worlds.base import World
from audit.models.encoding import Encoder, encoder, labels_of, rows_of, table_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import family

# The conditions of the rule world; the last is the one that the law forbids.
CONCEPTS = ("income > 0", "debt <= 0.5", "history > 1", "zip <= -0.5 & sex <= 0.5")
Way = Literal["joint", "sequential"]


class ConceptBottleneck(Reference):
    """Encoder, hidden layers of ReLU, a probability for each concept, and a logit (n,) that is linear in them.

    fixed: concepts that have this value, between 0 and 1, whatever the network sees. names: the concepts, in the order
    of `sees`; `intervene` and `overruled` set them by these names.
    """

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any],
        hidden: Sequence[int],
        concepts: Sequence[str],
        fixed: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.fixed = {str(name): float(value) for name, value in dict(fixed or {}).items()}
        self.config = {
            "encoder": dict(encoder),
            "hidden": list(hidden),
            "concepts": list(concepts),
            "fixed": self.fixed,
        }
        self.names = tuple(concepts)
        _allowed(self.fixed, self.names)
        self.encoder = Encoder(**encoder)
        widths = [self.encoder.width, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], len(self.names)))
        self.head = nn.Linear(len(self.names), 1)

    def sees(self, x: Tensor) -> Tensor:
        """Logits (n, concepts) of what the network takes for true of raw rows (n, d)."""
        logits: Tensor = self.layers(self.encoder(x))
        return logits

    def concludes(self, concepts: Tensor, fixed: Mapping[str, float]) -> Tensor:
        """The logit (n,) from probabilities of concepts (n, concepts), some of them set by hand."""
        columns = list(concepts.unbind(dim=1))
        for name, value in fixed.items():
            columns[self.names.index(name)] = torch.full_like(columns[0], value)
        logit: Tensor = self.head(torch.stack(columns, dim=1))[:, 0]
        return logit

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        return self.concludes(torch.sigmoid(self.sees(x)), self.fixed)

    def intervene(self, x: Tensor, concepts: Mapping[str, float]) -> Tensor:
        """Logits (n,) of raw rows (n, d) where somebody who knows better sets these concepts; raises UsageError."""
        _allowed(concepts, self.names)
        return self.concludes(torch.sigmoid(self.sees(x)), {**self.fixed, **concepts})

    def overruled(self, concepts: Mapping[str, float]) -> ConceptBottleneck:
        """A copy whose every answer is given with these concepts set; raises UsageError."""
        _allowed(concepts, self.names)
        made = ConceptBottleneck(**{**self.config, "fixed": {**self.fixed, **concepts}})
        made.load_state_dict(self.state_dict())
        return made.to(self.head.weight.device, self.head.weight.dtype).eval()


def _allowed(concepts: Any, names: Sequence[str]) -> None:
    if not isinstance(concepts, Mapping):
        raise UsageError(f"concepts: a table of {listed(names)} with values; got {concepts!r}")
    for name, value in concepts.items():
        if name not in names:
            raise UsageError(f"concepts: {listed(names)}; got {name!r}{suggest(str(name), names)}")
        if not isinstance(value, Real) or not 0 <= float(value) <= 1:
            raise UsageError(f"concept {name!r}: a value from 0 (does not hold) to 1 (holds), got {value!r}")


def concepts_of(data: Dataset, concepts: Sequence[str]) -> Floats:
    """Whether each concept, a condition on columns, holds (n, concepts); raises DataError."""
    table = table_of(data)
    clauses = [clause_of(text, table.columns) for text in concepts]
    if not clauses or len(set(concepts)) < len(concepts):
        raise DataError(f"concepts: at least one, each once, got {list(concepts)}")
    return torch.stack([torch.from_numpy(each.holds(table.values)) for each in clauses], dim=1).double().numpy()


def sees_its_concepts(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """Concepts and labels of unseen rows are right for nearly all."""
    module = model.module  # type: ignore[attr-defined]
    truth = torch.from_numpy(concepts_of(data, module.names)) > 0.5
    with torch.no_grad():
        right = float(((module.sees(rows_of(data).to(module.head.weight)) > 0).cpu() == truth).double().mean())
    yield Promise(name="accuracy of concepts", value=right, low=0.97, why="concepts follow from the columns")
    decided = torch.from_numpy(model.predict(data.inputs) >= 0.5) == torch.from_numpy(data.y == 1)
    yield Promise(
        name="accuracy", value=float(decided.double().mean()), low=0.96, why="labels follow from the concepts"
    )


@family(
    "concept_bottleneck",
    title="Concept bottleneck with intervention",
    world="rules",
    promise=sees_its_concepts,
    sources=("koh2020",),
)
def concept_bottleneck(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    hidden: Sequence[int] = (64,),
    concepts: Sequence[str] = CONCEPTS,
    way: Way = "sequential",
    weight: float = 1.0,
    fixed: Mapping[str, float] | None = None,
    epochs: int = 15,
) -> ConceptBottleneck:
    """A perceptron that predicts named concepts, and a linear model that decides by them alone.

    concepts: conditions such as "income > 0 & debt <= 0.5", whose truth the data tell. way: both parts together, the
    concepts' loss with `weight`, or the concepts first. fixed: concepts that are set by hand in every answer after
    training. Raises UsageError for an unknown concept, DataError for an unknown column.
    """
    front = encoder(data)
    with seeded(seed):
        module = ConceptBottleneck(encoder=front.config, hidden=hidden, concepts=concepts).to(device)
    module.encoder.load_state_dict(front.state_dict())
    x, y = rows_of(data, device), labels_of(data, device)
    truth = torch.as_tensor(concepts_of(data, concepts), dtype=x.dtype, device=device)
    stage = _Stages(module, len(concepts), weight)
    if way == "sequential":
        train(stage.eyes, x, truth, training=Training(epochs=epochs, batch=128, rate=5e-3, seed=seed), loss=_seen)
        with torch.no_grad():
            believed = torch.sigmoid(module.sees(x))
        train(module.head, believed, y, training=Training(epochs=epochs, rate=5e-2, seed=seed), loss=log_loss)
    elif way == "joint":
        told = torch.cat([truth, y[:, None].to(truth.dtype)], dim=1)
        train(stage, x, told, training=Training(epochs=epochs, batch=128, rate=5e-3, seed=seed), loss=stage.loss)
    else:
        raise UsageError(f"way: joint or sequential, got {way!r}")
    module.eval()
    return module.overruled(fixed) if fixed else module


class _Stages(nn.Module):
    """The network in training: logits of concepts and, last, of the label (n, concepts + 1)."""

    def __init__(self, module: ConceptBottleneck, concepts: int, weight: float) -> None:
        super().__init__()
        self.module, self.concepts, self.weight = module, concepts, weight
        self.eyes = nn.Sequential(module.encoder, module.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Both kinds of logits for raw rows (n, d)."""
        seen = self.module.sees(x)
        return torch.cat([seen, self.module.concludes(torch.sigmoid(seen), {})[:, None]], dim=1)

    def loss(self, raw: Tensor, told: Tensor) -> Tensor:
        """The log loss of the label and, weighted, of the concepts."""
        label = log_loss(raw[:, -1], told[:, -1])
        return label + self.weight * _seen(raw[:, : self.concepts], told[:, : self.concepts])


def _seen(raw: Tensor, told: Tensor) -> Tensor:
    """The mean log loss (b,) over concepts."""
    return nn.functional.binary_cross_entropy_with_logits(raw, told, reduction="none").mean(dim=1)
