"""Metrics of a model and how much each row moves them."""

from __future__ import annotations

import numpy as np

from audit.core import Floats, Ints


def performance(scores: Floats, labels: Floats | Ints, metric: str) -> tuple[Floats, Floats]:
    """A metric (m,) of scores (m, n) or (m, n, k) and each row's influence on it (m, n), which has mean 0.

    A log-loss takes probabilities no nearer to 0 and 1 than a float can tell (2.2e-16). An AUC without both classes, or
    of more than two classes, is NaN.
    """
    if metric == "auc":
        return _auc(scores, labels)
    if metric == "squared_error":
        return mean_of((scores - labels) ** 2)
    several = scores.ndim == 3
    if metric == "accuracy":
        return mean_of(((scores.argmax(axis=2) if several else scores >= 0.5) == labels).astype(np.float64))
    classes = np.asarray(labels, dtype=np.int64)
    if metric == "brier":
        return mean_of(
            ((scores - np.eye(scores.shape[2])[classes]) ** 2).sum(axis=2) if several else (scores - classes) ** 2
        )
    true = (
        np.take_along_axis(scores, np.broadcast_to(classes[:, None], (*scores.shape[:2], 1)), axis=2)[:, :, 0]
        if several
        else np.where(classes == 1, scores, 1 - scores)
    )
    least = np.finfo(np.float64).eps
    return mean_of(-np.log(np.clip(true, least, 1 - least)))


def mean_of(each: Floats) -> tuple[Floats, Floats]:
    """The mean (m,) of losses (m, n) and each row's influence on it."""
    mean = each.mean(axis=1)
    return mean, each - mean[:, None]


def _auc(scores: Floats, labels: Floats | Ints) -> tuple[Floats, Floats]:
    """Area under the ROC curve and DeLong's placements as influences (delong1988)."""
    from scipy.stats import rankdata

    positive = np.asarray(labels) == 1
    count, n = int(positive.sum()), len(positive)
    if scores.ndim == 3 or not 0 < count < n:
        return np.full(len(scores), np.nan), np.full(scores.shape[:2], np.nan)
    ranks = rankdata(scores, axis=1)
    above = (ranks[:, positive] - rankdata(scores[:, positive], axis=1)) / (n - count)
    below = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / count
    auc = above.mean(axis=1)
    influence = np.zeros(scores.shape)
    influence[:, positive] = (above - auc[:, None]) * n / count
    influence[:, ~positive] = (below - auc[:, None]) * n / (n - count)
    return auc, influence
