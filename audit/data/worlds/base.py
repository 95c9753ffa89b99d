"""What a planted world is: data drawn from a causal model, its truth, and a model with set weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from audit.core import DataError, Dataset, DataSpec, Floats, Inputs, suggest
from audit.data.graphs import Graphs
from audit.data.tables import listed
from audit.registry import entries


class Oracle(Protocol):
    """The log-odds that a world itself follows (see audit.data.worlds.forms and audit.data.worlds.additive).

    Rows x are what the model reads: a table (n, d), the values (n, ...) of pictures and sequences, the ids (n, tokens) of
    texts, and for a graph the `Graphs` themselves.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that it reads, in their order."""
        ...

    def logit(self, x: Any) -> Floats:
        """Log-odds of the positive class (n,) for rows x (n, ...)."""
        ...


class Explained(Oracle, Protocol):
    """An oracle whose log-odds are a function of rows (n, ...), and what explanations of them must say."""

    def shapley_truth(self, x: Any, background: Any) -> Floats:
        """Interventional Shapley values (n, d) of the logit for rows x against background rows (m, d)."""
        ...

    def occlusion_truth(self, x: Any, background: Any) -> Floats:
        """What the logit loses (n, d) when one column alone is filled from the background rows (m, d), on average."""
        ...

    def gradients_truth(self, x: Any, baseline: Any) -> Floats | None:
        """Integrated gradients (n, d) of the logit from baseline (d,); None where the logit jumps."""
        ...

    def slopes(self, x: Any) -> Floats | None:
        """The gradient (n, d) of the logit at rows x; None where the logit jumps."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Rows of a world with what a real file never has: latent factors (n,) and every row's counterfactual twin."""

    dataset: Dataset
    latent: Mapping[str, Floats]
    twin: Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The recorded people of one combination of protected levels, by how likely their label is positive.

    levels: the level of each attribute. chance: P(y = 1 | all that is recorded of a person) at nodes (k,). mass: the
    share (k,) of all recorded people at each node.
    """

    levels: Mapping[str, str]
    chance: Floats
    mass: Floats


class World(Protocol):
    """A causal model with known answers."""

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` rows, each with its counterfactual twin; raises DataError for fewer than one."""
        ...

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """The same rows as `draw` for the same generator, with their latent factors and twins."""
        ...

    def truth(self) -> Mapping[str, float]:
        """The exact value of each quantity by name, from a closed form or quadrature.

        What is undefined is left out: a rate over nobody, and every difference that such a rate enters.
        """
        ...

    def oracle(self) -> Oracle:
        """The weights that the world itself uses."""
        ...


class Stratified(World, Protocol):
    """A world whose posterior is known in every combination of protected levels: the best that is reachable has a figure."""

    def posterior(self, data: Dataset) -> Floats:
        """P(y = 1 | all that is recorded of a person) (n,): what no model can better, unlike the oracle on wronged data."""
        ...

    def strata(self) -> tuple[Stratum, ...]:
        """The distribution of the posterior in every combination of protected levels."""
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


def read_by(inputs: Any) -> Any:
    """What an oracle reads of inputs: their values, of a graph the graph itself."""
    return inputs if isinstance(inputs, Graphs) else inputs.values


def bounded(knob: str, value: Any, allowed: str) -> None:
    """Raise DataError unless the value of a knob is a number in an interval such as "[0, 1)"."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DataError(f"data.knobs: {knob} must be a number, got {value!r}")
    low, high = map(float, allowed[1:-1].split(","))
    number = float(value)
    above = number >= low if allowed[0] == "[" else number > low
    below = number <= high if allowed[-1] == "]" else number < high
    if above and below and math.isfinite(number):
        return
    words = {"[0, inf)": "be 0 or more", "(0, inf)": "be more than 0", "(-inf, inf)": "be a finite number"}
    raise DataError(f"data.knobs: {knob} must {words.get(allowed, f'lie in {allowed}')}, got {value}")


def counted(rows: Any) -> None:
    """Raise DataError unless rows can be drawn: a whole number from 1 on."""
    if isinstance(rows, bool) or not isinstance(rows, Integral) or int(rows) < 1:
        raise DataError(f"rows: a world draws 1 or more, got {rows!r}")


def source(world: object) -> str:
    """Where the rows of a world come from, with its knobs."""
    knobs = {each.name: getattr(world, each.name) for each in fields(world)}  # type: ignore[arg-type]
    return "planted data with known truth (" + ", ".join(f"{name} = {value:g}" for name, value in knobs.items()) + ")"
