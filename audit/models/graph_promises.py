"""What graph networks keep on a network that they have not seen, beside linear rules over the same neighbourhoods."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.core import Dataset, Floats, Model
from audit.data.graphs import Graphs
from audit.data.worlds.base import World
from audit.models.promises import Promise, auc, near_the_oracle

BESIDE = 0.2  # how far the gap may lie from the linear rule's: two and a half times its spread from seed to seed


def simple_convolutions(graph: Graphs, steps: int = 2) -> Floats:
    """Features (n, d) of the rows after so many convolutions with loops and symmetric norms, nothing learned (wu2019)."""
    nodes = len(graph.features)
    loops = np.column_stack([np.arange(nodes)] * 2)
    source, target = np.concatenate([graph.edges, loops]).T
    degree = np.bincount(target, minlength=nodes)
    weight = (degree[source] * degree[target]) ** -0.5
    found = graph.features
    for _ in range(steps):
        found = np.stack([np.bincount(target, column[source] * weight, minlength=nodes) for column in found.T], axis=1)
    return np.asarray(found[graph.targets])


def linear_rule(features: Floats, y: Floats) -> Floats:
    """The score (n,) of the least-squares rule for labels (n,) of features (n, d), fitted to these very rows."""
    x = np.column_stack([features, np.ones(len(features))])
    return np.asarray(x @ np.linalg.lstsq(x, 2.0 * y - 1, rcond=None)[0])


def near_simple_convolutions(model: Model, data: Dataset, world: World, *, below: float = 0.05) -> Iterator[Promise]:
    """The AUC is at most `below` under that of the best linear rule over two convolutions, and the gap beside its gap.

    The rule is fitted to the labels of the judged network itself, which the model has never seen: what a network of two
    averaging layers can hardly better. The world's oracle reads a person's own features by themselves; such a network
    cannot, and stays far below it.
    """
    assert isinstance(data.inputs, Graphs)
    assert data.y is not None
    rule, score = linear_rule(simple_convolutions(data.inputs), data.y.astype(np.float64)), model.predict(data.inputs)
    best = auc(data, rule)
    yield Promise(name="AUC", value=auc(data, score), low=best - below, why=f"best linear rule {best:.4f}")
    yield _gap(data, score >= 0.5, rule >= 0)


def near_the_discriminant(model: Model, data: Dataset, world: World, *, below: float = 0.05) -> Iterator[Promise]:
    """The AUC is at most `below` under that of the world's own linear discriminant, and the gap beside its gap."""
    assert isinstance(data.inputs, Graphs)
    yield from near_the_oracle(model, data, world, below=below)
    yield _gap(data, model.predict(data.inputs) >= 0.5, world.oracle().logit(data.inputs) >= 0)


def _gap(data: Dataset, yes: np.ndarray, rule: np.ndarray) -> Promise:
    mine, other = gap(data, yes), gap(data, rule)
    why = f"linear rule {other:.4f}"
    return Promise(name="demographic parity gap", value=mine, low=other - BESIDE, high=other + BESIDE, why=why)


def gap(data: Dataset, yes: np.ndarray) -> float:
    """The share of yes (n,) in the last level of the first attribute less that in the first level."""
    codes = next(iter(data.groups.values()))
    return float(yes[codes.values == len(codes.levels) - 1].mean() - yes[codes.values == 0].mean())
