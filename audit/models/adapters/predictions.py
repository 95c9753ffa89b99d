"""Recorded predictions as a model: it answers the rows that were recorded, in any order, and no others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Card, Dataset, Floats, ModelError, Offer, Spec
from audit.models.base import Reading, array, scored
from audit.models.offering import Offering
from audit.registry import adapter

Key = NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Offering):
    """Scores by the hash of their row: keys (m,) of 16 bytes in order, scores (m,), NaN where equal rows were scored apart."""

    card: Card
    keys: Key
    scores: Floats
    reading: Reading
    offers: frozenset[Offer] = frozenset()

    @property
    def family(self) -> str:
        """The name of the family, from the card."""
        return self.card.family

    def predict(self, inputs: Any) -> Floats:
        """The recorded scores (n,) of rows that were recorded; raises ModelError for any other row.

        Also for equal rows that were recorded with different scores: which one is meant cannot be told.
        """
        if not len(inputs):
            return np.empty(0)
        asked = _keys(inputs)
        places = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        strange = np.flatnonzero(self.keys[places] != asked)
        if len(strange):
            raise ModelError(
                f"recorded predictions answer only the rows that were recorded: {len(strange)} of {len(asked)} rows are "
                f"others, first row {strange[0]} (from 0); for changed rows give the model itself"
            )
        scores = self.scores[places]
        torn = np.flatnonzero(np.isnan(scores))
        if len(torn):
            raise ModelError(
                f"{len(torn)} of {len(asked)} rows were recorded more than once with different scores, first row {torn[0]} "
                "(from 0): which score is meant cannot be told from the features alone"
            )
        return scores


@adapter("predictions", title="Recorded predictions")
def wrap(dataset: Dataset, spec: Spec) -> Recorded:
    """The recorded scores of a dataset behind the protocol; raises ModelError where it holds no scores or no features."""
    if dataset.score is None or dataset.inputs is None:
        lacks = "scores ([data] score)" if dataset.score is None else "features ([data] features)"
        raise ModelError(f"recorded predictions need the scores and the features of each row: the data hold no {lacks}")
    reading = Reading(output="value" if dataset.target is not None else "probability")
    scores = scored(dataset.score, len(dataset.score), reading)
    keys, place = np.unique(_keys(dataset.inputs), return_inverse=True)
    first = np.empty(len(keys))
    first[place] = scores
    torn = np.unique(place[first[place] != scores])
    first[torn] = np.nan
    notes = ["Only recorded rows are answered."]
    if len(torn):
        rows = int(np.isin(place, torn).sum())
        notes.append(f"{rows} rows with equal features were recorded with different scores: these are not answered.")
    card = Card(
        family="recorded predictions",
        kind="predictions",
        name=dataset.origin.name,
        classes=dataset.classes,
        output=reading.output,
        features=dataset.names,
        digest=hashlib.sha256(keys.tobytes() + first.tobytes()).hexdigest(),
        answers_new_inputs=False,
        notes=tuple(notes),
    )
    return Recorded(card=card, keys=keys, scores=first, reading=reading)


def recorded(dataset: Dataset) -> Recorded:
    """The recorded scores of a dataset as a model: equal rows get equal scores, other rows an error; raises ModelError."""
    return wrap(dataset, Spec())


def _keys(inputs: Any) -> Key:
    """16 bytes a row, the same for the same numbers: -0 is 0, and any NaN is missing."""
    values = array(inputs)
    flat = np.ascontiguousarray(values.reshape(len(values), -1) + 0, dtype=np.float64)
    flat[np.isnan(flat)] = np.nan
    hashes = (hashlib.blake2b(row.data, digest_size=16).digest() for row in flat)
    return np.fromiter(hashes, dtype="V16", count=len(flat))
