"""RoBERTa as a classifier of texts."""

from __future__ import annotations

from audit.core import Dataset, UsageError
from audit.models.encoders import Classifier, classifier, near_bayes, taught
from audit.models.masked_language import pretrained
from audit.models.sparing import SPARING
from audit.models.training import Training
from audit.registry import family


@family(
    "roberta",
    title="RoBERTa classifier",
    world="biographies",
    offers={"gradients", "attention"},
    promise=near_bayes,
    rows=6000,
    checks=SPARING,
    sources=("liu2019", "dearteaga2019"),
)
def roberta(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 48,
    layers: int = 2,
    heads: int = 4,
    inner: int = 96,
    dropout: float = 0.1,
    pretraining: int = 1,
    masked: float = 0.15,
    epochs: int = 2,
    batch: int = 64,
    rate: float = 1e-3,
) -> Classifier:
    """BERT trained first on masked tokens alone, without pairs of sentences, with masks drawn anew each time; then to classify.

    pretraining: epochs over the same texts on masked tokens, of which a share of `masked` is asked for. The others: see
    `bert`. Places are counted from behind the number of the padding. Raises DataError, ModelError, UsageError.
    """
    if not 0 < masked < 1:
        raise UsageError(f"masked: a share between 0 and 1, got {masked!r}")
    shape = {"width": width, "layers": layers, "heads": heads, "inner": inner, "dropout": dropout}
    module = classifier(data, "roberta", seed=seed, device=device, **shape)
    if pretraining:
        training = Training(epochs=pretraining, batch=batch, optimiser="adamw", rate=rate, warmup=0.1, seed=seed)
        pretrained(module, data, share=masked, training=training, device=device)
    taught(module, data, epochs=epochs, batch=batch, rate=rate, seed=seed, device=device)
    return module
