"""The law of a table's perturbations, and what a local surrogate sees of them (ribeiro2016).

Discretised: a column becomes its quartile bins, drawn by their frequency in the background; the value is drawn from the
bin's normal, cut off at its ends; the regressor says whether perturbation and row share the bin. Continuous: a column is
normal with the background's mean and spread; the regressor is the standardised value. Around: the same, centred on the
row. Categories are drawn by their frequency in all three, and their regressor says whether the category is the row's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Ints, UsageError
from audit.data.tabular import Tabular
from audit.explain.surrogate_fits import Matrix, Neighbours, Pairs

Space = Literal["discretised", "continuous", "around"]
QUARTILES = (25.0, 50.0, 75.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The levels (k,) that a column is drawn from: categories, or bins with their law inside; missing is a level too.

    edges (bins - 1,): a bin ends at its edge, inclusive; none for categories, whose `low` is their value.
    """

    edges: Floats | None
    frequency: Floats
    low: Floats
    high: Floats
    mean: Floats
    sd: Floats

    def codes(self, values: Floats) -> Ints:
        """The level of each value (n,); -1 for a category that the background does not have."""
        missing = np.isnan(values)
        if self.edges is not None:
            return np.where(missing, len(self.edges) + 1, np.searchsorted(self.edges, values))
        known = self.low[~np.isnan(self.low)]
        place = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
        there = known[place] == values if len(known) else np.zeros(len(values), dtype=bool)
        unseen = np.where(missing & (len(known) < len(self.low)), len(known), -1)
        return np.where(there, place, unseen)

    def draw(self, samples: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Levels and values (samples,). A bin that holds one value gives that value."""
        from scipy.special import ndtr, ndtri

        cumulated = np.cumsum(self.frequency)
        codes = np.searchsorted(cumulated, rng.random(samples) * cumulated[-1], side="right")
        codes = np.minimum(codes, np.flatnonzero(self.frequency)[-1])
        within = rng.random(samples)
        wide = self.low < self.high
        if not wide.any():
            return codes, self.low[codes]
        start, end = (ndtr((ends - self.mean) / self.sd)[codes] for ends in (self.low, self.high))
        values = self.mean[codes] + self.sd[codes] * ndtri(start + within * (end - start))
        return codes, np.where(wide[codes], np.clip(values, self.low[codes], self.high[codes]), self.low[codes])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Rows of a table, perturbed or not: values (s, d); steps (d, s), standardised; codes (d, s), the levels."""

    values: Floats
    steps: Floats
    codes: NDArray[np.int32]

    def take(self, rows: Ints) -> Drawn:
        """The named rows."""
        return Drawn(values=self.values[rows], steps=self.steps[:, rows], codes=self.codes[:, rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """How a table is perturbed: columns with levels, and the mean and spread (d,) of the others."""

    levels: tuple[Levels | None, ...]
    mean: Floats
    sd: Floats
    around: bool = False

    @property
    def numbers(self) -> Ints:
        """The columns that keep their numbers."""
        return np.array([place for place, levels in enumerate(self.levels) if levels is None], dtype=np.int64)

    @property
    def labels(self) -> Ints:
        """The columns that become levels."""
        return np.array([place for place, levels in enumerate(self.levels) if levels is not None], dtype=np.int64)

    @property
    def shares_design(self) -> bool:
        """Whether the regressors of a perturbation are the same for every row."""
        return not self.around and not len(self.labels)

    def read(self, values: Floats) -> Drawn:
        """Values (n, d) as the surrogate sees them."""
        codes = np.zeros((len(self.levels), len(values)), dtype=np.int32)
        for place, levels in enumerate(self.levels):
            if levels is not None:
                codes[place] = levels.codes(values[:, place])
        return Drawn(values=values, steps=((values - self.mean) / self.sd).T, codes=codes)

    def draw(self, samples: int, rng: np.random.Generator) -> Drawn:
        """Perturbations that no row is needed for; of the law "around" the steps alone."""
        values, codes = np.empty((samples, len(self.levels))), np.zeros((len(self.levels), samples), dtype=np.int32)
        steps = np.zeros(codes.shape)
        for place, levels in enumerate(self.levels):
            if levels is None:
                steps[place] = rng.standard_normal(samples)
                values[:, place] = steps[place] * self.sd[place] + self.mean[place]
            else:
                codes[place], values[:, place] = levels.draw(samples, rng)
        return Drawn(values=values, steps=steps, codes=codes)

    def moved(self, drawn: Drawn, rows: Floats) -> Floats:
        """What the model is asked around rows (r, d): (r s, d), one row after the other."""
        filled = np.repeat(drawn.values[None], len(rows), axis=0)
        place = self.numbers
        filled[:, :, place] = rows[:, None, place] + drawn.steps[place].T * self.sd[place]
        return filled.reshape(-1, rows.shape[1])

    def neighbours(
        self,
        drawn: Drawn,
        rows: Drawn,
        targets: Floats,
        outputs: Floats,
        width: float,
        pairs: Pairs | None = None,
    ) -> Neighbours:
        """What a surrogate is fitted to: targets (r, s), outputs (r,) of the rows read; width of the kernel."""
        labelled = np.array([levels is not None for levels in self.levels])
        here = rows.steps[self.numbers].T
        powers = self._number_powers(drawn, here, width)
        design: Matrix = drawn.steps
        if not self.shares_design:
            design = (drawn.codes == rows.codes.T[:, :, None]).astype(np.float64 if len(self.numbers) else np.float32)
            steps = drawn.steps[self.numbers]
            design[:, self.numbers] = steps + here[:, :, None] if self.around else steps
            same = np.matmul(labelled.astype(design.dtype), design)
            powers += (same - len(self.labels)) / (2 * width**2)
        return Neighbours(
            design=design,
            targets=targets,
            weights=np.exp(powers, out=powers),
            anchor=np.where(labelled, 1.0, rows.steps.T),
            outputs=outputs,
            pairs=pairs,
        )

    def _number_powers(self, drawn: Drawn, here: Floats, width: float) -> Floats:
        """Minus the squared distance between rows (r, k) and perturbations (r, s), over 2 width^2, in one product.

        Over the columns that keep their numbers; around a row its own place does not count.
        """
        steps = drawn.steps[self.numbers]
        one = np.ones((len(here), 1))
        length = (steps**2).sum(axis=0, keepdims=True)
        if self.around:
            return np.asarray(one @ length / (-2 * width**2))
        left = np.concatenate([2 * here, one, (here**2).sum(axis=1, keepdims=True)], axis=1)
        right = np.concatenate([steps, -length, np.full_like(length, -1.0)])
        return np.asarray(left @ (right / (2 * width**2)))


def law_of(background: Tabular, inputs: Tabular, space: Space) -> Law:
    """The law of a space; raises UsageError where a column has missing values and the space no place for them.

    A column that never varies keeps its value in the discretised space, and moves by 1 in the others.
    """
    levels: list[Levels | None] = []
    mean, sd = np.zeros(len(background.columns)), np.ones(len(background.columns))
    for place, name in enumerate(background.columns):
        column = background.values[:, place]
        if name in background.categories:
            levels.append(_categories(column))
        elif space == "discretised":
            levels.append(_bins(column))
        elif np.isnan(column).any() or np.isnan(inputs.values[:, place]).any():
            raise UsageError(
                f'space: "{space}" has no place for missing values, and column {name!r} has some; '
                'use space = "discretised"'
            )
        else:
            levels.append(None)
            mean[place], sd[place] = column.mean(), column.std() if np.ptp(column) else 1.0
    return Law(levels=tuple(levels), mean=mean, sd=sd, around=space == "around")


def _categories(column: Floats) -> Levels:
    values, counts = np.unique(column, return_counts=True)
    return Levels(
        edges=None,
        frequency=counts / len(column),
        low=values,
        high=values,
        mean=values,
        sd=np.ones(len(values)),
    )


def _bins(column: Floats) -> Levels:
    """Bins between the quartiles; those that fall together make one edge."""
    there = column[~np.isnan(column)]
    edges = np.unique(np.percentile(there, QUARTILES)) if len(there) else np.empty(0)
    codes = np.searchsorted(edges, there)
    ends = [np.array([np.min(there)]), edges, np.array([np.max(there)])] if len(there) else [np.zeros(2)]
    cuts = np.concatenate(ends)
    members = [there[codes == each] for each in range(len(edges) + 1)]
    counts = np.array([len(each) for each in members] + [len(column) - len(there)])
    return Levels(
        edges=edges,
        frequency=counts / len(column),
        low=np.append(cuts[:-1], np.nan),
        high=np.append(cuts[1:], np.nan),
        mean=np.array([each.mean() if len(each) else 0.0 for each in members] + [np.nan]),
        sd=np.array([each.std() if len(each) else 0.0 for each in members] + [0.0]) + 1e-11,
    )
