"""Masked models of language: encoders that tell a token by all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.core import DataError, Dataset, ModelError
from audit.models.encoders import Classifier, Encoding, Shape, ids_of
from audit.models.foretold import told_apart
from audit.models.seeds import seeded
from audit.models.training import Training, train

MASKED, RANDOM = 0.8, 0.1  # of the tokens to tell: read as [MASK], as any token; the others as they are (devlin2019)
COPIES = 512  # texts that are read at once where each token is asked for


class MaskedLanguage(Encoding):
    """What stands at a place of the text by all that stands elsewhere.

    place: where one of the words stands that are told apart; words: their ids, one for each class.
    """

    offers = frozenset({"likelihood", "embedding"})

    def __init__(self, *, shape: Mapping[str, Any], place: int, words: Sequence[int]) -> None:
        super().__init__(shape=shape, task="MaskedLM", outputs=2)
        self.config = {"shape": asdict(self.shape), "place": place, "words": list(words)}
        self.place, self.words = place, list(words)

    def forward(self, ids: Tensor) -> Tensor:
        """Log-odds (n,) of the second of two words, or logits (n, k) of k, at their place, which is read as [MASK]."""
        if ids.shape[1] <= self.place:
            raise ModelError(f"{self.shape.kind}: tells token {self.place + 1}, the texts have {ids.shape[1]}")
        return told_apart(self.said(ids, self.place)[:, self.place, self.words])

    def said(self, ids: Tensor, gap: int | None = None) -> Tensor:
        """Logits (n, tokens, vocabulary) of what stands at each place."""
        return _said(self, self.model, ids, gap)

    def log_likelihood(self, ids: Tensor) -> Tensor:
        """Pseudo-log-likelihood (n,): the sum over tokens of log p(token | all others), each masked in turn (salazar2020)."""
        row, place = torch.nonzero(ids != self.shape.pad, as_tuple=True)
        found = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
        assert self.shape.mask is not None
        for copies in torch.arange(len(row), device=ids.device).split(COPIES):  # type: ignore[no-untyped-call]
            asked, here = ids[row[copies]], place[copies]
            number = torch.arange(len(copies), device=ids.device)
            token = asked[number, here]
            asked[number, here] = self.shape.mask
            states = self.asked(self.body, asked).last_hidden_state[number, here + 1]
            # The head on what is asked for alone: a large vocabulary would make it dear at every place.
            logits = self.model.cls(states)[:, : self.shape.vocabulary]
            found.index_add_(0, row[copies], logits.double().log_softmax(dim=-1)[number, token])
        return found

    def embed(self, ids: Tensor) -> Tensor:
        """The mean hidden state (n, width) of the last layer over the tokens of a text."""
        states = self.asked(self.body, ids).last_hidden_state[:, 1:]
        there = (ids != self.shape.pad).to(states.dtype)[..., None]
        found: Tensor = (states * there).sum(dim=1) / there.sum(dim=1).clamp_min(1.0)
        return found


def _said(module: Encoding, model: Any, ids: Tensor, gap: int | None = None) -> Tensor:
    """Logits of tokens of the vocabulary: [CLS] is neither asked for nor told."""
    logits: Tensor = module.asked(model, ids, gap).logits
    return logits[:, 1:, : module.shape.vocabulary]


class _Masking(nn.Module):
    """The mean loss a token (n,) of what stands behind masks, which are drawn anew whenever a text is read."""

    def __init__(self, module: Encoding, model: nn.Module, share: float) -> None:
        super().__init__()
        self.module, self.model, self.share = module, model, share

    def forward(self, ids: Tensor) -> Tensor:
        """The loss (n,) of texts (n, tokens); their mean is that over all the tokens that are asked for."""
        read, asked = hidden(ids, self.share, self.module.shape)
        loss = F.cross_entropy(_said(self.module, self.model, read).transpose(1, 2), ids, reduction="none")
        return (loss * asked).sum(dim=1) * len(ids) / asked.sum().clamp_min(1)


def hidden(ids: Tensor, share: float, shape: Shape) -> tuple[Tensor, Tensor]:
    """Texts (n, tokens) as they are read while the model learns, and which of their tokens are asked for.

    Drawn from torch's random state: a share of the tokens is asked for, of which four fifths are read as [MASK], a tenth as
    any token and a tenth as they are (devlin2019); padding never is.
    """
    assert shape.mask is not None
    draw = torch.rand(ids.shape, device=ids.device)
    asked = (draw < share) & (ids != shape.pad)
    read = ids.masked_fill(asked & (draw < share * MASKED), shape.mask)
    other = asked & (draw >= share * MASKED) & (draw < share * (MASKED + RANDOM))
    return torch.where(other, torch.randint(shape.vocabulary, ids.shape, device=ids.device), read), asked


def unmasked(
    module: Encoding, model: nn.Module, data: Dataset, *, share: float, training: Training, device: str
) -> list[float]:
    """Train a model that shares its encoder with the module, or is the module's own, to tell masked tokens.

    share: of tokens that are asked for. Masks are drawn anew in every epoch, as RoBERTa's are (liu2019); BERT's ten copies of
    every text are the same where there are no more epochs. Raises DataError for texts without a mask token.
    """
    if module.shape.mask is None:
        raise DataError(f"{module.shape.kind}: the texts have no mask token, so none can be masked")
    ids = ids_of(data, device)
    return train(_Masking(module, model, share), ids, ids, training=training, loss=lambda raw, y: raw)


def pretrained(module: Classifier, data: Dataset, *, share: float, training: Training, device: str) -> None:
    """Train the encoder of a classifier to tell masked tokens, by a head that is left afterwards."""
    with seeded(training.seed):
        other = MaskedLanguage(shape=asdict(module.shape), place=0, words=[0]).model.to(device)
        setattr(other, other.base_model_prefix, module.body)
        other.tie_weights()  # draws, before it ties
    unmasked(module, other, data, share=share, training=training, device=device)
