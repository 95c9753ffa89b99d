"""Models that foretell one of a few words: how they are trained, and how near they come to a world that knows the chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from audit.core import DataError, Dataset, Model, UsageError
from audit.data.texts import Texts
from audit.data.worlds.base import World
from audit.data.worlds.quadrature import sigmoid
from audit.models.options import share, whole
from audit.models.promises import Promise
from audit.models.training import Training


def told_apart(logits: Tensor) -> Tensor:
    """Logits (n, k) of k words as a classifier's: (n, k), of two words the log-odds (n,) of the second."""
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def annealed(training: Training) -> tuple[Training, ...]:
    """The same training cut in parts: of more than two epochs the last two have a fifth and a 25th of the rate."""
    if training.epochs < 3:
        return (training,)
    first = replace(training, epochs=training.epochs - 2)
    return (first, *(replace(training, epochs=1, rate=training.step / factor) for factor in (5, 25)))


def near_the_true_chances(model: Model, data: Dataset, world: World, *, within: float) -> Iterator[Promise]:
    """In every text the chance of the word is within so much of the true one; one promise for each chance that there is.

    Texts of one true chance (of one occupation, say) go together: the model's mean is promised.
    """
    if not isinstance(data.inputs, Texts):
        raise DataError(f"chances of words need Texts, the data hold {type(data.inputs).__name__}")
    score, truth = model.predict(data.inputs), np.round(sigmoid(world.oracle().logit(data.inputs.ids)), 9)
    means = {float(chance): float(score[truth == chance].mean()) for chance in np.unique(truth)}
    worst = max(means, key=lambda chance: abs(means[chance] - chance))
    name = f"P({data.classes[1]}) where it is {worst:.2f}"
    why = "the furthest of all from its truth"
    yield Promise(name=name, value=means[worst], low=worst - within, high=worst + within, why=why)


def sized(*, width: int, layers: int, heads: int, dropout: float, inner: int = 1) -> None:
    """Raise UsageError unless a transformer of this size can be built: whole numbers from 1 on, width a multiple of heads."""
    for name, value in (("width", width), ("layers", layers), ("heads", heads), ("inner", inner)):
        whole(name, value)
    if width % heads:
        raise UsageError(f"width: a multiple of heads = {heads}, got {width}")
    share("dropout", dropout)
