"""Small models that satisfy core.Model, and subjects and contexts around them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audit.core import Card, Codes, Context, Dataset, Origin, Subject
from audit.data.tabular import Tabular


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def table(values: Any, columns: Iterable[str] = (), **facts: Any) -> Tabular:
    values = np.asarray(values, dtype=np.float64)
    names = tuple(columns) or tuple(f"x{i}" for i in range(values.shape[1]))
    return Tabular(values=values, columns=names, **facts)


@dataclass
class Plain:
    """A function of the matrix as a model; `calls` are the numbers of rows it was asked for."""

    function: Callable[[np.ndarray], np.ndarray]
    batch: int | None = None
    calls: list[int] = field(default_factory=list)
    family: str = "plain"
    offers: frozenset = frozenset()
    classes: tuple[str, ...] = ("0", "1")

    @property
    def card(self) -> Card:
        return Card(family="plain", kind="callable", classes=self.classes)

    def predict(self, inputs: Tabular) -> np.ndarray:
        self.calls.append(len(inputs))
        step = self.batch or len(inputs)
        parts = [self.function(inputs.values[i : i + step]) for i in range(0, len(inputs), step)]
        return np.asarray(np.concatenate(parts), dtype=np.float64)


@dataclass
class Open:
    """A torch module of a matrix, whose output is the log-odds, as a model with gradients and open parameters."""

    module: Any
    device: str = "cpu"
    family: str = "open"
    offers: frozenset = frozenset({"gradients"})

    @property
    def card(self) -> Card:
        return Card(family="open", kind="torch", parameters_open=True)

    def tensor(self, inputs: Tabular) -> Any:
        return self.attribution_point(inputs)[0]

    def arguments(self, inputs: Tabular) -> tuple[Any, ...]:
        return (self.tensor(inputs),)

    def attribution_point(self, inputs: Tabular, targets: Any = None) -> tuple[Any, Callable]:
        import torch

        kind = next((p.dtype for p in self.module.parameters()), torch.float64)
        return torch.as_tensor(inputs.values, dtype=kind), lambda leaf: self.module(leaf).reshape(-1)

    def predict(self, inputs: Tabular) -> np.ndarray:
        import torch

        leaf, forward = self.attribution_point(inputs)
        with torch.no_grad():
            return sigmoid(forward(leaf).double().numpy())


def seeded_mlp(features: int, *, hidden: int = 16, seed: int = 0) -> Any:
    """A float64 perceptron with set weights: no global generator is touched."""
    import torch

    rng = np.random.default_rng(seed)
    module = torch.nn.Sequential(
        torch.nn.Linear(features, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.as_tensor(rng.normal(size=tuple(parameter.shape)) * 0.7))
    return module


def stream(name: str, seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def context(seed: int = 0, **scratch: Any) -> Context:
    def track(items: Iterable, label: str, total: int | None = None) -> Iterator:
        yield from items

    return Context(rng=stream("own", seed), stream=lambda name: stream(name, seed), track=track, scratch=dict(scratch))


def codes(values: Iterable[str], levels: tuple[str, ...] | None = None) -> Codes:
    values = list(values)
    levels = levels or tuple(sorted(set(values)))
    return Codes(values=np.array([levels.index(v) if v in levels else len(levels) for v in values]), levels=levels)


def subject(
    model: Any, inputs: Tabular, y: np.ndarray | None = None, groups: Mapping[str, Codes] | None = None, **facts: Any
) -> Subject:
    score = model.predict(inputs) if model is not None else None
    groups = groups or {}
    threshold = facts.pop("threshold", 0.5)
    data = Dataset(inputs=inputs, groups=groups, origin=Origin(name="made here"), y=y, **facts)
    decision = None if score is None or score.ndim != 1 else (score >= threshold).astype(np.int64)
    slices = tuple((name,) for name in groups)
    return Subject(
        model=model, data=data, y=y, decision=decision, score=score, groups=groups, slices=slices, threshold=threshold
    )
