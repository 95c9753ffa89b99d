"""BERT as a masked model of language."""

from __future__ import annotations

from collections.abc import Iterator

from audit.core import Dataset, Model, UsageError
from audit.data.worlds.base import World
from audit.data.worlds.occupations import SHARES
from audit.models.cloze import cloze
from audit.models.encoders import shape_of
from audit.models.foretold import near_the_true_chances
from audit.models.masked_language import MaskedLanguage, unmasked
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Training
from audit.registry import family


def fills_in(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """P(she | occupation) is within .1 of the truth in every occupation."""
    yield from near_the_true_chances(model, data, world, within=0.1)


@family(
    "bert_mlm",
    title="BERT masked language model",
    world="occupations",
    offers={"likelihood", "embedding", "gradients", "attention"},
    promise=fills_in,
    checks={**SPARING, "fairness.pronouns": {"occupations": tuple(SHARES)}},
    rows=8000,
    sources=("devlin2019", "salazar2020"),
)
def bert_mlm(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 48,
    layers: int = 2,
    heads: int = 4,
    inner: int = 96,
    dropout: float = 0.0,
    masked: float = 0.3,
    epochs: int = 3,
    batch: int = 32,
    rate: float = 2e-3,
) -> MaskedLanguage:
    """A bidirectional transformer that tells masked tokens; it predicts which of the classes' names fills their place.

    masked: the share of tokens that are asked for, four fifths of them read as [MASK], a tenth as any token, a tenth as they
    are; BERT's is .15, more is learnt of every short text with .3. BERT's second task, whether one sentence follows another,
    is left out: a text is one sentence. The others: see `bert`. Raises DataError where the texts do not all hold one of the
    classes' names at one place.
    """
    if not 0 < masked < 1:
        raise UsageError(f"masked: a share between 0 and 1, got {masked!r}")
    gap = cloze(data, "bert_mlm")
    shape = shape_of(data, "bert", width=width, layers=layers, heads=heads, inner=inner, dropout=dropout)
    with seeded(seed):
        module = MaskedLanguage(shape=shape, place=gap.place, words=gap.words).to(device)
    training = Training(epochs=epochs, batch=batch, optimiser="adamw", rate=rate, warmup=0.1, seed=seed)
    unmasked(module, module.model, data, share=masked, training=training, device=device)
    module.eval()
    return module
