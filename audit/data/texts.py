"""Texts as tokens: numbers for a model, words for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.core import DataError, Ints

PAD, UNKNOWN, MASK = "[PAD]", "[UNK]", "[MASK]"
_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts as tokens: ids (n, tokens) index into `vocabulary`, filled up with the id `pad`.

    words (n, tokens): the number of the word that a token belongs to, in each text from 0; -1 for padding and for special
    tokens ([CLS], say), which are never taken away. mask: the id that stands for "not known", None where there is none.
    """

    ids: Ints
    words: Ints
    vocabulary: tuple[str, ...]
    pad: int
    mask: int | None = None

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.shape != self.words.shape:
            raise DataError(
                f"texts: ids and words must have one shape (n, tokens), got {self.ids.shape}, {self.words.shape}"
            )
        if self.ids.size and not 0 <= self.ids.min() <= self.ids.max() < len(self.vocabulary):
            raise DataError(
                f"texts: ids must lie from 0 to {len(self.vocabulary) - 1}, got {self.ids.min()} to {self.ids.max()}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def values(self) -> Ints:
        """What the model reads: the ids (n, tokens)."""
        return self.ids

    def take(self, rows: Ints) -> Texts:
        """The named texts (k,), in that order."""
        return self.with_ids(self.ids[rows], self.words[rows])

    def with_ids(self, ids: Ints, words: Ints) -> Texts:
        """Other texts (m, tokens) in the same vocabulary."""
        return replace(self, ids=ids, words=words)

    def tokens(self, row: int) -> tuple[str, ...]:
        """The tokens of one text, without padding."""
        return tuple(self.vocabulary[id] for id in self.ids[row] if id != self.pad)

    def strings(self) -> tuple[str, ...]:
        """Every text as one line: words apart by a space, the tokens of a word joined (a leading ## dropped)."""
        return tuple(self._string(row) for row in range(len(self)))

    def _string(self, row: int) -> str:
        line, last = "", -2
        for id, word in zip(self.ids[row], self.words[row], strict=True):
            if id == self.pad:
                continue
            token = self.vocabulary[id]
            line += token.removeprefix("##") if word == last and word >= 0 else f" {token}"
            last = int(word)
        return line.strip()


def tokenised(
    texts: Iterable[str], vocabulary: Sequence[str] | None = None, *, length: int | None = None, lower: bool = True
) -> Texts:
    """Texts cut into words and punctuation; a word that is not in the vocabulary becomes [UNK].

    Without a vocabulary it is the words of these texts in sorted order, after [PAD], [UNK] and [MASK], which one that is
    given must hold as well. length: tokens a text, by default those of the longest; a longer text raises DataError.
    """
    if isinstance(texts, str):
        raise DataError("texts: a list of texts, got one text")
    cut = [_TOKEN.findall(text.lower() if lower else text) for text in texts]
    known = (
        tuple(vocabulary)
        if vocabulary is not None
        else (PAD, UNKNOWN, MASK, *sorted({t for text in cut for t in text}))
    )
    place = {token: index for index, token in enumerate(known)}
    if missing := [token for token in (PAD, UNKNOWN, MASK) if token not in place]:
        raise DataError(f"vocabulary: {', '.join(missing)} must be in it")
    longest = max((len(text) for text in cut), default=0)
    size = max(longest if length is None else length, 1)
    if longest > size:
        raise DataError(f"length: a text has {longest} tokens, allowed are {size}")
    ids = np.full((len(cut), size), place[PAD], dtype=np.int64)
    words = np.full_like(ids, -1)
    for row, text in enumerate(cut):
        ids[row, : len(text)] = [place.get(token, place[UNKNOWN]) for token in text]
        words[row, : len(text)] = np.arange(len(text))
    return Texts(ids=ids, words=words, vocabulary=known, pad=place[PAD], mask=place[MASK])
