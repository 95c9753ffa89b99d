"""BERT as a classifier of texts."""

from __future__ import annotations

from collections.abc import Iterator

from audit.core import Dataset, Model
from audit.data.worlds.base import Stratified
from audit.models.encoders import Classifier, classifier, near_bayes, near_the_gap_of_bayes, taught
from audit.models.promises import Promise
from audit.models.sparing import SPARING
from audit.registry import family


def like_bayes(model: Model, data: Dataset, world: Stratified) -> Iterator[Promise]:
    """Nearly as good as the posterior, and as unequal as it."""
    yield from near_bayes(model, data, world)
    yield from near_the_gap_of_bayes(model, data, world)


@family(
    "bert",
    title="BERT classifier",
    world="biographies",
    offers={"gradients", "attention"},
    promise=like_bayes,
    rows=8000,
    checks=SPARING,
    sources=("devlin2019", "dearteaga2019"),
)
def bert(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 48,
    layers: int = 2,
    heads: int = 4,
    inner: int = 96,
    dropout: float = 0.1,
    epochs: int = 2,
    batch: int = 64,
    rate: float = 1e-3,
) -> Classifier:
    """A bidirectional transformer whose first token, [CLS], is read by a classifier; trained from random weights.

    The paper's two tasks of pretraining are left out: the masked words (see `bert_mlm`), and whether one sentence follows
    another.
    width, layers, heads and inner (the width between a layer's two linear maps): of the encoder. dropout: of states and
    attention weights. rate: the highest, reached after a tenth of the steps. Raises DataError, ModelError, UsageError.
    """
    shape = {"width": width, "layers": layers, "heads": heads, "inner": inner, "dropout": dropout}
    module = classifier(data, "bert", seed=seed, device=device, **shape)
    taught(module, data, epochs=epochs, batch=batch, rate=rate, seed=seed, device=device)
    return module
