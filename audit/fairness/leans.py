"""Chances beside shares, given or counted in labels of the same texts: then what the noise of the labels does is taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Floats, UsageError
from audit.fairness.pairs import correlation

RELIABLE = 0.5  # how much of the variance between occupations must be more than the noise of their texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Lean:
    """Chances of one pronoun by occupation (k,), the real shares (k,), and how the former stand to the latter.

    correlation: Pearson's over the occupations. mean_bias: mean of chance less share, positive = the pronoun is given too
    often. amplification: mean of how far the chance goes beyond the share towards the occupation's majority; occupations
    of a share of one half have none and are left out. Each with an interval at `level`; NaN where undefined.
    """

    chance: Floats
    share: Floats
    correlation: tuple[float, float, float]
    mean_bias: tuple[float, float, float]
    amplification: tuple[float, float, float]
    level: float


def lean(chance: ArrayLike, share: ArrayLike, level: float = 0.95) -> Lean:
    """How chances of a pronoun (k,) stand to real shares (k,), both from 0 to 1 (rudinger2018, zhao2017).

    The intervals take the occupations as a sample of many: Fisher's of the correlation, Student's of the means. Raises
    UsageError.
    """
    p, s = np.asarray(chance, dtype=np.float64), np.asarray(share, dtype=np.float64)
    fine = p.ndim == 1 and p.shape == s.shape and len(p) > 0
    if not fine or not (np.isfinite([p, s]).all() and min(p.min(), s.min()) >= 0 and max(p.max(), s.max()) <= 1):
        raise UsageError(f"chance, share: two columns (k,) of numbers from 0 to 1, got {p.shape} and {s.shape}")
    sided = s != 0.5
    beyond = (np.sign(s - 0.5) * (p - s))[sided]
    return Lean(
        chance=p,
        share=s,
        correlation=correlation(p, s, level),
        mean_bias=_mean(p - s, level),
        amplification=_mean(beyond, level),
        level=level,
    )


def lean_of_labels(chances: Sequence[ArrayLike], labels: Sequence[ArrayLike], level: float = 0.95) -> Lean:
    """The same where the shares are those of the labels of the very texts: of every occupation, its texts' (n,).

    The majority is told by other texts than the difference (see `beyond_majority`), and the correlation is that with the
    true shares (see `true_correlation`); occupations of one text are left out of both.
    """
    p = [np.asarray(each, dtype=np.float64) for each in chances]
    y = [np.asarray(each, dtype=np.float64) for each in labels]
    several = [place for place, each in enumerate(p) if len(each) > 1]
    plain = lean([each.mean() for each in p], [each.mean() for each in y], level)
    beyond = np.array([beyond_majority(p[place], y[place]) for place in several])
    return replace(
        plain,
        correlation=true_correlation([p[place] for place in several], [y[place] for place in several], level),
        amplification=_mean(beyond, level),
    )


def _mean(values: Floats, level: float) -> tuple[float, float, float]:
    if not len(values):
        return (np.nan, np.nan, np.nan)
    return (float(values.mean()), *stats.mean_interval(values, level))


def beyond_majority(chance: ArrayLike, y: ArrayLike) -> float:
    """How far chances (n,) of y = 1 go beyond its share towards the majority, told by other texts than the difference.

    The mean over all splits of the texts into halves: in one half the labels y (n,), 0 or 1, say which is the majority
    (+1, -1, or 0 for a tie), in the other half stands the mean chance less the share. With the same labels in both, a
    share that is high by chance is on the side of "yes" as well as above the chance, and a model that is exactly right
    seems to fall short of it. NaN below two texts.
    """
    p, label = np.asarray(chance, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(p) < 2:
        return float("nan")
    sizes = (len(p) // 2, len(p) - len(p) // 2)
    return float(np.mean([_split(p, label, first) for first in sizes]))


def _split(p: Floats, y: Floats, first: int) -> float:
    """The same of all splits whose first part has so many texts, by the number of ones in it."""
    from scipy.stats import hypergeom

    n, ones = len(p), int(y.sum())
    second = n - first
    j = np.arange(max(0, ones - second), min(first, ones) + 1)
    high = float(p[y == 1].mean()) if ones else 0.0
    low = float(p[y == 0].mean()) if ones < n else 0.0
    left = ones - j
    difference = (left * (high - 1.0) + (second - left) * low) / second
    return float((hypergeom.pmf(j, n, ones, first) * np.sign(2 * j - first)) @ difference)


def true_correlation(
    chances: Sequence[Floats], labels: Sequence[Floats], level: float = 0.95
) -> tuple[float, float, float]:
    """Correlation over occupations of expected chance and true share, and its interval, from the texts of each.

    chances, labels: of every occupation, its texts' (n,), two or more. What the noise of the texts adds to the variances
    and the covariance of the means is subtracted (spearman1904); the interval is Student's of the jackknife over the
    occupations (efron1993), within [-1, 1]. NaN below four occupations, and where half of a variance or more is noise.
    """
    from scipy.special import stdtrit

    undefined = (float("nan"), float("nan"), float("nan"))
    k = len(chances)
    if k < 4:
        return undefined
    means = np.array([[p.mean(), y.mean()] for p, y in zip(chances, labels, strict=True)])
    noise = np.array([np.cov(p, y, ddof=1) / len(p) for p, y in zip(chances, labels, strict=True)])
    whole = np.cov(means.T, ddof=1)
    real = np.diag(whole - noise.mean(axis=0))
    if (real <= RELIABLE * np.diag(whole)).any():
        return undefined
    everyone = np.arange(k)
    value = _corrected(means, noise)
    without = np.array([_corrected(means[everyone != each], noise[everyone != each]) for each in everyone])
    error = np.sqrt((k - 1.0) / k * ((without - without.mean()) ** 2).sum())
    far = float(stdtrit(k - 1.0, 0.5 + level / 2.0) * error)
    return _within(value), _within(value - far), _within(value + far)


def _corrected(means: Floats, noise: Floats) -> float:
    found = np.cov(means.T, ddof=1) - noise.mean(axis=0)
    scale = float(np.sqrt(np.maximum(found[0, 0], 0.0) * np.maximum(found[1, 1], 0.0)))
    return float(stats.divide(found[0, 1], scale))


def _within(value: float) -> float:
    return float(np.clip(value, -1.0, 1.0))
