"""GNNExplainer for many nodes at once: one mask over the ties of all of them, found in one optimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from audit.core import Floats, Ints, MissingOffer, NotApplicable, Track, UsageError, stream
from audit.data.graphs import Graphs
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game
from audit.explain.masking.graphs import GraphMasker
from audit.registry import explainer

if TYPE_CHECKING:
    from torch import Tensor

MAX_EDGES = 200_000  # edges of the disjoint graphs that are optimised together


class Weighted(Protocol):
    """What the offer "graph" of a differentiable model stands for here."""

    def tie_weights(self, graphs: Graphs, targets: Ints) -> Callable[[Tensor], Tensor]:
        """Log-odds (n,) of each row's target class as a function of a weight (m,) on every edge."""
        ...


@explainer(
    "gnn_explainer",
    title="Ties that the prediction of a node rests on, by a mask that is learned (GNNExplainer)",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("ying2019",),
)
def gnn_explainer(
    game: Game,
    *,
    epochs: int = 200,
    rate: float = 0.01,
    size: float = 0.005,
    entropy: float = 1.0,
    repeats: int = 1,
    seed: int = 0,
    track: Track | None = None,
) -> Attribution:
    """How much of each tie a prediction needs, from 0 to 1: the mask that keeps the prediction and little else.

    Every node's surroundings are copied into one graph of disjoint parts, where one mask over all copies is optimised by
    Adam; the loss is a sum over the parts, so each comes to what it would alone. repeats: starts from different random
    masks, whose mean is taken; se_sampling is the standard error of that mean (NaN for one start), and tells how far the
    answer depends on the start. The values do not add up to anything. Raises NotApplicable for other inputs and players
    than ties, MissingOffer for a model without gradients.
    """
    filler = game.masker
    if not isinstance(filler, GraphMasker) or filler.unit != "edge":
        raise NotApplicable('GNNExplainer weighs the ties of a graph: it needs Graphs with players="edge"')
    if "gradients" not in game.model.offers:
        raise MissingOffer(f'GNNExplainer needs a model that offers "gradients"; it offers {sorted(game.model.offers)}')
    if epochs < 1 or repeats < 1:
        raise UsageError(f"epochs, repeats: at least 1 each, got {epochs}, {repeats}")
    most = max(len(names) for names in filler.players)
    found = np.full((repeats, len(game), most), np.nan)
    for rows in _packed(filler):
        starts = range(repeats) if track is None else track(range(repeats), "GNNExplainer", repeats)
        for start in starts:
            rng = stream(seed, f"explain.gnn/{start}/{rows[0]}")
            for row, values in zip(rows, _masks(game, filler, rows, epochs, rate, size, entropy, rng), strict=True):
                found[start, row, : len(values)] = values
    spent = repeats * epochs * len(game)
    with_nobody = [np.zeros((1, len(names)), dtype=bool) for names in filler.players]
    base = [game.answer(filler.fill(np.array([k]), none), np.array([k]))[0] for k, none in enumerate(with_nobody)]
    return attribution(
        game,
        found.mean(axis=0),
        base=np.array(base),
        outputs=game.outputs(),
        method=f"GNNExplainer, {epochs} steps, {repeats} starts",
        params={"epochs": epochs, "rate": rate, "size": size, "entropy": entropy, "repeats": repeats},
        seed=seed,
        evaluations=spent + 2 * len(game),
        forwards=3.0 * spent + 2 * len(game),
        complete=False,
        se_sampling=found.std(axis=0, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.full_like(found[0], np.nan),
    )


def _packed(filler: GraphMasker) -> list[Ints]:
    """Rows in lots whose edges together stay below the bound."""
    lots: list[list[int]] = [[]]
    edges = 0
    for row, around in enumerate(filler.around):
        if lots[-1] and edges + len(around.edges) > MAX_EDGES:
            lots.append([])
            edges = 0
        lots[-1].append(row)
        edges += len(around.edges)
    return [np.array(lot, dtype=np.int64) for lot in lots if lot]


def _masks(
    game: Game,
    filler: GraphMasker,
    rows: Ints,
    epochs: int,
    rate: float,
    size: float,
    entropy: float,
    rng: np.random.Generator,
) -> list[Floats]:
    """The mask of each row's ties; the two directions of a tie have a mask each, whose mean is told."""
    import torch

    around = [filler.around[row] for row in rows]
    nodes = np.cumsum([0, *(len(each.features) for each in around)])
    part = np.repeat(np.arange(len(rows)), [len(each.edges) for each in around])
    copies = np.repeat(np.arange(len(rows)), np.diff(nodes))
    joined = Graphs(
        features=np.concatenate([each.features for each in around]),
        edges=np.concatenate([each.edges + start for each, start in zip(around, nodes, strict=False)]),
        targets=nodes[:-1],
        copies=copies,
        columns=filler.inputs.columns,
    )
    forward = game.model.tie_weights(joined, game.targets[rows])  # type: ignore[attr-defined]
    owned = torch.as_tensor(np.flatnonzero(np.concatenate([each.edge_owner for each in around]) >= 0))
    index = torch.as_tensor(part)[owned]
    count = torch.bincount(index, minlength=len(rows))
    logits = torch.tensor(0.1 * np.sqrt(2) * rng.standard_normal(len(index)), requires_grad=True)
    adam = torch.optim.Adam([logits], lr=rate)
    with torch.enable_grad():
        for _ in range(epochs):
            # what lies behind the rim is no player, and always there
            held = torch.sigmoid(logits)
            mask = torch.ones(len(part), dtype=logits.dtype).index_copy(0, owned, held)
            # of the class the model finds, against the rest: what cross entropy is for several classes as well
            loss = torch.nn.functional.softplus(-forward(mask)).double().cpu().sum() + size * held.sum()
            doubt = -held * torch.log(held + 1e-15) - (1 - held) * torch.log(1 - held + 1e-15)
            loss = loss + entropy * (doubt / count[index]).sum()
            (logits.grad,) = torch.autograd.grad(loss, [logits])
            adam.step()
    values = np.ones(len(part))
    values[owned.numpy()] = torch.sigmoid(logits).detach().numpy()
    places = np.cumsum([0, *(len(each.edges) for each in around)])
    owners = [each.edge_owner for each in around]
    return [
        np.bincount(owner[owner >= 0], weights=part[owner >= 0]) / np.bincount(owner[owner >= 0])
        for owner, part in zip(owners, np.split(values, places[1:-1]), strict=True)
    ]
