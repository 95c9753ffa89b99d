"""What a tokenizer of transformers makes of texts, as the texts that models and explainers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.core import Ints
from audit.data.texts import PAD, Texts

_MARKS = ("Ġ", "▁")  # how byte pairs and sentence pieces write the space before a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A tokenizer, and how long a text may be.

    pad: the id that fills up shorter texts, one behind the vocabulary where the tokenizer has none of its own. fill: the
    id that the model is given in its place, under an attention mask of 0. limit: the most tokens that the model reads.
    first: the id that stands before a text whose first token is to have a likelihood, None where there is none.
    """

    tokenizer: Any
    vocabulary: tuple[str, ...]
    pad: int
    fill: int
    limit: int
    first: int | None
    unknown: int | None

    def texts(self, lines: Sequence[str], *, cut: bool = False) -> tuple[Texts, Ints]:
        """The texts, and the numbers (k,) of those that are longer than the limit, to which they may be cut."""
        options = {"padding": False, "return_attention_mask": False, "verbose": False}
        coded = self.tokenizer(list(lines), truncation=False, **options)
        long = np.flatnonzero([len(ids) > self.limit for ids in coded["input_ids"]])
        if cut and long.size:
            coded = self.tokenizer(list(lines), truncation=True, max_length=self.limit, **options)
        size = max((len(ids) for ids in coded["input_ids"]), default=0)
        ids = np.full((len(lines), max(size, 1)), self.pad, dtype=np.int64)
        words = np.full_like(ids, -1)
        for row, found in enumerate(coded["input_ids"]):
            ids[row, : len(found)] = found
            words[row, : len(found)] = [-1 if word is None else word for word in coded.word_ids(row)]
        return self.of(ids, words), long

    def of(self, ids: Ints, words: Ints) -> Texts:
        """Texts of ids and of the words that they belong to."""
        return Texts(ids=ids, words=words, vocabulary=self.vocabulary, pad=self.pad, mask=self.tokenizer.mask_token_id)

    def begun(self, texts: Texts) -> Texts:
        """The same texts behind the token that begins a text, where there is one and they do not begin so."""
        begins = len(texts) and self.first is not None and (texts.ids[:, 0] == self.first).all()
        if self.first is None or begins:
            return texts
        ids = np.pad(texts.ids, ((0, 0), (1, 0)), constant_values=self.first)
        return self.of(ids, np.pad(texts.words, ((0, 0), (1, 0)), constant_values=-1))


def tokens(tokenizer: Any, config: Any) -> Tokens:
    """The tokenizer of a folder beside the configuration of its model."""
    known = tokenizer.get_vocab()
    names = [f"[{place}]" for place in range(max(known.values()) + 1)]
    for token, place in known.items():
        names[place] = _shown(token)
    own = tokenizer.pad_token_id
    apart = own is not None and own not in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    return Tokens(
        tokenizer=tokenizer,
        vocabulary=tuple(names) if apart else (*names, PAD),
        pad=own if apart else len(names),
        fill=own if own is not None else tokenizer.eos_token_id or 0,
        limit=_limit(tokenizer, config),
        first=tokenizer.bos_token_id,
        unknown=tokenizer.unk_token_id,
    )


def _shown(token: str) -> str:
    for mark in _MARKS:
        if token.startswith(mark) and len(token) > 1:
            return token[1:]
    return token


def _limit(tokenizer: Any, config: Any) -> int:
    """The most tokens: what the tokenizer says, and no more than the model has places for."""
    places = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "esm"):
        places -= (config.pad_token_id or 0) + 1  # their places begin behind the padding's
    return int(min(tokenizer.model_max_length, places))
