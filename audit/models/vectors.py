"""Word vectors put right after training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from audit.core import Floats, UsageError


def hard_debiased(vectors: ArrayLike, pairs: Sequence[Sequence[int]], *, keep: Sequence[int] = ()) -> Floats:
    """Vectors (n, d) at length 1 without the direction that tells the words of `pairs` apart (bolukbasi2016).

    pairs: row numbers of two words each, such as (she, he). The direction is the first principal one of what each differs
    from the middle of its pair. All other words lose it (neutralise); the words of a pair get the same part outside of it
    and opposite parts along it (equalise), so that every neutralised word is as near to the one as to the other. keep:
    rows that stay as they are. Raises UsageError for vectors of zeros and pairs that do not differ.
    """
    v = np.array(vectors, dtype=np.float64)
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise UsageError(f"pairs: one or more, of two words each, got {list(map(tuple, pairs))}")
    rows = np.array([i for i in range(len(v)) if i not in set(keep)])
    length = np.linalg.norm(v[rows], axis=1, keepdims=True)
    if not (length > 0).all():
        raise UsageError(f"vectors: none may be zero, got one in row {int(rows[int(np.argmin(length[:, 0]))])}")
    v[rows] /= length
    left, right = np.array(pairs).T
    apart = (v[left] - v[right]) / 2
    if not np.abs(apart).max() > 0:
        raise UsageError("pairs: their words have the same vectors, so no direction tells them apart")
    direction = np.linalg.svd(apart, full_matrices=False)[2][0]
    own = {*left.tolist(), *right.tolist()}
    others = np.array([i for i in rows if i not in own])
    if len(others):
        v[others] -= np.outer(v[others] @ direction, direction)
        v[others] /= np.maximum(np.linalg.norm(v[others], axis=1, keepdims=True), 1e-300)
    middle = (v[left] + v[right]) / 2
    outside = middle - np.outer(middle @ direction, direction)
    side = np.sign(apart @ direction)[:, None]
    part = np.sqrt(np.maximum(1.0 - (outside**2).sum(axis=1, keepdims=True), 0.0)) * direction
    v[left], v[right] = outside + side * part, outside - side * part
    return v
