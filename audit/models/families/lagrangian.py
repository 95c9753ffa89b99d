"""Bound on the gap by a multiplier: a perceptron whose decisions are held alike between groups."""

from __future__ import annotations

from collections.abc import Sequence

from audit.core import Dataset
from audit.models.debias.lagrangian import lagrangian as debiased
from audit.models.debias.promised import keeps_the_bound
from audit.models.debias.selection import Criterion
from audit.models.encoding import group_of, labels_of, rows_of
from audit.models.families.mlp import MLP, chosen, untrained
from audit.registry import family


@family(
    "lagrangian",
    title="Bound on the gap by a multiplier",
    world="credit",
    promise=keeps_the_bound,
    sources=("cotter2019",),
)
def lagrangian(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    epochs: int = 60,
    margin: float = 1.0,
) -> MLP:
    """A perceptron trained under a bound on the gap, by a multiplier that follows the gap of its decisions (cotter2019).

    criterion: demographic_parity, equalized_odds or equal_opportunity; eps: the bound on its largest gap. attribute: by
    default the first. hidden: units of the perceptron's layers. epochs, margin: as of `audit.models.debias.lagrangian`.
    Raises UsageError, DataError.
    """
    found = debiased(
        untrained(data, hidden, seed, device),
        rows_of(data, device),
        labels_of(data, device),
        group_of(data, attribute),
        criterion=criterion,
        eps=eps,
        seed=seed,
        epochs=epochs,
        margin=margin,
    )
    return chosen(found)
