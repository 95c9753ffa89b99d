"""Pairs of texts that differ in the same words: they repeat one another, and count for less than their number."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from audit.core import Floats

_WORD = re.compile(r"\w+")
LEAST = 1e-12  # a variance that is none


def differing(more: str, less: str) -> frozenset[str]:
    """The words, in lower case, that only one of two texts has."""
    first, second = (frozenset(_WORD.findall(text.lower())) for text in (more, less))
    return first ^ second


def design_effect(values: Floats, words: Sequence[frozenset[str]]) -> float:
    """How many times larger the variance of a mean is, as pairs that share a differing word go together; 1 at least.

    values (n,): of each pair. words (n,): what each pair differs in. Residuals of any two pairs with a word in common are
    multiplied, as in dyadic clustering (aronow2015); against the variance of as many independent pairs.
    """
    n = len(values)
    residual = np.asarray(values, dtype=np.float64) - float(np.mean(values)) if n else np.empty(0)
    alone = float(residual @ residual)
    if alone <= LEAST:
        return 1.0
    place = {word: k for k, word in enumerate(sorted({word for each in words for word in each}))}
    has = np.zeros((n, len(place)), dtype=np.float32)
    for row, each in enumerate(words):
        has[row, [place[word] for word in each]] = 1.0
    together = has @ has.T > 0
    np.fill_diagonal(together, True)
    return max(1.0, float(residual @ (together @ residual)) / alone)
