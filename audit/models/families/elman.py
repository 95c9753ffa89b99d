"""The simple recurrent network of Elman."""

from __future__ import annotations

from audit.core import Dataset
from audit.models.recurrent import Recurrent, recurrent, recurrent_family
from audit.models.training import Optimiser, Training


@recurrent_family("elman", title="Simple recurrent network (Elman)", sources=("elman1990", "werbos1990", "pascanu2013"))
def elman(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    hidden: int = 32,
    epochs: int = 6,
    batch: int = 128,
    optimiser: Optimiser = "adam",
    rate: float | None = 5e-3,
    clip: float | None = 1.0,
) -> Recurrent:
    """The state is fed back to itself at every step, h = tanh(W x + U h + b), and trained by backpropagation through time.

    hidden: units of the state. rate: None for the optimiser's own. clip: the longest gradient that a step takes, None for any
    (pascanu2013). Raises UsageError, DataError for data that are no sequences.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, clip=clip, seed=seed)
    return recurrent(data, "elman", cell="elman", hidden=hidden, training=training, device=device)
