"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from audit.core import Dataset
from audit.models.debias.promised import told
from audit.models.debias.selection import Debiased
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.feedback import Rule
from audit.models.seeds import seeded
from audit.models.stack import FOLDED, Activation, Norm, Stacked, layers_of, units
from audit.models.training import Optimiser, Training, log_loss, train
from audit.registry import family


class MLP(Stacked):
    """Hidden layers, each nn.Linear, a norm, an activation and dropout, and one logit (n,).

    encoder: the arguments of the front; None where its standardisation is folded into the first layer, which then reads
    `width` raw columns.
    """

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | None,
        hidden: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
        norm: Norm = "none",
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "encoder": None if encoder is None else dict(encoder),
            "hidden": units(hidden),
            "activation": activation,
            "dropout": dropout,
            "norm": norm,
            "width": width,
        }
        self.front = None if encoder is None else Encoder(**encoder)
        self.notes = () if encoder is not None else (FOLDED,)
        wide = int(width or 0) if self.front is None else self.front.width
        self.layers = layers_of([wide, *hidden, 1], activation=activation, dropout=dropout, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        return self.through(x)[:, 0]


@family("mlp", title="Multilayer perceptron", world="credit", sources=("rumelhart1986", "lillicrap2016", "martens2015"))
def mlp(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    hidden: Sequence[int] = (64, 64),
    activation: Activation = "relu",
    dropout: float = 0.0,
    norm: Norm = "none",
    epochs: int = 12,
    batch: int = 256,
    optimiser: Optimiser = "adam",
    rate: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    rule: Rule = "backpropagation",
) -> MLP:
    """A perceptron with hidden layers of `hidden` units, trained on the log loss.

    activation, dropout, norm: behind every hidden layer. optimiser, rate (None for the optimiser's own), momentum,
    weight_decay and rule: see `audit.models.training.Training`. Raises UsageError.
    """
    training = Training(
        epochs=epochs,
        batch=batch,
        optimiser=optimiser,
        rate=rate,
        momentum=momentum,
        weight_decay=weight_decay,
        rule=rule,
        seed=seed,
    )
    module = untrained(data, hidden, seed, device, activation=activation, dropout=dropout, norm=norm)
    train(module, rows_of(data, device), labels_of(data, device), training=training, loss=log_loss)
    module.settled(data)
    return module


def untrained(
    data: Dataset,
    hidden: Sequence[int],
    seed: int,
    device: str,
    *,
    activation: Activation = "relu",
    dropout: float = 0.0,
    norm: Norm = "none",
) -> MLP:
    """A perceptron for the table of a dataset, which it standardises, with its first weights; raises UsageError, DataError."""
    front = encoder(data)
    with seeded(seed):
        module = MLP(encoder=front.config, hidden=hidden, activation=activation, dropout=dropout, norm=norm)
    module.front = front
    return module.to(device)


def chosen(found: Debiased) -> MLP:
    """The debiased perceptron, with a note of which epoch was chosen and by what."""
    module = found.module
    assert isinstance(module, MLP)
    module.notes = (*module.notes, told(found))
    return module
