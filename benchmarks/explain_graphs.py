"""GNNExplainer of forty nodes of a graph with planted houses, against torch_geometric's, which takes one at a time."""

from __future__ import annotations

import functools
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from audit.core import Card
from audit.data.graphs import graph
from audit.explain import Attribution, Game
from audit.explain.gnn import gnn_explainer
from audit.explain.masking import masker
from audit.models.adapters.torch import TorchModel
from audit.models.base import Reading
from benchmarks import explain_models as models
from benchmarks.harness import Case

EPOCHS, NODES = 200, 40


class Network(nn.Module):
    """Three graph convolutions of twenty, from features and edges to the log-odds of four roles in a house."""

    def __init__(self) -> None:
        super().__init__()
        convolution = models.peer("torch_geometric.nn").GCNConv
        self.layers = nn.ModuleList([convolution(10, 20), convolution(20, 20), convolution(20, 20)])
        self.head = nn.Linear(60, 4)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Log-odds (nodes, 4)."""
        seen = []
        for layer in self.layers:
            x = torch.relu(layer(x, edges))
            seen.append(x)
        return self.head(torch.cat(seen, dim=1))


@functools.cache
def houses() -> Any:
    """A random graph with eighty planted houses; the roles are told by the houses alone."""
    datasets = models.peer("torch_geometric.datasets")
    generators = models.peer("torch_geometric.datasets.graph_generator")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (what the generator draws from)
        found = datasets.ExplainerDataset(generators.BAGraph(300, 5), "house", num_motifs=80)[0]
    found.x = torch.ones(found.num_nodes, 10)
    return found


@functools.cache
def network() -> Network:
    """Trained on all nodes: what it has learnt is explained, not how well it generalises."""
    data = houses()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = Network()
        optimiser = torch.optim.Adam(net.parameters(), lr=0.005)
        for _ in range(2_000):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(data.x, data.edge_index), data.y).backward()
            optimiser.step()
    return net.eval()


def _nodes(count: int) -> np.ndarray:
    """Nodes of the houses, evenly spread over them."""
    return np.flatnonzero(houses().y.numpy() > 0)[:: len(houses().y) // 100][:count]


def _played(nodes: np.ndarray) -> Game:
    data, names = houses(), tuple("0123")
    card = Card(family="network", kind="torch", classes=names, output="logit", parameters_open=True)
    model = TorchModel(
        card=card, module=network(), device=torch.device("cpu"), reading=Reading(output="logit", order=(0, 1, 2, 3))
    )
    inputs = graph(data.x.double().numpy(), data.edge_index.numpy().T, targets=nodes)
    targets = model.predict(inputs).argmax(axis=1)
    return Game(model=model, masker=masker(inputs, players="edge"), targets=targets)


def _theirs(nodes: np.ndarray, seed: int) -> list[np.ndarray]:
    """The mask (edges,) of each node."""
    explain, data = models.peer("torch_geometric.explain"), houses()
    torch.manual_seed(seed)
    explainer = explain.Explainer(
        model=network(),
        algorithm=explain.GNNExplainer(epochs=EPOCHS, lr=0.01),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [explainer(data.x, data.edge_index, index=int(node)).edge_mask.numpy() for node in nodes]


def _planted() -> dict[tuple[int, int], bool]:
    """Whether a tie belongs to a house."""
    data = houses()
    return {
        (min(a, b), max(a, b)): bool(mark)
        for (a, b), mark in zip(data.edge_index.T.tolist(), data.edge_mask.tolist(), strict=True)
    }


def _wrong(scores: list[float], marks: list[bool]) -> float:
    """One minus the area under the curve: the share of pairs of ties in the wrong order."""
    from sklearn.metrics import roc_auc_score

    return 1 - float(roc_auc_score(marks, scores))


def _our_error(found: Attribution, played: Game) -> float:
    planted, scores, marks = _planted(), [], []
    for names, values in zip(found.players, found.values, strict=True):
        for name, value in zip(names, values, strict=False):
            a, b = (int(part) for part in name.replace("–", "-").replace(" ", "").split("-"))
            scores.append(float(value))
            marks.append(planted[min(a, b), max(a, b)])
    return _wrong(scores, marks)


def _their_error(nodes: np.ndarray) -> float:
    """Over the ties of a node's surroundings, the mean of both directions."""
    subgraph, data = models.peer("torch_geometric.utils").k_hop_subgraph, houses()
    planted, scores, marks = _planted(), [], []
    for node, mask in zip(nodes, _theirs(nodes, 0), strict=True):
        near = subgraph(int(node), 3, data.edge_index)[3].numpy()
        both: dict[tuple[int, int], list[float]] = {}
        for (a, b), value, there in zip(data.edge_index.T.tolist(), mask.tolist(), near.tolist(), strict=True):
            if there:
                both.setdefault((min(a, b), max(a, b)), []).append(value)
        scores += [float(np.mean(values)) for values in both.values()]
        marks += [planted[tie] for tie in both]
    return _wrong(scores, marks)


def gnn(size: int, quick: bool) -> Case:
    """Forty nodes in their surroundings of three steps."""
    nodes = _nodes(NODES)
    played, some = _played(nodes), nodes[:: 10 if quick else 2]
    known = nodes[::5]

    def errors() -> tuple[float, float]:
        here = _played(known)
        mine = [_our_error(gnn_explainer(here, epochs=EPOCHS, seed=seed), here) for seed in range(3)]
        return float(np.mean(mine)), _their_error(known)

    return Case(
        name="explain-gnn",
        peer=f"torch_geometric {version('torch_geometric')} GNNExplainer, {EPOCHS} epochs a node",
        goal=15.0,
        ours=lambda: gnn_explainer(played, epochs=EPOCHS),
        theirs=lambda: _theirs(some, 0),
        rounds=1 if quick else 3,
        repeats=1,
        scale=len(nodes) / len(some),
        scale_note=f"of {len(some)} nodes, scaled to {len(nodes)}",
        errors=errors,
        truth=f"the planted houses (1 - AUC, pooled over the ties around {len(known)} nodes)",
    )


CASES = {"explain-gnn": gnn}
