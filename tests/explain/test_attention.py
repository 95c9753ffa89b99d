"""Attention as attribution: hand results, linear programs, the published rules written out, and real small transformers."""

import itertools

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from little_models import Plain, table
from little_transformers import LINES, Encoder, SelfAttention, Shared, Translator, model, seeded, texts
from scipy.optimize import linprog
from torch import nn

from audit.core import MissingOffer, NotApplicable, UsageError
from audit.data.images import Images
from audit.data.series import series
from audit.data.texts import Texts
from audit.explain import game
from audit.explain.attention import (
    attention_chefer,
    attention_raw,
    attention_rollout,
    chefer,
    decoding,
    entropy,
    rollout,
)
from audit.explain.attention_flow import attention_flow, flow
from audit.explain.attention_places import laid_out, starts
from audit.explain.attention_reading import query_of

A1, A2 = np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([[0.9, 0.1], [0.4, 0.6]])
TEXTS = texts()
WORDS = len(TEXTS.vocabulary)
TRANSLATOR = ("self", "self", "causal", "cross", "causal", "cross")


def shares(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.7), size=shape[:-1])


def causal(*shape, seed=0):
    found = np.tril(shares(*shape, seed=seed) + 1e-3)
    return found / found.sum(axis=-1, keepdims=True)


def decoder_layers(seed=0):
    """Weights of an encoder of 4 tokens and a decoder of 3, two layers each, two heads."""
    encoder = [shares(2, 4, 4, seed=seed + place) for place in (0, 1)]
    decoder = [(causal(2, 3, 3, seed=seed + 2 + place), shares(2, 3, 4, seed=seed + 4 + place)) for place in (0, 1)]
    return [*encoder, *itertools.chain(*decoder)]


# --------------------------------------------------------------------------------------------------- rollout
def test_rollout_by_hand():
    np.testing.assert_allclose(rollout([A1, A2]), [[0.7175, 0.2825], [0.23, 0.77]], atol=1e-15)
    np.testing.assert_allclose(rollout([A1, A2], residual=False), [[0.47, 0.53], [0.32, 0.68]], atol=1e-15)


def test_rollout_averages_heads_and_takes_many_texts():
    layers = [shares(5, 3, 4, 4, seed=seed) for seed in range(3)]
    expected = np.broadcast_to(np.eye(4), (5, 4, 4))
    for layer in layers:
        expected = np.stack(
            [(np.eye(4) + each.mean(axis=0)) / 2 @ so for each, so in zip(layer, expected, strict=True)]
        )
    np.testing.assert_allclose(rollout(layers), expected, atol=1e-15)


@given(arrays(np.float64, (3, 2, 4, 4), elements=st.floats(0.01, 1)), st.booleans())
def test_rollout_stays_shares_and_causal(raw, residual):
    layers = [layer / layer.sum(axis=-1, keepdims=True) for layer in raw]
    np.testing.assert_allclose(rollout(layers, residual=residual).sum(axis=-1), 1, atol=1e-12)
    lower = [np.tril(layer) / np.tril(layer).sum(axis=-1, keepdims=True) for layer in raw]
    found = rollout(lower, ["causal"] * 3, residual=residual)
    assert not np.triu(found, 1).any()
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)


def test_rollout_of_an_encoder_decoder_follows_a_random_walk():
    """The share of walks, from a decoder's token down, that end on each token of the encoder."""
    layers = decoder_layers()
    e1, e2, _, c1, d2, c2 = (layer.mean(axis=0) for layer in layers)
    encoder = (np.eye(4) + e2) / 2 @ (np.eye(4) + e1) / 2
    first = c1 @ encoder / 2
    expected = (np.eye(3) + d2) / 2 @ first / 2 + c2 @ encoder / 2
    np.testing.assert_allclose(rollout(layers, TRANSLATOR), expected, atol=1e-15)
    last = rollout(layers, TRANSLATOR, residual=False)
    np.testing.assert_allclose(last, c2 @ e2 @ e1, atol=1e-15)
    np.testing.assert_allclose(last.sum(axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("kinds", "sizes", "expected"),
    [
        (("self", "causal"), [(4, 4), (4, 4)], (True, True)),
        (TRANSLATOR, [(4, 4), (4, 4), (3, 3), (3, 4), (3, 3), (3, 4)], (False, False, True, True, True, True)),
        (TRANSLATOR, [(4, 4)] * 6, (False, False, True, True, True, True)),
        (("self", "self", "cross"), [(4, 4), (4, 4), (1, 4)], (False, False, True)),
        (("cross", "self", "self"), [(2, 4), (2, 2), (2, 2)], (True, True, True)),
        (("self", "cross"), [(4, 4), (4, 4)], (False, True)),
        (("causal", "cross"), [(4, 4), (4, 4)], (True, True)),
    ],
)
def test_who_belongs_to_the_decoder(kinds, sizes, expected):
    assert decoding([np.zeros(size) for size in sizes], kinds) == expected


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="at least one layer"):
        rollout([])
    with pytest.raises(UsageError, match="one for each of the 2 layers, got 1"):
        rollout([A1, A2], ["self"])
    with pytest.raises(UsageError, match="square"):
        rollout([shares(2, 3)])
    with pytest.raises(UsageError, match=r"different numbers of tokens: \[2, 3\]"):
        rollout([A1, shares(3, 3)])


# ---------------------------------------------------------------------------------------------------- Chefer
def test_two_layers_of_the_published_rules_by_hand():
    rng = np.random.default_rng(3)
    layers, slopes = ([shares(2, 3, 3, seed=seed) for seed in (1, 2)], list(rng.normal(size=(2, 2, 3, 3))))
    first, second = (
        sum(np.clip(slope[head] * layer[head], 0, None) for head in range(2)) / 2
        for layer, slope in zip(layers, slopes, strict=True)
    )
    # R = I; R += A1 R; R += A2 R
    expected = np.eye(3) + first + second + second @ first
    np.testing.assert_allclose(chefer(layers, slopes), expected, atol=1e-14)
    assert (chefer(layers, slopes) >= np.eye(3)).all()


def test_rules_of_the_encoder_decoder_by_loops():
    layers = decoder_layers(7)
    slopes = [np.random.default_rng(8).normal(size=layer.shape) for layer in layers]
    cams = [np.clip(layer * slope, 0, None).mean(axis=0) for layer, slope in zip(layers, slopes, strict=True)]

    def over_rows(r):  # equations 8 and 9
        out = np.eye(len(r))
        for i, j in itertools.product(range(len(r)), repeat=2):
            out[i, j] += (r[i, j] - (i == j)) / (r[i].sum() - 1)
        return out

    kk = np.eye(4)
    for cam in cams[:2]:
        kk = kk + cam @ kk
    qq, qk = np.eye(3), np.zeros((3, 4))
    for own, cross in (cams[2:4], cams[4:6]):
        qq, qk = qq + own @ qq, qk + own @ qk  # equations 6 and 7
        qk = qk + over_rows(qq).T @ cross @ over_rows(kk)  # equation 10
    np.testing.assert_allclose(chefer(layers, slopes, TRANSLATOR), qk, atol=1e-14)


def test_relevance_without_effect_is_the_identity_or_nought():
    np.testing.assert_array_equal(chefer([A1, A2], [0 * A1, -A2]), np.eye(2))
    layers = decoder_layers()
    assert not chefer(layers, [0 * layer for layer in layers], TRANSLATOR).any()


# ------------------------------------------------------------------------------------------------------ flow
def largest_flow(layers, start, token, keep=0.5):
    """The linear program: flow on every edge between layers, from the start at the top to one token at the bottom."""
    size, count = len(start), len(layers)
    mixed = [keep * np.eye(size) + (1 - keep) * layer for layer in reversed(layers)]
    upper = np.concatenate([start, *(layer.ravel() for layer in mixed)])
    place = np.arange(size, len(upper)).reshape(count, size, size)
    balance = []
    for level, node in itertools.product(range(count), range(size)):
        row = np.zeros(len(upper))
        row[node if level == 0 else place[level - 1, :, node]] = 1
        row[place[level, node]] -= 1
        balance.append(row)
    for other in range(size):
        if other != token:
            row = np.zeros(len(upper))
            row[place[-1, :, other]] = 1
            balance.append(row)
    gain = np.zeros(len(upper))
    gain[:size] = -1
    found = linprog(gain, A_eq=np.array(balance), b_eq=np.zeros(len(balance)), bounds=np.c_[0 * upper, upper])
    return -found.fun


@pytest.mark.parametrize("start", [[1.0, 0, 0, 0], [0, 0, 0, 1.0], [0.25] * 4])
@pytest.mark.parametrize("residual", [True, False])
def test_flow_is_the_linear_programs(start, residual):
    layers = [shares(4, 4, seed=1), causal(4, 4, seed=2), shares(4, 4, seed=3)]
    keep = 0.5 if residual else 0.0
    expected = [largest_flow(layers, np.array(start), token, keep) for token in range(4)]
    np.testing.assert_allclose(flow(layers, np.array(start), residual=residual), expected, atol=1e-7)


def test_flow_by_hand():
    """One layer is its own row; of two, the narrower of the ways at each meeting adds up."""
    np.testing.assert_allclose(flow([A1], np.array([1.0, 0]), residual=False), [0.5, 0.5], atol=1e-8)
    expected = [min(0.9, 0.5) + min(0.1, 0.2), min(0.9, 0.5) + min(0.1, 0.8)]
    np.testing.assert_allclose(flow([A1, A2], np.array([1.0, 0]), residual=False), expected, atol=1e-8)


def test_flow_through_an_encoder_decoder_is_networkx():
    layers = [layer.mean(axis=0) for layer in decoder_layers(5)]
    graph, state = networkx.DiGraph(), {"e": 0, "d": 0}

    def edges(top, below, weights):
        for i, j in itertools.product(*map(range, weights.shape)):
            if weights[i, j]:
                graph.add_edge((*top, i), (*below, j), capacity=weights[i, j])

    for layer, kind, side in zip(layers, TRANSLATOR, "eedddd", strict=True):
        below = (side, state[side])
        state[side] += 1
        top, one = (side, state[side]), np.eye(len(layer)) / 2
        if kind == "cross":
            edges(top, below, one)
            edges(top, ("e", state["e"]), layer / 2)
        else:
            edges(top, below, layer / 2 + one)
    start = np.array([0.2, 0.3, 0.5])
    edges(("answer",), ("d", state["d"]), start[None])
    expected = [networkx.maximum_flow_value(graph, ("answer", 0), ("e", 0, token)) for token in range(4)]
    np.testing.assert_allclose(flow(layers, start, TRANSLATOR), expected, atol=1e-7)


def test_flow_is_at_least_rollout():
    """Rollout is a flow to all tokens at once, so each token's share can flow there alone."""
    layers = [shares(2, 5, 5, seed=seed) for seed in range(3)]
    found = rollout(layers)
    for query in range(5):
        assert (flow(layers, np.eye(5)[query]) >= found[query] - 1e-7).all()


# --------------------------------------------------------------------------------------------------- entropy
def test_entropy_by_hand():
    weights = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.25, 0.25, 0]])
    np.testing.assert_allclose(entropy(weights), [0, 2, 1.5], atol=1e-15)


# ------------------------------------------------------------------------------------------------ explainers
def played(kind, **options):
    module = seeded(kind, WORDS, **options)
    return game(model(module, TEXTS), TEXTS)


@pytest.mark.parametrize(
    ("kind", "options", "query"),
    [
        (Encoder, {}, "first"),
        (Encoder, {"reads": "mean"}, "mean"),
        (Encoder, {"reads": "last"}, "last"),
        (Encoder, {"reads": "last", "causal": True}, "last"),
        (Encoder, {"reads": "mean", "causal": True}, "mean"),
        (Translator, {}, "last"),
        (Shared, {}, "first"),
    ],
)
def test_what_is_read_is_seen(kind, options, query):
    assert query_of(played(kind, **options)) == query


@pytest.mark.parametrize("query", ["first", "mean", "last"])
def test_values_are_the_maps_rows_pooled_to_words(query):
    asked = played(Encoder)
    found = asked.model.attentions(TEXTS)
    maps = rollout(found.layers, found.kinds)
    counts = (TEXTS.ids != TEXTS.pad).sum(axis=1)
    for explain, whole in ((attention_rollout, maps), (attention_raw, found.layers[-1].mean(axis=1))):
        values = explain(asked, query=query).values
        for row, count in enumerate(counts):
            part = whole[row, :count]
            expected = {"first": part[0], "mean": part.mean(axis=0), "last": part[count - 1]}[query]
            np.testing.assert_allclose(values[row, :count], expected[:count], atol=1e-12)
            assert np.isnan(values[row, count:]).all()


def test_each_head_and_layer_can_be_had():
    asked = played(Shared)
    found = asked.model.attentions(TEXTS)
    values = attention_raw(asked, layer=1, head=1).values
    np.testing.assert_allclose(values[1], found.layers[1][1, 1, 0], atol=1e-12)
    with pytest.raises(UsageError, match="the model has 3"):
        attention_raw(asked, layer=3)
    with pytest.raises(UsageError, match="this layer has 2"):
        attention_raw(asked, head=2)
    with pytest.raises(UsageError, match="'first', 'mean', 'last'"):
        attention_raw(asked, query="cls")


@pytest.mark.parametrize("explain", [attention_raw, attention_rollout, attention_flow, attention_chefer])
@pytest.mark.parametrize(
    ("kind", "options"), [(Encoder, {}), (Encoder, {"reads": "last", "causal": True}), (Translator, {})]
)
def test_the_result_says_what_it_is(explain, kind, options):
    asked = played(kind, **options)
    found = explain(asked)
    assert not found.complete
    assert found.kind == "texts"
    assert "not why" in found.note
    assert found.params["query"] == query_of(asked)
    np.testing.assert_allclose(found.outputs, asked.model.predict(TEXTS), atol=1e-12)
    masks = Texts(
        ids=np.where(TEXTS.words >= 0, TEXTS.mask, TEXTS.ids),
        words=TEXTS.words,
        vocabulary=TEXTS.vocabulary,
        pad=TEXTS.pad,
        mask=TEXTS.mask,
    )
    np.testing.assert_allclose(found.base, asked.model.predict(masks), atol=1e-12)
    assert found.evaluations >= 2 * len(LINES)
    again = explain(asked)
    np.testing.assert_array_equal(found.values, again.values)
    assert (found.values[~np.isnan(found.values)] >= 0).all()


def test_chefer_takes_the_targets_side():
    module = seeded(Shared, WORDS)
    one, other = (attention_chefer(game(model(module, TEXTS), TEXTS, target=target)) for target in (1, 0))
    assert not np.allclose(np.nan_to_num(one.values), np.nan_to_num(other.values))
    asked = game(model(module, TEXTS), TEXTS, target=0)
    found = asked.model.attention_gradients(TEXTS, asked.targets)
    expected = chefer(found.layers, found.gradients)[:, 0] - np.eye(TEXTS.ids.shape[1])[0]
    np.testing.assert_allclose(other.values[1], expected[1], atol=1e-12)


def test_flow_of_texts_is_the_flow_of_each():
    asked = played(Encoder)
    found = asked.model.attentions(TEXTS)
    values = attention_flow(asked).values
    for row in (0, 3, 5):
        count = (TEXTS.ids[row] != TEXTS.pad).sum()
        expected = flow([layer[row] for layer in found.layers], np.eye(TEXTS.ids.shape[1])[0])
        np.testing.assert_allclose(values[row, :count], expected[:count], atol=1e-8)


class Attender(nn.Module):
    """Attends over steps, columns or patches of numbers, behind a token of its own where there is one."""

    def __init__(self, cut, wide, own=False):
        super().__init__()
        self.cut, self.own = cut, nn.Parameter(torch.randn(1, 1, 4)) if own else None
        self.into, self.attention, self.head = nn.Linear(wide, 4), SelfAttention(4), nn.Linear(4, 1)

    def forward(self, x):
        tokens = self.into(self.cut(x))
        if self.own is not None:
            tokens = torch.cat([self.own.expand(len(x), -1, -1), tokens], dim=1)
        seen = self.attention(tokens, torch.zeros(tokens.shape[:2], dtype=torch.bool))
        return self.head(seen[:, 0] if self.own is not None else seen.mean(1))


def test_tables_sequences_and_pictures():
    rng = np.random.default_rng(0)
    rows = table(rng.normal(size=(3, 5)))
    tabular = game(model(seeded(Attender, lambda x: x[..., None], 1, own=True), rows), rows, rows)
    found = attention_raw(tabular)
    assert found.params["query"] == "first"
    weights = tabular.model.attentions(rows).layers[0].mean(axis=1)
    np.testing.assert_allclose(found.values, weights[:, 0, 1:], atol=1e-12)

    steps = series(rng.normal(size=(3, 6, 2)))
    timed = game(model(seeded(Attender, lambda x: x, 2), steps), steps, steps)
    assert attention_rollout(timed).params["query"] == "mean"
    assert np.nansum(attention_rollout(timed).values, axis=1) == pytest.approx(1)

    pictures = Images(values=rng.normal(size=(3, 1, 8, 8)), black=-3.0, white=3.0)
    patches = nn.Unfold(4, stride=4)
    seeing = seeded(Attender, lambda x: patches(x).transpose(1, 2), 16, own=True)
    seen = game(model(seeing, pictures), pictures, players="grid", size=4)
    found = attention_raw(seen)
    weights = seen.model.attentions(pictures).layers[0].mean(axis=1)
    np.testing.assert_allclose(found.values, weights[:, 0, 1:], atol=1e-12)


def test_tokens_that_are_no_inputs_are_refused():
    with pytest.raises(NotApplicable, match="over 11 tokens, the texts have 8"):
        laid_out(TEXTS, np.ones((6, 11)), "first")
    pictures = Images(values=np.zeros((2, 1, 8, 8)), black=0.0, white=1.0)
    with pytest.raises(NotApplicable, match="no grid"):
        laid_out(pictures, np.ones((2, 7)), "first")
    np.testing.assert_allclose(laid_out(pictures, np.full((2, 4), 16.0), "mean"), np.ones((2, 1, 8, 8)))


def test_where_the_answer_is_read_from():
    count = TEXTS.ids.shape[1]
    mean = starts(TEXTS, count, "mean")
    np.testing.assert_allclose(mean.sum(axis=1), 1)
    assert not mean[TEXTS.ids == TEXTS.pad].any()
    lengths = (TEXTS.ids != TEXTS.pad).sum(axis=1)
    np.testing.assert_array_equal(starts(TEXTS, count, "last").argmax(axis=1), lengths - 1)
    np.testing.assert_array_equal(starts(TEXTS, count + 1, "last").argmax(axis=1), count)


def test_models_without_attention_are_refused():
    plain = game(Plain(lambda x: x[:, 0]), table([[0.5]]), table([[0.1]]))
    for explain in (attention_raw, attention_rollout, attention_flow, attention_chefer):
        with pytest.raises(MissingOffer, match="attention"):
            explain(plain)
