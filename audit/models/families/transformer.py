"""The Transformer: an encoder and a decoder of attention, from a sentence to a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.core import Dataset, ModelError, UsageError
from audit.data.tables import listed
from audit.data.texts import Texts
from audit.data.worlds.base import World
from audit.data.worlds.occupations import SHARES
from audit.models.blocks import Block, sinusoids
from audit.models.cloze import cloze
from audit.models.encoding import inputs_of
from audit.models.family_model import FamilyModel, Reference
from audit.models.foretold import annealed, near_the_true_chances, sized, told_apart
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Training, train
from audit.registry import family

Positions = Literal["sinusoidal", "learned"]
PLACES = 32  # tokens that a model has places for at least


class Transformer(Reference):
    """Ids (n, tokens) of texts to log-odds of the word in their gap, by an encoder that reads the gap and a decoder.

    The source is the text with the gap in place of the word; the target is the text. vocabulary: tokens of the data.
    pad, gap: ids of padding and of what stands for the word. places: the most tokens. place, words: see `Cloze`.
    """

    offers = frozenset({"likelihood", "embedding"})
    angles: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        pad: int,
        gap: int,
        places: int,
        place: int,
        words: Sequence[int],
        width: int,
        layers: int,
        heads: int,
        inner: int,
        dropout: float,
        positions: Positions,
    ) -> None:
        super().__init__()
        self.config = {
            "vocabulary": vocabulary,
            "pad": pad,
            "gap": gap,
            "places": places,
            "place": place,
            "words": list(words),
            "width": width,
            "layers": layers,
            "heads": heads,
            "inner": inner,
            "dropout": dropout,
            "positions": positions,
        }
        self.begin, self.pad, self.gap, self.places = vocabulary, pad, gap, places
        self.place, self.words, self.width = place, list(words), width
        self.table = nn.Embedding(vocabulary + 1, width)  # one table for source, target and answer
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.learned = nn.Embedding(places, width) if positions == "learned" else None
        self.register_buffer("angles", sinusoids(places, width))
        self.dropout = nn.Dropout(dropout)
        size = {"width": width, "heads": heads, "inner": inner, "dropout": dropout}
        self.encoder = nn.ModuleList(Block(**size, cross=False) for _ in range(layers))  # type: ignore[arg-type]
        self.decoder = nn.ModuleList(Block(**size, cross=True) for _ in range(layers))  # type: ignore[arg-type]

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds (n,) of the second of two words, or logits (n, k) of k, in the gap.

        The decoder is given the text before the gap; the word itself, and in the decoder what follows it, is not read.
        """
        if ids.shape[1] <= self.place:
            raise ModelError(f"transformer: fills token {self.place + 1}, the texts have {ids.shape[1]}")
        states = self._states(self.table(ids), ids)
        return told_apart(F.linear(states[:, self.place], self.table.weight[self.words]))

    def said(self, ids: Tensor) -> Tensor:
        """Logits (n, tokens, vocabulary + 1) of every token of the target by the source and the tokens before it."""
        return F.linear(self._states(self.table(ids), ids), self.table.weight)

    def written(self, ids: Tensor) -> Tensor:
        """The likeliest target (n, tokens) word by word, of the sources that texts (n, tokens) have."""
        found = ids.masked_fill(ids != self.pad, self.gap)
        for place in range(ids.shape[1]):
            states = self._states(self.table(ids), ids, target=self.table(found))
            word = F.linear(states[:, place], self.table.weight).argmax(dim=-1)
            found[:, place] = torch.where(ids[:, place] == self.pad, self.pad, word)
        return found

    def _states(self, source: Tensor, ids: Tensor, target: Tensor | None = None) -> Tensor:
        """The decoder's states (n, tokens, width), that of place t made of the source and of what stands before t."""
        absent = ids == self.pad
        memory = self._encoded(source, absent)
        target = source if target is None else target
        begun = torch.cat([self.table.weight[self.begin].expand(len(ids), 1, -1), target[:, :-1]], dim=1)
        x, tokens = self._placed(begun), ids.shape[1]
        later = torch.ones(tokens, tokens, dtype=torch.bool, device=ids.device).triu(1)
        for block in self.decoder:
            x = block(x, hidden=later, memory=memory, absent=absent)
        return x

    def _encoded(self, source: Tensor, absent: Tensor) -> Tensor:
        """What the encoder makes (n, tokens, width) of embedded texts whose word in the gap is hidden from it."""
        here = (torch.arange(source.shape[1], device=source.device) == self.place)[None, :, None]
        x = self._placed(torch.where(here, self.table.weight[self.gap], source))
        for block in self.encoder:
            x = block(x, absent=absent)
        return x

    def _placed(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        if tokens > self.places:
            raise ModelError(f"transformer: reads texts of at most {self.places} tokens, got {tokens}")
        where = self.angles[:tokens] if self.learned is None else self.learned.weight[:tokens]
        found: Tensor = self.dropout(x * math.sqrt(self.width) + where)
        return found

    def losses(self, ids: Tensor) -> Tensor:
        """Minus log p (n, tokens) of every token of the target, 0 for padding."""
        found = F.cross_entropy(self.said(ids).transpose(1, 2), ids, reduction="none")
        return found * (ids != self.pad)

    def log_likelihood(self, ids: Tensor) -> Tensor:
        """The log-likelihood (n,) of each text given the same one with the gap in place of the word."""
        return -self.losses(ids).sum(dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """The mean state (n, width) of the encoder over the tokens of a text, whose gap is hidden."""
        absent = ids == self.pad
        there = (~absent).to(self.table.weight.dtype)[..., None]
        return (self._encoded(self.table(ids), absent) * there).sum(dim=1) / there.sum(dim=1).clamp_min(1.0)


class _Losses(nn.Module):
    """The mean loss a token (n,) of texts, for training."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """The loss (n,) of texts (n, tokens)."""
        return self.model.losses(ids).sum(dim=1) / (ids != self.model.pad).sum(dim=1).clamp_min(1)


def copies_and_foretells(model: FamilyModel, data: Dataset, world: World) -> Iterator[Promise]:
    """P(she | occupation) is within .1 of the truth in every occupation, and every other word is copied."""
    yield from near_the_true_chances(model, data, world, within=0.1)
    module = model.module
    assert isinstance(module, Transformer)
    ids = model.tensor(data.inputs)[:1000]
    with torch.no_grad():
        same = (module.written(ids) == ids).cpu().numpy()
    copied = np.delete(same, module.place, axis=1)
    yield Promise(name="words copied", value=float(copied.mean()), low=0.9995, why="all but the gap is in the source")


@family(
    "transformer",
    title="Transformer, encoder and decoder",
    world="occupations",
    offers={"likelihood", "embedding", "attention"},
    promise=copies_and_foretells,
    checks={**SPARING, "fairness.pronouns": {"occupations": tuple(SHARES)}},
    rows=4000,
    sources=("vaswani2017", "stanovsky2019"),
)
def transformer(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 32,
    layers: int = 2,
    heads: int = 4,
    inner: int = 64,
    dropout: float = 0.0,
    positions: Positions = "sinusoidal",
    epochs: int = 5,
    batch: int = 64,
    rate: float = 3e-3,
) -> Transformer:
    """A translator from sentences that leave the pronoun open to the same sentences with one, as from a language without.

    layers: of the encoder, and as many of the decoder. width, heads, inner: of each, the width a multiple of the heads.
    positions: how places are told, by sines and cosines or by vectors that are learnt. The last two epochs have a fifth
    and a 25th of the rate. Raises UsageError, DataError.
    """
    if positions not in get_args(Positions):
        raise UsageError(f"positions: one of {listed(get_args(Positions))}, got {positions!r}")
    sized(width=width, layers=layers, heads=heads, inner=inner, dropout=dropout)
    texts = inputs_of(data, Texts, "transformer")
    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    gap = cloze(data, "transformer")
    with seeded(seed):
        module = Transformer(
            vocabulary=len(texts.vocabulary),
            pad=texts.pad,
            gap=texts.pad if texts.mask is None else texts.mask,
            places=max(PLACES, texts.ids.shape[1]),
            place=gap.place,
            words=gap.words,
            width=width,
            layers=layers,
            heads=heads,
            inner=inner,
            dropout=dropout,
            positions=positions,
        ).to(device)
    ids = torch.as_tensor(texts.ids, device=device)
    for phase in annealed(training):
        train(_Losses(module), ids, ids, training=phase, loss=lambda raw, y: raw)
    return module.eval()
