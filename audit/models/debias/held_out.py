"""A fresh adversary of another kind, on rows it has not seen: what the answers of a model still say about the group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """AUC of a cross-fitted adversary with its DeLong interval at `level`; 0.5 is blindness to the group."""

    auc: float
    low: float
    high: float
    level: float
    n: int
    seed: int


def held_out_adversary(
    score: ArrayLike,
    a: ArrayLike,
    y: ArrayLike | None = None,
    *,
    folds: int = 5,
    level: float = 0.95,
    seed: int = 0,
) -> HeldOut:
    """How well boosted trees tell the group from a model's score, each row judged by trees that have not seen it.

    score (n,), a (n,) of two groups. y (n,): read beside the score; then even a model fair by equalised odds leaves what y
    itself says of the group, which the AUC without the score tells. Raises DataError.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    groups = np.asarray(a)
    levels = np.unique(groups)
    if len(levels) != 2:
        raise DataError(f"a: the held-out adversary tells two groups apart, got {len(levels)}")
    columns = [np.asarray(score, dtype=np.float64)]
    if y is not None:
        columns.append(np.asarray(y, dtype=np.float64))
    read, second = np.column_stack(columns), groups == levels[1]
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, learning_rate=0.05, random_state=seed)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    said = cross_val_predict(trees, read, second, cv=split, method="predict_proba")[:, 1]
    auc, variance = stats.delong(said, second)
    low, high = stats.auc_interval(auc, variance, min(second.sum(), (~second).sum()), level)
    return HeldOut(auc=auc, low=low, high=high, level=level, n=len(groups), seed=seed)
