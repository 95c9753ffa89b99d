"""What reference networks over the nodes of a graph share: their front, how they are trained, and which ties they expect."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, MissingExtra, UsageError
from audit.data.graphs import Graphs
from audit.models.encoding import inputs_of, labels_of, outputs_of
from audit.models.family_model import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train

EXTRA = "geometric"
STEPS = 50  # of Newton's method, for the two numbers of `Expecting`


def convolutions(family: str) -> ModuleType:
    """The layers of torch_geometric; raises MissingExtra where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it compiles parts of itself in torch's old way
            return importlib.import_module("torch_geometric.nn")
    except ImportError as error:
        raise MissingExtra(
            f"{family} is built of torch_geometric, which is not installed: pip install 'neural-audit[{EXTRA}]' ({error})"
        ) from error


class Expecting(nn.Module):
    """The chance that two nodes are tied, from the inner product of their embeddings: σ(slope <a - centre, b - centre> + bias).

    Its numbers are buffers: they are fitted once behind the network, on as many ties as pairs drawn at random (kipf2016
    has neither slope nor centre, as its embeddings are trained for nothing else). A chance of a half is so a pair that
    looks like a tie as much as like any other pair.
    """

    centre: Tensor
    line: Tensor

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("line", torch.zeros(2))

    def product(self, z: Tensor, pairs: Tensor) -> Tensor:
        """The inner product (k,) of the centred embeddings z (nodes, width) of pairs (2, k)."""
        first, second = (z[ends] - self.centre for ends in pairs)
        return (first * second).sum(dim=1)

    def forward(self, z: Tensor, pairs: Tensor) -> Tensor:
        """The chance (k,) of a tie between the nodes of each pair (2, k)."""
        return torch.sigmoid(self.line[0] * self.product(z, pairs) + self.line[1])

    def fit(self, z: Tensor, edges: Tensor, generator: torch.Generator) -> None:
        """Both numbers by logistic regression (Newton's method): ties (2, m) against as many pairs at random.

        Without ties nothing is expected: the chance is 0 for every pair.
        """
        self.centre.copy_(z.mean(dim=0))
        if not edges.shape[1]:
            self.line.copy_(torch.tensor([0.0, -torch.inf]))
            return
        other = torch.randint(len(z), tuple(edges.shape), generator=generator).to(edges.device)
        score = torch.cat([self.product(z, edges), self.product(z, other)]).double()
        spread = score.std().clamp_min(1e-12)
        x = torch.stack([score / spread, torch.ones_like(score)], dim=1)
        y = torch.cat([score.new_ones(edges.shape[1]), score.new_zeros(edges.shape[1])])
        line = score.new_zeros(2)
        ridge = 1e-6 * len(y) * torch.eye(2, dtype=x.dtype, device=x.device)  # ties that are told for sure stay finite
        for _ in range(STEPS):
            p = torch.sigmoid(x @ line)
            step = torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, x.T @ (y - p) - ridge @ line)
            line = line + step
            if step.abs().max() < 1e-10:
                break
        self.line.copy_(line / torch.stack([spread, torch.ones_like(spread)]))


class GraphNetwork(Reference):
    """A network called as module(features, edge_index) that answers for every node of any graph with its columns.

    features: columns (nodes, features), standardised inside by the training graph. classes: logits of a node, 1 of two
    classes. width: numbers of a node's embedding, which `link` reads.
    """

    offers = frozenset({"graph"})
    mean: Tensor
    scale: Tensor

    def __init__(self, *, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.expecting = Expecting(width=width)

    def embedded(self, x: Tensor, edges: Tensor) -> Tensor:
        """The embedding (nodes, width) of standardised features x (nodes, features)."""
        raise NotImplementedError

    def judged(self, z: Tensor, edges: Tensor) -> Tensor:
        """Logits (nodes, classes) of embeddings z (nodes, width)."""
        raise NotImplementedError

    def embed(self, x: Tensor, edges: Tensor) -> Tensor:
        """The embedding (nodes, width) of features x (nodes, features) and edges (2, m), from a source to a target."""
        return self.embedded((x - self.mean) / self.scale, edges)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits (nodes,) of two classes, (nodes, k) of k, for features x (nodes, features) and edges (2, m)."""
        found = self.judged(self.embed(x, edges), edges)
        return found[:, 0] if self.classes == 1 else found

    def link(self, x: Tensor, edges: Tensor, pairs: Tensor) -> Tensor:
        """The chance (k,) that the nodes of each pair (2, k) are tied, as far as their embeddings tell (see `Expecting`)."""
        found: Tensor = self.expecting(self.embed(x, edges), pairs)
        return found


N = TypeVar("N", bound=GraphNetwork)


class _Rows(nn.Module):
    """A network and the graph that it is trained on, as a function of rows (n,): logits of the nodes that they ask about."""

    def __init__(self, network: GraphNetwork, x: Tensor, edges: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.network, self.x, self.edges, self.targets = network, x, edges, targets

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.network(self.x, self.edges)[self.targets[rows]]
        return found


def fitted(
    make: Callable[[int, int], N], data: Dataset, family: str, *, training: Training, labelled: int, device: str
) -> N:
    """A network made from its columns and classes, trained on the whole graph by the labels of `labelled` of its rows.

    The labelled rows are drawn from the seed; where there are no more rows than that, all are. Every step reads the whole
    graph, as the papers do. Raises DataError, UsageError.
    """
    if not isinstance(labelled, int) or isinstance(labelled, bool) or labelled < 2:
        raise UsageError(f"labelled: a whole number of rows from 2 on, got {labelled!r}")
    graph, labels = inputs_of(data, Graphs, family), labels_of(data, device)
    features = torch.as_tensor(graph.features, dtype=torch.float32, device=device)
    edges = torch.as_tensor(graph.edges.T.copy(), device=device)
    with seeded(training.seed) as generator:
        network = make(features.shape[1], outputs_of(data))
        rows = torch.randperm(len(data), generator=generator)[:labelled].sort().values.to(device)
    if bool((labels[rows] == labels[rows[0]]).all()):
        raise DataError(f"labelled: the {len(rows)} rows drawn have one class only; take more")
    with torch.no_grad():
        spread = features.std(dim=0, unbiased=False)
        network.mean.copy_(features.mean(dim=0))
        network.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
    network = network.to(device)
    targets = torch.as_tensor(graph.targets, device=device)
    whole = _Rows(network, features, edges, targets)
    train(whole, rows, labels[rows], training=training, loss=log_loss)
    network.notes = (*network.notes, *_told(len(rows), len(data)))
    with torch.no_grad(), seeded(training.seed) as generator:
        apart = edges[:, edges[0] != edges[1]]
        network.expecting.fit(network.embed(features, edges), apart, generator)
    return network


def _told(labelled: int, rows: int) -> tuple[str, ...]:
    if labelled == rows:
        return ()
    return (f"Trained by the labels of {labelled} of {rows} nodes; the others lent their features and ties.",)


def whole(name: str, value: int, least: int) -> int:
    """A whole number from `least` on; raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UsageError(f"{name}: a whole number from {least} on, got {value!r}")
    return int(value)
