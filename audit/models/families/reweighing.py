"""Reweighing: the multilayer perceptron on rows of weights under which label and group are independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from audit.core import Dataset, Model
from audit.data.worlds.base import World
from audit.models.debias.reweighing import reweighed
from audit.models.encoding import encoder, group_of, labels_of, rows_of
from audit.models.families.mlp import MLP
from audit.models.promises import Promise, auc
from audit.models.reference import Reference
from audit.models.training import Training
from audit.registry import family


class Reweighed(MLP):
    """The perceptron itself: reweighing changes nothing but the rows' weights."""


def _nearer(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The gap of decisions on unseen rows is smaller than the world's own, at a small price."""
    a = group_of(data)
    oracle = world.oracle().logit(data.inputs.values)  # type: ignore[union-attr]

    def gap(decided: np.ndarray) -> float:
        rates = [float(decided[a == level].mean()) for level in np.unique(a)]
        return max(rates) - min(rates)

    own = gap(oracle > 0)
    yield Promise(
        name="|gap of decisions|",
        value=gap(model.predict(data.inputs) >= 0.5),
        high=0.75 * own,
        why=f"three quarters of the oracle's {own:.3f}: the columns still tell the group",
    )
    best = auc(data, oracle)
    yield Promise(name="AUC", value=auc(data, model.predict(data.inputs)), low=best - 0.08, why=f"oracle {best:.4f}")


@family("reweighing", title="Reweighed perceptron", world="credit", promise=_nearer, sources=("kamiran2012",))
def reweighing(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    epochs: int = 10,
    batch: int = 256,
    rate: float | None = None,
) -> Reference:
    """A perceptron with hidden layers of `hidden` units, trained on rows weighted by P(group) P(label) / P(group, label).

    attribute: whose levels the weights make independent of the label, by default the first. Raises UsageError, DataError.
    """
    front = encoder(data)
    x = rows_of(data, device)

    def build() -> Reweighed:
        module = Reweighed(encoder=front.config, hidden=hidden)
        module.front = front
        return module

    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    module = reweighed(build, x, labels_of(data, device), group_of(data, attribute), training=training)
    assert isinstance(module, Reweighed)
    module.settled(data)
    return module
