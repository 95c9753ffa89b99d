"""Rosenblatt's perceptron, which learns from its mistakes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Floats, Ints, Model, UsageError, stream
from audit.data.worlds.base import World
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.stack import FOLDED, Stacked, chosen
from audit.registry import family

Variant = Literal["averaged", "pocket", "last"]
VARIANTS: Mapping[str, str] = {"averaged": "averaged", "pocket": "pocket", "last": "last"}
DECISION = "Its output is a decision, 0 or 1: it ranks nobody."


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """Weights (d + 1,), the last for the bias; `mistakes` over all epochs; converged: an epoch went by without one."""

    weights: Floats
    mistakes: int
    epochs: int
    converged: bool


def learn(x: Floats, y: Ints, *, epochs: int, variant: Variant = "last", seed: int = 0) -> Learnt:
    """The perceptron rule from weights 0: each row that is not on its side of the plane is added to them or taken away.

    Rows x (n, d) of labels y (n,) 0 or 1 come in a new order in each epoch. On separable rows it makes at most (R / γ)²
    mistakes, R the longest row with its 1 for the bias and γ the margin of any unit vector that separates them (Novikoff);
    on others it never ends. variant: the "last" weights; the mean of the weights after every row ("averaged", Freund and
    Schapire); or those that got most rows right ("pocket" with ratchet, Gallant). Raises UsageError. Sources:
    rosenblatt1958, novikoff1962, freund1999, gallant1990.
    """
    chosen("variant", variant, VARIANTS)
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise UsageError(f"epochs: a whole number from 1 on, got {epochs!r}")
    rng = stream(seed, "models.perceptron")
    signed = np.column_stack([x, np.ones(len(x))]) * np.where(y == 1, 1.0, -1.0)[:, None]
    weights, late = np.zeros(signed.shape[1]), np.zeros(signed.shape[1])
    pocket, best, mistakes, seen = weights.copy(), 0, 0, 0
    for epoch in range(1, epochs + 1):
        before, run = mistakes, 0
        for i in rng.permutation(len(signed)):
            if signed[i] @ weights > 0:
                run += 1
            else:
                if variant == "pocket" and run:
                    pocket, best = _better(signed, weights, pocket, best)
                weights, run = weights + signed[i], 0
                late += seen * signed[i]
                mistakes += 1
            seen += 1
        if mistakes == before:
            return Learnt(weights=weights, mistakes=mistakes, epochs=epoch, converged=True)
    if variant == "averaged":
        weights = weights - late / seen
    elif variant == "pocket":
        weights, _ = _better(signed, weights, pocket, best)
    return Learnt(weights=weights, mistakes=mistakes, epochs=epochs, converged=False)


def _better(signed: Floats, weights: Floats, pocket: Floats, best: int) -> tuple[Floats, int]:
    """The ratchet: whichever weights get more of all rows right."""
    right = int((signed @ weights > 0).sum())
    return (weights, right) if right > best else (pocket, best)


class Step(nn.Module):
    """1 above 0, else 0."""

    def forward(self, z: Tensor) -> Tensor:
        """Decisions like z."""
        return (z > 0).to(z.dtype)


class Perceptron(Stacked):
    """A linear layer and a step; encoder, width: as of `audit.models.families.mlp.MLP`, learnt: how learning ended."""

    output = "probability"
    differentiable = False

    def __init__(
        self, *, encoder: Mapping[str, Any] | None, learnt: Mapping[str, Any] | None = None, width: int | None = None
    ) -> None:
        super().__init__()
        self.front = None if encoder is None else Encoder(**encoder)
        self.layers = nn.Sequential(nn.Linear(int(width or 0) if self.front is None else self.front.width, 1), Step())
        self.config = {"encoder": None if encoder is None else dict(encoder), "width": width}
        self.told(learnt or {})

    def told(self, learnt: Mapping[str, Any]) -> None:
        """Note how learning ended: mistakes, epochs, converged."""
        self.config = {**self.config, "learnt": dict(learnt)}
        self.converged = bool(learnt.get("converged", False))
        end = "Learning ended with an epoch without a mistake: the rows are separated by a plane."
        if not self.converged:
            end = (
                f"Learning did not converge in {learnt.get('epochs', 0)} epochs ({learnt.get('mistakes', 0)} mistakes): no "
                "plane separates the rows, or it takes more epochs."
            )
        self.notes = (DECISION, end, *((FOLDED,) if self.front is None else ()))

    def forward(self, x: Tensor) -> Tensor:
        """0 or 1 (n,) of raw rows (n, d)."""
        return self.through(x)[:, 0]


def near_the_oracle_s_accuracy(model: Model, data: Dataset, world: World, *, below: float = 0.02) -> Iterator[Promise]:
    """The share of right decisions on unseen rows is at most `below` under that of the world's own logit."""
    if data.y is None:
        raise DataError("accuracy needs labels")
    best = float(((world.oracle().logit(data.inputs.values) > 0) == data.y).mean())  # type: ignore[union-attr]
    right = float(((model.predict(data.inputs) > 0.5) == data.y).mean())
    yield Promise(name="accuracy", value=right, low=best - below, why=f"oracle {best:.4f}; decisions have no ranking")


@family(
    "perceptron",
    title="Rosenblatt's perceptron",
    world="credit",
    promise=near_the_oracle_s_accuracy,
    sources=("rosenblatt1958", "novikoff1962", "freund1999", "gallant1990", "minsky1969"),
)
def perceptron(
    data: Dataset, *, seed: int = 0, device: str = "cpu", epochs: int = 10, variant: Variant = "averaged"
) -> Perceptron:
    """A perceptron by its own learning rule; see `learn`. Its output is a decision, and its notes say whether it converged.

    The last weights are what the rule ends with, which on rows that no plane separates may be anything: averaged and pocket
    are the remedies. Raises UsageError, DataError.
    """
    front = encoder(data)
    with seeded(seed):  # nn.Linear draws weights, though none of them stays
        module = Perceptron(encoder=front.config)
    module.front = front
    with torch.no_grad():
        x = front(rows_of(data)).double().numpy()
        found = learn(x, labels_of(data).numpy(), epochs=epochs, variant=variant, seed=seed)
        plane = module.layers[0]
        assert isinstance(plane, nn.Linear)
        plane.weight.copy_(torch.from_numpy(found.weights[None, :-1]))
        plane.bias.copy_(torch.from_numpy(found.weights[-1:]))
    module.told({"mistakes": found.mistakes, "epochs": found.epochs, "converged": found.converged})
    module.settled(data)
    return module.to(device).eval()
