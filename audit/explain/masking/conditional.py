"""Fillings of absent columns given the present ones.

Filled from rows drawn without regard to the present columns, a model is asked about rows that cannot be (a child with
a pension). Given the present columns it is not; but then a column that the model never reads earns credit for what it
tells of the others (aas2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints, UsageError, stream
from audit.data.tabular import Tabular
from audit.explain.masking.base import Coalitions

_LEAST_SHRINKAGE = 1e-6  # keeps columns that repeat each other apart enough to be solved for
_BLOCK = 2_000_000  # numbers in one temporary array


class Conditional(Protocol):
    """Fillings that depend on what is present."""

    @property
    def count(self) -> int:
        """How many fillings there are."""
        ...

    def __call__(self, values: Floats, present: Coalitions, draws: Ints | None) -> Floats:
        """Fillings (r, c, k, d) of rows (r, d) under present columns (c, d); draws (c, k) picks some of them.

        Of the present columns the numbers are unused. A present value that is missing says nothing of the others.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """Draws from the normal law of the absent columns given the present ones.

    covariance (d, d): of the columns less centre (d,) over scale (d,). joint (count, d): draws from that law, which
    every row and every coalition shares; they are turned into conditional ones by kriging (x_A + B (p - x_P), where B
    regresses A on P), exact for a normal law. Their mean is exactly 0, so that the mean over them is the conditional one.
    """

    centre: Floats
    scale: Floats
    covariance: Floats
    joint: Floats

    @property
    def count(self) -> int:
        """Number of draws."""
        return len(self.joint)

    def __call__(self, values: Floats, present: Coalitions, draws: Ints | None) -> Floats:
        """Fillings (r, c, k, d) of rows (r, d) under present columns (c, d)."""
        width = values.shape[1]
        kept = self.count if draws is None else draws.shape[1]
        out = np.empty((len(values), len(present), kept, width))
        apart = values - self.centre
        z = np.divide(apart, self.scale, out=np.where(np.isnan(apart), np.nan, 0.0), where=self.scale > 0)
        patterns, which = np.unique(np.isnan(z), axis=0, return_inverse=True)
        step = max(1, _BLOCK // width**2)
        for index, missing in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == index)
            for left in range(0, len(present), step):
                part = slice(left, left + step)
                regress = self._regressions(present[part] & ~missing)
                noise = self.joint[None] if draws is None else self.joint[draws[part]]
                mean = np.where(missing, 0.0, z[rows])[None] @ regress
                noise = noise - noise @ regress
                middle = np.moveaxis(self.centre + self.scale * mean, 0, 1)
                out[rows, part] = middle[:, :, None] + (self.scale * noise)[None]
        return out

    def _regressions(self, known: Coalitions) -> Floats:
        """For coalitions (c, d) the matrices (c, d, d) from standardised known columns to all; rows of unknown ones are 0."""
        both = known[:, :, None] & known[:, None, :]
        square = np.where(both, self.covariance, np.eye(len(self.covariance)))
        return np.asarray(np.linalg.solve(square, np.where(known[:, :, None], self.covariance, 0.0)))


def gaussian(rows: Tabular, count: int, seed: int) -> Gaussian:
    """The normal law fitted to the rows without gaps, its correlations shrunk (ledoit2004).

    Raises UsageError where a column is a category, DataError where fewer than two rows are without gaps.
    """
    if rows.categories:
        raise UsageError(
            f'fill: "gaussian" needs columns of numbers, and {next(iter(rows.categories))!r} holds categories; '
            '"nearest" is conditional too and takes them'
        )
    whole = rows.values[~np.isnan(rows.values).any(axis=1)]
    if len(whole) < 2:
        gaps = [name for index, name in enumerate(rows.columns) if np.isnan(rows.values[:, index]).any()]
        raise DataError(
            f'fill: "gaussian" needs at least two background rows without missing values, got {len(whole)} of '
            f"{len(rows)}; missing values are in {', '.join(gaps) or 'no column'}"
        )
    varies = (whole != whole[0]).any(axis=0)
    # A constant column keeps its value to the bit, and rounding gives it no spread.
    centre = np.where(varies, whole.mean(axis=0), whole[0])
    scale = np.where(varies, whole.std(axis=0), 0.0)
    covariance = np.eye(len(scale))
    covariance[np.ix_(varies, varies)] = shrunk((whole[:, varies] - centre[varies]) / scale[varies])
    normal = stream(seed, "explain.fill/gaussian").standard_normal((count, len(scale)))
    normal -= normal.mean(axis=0)
    # Taking the mean out has taken spread out; a single draw is the mean itself.
    normal *= np.sqrt(count / (count - 1)) if count > 1 else 0.0
    return Gaussian(centre=centre, scale=scale, covariance=covariance, joint=normal @ np.linalg.cholesky(covariance).T)


def shrunk(values: Floats) -> Floats:
    """Covariance (d, d) of values (n, d) of mean 0, drawn towards equal variances without correlation (ledoit2004)."""
    count, width = values.shape
    sample = values.T @ values / count
    even = np.trace(sample) / max(width, 1) * np.eye(width)
    apart = float(((sample - even) ** 2).sum())
    noise = (float(((values**2).sum(axis=1) ** 2).mean()) - float((sample**2).sum())) / count
    share = min(noise / apart, 1.0) if apart > 0 else 0.0
    share = max(share, _LEAST_SHRINKAGE)
    return np.asarray((1 - share) * sample + share * even)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The background rows nearest in the present columns.

    values (b, d): the background in a drawn order, to which ties go. scale (d,): the standard deviations. named (d,):
    whether a column holds categories. The distance adds up squared differences in standard deviations, and 1 where
    categories differ or one of two values is missing.
    """

    values: Floats
    scale: Floats
    named: NDArray[np.bool_]
    count: int

    def __call__(self, values: Floats, present: Coalitions, draws: Ints | None) -> Floats:
        """Fillings (r, c, k, d) of rows (r, d) under present columns (c, d)."""
        kept = self.count if draws is None else draws.shape[1]
        out = np.empty((len(values), len(present), kept, values.shape[1]))
        step = max(1, _BLOCK // max(1, max(len(present), values.shape[1]) * len(self.values)))
        for top in range(0, len(values), step):
            apart = np.ascontiguousarray(np.moveaxis(self._apart(values[top : top + step]), 2, 0))
            # Sums rather than a matrix product, whose rounding, and so the ties, depend on the size of the batch.
            distance = np.empty((apart.shape[1], len(present), len(self.values)))
            for index, columns in enumerate(present):
                distance[:, index] = apart[columns].sum(axis=0)
            chosen = smallest(distance, self.count)
            if draws is not None:
                chosen = np.take_along_axis(chosen, np.broadcast_to(draws, (len(chosen), *draws.shape)), axis=2)
            out[top : top + step] = self.values[chosen]
        return out

    def _apart(self, values: Floats) -> Floats:
        """Squared differences (r, b, d) between rows and background."""
        one, other = values[:, None], self.values[None]
        squared = np.where(self.named, one != other, ((one - other) / self.scale) ** 2)
        gaps = np.isnan(one).astype(np.int64) + np.isnan(other)
        return np.where(gaps == 0, squared, gaps == 1)


def smallest(values: Floats, count: int) -> Ints:
    """Places (..., count) of the smallest of values (..., n), in ascending order of place; ties go to the first."""
    last = np.partition(values, count - 1, axis=-1)[..., count - 1 : count]
    below, level = values < last, values == last
    chosen = below | (level & (np.cumsum(level, axis=-1) <= count - below.sum(axis=-1, keepdims=True)))
    return np.nonzero(chosen)[-1].reshape(*values.shape[:-1], count)


def nearest(rows: Tabular, count: int, seed: int) -> Nearest:
    """The `count` nearest of these rows; raises UsageError where there are fewer rows than that."""
    if count > len(rows):
        raise UsageError(f'size: fill = "nearest" can take at most the {len(rows)} background rows, got {count}')
    order = stream(seed, "explain.fill/nearest").permutation(len(rows))
    known = ~np.isnan(rows.values)
    number = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, rows.values, 0.0).sum(axis=0) / number
    spread = np.sqrt((np.where(known, rows.values - centre, 0.0) ** 2).sum(axis=0) / number)
    return Nearest(
        values=rows.values[order],
        scale=np.where(spread > 1e-12 * np.abs(centre), spread, 1.0),
        named=np.array([name in rows.categories for name in rows.columns], dtype=bool),
        count=count,
    )
