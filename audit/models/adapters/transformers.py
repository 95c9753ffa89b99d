"""The adapter of transformers: models of texts from a local folder, and nothing from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.core import DataError, Dataset, Floats, Ints, MissingOffer, ModelError, Offer, Output, Spec, Task
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.models import hugging
from audit.models.adapters.torch import TorchModel
from audit.models.adapters.torch import wrap as wrap_torch
from audit.models.attentions import attends
from audit.models.base import class_order
from audit.models.masked import Masked
from audit.models.modes import evaluating
from audit.models.tokens import Tokens, tokens
from audit.registry import adapter

TOKENS_AT_ONCE = 2**14  # of a batch: of long texts fewer go together
BYTES_AT_ONCE = 2**28  # of the logits of a language model
_GENERIC = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersModel(TorchModel):
    """A model of transformers behind the protocol; it reads `Texts` in its own tokens, and texts as they are."""

    tokens: Tokens
    task: Task
    layer: int

    @property
    def offers(self) -> frozenset[Offer]:
        """Vectors of texts; of a classifier gradients and attention weights, of a language model the likelihood of texts."""
        found: set[Offer] = {"embedding"}
        if attends(self.module):
            found.add("attention")
        if self.task != "classification":
            if self.task == "causal_lm" or self.tokens.tokenizer.mask_token_id is not None:
                found.add("likelihood")
        # An encoder-decoder embeds a text twice, at shifted places: one leaf cannot stand for both.
        elif not self._net.config.is_encoder_decoder:
            found.add("gradients")
        return frozenset(found)

    @property
    def _net(self) -> Any:
        return self.module.model

    def predict(self, inputs: Any) -> Floats:
        """Probability of the positive class (n,), or of every class (n, k); raises ModelError."""
        if self.task != "classification":
            raise MissingOffer(f"{self.family}: a language model (task {self.task!r}) predicts no class of a text")
        return TorchModel.predict(self, inputs)

    def _entry(self, inputs: Any) -> tuple[Tensor, Any]:
        """The leaf is what the embedding of tokens gives, and the mask comes along with the ids."""
        ids, table = self.tensor(inputs), self._net.get_input_embeddings()
        with torch.no_grad():
            leaf = table(self._masked.filled(ids))
        return leaf.detach().requires_grad_(), lambda leaf: self._from_embedding(table, ids, leaf)

    @property
    def _masked(self) -> Masked:
        assert isinstance(self.module, Masked)
        return self.module

    # ------------------------------------------------------------------------------------------------ embedding
    def embed(self, texts: Sequence[str]) -> Floats:
        """One vector a text (n, d): the mean of its tokens' hidden states at model.layer, special tokens left out (may2019).

        A row of NaN for a text with a token that the model does not know, or without any. Raises ModelError.
        """
        found = self._read(texts)
        there = found.words >= 0
        unknown = (there & (found.ids == self.tokens.unknown)).any(axis=1) if self.tokens.unknown is not None else False
        parts = [self._states(found.take(rows)) for rows in _parts(len(found), TOKENS_AT_ONCE // found.ids.shape[1])]
        states = np.concatenate(parts) if parts else np.empty((0, found.ids.shape[1], 1))
        count = there.sum(axis=1)
        total = (states * there[..., None]).sum(axis=1)
        with np.errstate(invalid="ignore"):
            vectors = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
        vectors[np.broadcast_to(unknown, len(vectors))] = np.nan
        return np.asarray(vectors)

    def _states(self, texts: Texts) -> Floats:
        """Hidden states (n, tokens, d) at the layer."""
        body = self._net.get_encoder() if self._net.config.is_encoder_decoder else self._net.base_model
        with torch.no_grad(), evaluating(self.module):
            states = self._masked.asked(body, self.tensor(texts), output_hidden_states=True).hidden_states
            if not -len(states) <= self.layer < len(states):
                raise ModelError(f"model.layer: from 0 to {len(states) - 1}, or from the end -1, got {self.layer}")
            found: Floats = states[self.layer].double().cpu().numpy()
        return found

    # ----------------------------------------------------------------------------------------------- likelihood
    def log_likelihood(self, texts: Sequence[str]) -> Floats:
        """Log-likelihood (n,) of each text; of a masked model its pseudo-log-likelihood (salazar2020).

        Causal: the sum over tokens of log p(token | those before), from the first where the tokenizer has a token that
        begins a text, else from the second. Masked: the sum over tokens, special ones left out, of log p(token | all
        others). Raises MissingOffer, ModelError.
        """
        if "likelihood" not in self.offers:
            raise MissingOffer(f"{self.family}: task {self.task!r} offers {listed(sorted(self.offers))}")
        if self.task == "masked_lm":
            return self._pseudo(self._read(texts))
        found = self.tokens.begun(self._read(texts, room=1))
        row, place = np.nonzero(found.ids[:, 1:] != found.pad)
        scores = np.zeros(len(found))
        for rows in self._batches(found, len(found)):
            at = np.flatnonzero((row >= rows[0]) & (row <= rows[-1]))
            said = self._said(found.ids[rows], row[at] - rows[0], place[at], found.ids[row[at], place[at] + 1])
            np.add.at(scores, row[at], said)
        return scores

    def _pseudo(self, texts: Texts) -> Floats:
        """Each token masked in turn, one copy of its text a token."""
        row, place = np.nonzero(texts.words >= 0)
        scores = np.zeros(len(texts))
        for copies in self._batches(texts, len(row)):
            ids, numbers, here = texts.ids[row[copies]], np.arange(len(copies)), place[copies]
            asked = ids[numbers, here]
            ids[numbers, here] = self.tokens.tokenizer.mask_token_id
            np.add.at(scores, row[copies], self._said(ids, numbers, here, asked))
        return scores

    def _said(self, ids: Ints, rows: Ints, places: Ints, tokens: Ints) -> Floats:
        """Log-probability (k,) of each token at its row and place in ids (n, tokens)."""
        with torch.no_grad(), evaluating(self.module):
            logits = self.module(torch.as_tensor(ids, device=self.device))
            there = logits[torch.as_tensor(rows), torch.as_tensor(places)].double().log_softmax(-1)
            found: Floats = there[torch.arange(len(tokens)), torch.as_tensor(tokens)].cpu().numpy()
        return found

    def _batches(self, texts: Texts, count: int) -> Iterator[Ints]:
        return _parts(count, BYTES_AT_ONCE // (4 * texts.ids.shape[1] * len(texts.vocabulary)))

    def _read(self, texts: Sequence[str], *, room: int = 0) -> Texts:
        """The texts, none of which may be longer than the model reads with `room` more tokens."""
        if isinstance(texts, str):
            raise ModelError("texts: a list of texts, got one text")
        found, _ = self.tokens.texts(texts)
        most = self.tokens.limit - room
        if (long := np.flatnonzero((found.ids != found.pad).sum(axis=1) > most)).size:
            raise ModelError(
                f"{self.family}: reads at most {most} tokens of a text; longer are {long.size}, the first {texts[long[0]]!r:.80}"
            )
        return found


def _parts(count: int, size: int) -> Iterator[Ints]:
    """The numbers from 0 to count, at most `size` at once and never none."""
    size = max(size, 1)
    return (np.arange(start, min(start + size, count)) for start in range(0, count, size))


# ------------------------------------------------------------------------------------------------ read and wrapped
def read(spec: Spec, dataset: Dataset, base: Path) -> Dataset:
    """The dataset with its one column of text as the tokens that the model in model.path reads; raises DataError.

    For a language model it stays as it is.
    """
    if spec.model.task != "classification":
        return dataset
    folder = _folder(spec, base)
    lines = _lines(dataset)
    found, cut = (known := _tokens(folder)).texts(lines, cut=True)
    note = (
        f"{len(cut)} of {len(lines)} texts are longer than the {known.limit} tokens that the model reads, and are cut."
    )
    return replace(dataset, inputs=found, notes=(*dataset.notes, *((note,) if len(cut) else ())))


def _lines(dataset: Dataset) -> tuple[str, ...]:
    """The texts of a dataset; raises DataError where there is no one column of them."""
    inputs = dataset.inputs
    if isinstance(inputs, Texts):
        return inputs.strings()
    if not isinstance(inputs, Tabular) or len(inputs.columns) != 1 or not inputs.categories:
        columns = inputs.columns if isinstance(inputs, Tabular) else ()
        raise DataError(
            f"data.features: a transformers model reads one column of text, got {listed(columns) or 'none'}"
        )
    numbers, levels = inputs.values[:, 0], inputs.categories[inputs.columns[0]]
    if (missing := np.flatnonzero(np.isnan(numbers))).size:
        raise DataError(
            f"data.features: {inputs.columns[0]!r} has no text in {missing.size} rows, first in row {missing[0]}"
        )
    return tuple(levels[int(number)] for number in numbers)


def load(spec: Spec, dataset: Dataset, base: Path) -> TransformersModel:
    """The model in the folder model.path, for model.task; raises ModelError."""
    folder = _folder(spec, base)
    found = hugging.opened(folder, spec.model.task)
    return wrap((found, hugging.tokenizer(folder)), dataset, spec)


@adapter("transformers", title="Transformers model from a local folder", sources=("salazar2020",))
def wrap(pair: tuple[Any, Any], dataset: Dataset, spec: Spec) -> TransformersModel:
    """A model of transformers and its tokenizer: a classifier of texts, a masked or a causal language model.

    Classes are matched by the names in its configuration (id2label). Raises ModelError.
    """
    model, tokenizer = pair
    known = tokens(tokenizer, model.config)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = known.fill  # a causal classifier looks for the last token that is not this
    model.config.use_cache = False
    module, task = Masked(model, pad=known.pad, fill=known.fill), spec.model.task
    output: Output = "value" if spec.model.output == "value" else "logit"
    asked = replace(spec, model=replace(spec.model, output=output, classes=()))
    plain = wrap_torch(module, dataset, asked)
    length = dataset.inputs.ids.shape[1] if isinstance(dataset.inputs, Texts) else known.limit
    batch = max(1, min(spec.model.batch_size, TOKENS_AT_ONCE // max(length, 1)))
    order = class_order(_labels(model.config), dataset, spec) if task == "classification" else (0, 1)
    card = replace(
        plain.card,
        family=type(model).__name__,
        kind="transformers",
        name=spec.model.path or type(model).__name__,
        answers_new_inputs=task == "classification",
    )
    facts: Mapping[str, Any] = {field.name: getattr(plain, field.name) for field in fields(TorchModel)}
    reading = replace(plain.reading, order=order, batch_size=batch)
    more = {"card": card, "reading": reading, "tokens": known, "task": task, "layer": spec.model.layer}
    return TransformersModel(**{**facts, **more})


def _labels(config: Any) -> tuple[str, ...]:
    """The names of the classes, () where the configuration only numbers them."""
    names = tuple(str(config.id2label[place]) for place in sorted(config.id2label))
    return () if len(names) < 2 or all(_GENERIC.fullmatch(name) for name in names) else names


def _folder(spec: Spec, base: Path) -> Path:
    if spec.model.path is None:
        raise ModelError('model.kind = "transformers" needs model.path, a local folder made by save_pretrained')
    return base / spec.model.path


def _tokens(folder: Path) -> Tokens:
    return tokens(hugging.tokenizer(folder), hugging.config(folder))
