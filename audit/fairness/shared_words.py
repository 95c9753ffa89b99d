"""Pairs of texts that differ in the same words: they repeat one another, and count for less than their number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.core import Floats

_WORD = re.compile(r"\w+")
LEAST = 1e-12  # a variance that is none
BLOCK = 2**22  # numbers held at a time


def differing(more: str, less: str) -> frozenset[str]:
    """The words, in lower case, that only one of two texts has."""
    first, second = (frozenset(_WORD.findall(text.lower())) for text in (more, less))
    return first ^ second


def design_effect(points: ArrayLike, words: Sequence[frozenset[str]]) -> float:
    """How many times larger the variance of a share is, as pairs that share a differing word go together; 1 at least.

    points (n,): 1 for a pair that is won, 0 for one that is lost, .5 for a tie. words (n,): what each pair differs in.
    Residuals of any two pairs with a word in common are multiplied, as in dyadic clustering (aronow2015), once about the
    share found and once about one half, and the larger effect is taken: where all pairs share a word, the residuals about
    their own mean sum to 0 and show nothing.
    """
    values = np.asarray(points, dtype=np.float64)
    if len(values) < 2:
        return 1.0
    own, null = _crossed(values, 0.5, words)
    residual = values - values.mean()
    alone = float(residual @ residual)
    found = own / alone if alone > LEAST else 0.0
    return 1.0 + max(0.0, found, null / (len(values) / 4.0))


def variance_of_mean(values: ArrayLike, words: Sequence[frozenset[str]]) -> float:
    """The variance of the mean of values (n,), NaN below two, where pairs that share a differing word go together.

    What the shared words add is that about the mean or that about 0, "no difference", whichever is larger (aronow2015).
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 2:
        return float("nan")
    residual = x - x.mean()
    return float(residual @ residual + max(0.0, *_crossed(x, 0.0, words))) / (n * (n - 1))


def _crossed(values: Floats, null: float, words: Sequence[frozenset[str]]) -> tuple[float, float]:
    """The sums over all ordered pairs of different rows that share a word of the products of their residuals.

    About the mean, and about `null`. Rows that differ in the same words are one first; a row without words is alone.
    """
    residual = np.stack([values - values.mean(), values - null], axis=1)
    sets = {each: place for place, each in enumerate(dict.fromkeys(each for each in words if each))}
    there = np.array([row for row, each in enumerate(words) if each], dtype=np.int64)
    if not len(there):
        return 0.0, 0.0
    sums = np.zeros((len(sets), 2))
    np.add.at(sums, [sets[words[row]] for row in there], residual[there])
    total = -(residual[there] ** 2).sum(axis=0)
    for rows, together in _together(list(sets)):
        total += (sums[rows] * (together @ sums)).sum(axis=0)
    return float(total[0]), float(total[1])


def _together(sets: Sequence[frozenset[str]]) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Which sets of words (m,) have one in common (rows, m), in blocks of rows that hold a bounded memory."""
    from scipy.sparse import csr_array

    place = {word: column for column, word in enumerate(sorted({word for each in sets for word in each}))}
    columns = [place[word] for each in sets for word in each]
    ends = np.concatenate([[0], np.cumsum([len(each) for each in sets])])
    has = csr_array((np.ones(len(columns), dtype=np.float32), columns, ends), shape=(len(sets), len(place)))
    step = max(1, BLOCK // len(sets))
    for start in range(0, len(sets), step):
        rows = slice(start, start + step)
        yield rows, (has[rows] @ has.T).toarray() > 0
