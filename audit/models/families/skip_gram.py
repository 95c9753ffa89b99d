"""The skip-gram model of word vectors, with negative sampling and hard debiasing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.core import DataError, Dataset, UsageError
from audit.data.tables import listed
from audit.data.texts import Texts
from audit.data.worlds.base import World
from audit.data.worlds.corpus import CAREER, FAMILY, FEMALE, MALE
from audit.models.encoding import inputs_of
from audit.models.family_model import FamilyModel, Reference
from audit.models.options import whole
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.training import Training, train
from audit.models.vectors import hard_debiased
from audit.registry import family

Debias = Literal["none", "hard"]
POWER = 0.75  # of a word's frequency in the noise (mikolov2013)


class SkipGram(Reference):
    """A vector and a context vector a word; v · c is what the model holds of how often two words meet.

    first, second: ids of the words of the negative and of the positive class. read: ids of the words that speak of it.
    """

    offers = frozenset({"embedding"})
    noise: Tensor
    spoken: Tensor

    def __init__(
        self, *, words: int, width: int, pad: int, first: Sequence[int], second: Sequence[int], read: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = {
            "words": words,
            "width": width,
            "pad": pad,
            "first": list(first),
            "second": list(second),
            "read": list(read),
        }
        self.pad, self.first, self.second = pad, list(first), list(second)
        self.vectors = nn.Embedding(words, width)
        self.contexts = nn.Embedding(words, width)
        nn.init.uniform_(self.vectors.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.contexts.weight)
        self.register_buffer("noise", torch.full((words,), 1.0 / words))
        spoken = torch.zeros(words)
        spoken[list(read)] = 1.0
        self.register_buffer("spoken", spoken)

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds (n,) of the second class: the mean over the words that are read, 0 where there is none of them.

        A word's own are those of the two sets of words as its contexts, P(c | w) being proportional to the noise of c
        times exp(v_w · c) where negative sampling is solved (levy2014).
        """
        spoken = self.spoken[ids]
        product = self.vectors(ids) @ self.contexts.weight.T + torch.log(self.noise.clamp_min(1e-12))
        each = product[..., self.second].logsumexp(dim=-1) - product[..., self.first].logsumexp(dim=-1)
        found: Tensor = (each * spoken).sum(dim=1) / spoken.sum(dim=1).clamp_min(1.0)
        return found

    def embed(self, ids: Tensor) -> Tensor:
        """The mean vector (n, width) of the words of each text (n, tokens)."""
        there = (ids != self.pad).to(self.vectors.weight.dtype)[..., None]
        found: Tensor = (self.vectors(ids) * there).sum(dim=1) / there.sum(dim=1).clamp_min(1.0)
        return found


class _Pairs(nn.Module):
    """The loss (n,) of sentences: every word foretells every other one of its sentence, beside words drawn from the noise."""

    def __init__(self, model: SkipGram, negatives: int) -> None:
        super().__init__()
        self.model, self.negatives = model, negatives

    def forward(self, ids: Tensor) -> Tensor:
        n, tokens = ids.shape
        there = (ids != self.model.pad).float()
        pair = there[:, :, None] * there[:, None, :] * (1.0 - torch.eye(tokens, device=ids.device))
        vectors = self.model.vectors(ids)
        near = F.logsigmoid(vectors @ self.model.contexts(ids).transpose(1, 2))
        # As many noise words a pair as `negatives`: the same ones for every pair of a word.
        drawn = torch.multinomial(self.model.noise, n * tokens * self.negatives, replacement=True)
        noise = self.model.contexts(drawn.reshape(n, tokens, self.negatives))
        far = F.logsigmoid(-(noise @ vectors[..., None])[..., 0]).sum(dim=-1)
        loss: Tensor = -(pair * (near + far[:, :, None])).sum(dim=(1, 2))
        return loss


def near_the_exact_association(model: FamilyModel, data: Dataset, world: World) -> Iterator[Promise]:
    """The effect size of the corpus's own words is within .15 of the exact one, and P(family | gender) within .05 of q."""
    from audit.fairness.association import weat

    truth = world.truth()
    found = weat(*(model.embed(list(words)) for words in (CAREER, FAMILY, MALE, FEMALE)))
    exact = truth["effect_size"]
    yield Promise(
        name="effect size", value=found.effect_size, low=exact - 0.15, high=exact + 0.15, why=f"exact {exact:.3f}"
    )
    score, gender = model.predict(data.inputs), data.groups["gender"]
    for code, level in enumerate(gender.levels):
        chance = truth[f"base_rate.{level}"]
        value = float(score[gender.values == code].mean())
        yield Promise(
            name=f"P(family | {level})", value=value, low=chance - 0.05, high=chance + 0.05, why=f"exact {chance:.3f}"
        )


@family(
    "skip_gram",
    title="Skip-gram word vectors",
    world="corpus",
    offers={"embedding"},
    promise=near_the_exact_association,
    checks={"fairness.association": {"x": CAREER, "y": FAMILY, "a": MALE, "b": FEMALE}},
    sources=("mikolov2013", "bolukbasi2016", "levy2014"),
)
def skip_gram(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 12,
    negatives: int = 5,
    epochs: int = 12,
    batch: int = 256,
    rate: float = 0.02,
    first: Sequence[str] = CAREER,
    second: Sequence[str] = FAMILY,
    read: Sequence[str] = (*FEMALE, *MALE),
    debias: Debias = "none",
    pairs: Sequence[Sequence[str]] = tuple(zip(FEMALE, MALE, strict=True)),
) -> SkipGram:
    """Word vectors of `width` numbers, learnt by telling a word's neighbours from `negatives` words of the noise each.

    The window is the whole sentence. The prediction is what the model holds of the topic by the words in `read` alone:
    the chance that their neighbour is a word of `second` rather than of `first`. The words of the topics themselves are
    never read. debias = "hard": afterwards the direction that tells the words of `pairs` apart is taken out of all other
    vectors, which leaves each pair at equal distance from them (bolukbasi2016); context vectors, and so what is
    predicted by other words than those of the pairs, stay. Raises UsageError, DataError.
    """
    texts = inputs_of(data, Texts, "skip_gram")
    whole("width", width)
    whole("negatives", negatives)
    if debias not in get_args(Debias):
        raise UsageError(f"debias: one of {listed(get_args(Debias))}, got {debias!r}")
    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    sets = {name: _ids(texts, name, words) for name, words in (("first", first), ("second", second), ("read", read))}
    ties = [_ids(texts, "pairs", pair) for pair in pairs] if debias == "hard" else []
    with seeded(seed):
        module = SkipGram(words=len(texts.vocabulary), width=width, pad=texts.pad, **sets).to(device)
    ids = torch.as_tensor(texts.ids, device=device)
    _count(module, texts)
    train(_Pairs(module, negatives), ids, ids, training=training, loss=lambda raw, y: raw)
    if ties:
        with torch.no_grad():
            vectors = hard_debiased(module.vectors.weight.double().cpu().numpy(), ties, keep=[texts.pad])
            module.vectors.weight.copy_(torch.from_numpy(vectors))
        told = ", ".join("/".join(pair) for pair in pairs)
        module.notes = (f"Hard debiasing: the direction of {told} is taken out of the other words' vectors.",)
    return module.eval()


def _ids(texts: Texts, name: str, words: Sequence[str]) -> list[int]:
    """The ids of words; raises DataError for one that the vocabulary does not hold, UsageError for a lone text."""
    if isinstance(words, str) or not words:
        raise UsageError(f"{name}: one word or more as a list, got {words!r}")
    unknown = [word for word in words if word not in texts.vocabulary]
    if unknown:
        raise DataError(f"{name}: the data hold {listed(texts.vocabulary)}; got {unknown[0]!r}")
    return [texts.vocabulary.index(word) for word in words]


def _count(module: SkipGram, texts: Texts) -> None:
    """Set the noise to the words' frequencies to the power of 3/4, padding apart."""
    counts = np.bincount(texts.ids[texts.ids != texts.pad], minlength=len(texts.vocabulary)).astype(np.float64)
    share = counts**POWER
    module.noise.copy_(torch.from_numpy(share / share.sum()))
