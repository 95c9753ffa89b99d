"""Reductions: a randomised mixture of networks under a constraint on rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from audit.core import Dataset, Model
from audit.data.worlds.base import World
from audit.fairness.mitigation import Constraint
from audit.models.debias.reductions import Mixture
from audit.models.debias.reductions import reductions as reduce
from audit.models.encoding import Encoder, encoder, group_of, labels_of, rows_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.stack import layers_of
from audit.models.training import Training
from audit.registry import family

BOUND = 0.05
MARGIN = 0.04  # two standard errors of the gap on a few thousand rows, and what training on other rows adds


class Reductions(Reference):
    """Networks behind one encoder, and how likely each of them decides; says P(positive decision) (n,)."""

    output = "probability"
    differentiable = False
    notes = (
        "Its score is the probability with which a randomised mixture of networks decides for the positive class, not a "
        "probability of the label. The bound on rates holds for decisions drawn with that probability; decided at 1/2, "
        "as audits do, the mixture is a vote, whose rates may differ more.",
    )

    def __init__(self, *, encoder: Mapping[str, Any], hidden: Sequence[int], members: int) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "hidden": list(hidden), "members": members}
        self.front = Encoder(**encoder)
        self.mixture = Mixture([_network(self.front.width, hidden) for _ in range(members)])

    def forward(self, x: Tensor) -> Tensor:
        """P(positive decision) (n,) of raw rows (n, d)."""
        score: Tensor = self.mixture(self.front(x))
        return score


def _network(width: int, hidden: Sequence[int]) -> nn.Sequential:
    return layers_of([width, *hidden, 1])


def _within(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """On unseen rows the mixture's rates of positive decisions differ by little more than the bound it was trained to."""
    a, score = group_of(data), model.predict(data.inputs)
    rates = [float(score[a == level].mean()) for level in np.unique(a)]
    why = f"bound {BOUND:g} where it was trained and {MARGIN:g} for rows that it has not seen"
    yield Promise(name="|gap of randomised decisions|", value=max(rates) - min(rates), high=BOUND + MARGIN, why=why)
    assert data.y is not None
    right = float(np.where(data.y == 1, score, 1 - score).mean())
    yield Promise(name="accuracy of randomised decisions", value=right, low=0.69, why="best under the bound is .73")


@family(
    "reductions", title="Reductions to weighted learning", world="credit", promise=_within, sources=("agarwal2018",)
)
def reductions(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    criterion: Constraint = "demographic_parity",
    eps: float = BOUND,
    attribute: str | None = None,
    hidden: Sequence[int] = (8,),
    epochs: int = 3,
    batch: int = 512,
    rate: float | None = 0.01,
    rounds: int = 10,
) -> Reductions:
    """A mixture of networks with hidden layers of `hidden` units, held to a gap of `eps` between the levels of `attribute`.

    criterion: the rates that are held together. attribute: by default the first. rounds: of the exponentiated
    gradient. Raises UsageError, DataError.
    """
    front = encoder(data).to(device)
    x = front(rows_of(data, device))
    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    build = partial(_network, front.width, hidden)
    y, a = labels_of(data, device), group_of(data, attribute)
    found = reduce(build, x, y, a, criterion=criterion, eps=eps, training=training, rounds=rounds)
    with seeded(seed):  # its own networks are put aside for the trained ones, but drawing them must leave no trace
        module = Reductions(encoder=front.config, hidden=hidden, members=len(found.members))
    module.front, module.mixture = front, found
    return module.to(device).eval()
