"""Adversarial debiasing: a perceptron whose decisions are held alike between groups."""

from __future__ import annotations

from collections.abc import Sequence

from audit.core import Dataset
from audit.models.debias.adversarial import adversarial as debiased
from audit.models.debias.promised import keeps_the_bound
from audit.models.debias.selection import Criterion
from audit.models.encoding import group_of, labels_of, rows_of
from audit.models.families.mlp import MLP, chosen, untrained
from audit.registry import family


@family("adversarial", title="Adversarial debiasing", world="credit", promise=keeps_the_bound, sources=("zhang2018",))
def adversarial(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    criterion: Criterion = "demographic_parity",
    eps: float = 0.05,
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    alpha: float = 3.0,
    epochs: int = 20,
    margin: float = 2.0,
) -> MLP:
    """A perceptron from whose logit an adversary cannot tell the group, chosen to keep a bound on the gap (zhang2018).

    criterion: demographic_parity, equalized_odds or equal_opportunity; eps: the bound on its largest gap. attribute: by
    default the first. hidden: units of the perceptron's layers. alpha, epochs, margin: as of
    `audit.models.debias.adversarial`. Raises UsageError, DataError.
    """
    found = debiased(
        untrained(data, hidden, seed, device),
        rows_of(data, device),
        labels_of(data, device),
        group_of(data, attribute),
        criterion=criterion,
        eps=eps,
        seed=seed,
        alpha=alpha,
        epochs=epochs,
        margin=margin,
    )
    return chosen(found)
