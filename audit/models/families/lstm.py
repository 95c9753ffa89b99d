"""Long short-term memory."""

from __future__ import annotations

from audit.core import Dataset
from audit.models.recurrent import Recurrent, recurrent, recurrent_family
from audit.models.training import Optimiser, Training


@recurrent_family("lstm", title="Long short-term memory (LSTM)", sources=("hochreiter1997", "gers2000", "pascanu2013"))
def lstm(
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
    """A memory cell that gates guard: what enters, what is forgotten, what is told.

    hidden: memory cells. rate: None for the optimiser's own. clip: the longest gradient that a step takes, None for any
    (pascanu2013). Raises UsageError, DataError for data that are no sequences.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, clip=clip, seed=seed)
    return recurrent(data, "lstm", cell="lstm", hidden=hidden, training=training, device=device)
