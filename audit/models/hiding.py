"""Models that hide a rule from whoever asks: one answer for people, another for what looks like a probe (slack2020).

numpy and scikit-learn alone: the wrapper that rehearses the attack and the reference model that carries it out share this.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from audit.core import Floats, UsageError


def detector(
    people: Floats,
    probes: Sequence[Floats],
    unseen: Floats,
    rng: np.random.Generator,
    *,
    share: float,
    trees: int = 30,
    leaf: int = 2,
) -> tuple[Any, float]:
    """A random forest that tells people (n, d) from probes, and how likely a row must be a person to be taken for one.

    unseen (m, d): people kept from it, of whom the share `share` is to be taken for people. Missing values count as 0.
    Raises UsageError.
    """
    if not 0 < share < 1:
        raise UsageError(f"share: of people taken for people, above 0 and below 1, got {share!r}")
    shown = np.nan_to_num(np.concatenate([people, *probes]))
    real = np.repeat([1, 0], [len(people), len(shown) - len(people)])
    forest = _forests()(
        n_estimators=trees,
        min_samples_leaf=leaf,
        class_weight="balanced",
        n_jobs=1,
        random_state=int(rng.integers(2**31)),
    )
    forest.fit(shown, real)
    return forest, float(np.quantile(forest.predict_proba(np.nan_to_num(unseen))[:, 1], 1 - share))


def _forests() -> Any:
    """scikit-learn's forests; importing them draws from Python's own generator, which is put back."""
    kept = random.getstate()
    try:
        from sklearn.ensemble import RandomForestClassifier
    finally:
        random.setstate(kept)
    return RandomForestClassifier


def cut_of(values: Floats) -> float:
    """Where a rule on a column changes its answer: near the median, so that both answers occur."""
    levels = np.unique(values[np.isfinite(values)])
    middle = float(np.median(values[np.isfinite(values)]))
    below = levels[levels < levels[-1]]
    return float(below[np.abs(below - middle).argmin()]) if len(below) else middle


def noisy(values: Floats, rng: np.random.Generator) -> Floats:
    """Rows (n, d) with normal noise of each column's own deviation on it."""
    return np.asarray(values + rng.standard_normal(values.shape) * np.nan_to_num(np.nanstd(values, axis=0)))


def flattened(values: Floats, rng: np.random.Generator, *, behind: int = 400) -> Floats:
    """Rows (at most n, d) with the mean in columns drawn by chance; rows that this leaves as they are drop out.

    behind: rows of which an explainer takes the mean; each row here has the mean as so many would have it.
    """
    error = np.nan_to_num(np.nanstd(values, axis=0)) / np.sqrt(behind)
    mean = np.nan_to_num(np.nanmean(values, axis=0)) + rng.standard_normal(values.shape) * error
    drawn = np.where(rng.random(values.shape) < rng.random((len(values), 1)), values, mean)
    return np.asarray(drawn[(drawn != values).any(axis=1)])


def mixed(values: Floats, rng: np.random.Generator) -> Floats:
    """Rows (at most n, d) with columns drawn by chance from another row; rows that this leaves as they are drop out."""
    kept = rng.random(values.shape) < rng.random((len(values), 1))
    drawn = np.where(kept, values, values[rng.permutation(len(values))])
    return np.asarray(drawn[(drawn != values).any(axis=1)])
