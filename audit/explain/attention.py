"""Attention as an attribution: raw weights, rollout and gradient-weighted rollout, with what they do not prove.

Attention says where a layer looked, not why the model answered: other weights can give the same answer (jain2019), and
whether weights explain depends on what is asked of them (wiegreffe2019). So these numbers are shares of attention without
a sign, they do not add up to the answer, and `explain.attention` compares them with what happens when a word is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, UsageError
from audit.explain.attention_places import Query
from audit.explain.attention_reading import explained
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.registry import explainer

if TYPE_CHECKING:
    from audit.models.attentions import Attentions


# ---------------------------------------------------------------------------------------------- arithmetic
def heads_mean(layer: Floats) -> Floats:
    """The mean over heads of (..., heads, queries, keys); a single matrix is what it is."""
    return np.asarray(layer if layer.ndim == 2 else layer.mean(axis=-3))


def decoding(layers: Sequence[Floats], kinds: Sequence[str]) -> tuple[bool, ...]:
    """Whether each layer belongs to what the answer is read from: all, or in an encoder-decoder the decoder's.

    Those are the cross-attention, what is called after the first of it, and what is called right before that on as many
    tokens; a single layer before it is the encoder's unless it is causal.
    """
    if "cross" not in kinds:
        return (True,) * len(kinds)
    first = list(kinds).index("cross")
    before = first - 1
    alike = before >= 0 and layers[before].shape[-1] == layers[first].shape[-2]
    decoder = alike and (before > 0 or kinds[before] == "causal")
    return tuple(place >= first or (decoder and place == before) for place in range(len(kinds)))


def rollout(layers: Sequence[Floats], kinds: Sequence[str] | None = None, *, residual: bool = True) -> Floats:
    """Attention rolled out over layers (abnar2020): (..., queries, tokens), each row shares of the tokens.

    layers: matrices (queries, keys) or (..., heads, queries, keys) in the order of calls, heads are averaged. residual:
    half of every layer is the token itself. With cross-attention in `kinds` the map leads from the decoder's tokens to
    the encoder's, and what a row lacks to 1 stayed in the decoder.
    """
    matrices, kinds, inside = _prepared(layers, kinds, [heads_mean(layer) for layer in layers])
    own, source, reach = _begun(matrices, kinds, inside)
    keep = 0.5 if residual else 0.0
    for matrix, kind, mine in zip(matrices, kinds, inside, strict=True):
        if kind == "cross":
            own, reach = keep * own, keep * reach + (1 - keep) * matrix @ source
            continue
        mixed = keep * np.eye(matrix.shape[-1]) + (1 - keep) * matrix
        if mine:
            own, reach = mixed @ own, mixed @ reach
        else:
            source = mixed @ source
    return np.asarray(reach if "cross" in kinds else own)


def chefer(layers: Sequence[Floats], gradients: Sequence[Floats], kinds: Sequence[str] | None = None) -> Floats:
    """Relevance (..., queries, tokens) by the rules of chefer2021 for self-attention and encoder-decoders.

    Each layer counts with the mean over heads of the positive part of weight times gradient, and is added to what was
    there: R + A R. Cross-attention adds R_qq' A R_kk, both normalised as in equations 8 to 10 (a row without relevance
    adds nothing). layers, gradients: as in `rollout`, which has no gradients.
    """
    moved = [heads_mean(np.maximum(layer * slope, 0.0)) for layer, slope in zip(layers, gradients, strict=True)]
    matrices, kinds, inside = _prepared(layers, kinds, moved)
    own, source, reach = _begun(matrices, kinds, inside)
    for matrix, kind, mine in zip(matrices, kinds, inside, strict=True):
        if kind == "cross":
            reach = reach + np.swapaxes(_normalised(own), -1, -2) @ matrix @ _normalised(source)
        elif mine:
            own, reach = own + matrix @ own, reach + matrix @ reach
        else:
            source = source + matrix @ source
    return np.asarray(reach if "cross" in kinds else own)


def _prepared(
    layers: Sequence[Floats], kinds: Sequence[str] | None, matrices: list[Floats]
) -> tuple[list[Floats], tuple[str, ...], tuple[bool, ...]]:
    if not layers:
        raise UsageError("attention: at least one layer is needed, got none")
    kinds = ("self",) * len(layers) if kinds is None else tuple(kinds)
    if len(kinds) != len(layers):
        raise UsageError(f"kinds: one for each of the {len(layers)} layers, got {len(kinds)}")
    for matrix, kind in zip(matrices, kinds, strict=True):
        if kind != "cross" and matrix.shape[-1] != matrix.shape[-2]:
            raise UsageError(f"attention of a token on tokens of the same kind must be square, got {matrix.shape}")
    inside = decoding(layers, kinds)
    for mine, name in ((True, "decoder"), (False, "encoder")):
        keys = {m.shape[-1] for m, here, kind in zip(matrices, inside, kinds, strict=True) if _keys(here, kind) == mine}
        if len(keys) > 1:
            raise UsageError(f"the layers of the {name} attend to different numbers of tokens: {sorted(keys)}")
    return matrices, kinds, inside


def _keys(inside: bool, kind: str) -> bool:
    """Whether the keys of a layer are the decoder's tokens."""
    return inside and kind != "cross"


def _begun(matrices: Sequence[Floats], kinds: Sequence[str], inside: Sequence[bool]) -> tuple[Floats, Floats, Floats]:
    """Maps before the first layer: decoder to decoder, encoder to encoder (identities), decoder to encoder (nought)."""
    cross = next((m for m, kind in zip(matrices, kinds, strict=True) if kind == "cross"), None)
    queries = next(m.shape[-2] for m, mine in zip(matrices, inside, strict=True) if mine)
    keys = queries if cross is None else cross.shape[-1]
    ahead = matrices[0].shape[:-2]
    own, source = (np.broadcast_to(np.eye(side), (*ahead, side, side)) for side in (queries, keys))
    return own, source, np.zeros((*ahead, queries, keys))


def _normalised(relevance: Floats) -> Floats:
    """What was added to the identity, each row made to add up to 1, and the identity (chefer2021, equations 8 and 9)."""
    one = np.eye(relevance.shape[-1])
    added = relevance - one
    total = added.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(added, total, out=np.zeros_like(added), where=total > 0) + one)


def entropy(weights: Floats) -> Floats:
    """Entropy in bits (...) of weights (..., keys) that add up to 1: 0 on one token, log2(keys) on all alike."""
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    return np.asarray(-(weights * logs).sum(axis=-1))


# ---------------------------------------------------------------------------------------------- explainers
@explainer(
    "attention_raw",
    title="Attention weights of one layer",
    needs=frozenset({"model", "rows", "attention"}),
    sources=("jain2019", "wiegreffe2019"),
)
def attention_raw(
    game: Game, *, layer: int = -1, head: int | None = None, query: Query | None = None, seed: int = 0
) -> Attribution:
    """The weights of one layer, counted from 0 in the order of calls (-1: the last), of one head or the mean over heads.

    query: the token whose weights are read: "first" ([CLS]), "mean" over tokens or "last"; None sees by the gradient
    which one the model's answer is read from. Raises UsageError for a layer or head that is not there.
    """

    def make(found: Attentions, start: Floats, inputs: Any) -> Floats:
        if not -len(found.layers) <= layer < len(found.layers):
            raise UsageError(f"layer: the model has {len(found.layers)} (-1 is the last), got {layer}")
        heads = found.layers[layer]
        if head is not None and not 0 <= head < heads.shape[1]:
            raise UsageError(f"head: this layer has {heads.shape[1]} (0 to {heads.shape[1] - 1}), got {head}")
        return _read(heads_mean(heads) if head is None else heads[:, head], start)

    return explained(game, make, "raw attention", query, {"layer": layer, "head": head}, seed, layer=layer)


@explainer(
    "attention_rollout",
    title="Attention rollout",
    needs=frozenset({"model", "rows", "attention"}),
    sources=("abnar2020", "jain2019", "wiegreffe2019"),
)
def attention_rollout(game: Game, *, residual: bool = True, query: Query | None = None, seed: int = 0) -> Attribution:
    """The weights of all layers multiplied, so that they lead back to the inputs; see `rollout` and `attention_raw`.

    residual: half of each layer's mixing is the token itself, which stands for the connection around the layer; layers of
    a graph attention network have none, there False is what they did (of a graph the players must be nodes). query: the
    token whose reading is told, as in `attention_raw`. The values are shares of where the model looked, no proof of what
    moved its answer.
    """

    def make(found: Attentions, start: Floats, inputs: Any) -> Floats:
        return _read(rollout(found.layers, found.kinds, residual=residual), start)

    return explained(game, make, "attention rollout", query, {"residual": residual}, seed)


@explainer(
    "attention_chefer",
    title="Attention rollout weighted by gradients",
    needs=frozenset({"model", "rows", "attention", "gradients"}),
    sources=("chefer2021", "jain2019", "wiegreffe2019"),
)
def attention_chefer(game: Game, *, query: Query | None = None, seed: int = 0) -> Attribution:
    """Relevance for the target's log-odds by the rules of `chefer`: what attention did in favour of the target class.

    The 1 that a token's relevance for itself begins with is left out, as the authors leave out [CLS].
    """

    def make(found: Attentions, start: Floats, inputs: Any) -> Floats:
        assert found.gradients is not None
        relevance = _read(chefer(found.layers, found.gradients, found.kinds), start)
        return relevance if "cross" in found.kinds else relevance - start

    return explained(game, make, "gradient-weighted attention rollout", query, {}, seed, gradients=True)


def _read(maps: Floats, start: Floats) -> Floats:
    """The rows that the answer is read from: (n, tokens)."""
    if maps.shape[-2] != start.shape[-1]:
        raise UsageError(f"layer: attends from {maps.shape[-2]} tokens, the answer is read from {start.shape[-1]}")
    return np.asarray(np.einsum("nq,nqk->nk", start, maps))
