"""A fresh adversary of another kind, on rows it has not seen: what the answers of a model still say about the group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from audit import stats
from audit.core import DataError, Floats, UsageError
from audit.models.debias.given import number


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
    score: Any,
    a: Any,
    y: Any = None,
    *,
    folds: int = 5,
    level: float = 0.95,
    seed: int = 0,
) -> HeldOut:
    """How well boosted trees tell the group from a model's score, each row judged by trees that have not seen it.

    score (n,), a (n,) of two groups, as codes or text: arrays or tensors, whose gradients are left aside. y (n,), numbers:
    read beside the score; then even a model fair by equalised odds leaves what y itself says of the group, which the AUC
    without the score tells. folds: 2 or more, and as many rows of each group. Raises UsageError, DataError.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 2:
        raise UsageError(f"folds: a whole number from 2 on, got {folds!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed: a whole number from 0 on, got {seed!r}")
    number("level", level, "above 0 and below 1", below=1.0)
    columns = [_column("score", score)]
    if y is not None:
        columns.append(_column("y", y))
    second = _second(a, folds)
    if any(len(column) != len(second) for column in columns):
        found = [len(column) for column in columns]
        raise DataError(f"score, y and a: of one length, got {', '.join(map(str, found))} and {len(second)}")
    read = np.column_stack(columns)
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, learning_rate=0.05, random_state=seed)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    said = cross_val_predict(trees, read, second, cv=split, method="predict_proba")[:, 1]
    auc, variance = stats.delong(said, second)
    low, high = stats.auc_interval(auc, variance, min(second.sum(), (~second).sum()), level)
    return HeldOut(auc=auc, low=low, high=high, level=level, n=len(second), seed=seed)


def _column(name: str, values: Any) -> Floats:
    """Finite numbers (n,); raises DataError."""
    found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if found.dtype.kind not in "biuf" or found.ndim != 1:
        raise DataError(f"{name}: one number a row (n,) is needed, got {found.dtype} of shape {found.shape}")
    if not np.isfinite(found).all():
        raise DataError(f"{name}: finite numbers are needed, got {int((~np.isfinite(found)).sum())} that are not")
    return np.asarray(found, dtype=np.float64)


def _second(a: Any, folds: int) -> np.ndarray:
    """Who is of the second of two groups (n,), each of at least as many rows as there are folds; raises DataError."""
    groups = np.asarray(a.detach().cpu() if isinstance(a, Tensor) else a)
    if groups.ndim != 1 or (groups.dtype.kind == "f" and not np.isfinite(groups).all()):
        raise DataError(f"a: one group a row (n,), none missing, is needed; got {groups.dtype} of shape {groups.shape}")
    try:
        levels, sizes = np.unique(groups, return_counts=True)
    except TypeError as error:
        raise DataError("a: groups are codes or text, and none may be missing") from error
    if len(levels) != 2:
        raise DataError(f"a: the held-out adversary tells two groups apart, got {len(levels)}")
    if sizes.min() < folds:
        raise DataError(f"a: {folds} folds need as many rows of each group, got {sizes.tolist()}")
    return np.asarray(groups == levels[1])
