"""Fairness penalty in the loss: a perceptron whose decisions are held alike between groups."""

from __future__ import annotations

from collections.abc import Sequence

from audit.core import Dataset
from audit.models.debias.penalties import Kind, penalised
from audit.models.debias.promised import keeps_the_bound
from audit.models.debias.selection import Criterion
from audit.models.encoding import group_of, labels_of, rows_of
from audit.models.families.mlp import MLP, chosen, untrained
from audit.registry import family


@family(
    "penalty",
    title="Fairness penalty in the loss",
    world="credit",
    promise=keeps_the_bound,
    sources=("zafar2017", "buyl2024"),
)
def penalty(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    kind: Kind = "gap",
    weight: float = 20.0,
    epochs: int = 20,
    margin: float = 0.0,
) -> MLP:
    """A perceptron trained on the log loss and a fairness penalty: a covariance (zafar2017) or a squared gap (buyl2024).

    criterion: demographic_parity, equalized_odds or equal_opportunity; eps: the bound by which the epoch is chosen, which
    the penalty itself does not know. attribute: by default the first. hidden: units of the perceptron's layers. kind,
    weight, epochs, margin: as of `audit.models.debias.penalised`. Raises UsageError, DataError.
    """
    found = penalised(
        untrained(data, hidden, seed, device),
        rows_of(data, device),
        labels_of(data, device),
        group_of(data, attribute),
        criterion=criterion,
        eps=eps,
        seed=seed,
        kind=kind,
        weight=weight,
        epochs=epochs,
        margin=margin,
    )
    return chosen(found)
