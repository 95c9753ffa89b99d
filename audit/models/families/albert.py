"""ALBERT as a classifier of texts."""

from __future__ import annotations

from audit.core import Dataset
from audit.models.encoders import Classifier, classifier, near_bayes, taught
from audit.models.sparing import SPARING
from audit.registry import family


@family(
    "albert",
    title="ALBERT classifier",
    world="biographies",
    offers={"gradients", "attention"},
    promise=near_bayes,
    rows=8000,
    checks=SPARING,
    sources=("lan2020", "dearteaga2019"),
)
def albert(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 48,
    embedding: int = 16,
    layers: int = 2,
    heads: int = 4,
    inner: int = 96,
    dropout: float = 0.0,
    epochs: int = 2,
    batch: int = 64,
    rate: float = 1e-3,
) -> Classifier:
    """BERT with one layer that is gone through again and again, and tokens in `embedding` numbers instead of `width`.

    layers: how often. dropout: none, as in the larger models of the paper. The others: see `bert`. Nothing is promised of
    the gap between women and men. Raises DataError, ModelError, UsageError.
    """
    shape = {"width": width, "embedding": embedding, "layers": layers, "heads": heads, "inner": inner}
    module = classifier(data, "albert", seed=seed, device=device, dropout=dropout, **shape)
    taught(module, data, epochs=epochs, batch=batch, rate=rate, seed=seed, device=device)
    return module
