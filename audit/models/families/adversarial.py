"""Adversarial debiasing: a perceptron whose decisions are held alike between groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from audit.core import Dataset, Model
from audit.data.worlds.base import World
from audit.data.worlds.credit import best_accuracy
from audit.models.debias.adversarial import adversarial as debiased
from audit.models.debias.selection import Criterion, gap
from audit.models.encoding import encoder, group_of, labels_of, rows_of
from audit.models.families.mlp import MLP
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.registry import family

EPS, PRICE = 0.05, 0.03


def _fair(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """On unseen rows the gap is within the bound and two standard errors, the accuracy near the best under the bound."""
    assert data.y is not None
    decided, a = (model.predict(data.inputs) >= 0.5).astype(int), group_of(data)
    found = gap(decided, data.y, a, "demographic_parity")
    doubt = gap(decided, data.y, a, "demographic_parity", margin=2.0) - found
    yield Promise(name="|gap of decisions|", value=found, high=EPS + doubt, why=f"{EPS:g} and two standard errors")
    best = best_accuracy(world, EPS)
    doubt = 2 * math.sqrt(best * (1 - best) / len(decided))
    right = float((decided == data.y).mean())
    yield Promise(name="accuracy", value=right, low=best - PRICE - doubt, why=f"best under the bound {best:.4f}")


@family("adversarial", title="Adversarial debiasing", world="credit", promise=_fair, sources=("zhang2018",))
def adversarial(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    criterion: Criterion = "demographic_parity",
    eps: float = EPS,
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    alpha: float = 3.0,
    epochs: int = 20,
    margin: float = 2.0,
) -> MLP:
    """A perceptron from whose logit an adversary cannot tell the group; options as of `audit.models.debias.adversarial`.

    attribute: by default the first. Raises UsageError, DataError.
    """
    front = encoder(data)
    with seeded(seed):
        start = MLP(encoder=front.config, hidden=hidden)
    start.front = front
    x, y = rows_of(data, device), labels_of(data, device)
    found = debiased(
        start.to(device),
        x,
        y,
        group_of(data, attribute),
        criterion=criterion,
        eps=eps,
        seed=seed,
        alpha=alpha,
        epochs=epochs,
        margin=margin,
    )
    module = found.module
    assert isinstance(module, MLP)
    module.notes = (
        *module.notes,
        f"Chosen: epoch {found.chosen.number} of {len(found.history)}, on {found.rows[1]} rows held back: gap "
        f"{found.chosen.gap:.3f}, accuracy {found.chosen.accuracy:.3f}; the bound of {eps:g} was "
        f"{'kept' if found.kept else 'not kept'} there.",
    )
    return module
