"""Oracles of pictures, sequences, texts and graphs: log-odds that add up, whose explanations are known exactly.

Each is a sum over elements (pixels, cells, tokens, nodes' features), so a Shapley value, an integrated gradient and the
effect of taking an element away are one and the same, and what a player holds is the sum over its elements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Ints
from audit.data.graphs import Graphs


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearForm:
    """logit(x) = Σ weights · x + bias for values x (n, ...) of pictures or sequences; weights (...)."""

    weights: Floats
    bias: float = 0.0
    columns: tuple[str, ...] = ()

    def logit(self, x: Floats) -> Floats:
        """Log-odds of the positive class (n,)."""
        flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
        return np.asarray(flat @ self.weights.ravel() + self.bias)

    def shapley_truth(self, x: Floats, background: Floats) -> Floats:
        """Interventional Shapley value (n, ...) of every element against background rows (m, ...): w (x - mean)."""
        return np.asarray((x - background.mean(axis=0)) * self.weights)

    occlusion_truth = shapley_truth

    def gradients_truth(self, x: Floats, baseline: Floats) -> Floats | None:
        """Integrated gradients (n, ...) of the logit from baseline (...)."""
        return np.asarray((x - baseline) * self.weights)

    def slopes(self, x: Floats) -> Floats | None:
        """The gradient (n, ...) of the logit: the weights."""
        return np.broadcast_to(self.weights, x.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenForm:
    """logit(ids) = Σ weight of each token + bias, for ids (n, tokens); weights (vocabulary,) are log-odds."""

    weights: Floats
    bias: float = 0.0
    columns: tuple[str, ...] = ()

    def logit(self, x: Ints) -> Floats:
        """Log-odds of the positive class (n,)."""
        return np.asarray(self.weights[x].sum(axis=1) + self.bias)

    def shapley_truth(self, x: Ints, background: Ints) -> Floats:
        """Shapley value (n, tokens) of every token against texts (m, tokens) that fill in, place by place."""
        return np.asarray(self.weights[x] - self.weights[background].mean(axis=0))

    occlusion_truth = shapley_truth

    def gradients_truth(self, x: Ints, baseline: Ints) -> Floats | None:
        """Integrated gradients (n, tokens) on the embedding (which is the log-odds itself) from the tokens (tokens,)."""
        return np.asarray(self.weights[x] - self.weights[baseline])

    def slopes(self, x: Ints) -> Floats | None:
        """None: an id has no slope."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForm:
    """logit(i) = x_i · own + mean of x_j · neighbours over those with an edge to i + bias; 0 for nobody's mean."""

    own: Floats
    neighbours: Floats
    bias: float = 0.0
    columns: tuple[str, ...] = ()

    def logit(self, x: Graphs) -> Floats:
        """Log-odds of the positive class (n,) of the nodes that are asked about."""
        return np.asarray((x.features @ self.own + self.around(x, x.features @ self.neighbours))[x.targets] + self.bias)

    def around(self, x: Graphs, values: Floats) -> Floats:
        """The mean (nodes,) of values (nodes,) over the sources of each node's edges, 0 without any."""
        count = np.bincount(x.edges[:, 1], minlength=len(x.features))
        total = np.bincount(x.edges[:, 1], weights=values[x.edges[:, 0]], minlength=len(x.features))
        return np.asarray(total / np.maximum(count, 1))

    def feature_truth(self, x: Graphs, baseline: Floats) -> Floats:
        """What each feature (n, d) adds to a node's logit, where a feature taken away is the baseline's (d,) everywhere."""
        step = x.features - baseline
        around = np.stack([self.around(x, step[:, k]) for k in range(step.shape[1])], axis=1)
        return np.asarray((step * self.own + around * self.neighbours)[x.targets])

    # Of features that add up a Shapley value, the effect of taking one away and an integrated gradient are the same.
    shapley_truth = feature_truth
    occlusion_truth = feature_truth
    gradients_truth = feature_truth

    def slopes(self, x: Graphs) -> Floats | None:
        """None: a feature stands in many nodes, each with a gradient of its own."""
        return None

    def node_truth(self, x: Graphs, row: int, baseline: Floats) -> Floats:
        """What each node (nodes,) adds to one row's logit by its features, where those taken away are the baseline's (d,)."""
        target = int(x.targets[row])
        sources = x.edges[x.edges[:, 1] == target, 0]
        found = np.zeros(len(x.features))
        step = x.features - baseline
        found[target] += step[target] @ self.own
        np.add.at(found, sources, (step[sources] @ self.neighbours) / max(len(sources), 1))
        return found

    def company_truth(self, x: Graphs, row: int) -> Floats:
        """Shapley value (nodes,) of each acquaintance, where one that is absent is no longer among those averaged over.

        Of a mean over d values z, with H the d-th harmonic number, (H z - (H - 1) mean of the others) / d. It is that of
        the node, which loses its ties, and of the tie itself; everybody else's is 0. Several edges of one node into the
        row's are not allowed for.
        """
        sources = x.edges[x.edges[:, 1] == int(x.targets[row]), 0]
        found = np.zeros(len(x.features))
        count = len(sources)
        if not count:
            return found
        z = x.features[sources] @ self.neighbours
        harmonic = float((1 / np.arange(1, count + 1)).sum())
        others = (z.sum() - z) / max(count - 1, 1)
        found[sources] = (harmonic * z - (harmonic - 1) * others) / count
        return found
