"""The adapter of plain functions from features to scores."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audit.core import Card, Dataset, Floats, ModelError, Offer, Spec
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.models.base import Reading, Wrapped, array, class_order
from audit.models.factory import file_of, made
from audit.registry import adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder(Wrapped):
    """A function that embeds texts as well, by its own method `embed`."""

    vectors: Callable[[list[str]], Any]

    def embed(self, texts: Sequence[str]) -> Floats:
        """One vector a text (n, d), NaN for one that the function does not know; raises ModelError for another shape."""
        try:
            found = np.asarray(self.vectors(list(texts)), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self.family}.embed: expected numbers, one vector a text: {error}") from None
        if found.ndim != 2 or len(found) != len(texts):
            raise ModelError(f"{self.family}.embed: expected {len(texts)} vectors (n, d), got shape {found.shape}")
        return found


@adapter("callable", title="Function of the features")
def wrap(function: Callable[[Any], Any], dataset: Dataset, spec: Spec) -> Wrapped:
    """Any function from features to probabilities or logits (n,), (n, 1) or (n, k).

    It gets a matrix (n, d) of float64; where a feature is a category a pandas frame with the category as text; of texts
    a list of strings; of images and sequences their array. An object with a method embed(texts) -> (n, d) offers its
    "embedding" as well. Raises ModelError.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    card = Card(
        family=name,
        kind="callable",
        name=spec.model.factory or name,
        classes=dataset.classes,
        output=spec.model.output,
        features=dataset.names,
        digest=_digest(function),
        notes=("The digest is that of the function's own source text, not of what it uses.",),
    )
    reading = Reading(output=spec.model.output, order=class_order((), dataset, spec), batch_size=spec.model.batch_size)
    answer, vectors = functools.partial(_answer, function), getattr(function, "embed", None)
    if callable(vectors):
        offers: frozenset[Offer] = frozenset({"embedding"})
        return Embedder(card=card, answer=answer, reading=reading, offers=offers, vectors=vectors)
    return Wrapped(card=card, answer=answer, reading=reading)


def load(spec: Spec, dataset: Dataset, base: Path) -> Wrapped:
    """The function that model.factory returns; raises ModelError."""
    function = made(spec, base)
    if not callable(function):
        raise ModelError(
            f"model.factory {spec.model.factory!r} returned {type(function).__name__}, expected a function of the features"
        )
    if spec.model.weights is not None:
        file_of(spec.model.weights, spec.model.sha256, base)
    return wrap(function, dataset, spec)


def _answer(function: Callable[[Any], Any], inputs: Any) -> Any:
    if isinstance(inputs, Tabular) and inputs.categories:
        return function(inputs.frame())
    if isinstance(inputs, Texts):
        return function(list(inputs.strings()))
    return function(array(inputs).copy())


def _digest(function: Callable[[Any], Any]) -> str:
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (TypeError, OSError):
        return ""
