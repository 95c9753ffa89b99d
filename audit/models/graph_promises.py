"""What graph networks keep on a network that they have not seen, beside linear rules over the same neighbourhoods."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.core import Dataset, Floats, Model, stream
from audit.data.graphs import Graphs
from audit.data.worlds.base import World
from audit.models.promises import Promise, auc, near_the_oracle

NODES = 20_000  # of each network drawn here: the gap of one is then told within .007, its AUC within .003
# How far the gap may lie from the known rule's: three times its spread from one training network to another, which is
# .03. It is a third of the gap itself, so that neither a network that reads no ties nor one that mirrors them keeps it.
BESIDE = 0.1


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
    """Weights (d + 1,), the constant last, of the least-squares rule for labels (n,) of features (n, d)."""
    x = np.column_stack([features, np.ones(len(features))])
    return np.asarray(np.linalg.lstsq(x, 2.0 * y - 1, rcond=None)[0])


def scored(rule: Floats, features: Floats) -> Floats:
    """The score (n,) of features (n, d) by a linear rule (d + 1,), above 0 for yes."""
    return np.asarray(features @ rule[:-1] + rule[-1])


def near_simple_convolutions(model: Model, data: Dataset, world: World, *, below: float = 0.03) -> Iterator[Promise]:
    """The AUC is at most `below` under that of the world's linear rule over two convolutions, and the gap beside its gap.

    The rule is the world's: it is found on a network that neither the model has seen nor it is judged on, of so many
    people that its nine numbers are known. Both are judged on a third one. It is what a network of two averaging layers
    can hardly better. The world's oracle reads a person's own features by themselves; such a network cannot, and stays
    far below it.
    """
    other, mine = (world.draw(NODES, stream(0, f"graphs.{purpose}")) for purpose in ("rule", "judged"))
    assert isinstance(other.inputs, Graphs)
    assert isinstance(mine.inputs, Graphs)
    assert other.y is not None
    rule = linear_rule(simple_convolutions(other.inputs), other.y.astype(np.float64))
    known, score = scored(rule, simple_convolutions(mine.inputs)), model.predict(mine.inputs)
    best = auc(mine, known)
    yield Promise(name="AUC", value=auc(mine, score), low=best - below, why=f"the world's linear rule {best:.4f}")
    yield _gap(mine, score >= 0.5, known >= 0)


def near_the_discriminant(model: Model, data: Dataset, world: World, *, below: float = 0.02) -> Iterator[Promise]:
    """The AUC is at most `below` under that of the world's own linear discriminant, and the gap beside its gap.

    Both are judged on a network of many people that the model has not seen.
    """
    mine = world.draw(NODES, stream(0, "graphs.judged"))
    assert isinstance(mine.inputs, Graphs)
    yield from near_the_oracle(model, mine, world, below=below)
    yield _gap(mine, model.predict(mine.inputs) >= 0.5, world.oracle().logit(mine.inputs) >= 0)


def _gap(data: Dataset, yes: np.ndarray, rule: np.ndarray) -> Promise:
    mine, other = gap(data, yes), gap(data, rule)
    why = f"the world's linear rule {other:.4f}"
    return Promise(name="demographic parity gap", value=mine, low=other - BESIDE, high=other + BESIDE, why=why)


def gap(data: Dataset, yes: np.ndarray) -> float:
    """The share of yes (n,) in the last level of the first attribute less that in the first level."""
    codes = next(iter(data.groups.values()))
    return float(yes[codes.values == len(codes.levels) - 1].mean() - yes[codes.values == 0].mean())
