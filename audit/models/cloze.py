"""Texts with a gap: the place where each holds one of the classes as a word, which a model of language fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Dataset
from audit.data.tables import listed
from audit.data.texts import Texts
from audit.models.encoding import inputs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloze:
    """place: where every text holds one of the words, whose ids these are, one for each class."""

    place: int
    words: tuple[int, ...]


def cloze(data: Dataset, family: str) -> Cloze:
    """Where the texts of a dataset hold the names of its classes; raises DataError where that is not one place for all."""
    texts = inputs_of(data, Texts, family)
    unknown = [name for name in data.classes if name not in texts.vocabulary]
    if unknown:
        raise DataError(
            f"{family} fills in the names of the classes ({listed(data.classes)}), and {unknown[0]!r} is no word of the texts"
        )
    words = tuple(texts.vocabulary.index(name) for name in data.classes)
    held = np.isin(texts.ids, words)
    places = np.flatnonzero(held.all(axis=0))
    if len(places) != 1 or held.sum() != len(texts):
        raise DataError(
            f"{family} needs texts that all hold exactly one of {listed(data.classes)}, at one and the same place; "
            f"that is so at {len(places)} places, and {int((held.sum(axis=1) == 1).sum())} of {len(texts)} texts hold one"
        )
    return Cloze(place=int(places[0]), words=words)
