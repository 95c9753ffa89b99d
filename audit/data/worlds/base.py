"""What a planted world is: data drawn from a causal model, its truth, and a model with set weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audit.core import DataError, Dataset, DataSpec, Floats, suggest
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.registry import entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """A logistic form whose weights are set, not trained: logit(x) = x·weights + bias + Σ weight x_i x_j over pairs."""

    columns: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float = 0.0
    pairs: tuple[tuple[int, int, float], ...] = ()

    def logit(self, x: Floats) -> Floats:
        """Log-odds of the positive class (n,) for rows x (n, d)."""
        logit: Floats = x @ np.array(self.weights) + self.bias
        for i, j, weight in self.pairs:
            logit += weight * x[:, i] * x[:, j]
        return logit

    def shapley_truth(self, x: Floats, background: Floats) -> Floats:
        """Interventional Shapley values (n, d) of the logit for rows x against background rows (m, d), in closed form.

        w_j (x_j - m_j), and for a pair (i, j) of weight ω, feature i gains
        ω/2 [(x_i m_j - E[x_i x_j]) + (x_i x_j - m_i x_j)], j the mirror image; m and E are over the background.
        """
        mean = background.mean(axis=0)
        values: Floats = (x - mean) * np.array(self.weights)
        for i, j, weight in self.pairs:
            together = (background[:, i] * background[:, j]).mean()
            both = x[:, i] * x[:, j]
            values[:, i] += weight / 2 * (x[:, i] * mean[j] - together + both - mean[i] * x[:, j])
            values[:, j] += weight / 2 * (x[:, j] * mean[i] - together + both - mean[j] * x[:, i])
        return values

    def gradients_truth(self, x: Floats, baseline: Floats) -> Floats:
        """Integrated gradients (n, d) of the logit along the straight line from baseline (d,), in closed form."""
        step = x - baseline
        values: Floats = step * np.array(self.weights)
        for i, j, weight in self.pairs:
            values[:, i] += weight / 2 * step[:, i] * (x[:, j] + baseline[j])
            values[:, j] += weight / 2 * step[:, j] * (x[:, i] + baseline[i])
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Rows of a world with what a real file never has: latent factors (n,) and every row's counterfactual twin."""

    dataset: Dataset
    latent: Mapping[str, Floats]
    twin: Tabular


class World(Protocol):
    """A causal model with known answers."""

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` rows, each with its counterfactual twin."""
        ...

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """The same rows as `draw` for the same generator, with their latent factors and twins."""
        ...

    def truth(self) -> Mapping[str, float]:
        """The exact value of each quantity by name, from a closed form or quadrature."""
        ...

    def oracle(self) -> Oracle:
        """The weights that the world itself uses."""
        ...


def planted(spec: DataSpec) -> World:
    """The world that [data] names, with its knobs; raises DataError for an unknown world or knob."""
    worlds = entries("worlds")
    if spec.world is None or spec.world not in worlds:
        raise DataError(
            f"data.world: there is no world {spec.world!r}; worlds: {listed(worlds)}{suggest(str(spec.world), worlds)}"
        )
    entry = worlds[spec.world]
    for knob in spec.knobs:
        if knob not in entry.params:
            raise DataError(
                f"data.knobs: the world {spec.world!r} has no knob {knob!r}; knobs: {listed(entry.params)}{suggest(knob, entry.params)}"
            )
    if spec.rows < 1:
        raise DataError(f"data.rows must be 1 or more, got {spec.rows}")
    world: World = entry.function(**spec.knobs)
    return world
