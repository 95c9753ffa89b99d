"""GPT: a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.core import Dataset, ModelError
from audit.data.texts import Texts
from audit.data.worlds.base import World
from audit.data.worlds.occupations import SHARES
from audit.models.cloze import cloze
from audit.models.encoding import inputs_of
from audit.models.family_model import FamilyModel, Reference
from audit.models.foretold import annealed, near_the_true_chances, sized, told_apart
from audit.models.hugging import built
from audit.models.promises import Promise
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Training, train
from audit.registry import family

PLACES = 32  # tokens that a model has places for at least
INIT = 0.05  # spread of the first weights: GPT-2's .02 is for rows of 768 and more, and little models begin too flat with it


class GPT(Reference):
    """GPT-2 over ids (n, tokens) behind a token of its own, whose id lies behind the vocabulary: it begins and ends a text.

    vocabulary: tokens of the data. pad: the id that fills texts up. places: the most tokens of a text. place: the token
    that is foretold; words: the ids that it may be, one for each class.
    """

    offers = frozenset({"likelihood", "embedding", "sample"})

    def __init__(
        self,
        *,
        vocabulary: int,
        pad: int,
        places: int,
        place: int,
        words: Sequence[int],
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.config = {
            "vocabulary": vocabulary,
            "pad": pad,
            "places": places,
            "place": place,
            "words": list(words),
            "width": width,
            "layers": layers,
            "heads": heads,
            "dropout": dropout,
        }
        self.own, self.pad, self.places = vocabulary, pad, places
        self.place, self.words = place, list(words)
        options: dict[str, Any] = {"embd_pdrop": dropout, "attn_pdrop": dropout, "resid_pdrop": dropout}
        self.model = built(
            "gpt",
            "GPT2LMHeadModel",
            "GPT2Config",
            vocab_size=vocabulary + 1,
            n_positions=places + 1,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            bos_token_id=vocabulary,
            eos_token_id=vocabulary,
            use_cache=False,
            initializer_range=INIT,
            activation_function="gelu_pytorch_tanh",  # the same function as GPT-2 has, in one operation
            **options,
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds (n,) of the second of two words, or logits (n, k) of k, at their place by what stands before it."""
        if ids.shape[1] <= self.place:
            raise ModelError(f"gpt: foretells token {self.place + 1}, the texts have {ids.shape[1]}")
        return told_apart(self.said(ids)[:, self.place, self.words])

    def said(self, ids: Tensor) -> Tensor:
        """Logits (n, tokens + 1, vocabulary + 1) of every token by those before it; the last of what follows the text.

        Padding stands behind a text, where nothing that is read sees it.
        """
        logits: Tensor = self.model(inputs_embeds=self._begun(ids)).logits
        return logits

    def _begun(self, ids: Tensor) -> Tensor:
        if ids.shape[1] > self.places:
            raise ModelError(f"gpt: reads texts of at most {self.places} tokens, got {ids.shape[1]}")
        table = self.model.get_input_embeddings()
        return torch.cat([table.weight[self.own].expand(len(ids), 1, -1), table(ids)], dim=1)

    def losses(self, ids: Tensor) -> Tensor:
        """Minus log p of every token by those before it, and of the end (n, tokens + 1), 0 behind the end."""
        there = ids != self.pad
        length = there.sum(dim=1)
        places = torch.arange(ids.shape[1] + 1, device=ids.device)
        ended = F.pad(ids.masked_fill(~there, self.own), (0, 1), value=self.own)
        found = F.cross_entropy(self.said(ids).transpose(1, 2), ended, reduction="none")
        return found * (places <= length[:, None])

    def log_likelihood(self, ids: Tensor) -> Tensor:
        """The sum (n,) over the tokens of a text of log p(token | those before)."""
        return -(self.losses(ids)[:, :-1] * (ids != self.pad)).sum(dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """The mean hidden state (n, width) of the last layer over the tokens of a text."""
        hidden: Tensor = self.model.transformer(inputs_embeds=self._begun(ids)).last_hidden_state[:, 1:]
        there = (ids != self.pad).to(hidden.dtype)[..., None]
        found: Tensor = (hidden * there).sum(dim=1) / there.sum(dim=1).clamp_min(1.0)
        return found

    def sample(self, count: int, seed: int) -> Tensor:
        """Texts (count, places) drawn word by word, padded behind their end."""
        table = self.model.get_input_embeddings()
        ids = torch.full((count, self.places), self.pad, device=table.weight.device)
        going = torch.ones(count, dtype=torch.bool, device=ids.device)
        chooser = torch.Generator().manual_seed(seed)
        for place in range(self.places):
            chance = self.said(ids[:, :place])[:, -1].softmax(dim=-1)
            chance[:, self.pad] = 0.0  # never trained as a token
            drawn = torch.multinomial(chance.cpu(), 1, generator=chooser)[:, 0].to(ids.device)
            going = going & (drawn != self.own)
            if not going.any():
                break
            ids[:, place] = torch.where(going, drawn, ids[:, place])
        return ids


class _Losses(nn.Module):
    """The mean loss a token (n,) of texts, for training."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """The loss (n,) of texts (n, tokens)."""
        return self.model.losses(ids).sum(dim=1) / ((ids != self.model.pad).sum(dim=1) + 1)


def foretells(model: FamilyModel, data: Dataset, world: World) -> Iterator[Promise]:
    """P(she | occupation) is within .05 of the truth in every occupation."""
    yield from near_the_true_chances(model, data, world, within=0.05)


@family(
    "gpt",
    title="GPT causal language model",
    world="occupations",
    offers={"likelihood", "embedding", "sample", "attention"},
    promise=foretells,
    checks={**SPARING, "fairness.pronouns": {"occupations": tuple(SHARES)}},
    rows=8000,
    sources=("radford2019", "kaplan2020"),
)
def gpt(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    width: int = 48,
    layers: int = 2,
    heads: int = 4,
    dropout: float = 0.0,
    epochs: int = 5,
    batch: int = 64,
    rate: float = 5e-3,
) -> GPT:
    """A causal transformer of GPT-2's design, trained to foretell every token by those before it.

    The prediction is P(she) / (P(she) + P(he)), or that of the two classes' own words, at their place: what stands there,
    and behind it, is not read. width, layers, heads: its size, the width a multiple of the heads. The last
    two epochs have a fifth and a 25th of the rate. Raises UsageError,
    DataError, ModelError where transformers is missing.
    """
    sized(width=width, layers=layers, heads=heads, dropout=dropout)
    texts = inputs_of(data, Texts, "gpt")
    training = Training(epochs=epochs, batch=batch, optimiser="adamw", rate=rate, seed=seed)
    gap = cloze(data, "gpt")
    with seeded(seed):
        module = GPT(
            vocabulary=len(texts.vocabulary),
            pad=texts.pad,
            places=max(PLACES, texts.ids.shape[1]),
            place=gap.place,
            words=gap.words,
            width=width,
            layers=layers,
            heads=heads,
            dropout=dropout,
        ).to(device)
    ids = torch.as_tensor(texts.ids, device=device)
    for phase in annealed(training):
        train(_Losses(module), ids, ids, training=phase, loss=lambda raw, y: raw)
    return module.eval()
