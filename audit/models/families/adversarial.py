"""Adversarial debiasing: a perceptron whose decisions are held alike between groups."""

from __future__ import annotations

from collections.abc import Sequence

from audit.core import Dataset
from audit.models.debias.adversarial import adversarial as debiased
from audit.models.debias.promised import keeps_the_bound, told
from audit.models.debias.selection import Criterion
from audit.models.encoding import encoder, group_of, labels_of, rows_of
from audit.models.families.mlp import MLP
from audit.models.seeds import seeded
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
    module.notes = (*module.notes, told(found))
    return module
