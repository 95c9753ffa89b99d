"""The bidirectional recurrent network."""

from __future__ import annotations

from audit.core import Dataset
from audit.models.recurrent import Recurrent, recurrent, recurrent_family
from audit.models.training import Optimiser, Training


@recurrent_family(
    "birnn", title="Bidirectional recurrent network", sources=("schuster1997", "elman1990", "pascanu2013")
)
def birnn(
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
    """Two recurrent networks, one from the first step to the last and one from the last to the first, and one answer of both.

    hidden: units of the state of either direction. rate: None for the optimiser's own. clip: the longest gradient that a
    step takes, None for any (pascanu2013). Raises UsageError, DataError for data that are no sequences.
    """
    training = Training(epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, clip=clip, seed=seed)
    return recurrent(data, "birnn", cell="elman", both=True, hidden=hidden, training=training, device=device)
