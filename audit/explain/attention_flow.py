"""Attention flow: how much can pass from a token of the input to the answer, through every layer at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, Ints
from audit.explain.attention import decoding, heads_mean
from audit.explain.attention_places import Query, real
from audit.explain.attention_reading import explained
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.registry import explainer

if TYPE_CHECKING:
    from audit.models.attentions import Attentions

UNIT = 2**29  # capacity of a whole share of attention: flows are exact in units of 2e-9


@explainer(
    "attention_flow",
    title="Attention flow",
    needs=frozenset({"model", "rows", "attention"}),
    sources=("abnar2020", "jain2019", "wiegreffe2019"),
)
def attention_flow(game: Game, *, residual: bool = True, query: Query | None = None, seed: int = 0) -> Attribution:
    """The largest flow from each token of the input to the answer, weights being capacities; see `flow`, `rollout`.

    One maximum flow a token: about a tenth of a second for a text of 64 tokens and 12 layers.
    """

    def make(found: Attentions, start: Floats, inputs: Any) -> Floats:
        out = np.zeros((len(start), _tokens(found)))
        asked = real(inputs, out.shape[1], "first") | real(inputs, out.shape[1], "last")
        for row in range(len(start)):
            layers = [layer[row] for layer in found.layers]
            out[row] = flow(layers, start[row], found.kinds, residual=residual, tokens=np.flatnonzero(asked[row]))
        return out

    return explained(game, make, "attention flow", query, {"residual": residual}, seed)


def _tokens(found: Attentions) -> int:
    kind = "cross" if "cross" in found.kinds else found.kinds[-1]
    return int(found.layers[list(found.kinds).index(kind)].shape[-1])


def flow(
    layers: Sequence[Floats],
    start: Floats,
    kinds: Sequence[str] | None = None,
    *,
    residual: bool = True,
    tokens: Ints | None = None,
) -> Floats:
    """The maximum flow (tokens,) from each token of the input to where the answer is read (abnar2020).

    layers: of one text, (queries, keys) or (heads, queries, keys), in the order of calls. start (queries,): how much of
    the answer is read from each token of the last layer. residual: half of every layer is the token itself. tokens: those
    that are asked for, the others get 0. Tokens share the capacities, so the flows need not add up to 1.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import maximum_flow

    matrices = [heads_mean(layer) for layer in layers]
    edges, nodes, inputs = _network(matrices, ("self",) * len(layers) if kinds is None else kinds, start, residual)
    tail, head, share = edges
    capacity = np.rint(share * UNIT).astype(np.int32)
    kept = capacity > 0
    graph = coo_matrix((capacity[kept], (tail[kept], head[kept])), shape=(nodes, nodes)).tocsr()
    out = np.zeros(len(inputs))
    for token in np.arange(len(inputs)) if tokens is None else tokens:
        out[token] = maximum_flow(graph, 0, int(inputs[token])).flow_value / UNIT
    return out


def _network(
    matrices: Sequence[Floats], kinds: Sequence[str], start: Floats, residual: bool
) -> tuple[tuple[Ints, Ints, Floats], int, Ints]:
    """Edges (tail, head, capacity) from the answer, node 0, down to the inputs; the number of nodes; the inputs' nodes.

    Every layer makes new nodes for the tokens that it changes, with edges to what they look at.
    """
    keep = 0.5 if residual else 0.0
    inside = decoding(matrices, kinds)
    nodes = 1
    state: dict[bool, Ints] = {}  # of the decoder (True) and of the encoder (False), the nodes of their tokens now
    first: dict[bool, Ints] = {}
    parts: list[tuple[Ints, Ints, Floats]] = []

    def made(side: bool, count: int) -> Ints:
        nonlocal nodes
        state[side] = np.arange(nodes, nodes + count)
        first.setdefault(side, state[side])
        nodes += count
        return state[side]

    def joined(top: Ints, below: Ints, shares: Floats) -> None:
        tail, head = np.meshgrid(top, below, indexing="ij")
        parts.append((tail.ravel(), head.ravel(), shares.ravel()))

    for matrix, kind, mine in zip(matrices, kinds, inside, strict=True):
        looked = mine and kind != "cross"
        below = state[looked] if looked in state else made(looked, matrix.shape[1])
        before = state[mine] if mine in state else made(mine, matrix.shape[0])
        top = made(mine, matrix.shape[0])
        one = keep * np.eye(len(top))
        if kind == "cross":
            joined(top, below, (1 - keep) * matrix)
            joined(top, before, one)
        else:
            joined(top, below, (1 - keep) * matrix + one)
    joined(np.zeros(1, dtype=np.int64), state[True], start[None])
    tails, heads, shares = (np.concatenate(part) for part in zip(*parts, strict=True))
    return (tails, heads, shares), nodes, first["cross" not in kinds]
