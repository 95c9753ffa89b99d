"""Words, tokens or sentences of texts as players."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Ints, UsageError
from audit.data.texts import Texts
from audit.explain.masking.base import Coalitions, Players, maskers, one_of, origin, whole
from audit.explain.masking.units import Units, blend, distinct, shared

PLAYERS = ("word", "token", "sentence")
FILLS = ("mask", "delete", "background")
_ENDS = (".", "!", "?", "…", "。", "！", "？")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMasker(Units):
    """Parts of texts; special tokens and padding belong to no player and stay.

    others (fillings, tokens): the ids that fill in, by a token's place among the tokens that are no special ones
    (`place`, as the ids); unused where absent tokens are deleted.
    """

    inputs: Texts
    rows: Texts
    how: str
    others: Ints
    place: Ints

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Texts:
        """Rows (r,) under coalitions (c, players): r * c * fillings texts, the filling fastest.

        Deleted tokens make room for padding: behind the text, or before it where the text is padded there. A token that
        is filled in is a word of its own.
        """
        kept, ids, words = self.kept(rows, coalitions), self.inputs.ids[rows], self.inputs.words[rows]
        fillings = self.fillings if draws is None else draws.shape[1]
        if self.how == "delete":
            shorter = [np.repeat(part, fillings, axis=0) for part in _without(ids, words, kept, self.inputs.pad)]
            return self.inputs.with_ids(*shorter)
        others = np.moveaxis(shared(self.others, draws)[0][..., self.place[rows]], 2, 0)
        alone = (words.max(axis=1, initial=0) + 1)[:, None] + np.arange(words.shape[1])
        return self.inputs.with_ids(
            blend(ids, kept, others, fillings), blend(words, kept, alone[:, None, None], fillings)
        )


def _without(ids: Ints, words: Ints, kept: Coalitions, pad: int) -> tuple[Ints, Ints]:
    """Ids and words (r * c, tokens) of the kept tokens moved together, and padding in the place of the others."""
    if not ids.shape[1]:
        return np.repeat(ids, kept.shape[1], axis=0), np.repeat(words, kept.shape[1], axis=0)
    before = ((ids[:, 0] == pad) & (ids[:, -1] != pad))[:, None, None]
    order = np.argsort(kept == before, axis=2, kind="stable")
    there = np.take_along_axis(np.broadcast_to(kept, order.shape), order, axis=2)
    moved = (
        np.where(there, np.take_along_axis(part[:, None], order, axis=2), empty).reshape(-1, ids.shape[1])
        for part, empty in ((ids, pad), (words, -1))
    )
    first, second = moved
    return first, second


@maskers.register
def _texts(
    inputs: Texts,
    background: Texts | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> TextMasker:
    rows = inputs if background is None else background
    if not isinstance(rows, Texts):
        raise DataError(f"background: of texts other texts, got {type(rows).__name__}")
    unit = one_of("players", "texts", players, PLAYERS)
    owner, names = _units(inputs, unit, whole(size, 1))
    usual = "delete" if inputs.mask is None else "mask"
    how = one_of("fill", "texts", usual if fill is None else fill, FILLS)
    others, source = _filler(inputs, rows, how, words)
    return TextMasker(
        inputs=inputs,
        rows=rows,
        players=names,
        owner=owner,
        fillings=len(others),
        background=source,
        how=how,
        others=others,
        place=np.maximum(np.cumsum(inputs.words >= 0, axis=1) - 1, 0),
    )


def _filler(inputs: Texts, rows: Texts, how: str, words: str) -> tuple[Ints, str]:
    """The ids (fillings, tokens) that fill in by their place, and the words for them."""
    length = inputs.ids.shape[1]
    if how == "delete":
        return np.full((1, length), inputs.pad, dtype=np.int64), "absent tokens are deleted"
    if how == "mask":
        if inputs.mask is None:
            raise UsageError('fill: "mask" needs a mask token, and these texts have none; "delete" needs none')
        token = inputs.vocabulary[inputs.mask]
        return np.full((1, length), inputs.mask, dtype=np.int64), f"the mask token {token!r} (id {inputs.mask})"
    if rows.vocabulary != inputs.vocabulary:
        raise DataError(
            f"background: texts in the same vocabulary ({len(inputs.vocabulary)} tokens) are needed, got another "
            f"({len(rows.vocabulary)} tokens)"
        )
    found = [ids[held >= 0] for ids, held in zip(rows.ids, rows.words, strict=True)]
    if not found or any(not len(ids) for ids in found):
        raise DataError("background: every text needs at least one token that is no special one and no padding")
    return np.stack([np.resize(ids, length) for ids in found]), origin(rows, "texts", words)


def _units(inputs: Texts, unit: str, size: int) -> tuple[Ints, tuple[tuple[str, ...], ...]]:
    """Who owns what, `size` units together: owner (n, tokens), and names for every text."""
    owner = np.full(inputs.ids.shape, -1, dtype=np.int64)
    names = []
    for row in range(len(inputs)):
        spoken = np.flatnonzero(inputs.words[row] >= 0)
        if unit == "token":
            place = np.arange(len(spoken))
        else:
            _, first, place = np.unique(inputs.words[row, spoken], return_index=True, return_inverse=True)
            # By the place in the text, should the words be numbered in another order.
            place = np.argsort(np.argsort(first))[place]
        tokens = [inputs.vocabulary[id] for id in inputs.ids[row, spoken]]
        if unit == "sentence":
            place = _sentences(_joined(tokens, place))[place]
        place = place // size
        owner[row, spoken] = place
        names.append(distinct(_names(inputs, row, spoken, place, unit)))
    return owner, tuple(names)


def _names(inputs: Texts, row: int, spoken: Ints, place: Ints, unit: str) -> list[str]:
    """What each player says; the pieces of one word are joined, words are apart by a space."""
    out = []
    for player in range(int(place.max(initial=-1)) + 1):
        here = spoken[place == player]
        if unit == "token":
            out.append(" ".join(inputs.vocabulary[id] for id in inputs.ids[row, here]))
        else:
            out.append(inputs.with_ids(inputs.ids[row : row + 1, here], inputs.words[row : row + 1, here]).strings()[0])
    return out


def _joined(tokens: list[str], place: Ints) -> list[str]:
    """The pieces of each word put together."""
    return [
        "".join(tokens[at] for at in np.flatnonzero(place == word)) for word in range(int(place.max(initial=-1)) + 1)
    ]


def _sentences(words: list[str]) -> Ints:
    """The sentence (words,) of each word: one ends behind a run of words that end in a full stop or its like."""
    ends = np.array([word.endswith(_ENDS) for word in words], dtype=bool)
    starts = np.concatenate([[False], ends[:-1] & ~ends[1:]])[: len(words)]
    return np.cumsum(starts).astype(np.int64)
