"""Attention weights and their gradients, against weights written out by hand, Hugging Face's own, and finite differences."""

import copy

import numpy as np
import pytest
import torch
from little_models import seeded_mlp
from little_transformers import LINES, Encoder, Shared, Translator, model, seeded, texts
from torch import nn
from torch.nn import functional as F

from audit.core import BudgetSpent, MissingOffer, ModelError
from audit.models.attentions import attends, watched
from audit.models.counted import Counted

TEXTS = texts()
WORDS = len(TEXTS.vocabulary)
KINDS = {
    "first": (Encoder, {}),
    "nested": (Encoder, {"nested": True}),
    "mean": (Encoder, {"reads": "mean"}),
    "causal": (Encoder, {"reads": "last", "causal": True}),
    "translator": (Translator, {}),
    "shared": (Shared, {}),
    "fused": (Shared, {"fused": True}),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def made(kind):
    make, options = KINDS[kind]
    return seeded(make, WORDS, **options)


def log_odds(module):
    """Of class 1, by hand."""
    raw = module(torch.as_tensor(TEXTS.ids))
    return raw[:, 0] if raw.shape[1] == 1 else raw[:, 1] - raw[:, 0]


# --------------------------------------------------------------------------------------------------- weights
def test_the_first_layer_by_hand():
    module = made("first")
    found = model(module, TEXTS).attentions(TEXTS)
    attention = module.encoder.layers[0].self_attn
    with torch.no_grad():
        x = module.table(torch.as_tensor(TEXTS.ids)) + module.places[:, : TEXTS.ids.shape[1]]
        query, key, _ = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = np.einsum("nqd,nkd->nqk", query[..., part].numpy(), key[..., part].numpy()) / 2.0
        scores = np.where((TEXTS.ids == 0)[:, None, :], -np.inf, scores)
        expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(found.layers[0][:, head], expected, atol=1e-12)


def test_fused_and_open_attention_are_the_same():
    one, other = (model(made(kind), TEXTS).attention_gradients(TEXTS) for kind in ("shared", "fused"))
    for a, b in zip((*one.layers, *one.gradients), (*other.layers, *other.gradients), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@EVERY
def test_rows_add_up_to_one_and_padding_is_not_seen(kind):
    found = model(made(kind), TEXTS).attentions(TEXTS)
    for layer in found.layers:
        np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-12)
        if layer.shape[-1] == TEXTS.ids.shape[1]:
            assert not layer[np.broadcast_to((TEXTS.ids == 0)[:, None, None, :], layer.shape)].any()
    assert found.gradients is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@EVERY
def test_the_answer_is_the_same_with_the_weights_in_the_open(kind):
    """Without a reader the fast paths of nn.MultiheadAttention and of the encoder are taken."""
    module = made(kind)
    told = []

    def run():
        told.append(module(torch.as_tensor(TEXTS.ids)))
        return told[0]

    watched(module, len(TEXTS), run)
    with torch.no_grad():
        np.testing.assert_allclose(told[0].numpy(), module(torch.as_tensor(TEXTS.ids)).numpy(), atol=1e-12)


def test_kinds_and_names():
    assert model(made("first"), TEXTS).attentions(TEXTS).kinds == ("self", "self")
    assert model(made("causal"), TEXTS).attentions(TEXTS).kinds == ("causal", "causal")
    found = model(made("translator"), TEXTS).attentions(TEXTS)
    assert found.kinds == ("self", "self", "causal", "cross", "causal", "cross")
    assert found.names[3] == "both.decoder.layers.0.multihead_attn"
    assert [layer.shape[1:] for layer in found.layers[2:4]] == [(2, 3, 3), (2, 3, 8)]
    found = model(made("shared"), TEXTS).attentions(TEXTS)
    assert found.names == tuple(f"attention (call {call})" for call in (1, 2, 3))
    assert not np.allclose(found.layers[0], found.layers[1])


def test_cross_attention_on_as_many_tokens_is_still_cross():
    module = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)
    x, y = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert watched(module, 3, lambda: module(x, y, y)[0].sum((1, 2))).kinds == ("cross",)
    assert watched(module, 3, lambda: module(x, x + 0, x)[0].sum((1, 2))).kinds == ("self",)


# ------------------------------------------------------------------------------------------------- gradients
def nudged(module, call, place, step, monkeypatch):
    """Log-odds where one weight of one call is larger by `step`: every softmax ends in the tensor's own."""
    calls, softmax, multihead = [], torch.Tensor.softmax, F.multi_head_attention_forward

    def one_larger(*arguments, **options):
        weights = softmax(*arguments, **options)
        calls.append(1)
        if len(calls) - 1 != call:
            return weights
        change = torch.zeros(len(TEXTS), 2, *weights.shape[-2:], dtype=weights.dtype)
        change[place] = step
        return weights + change.reshape(weights.shape)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "softmax", one_larger)
        # With need_weights there is a softmax, and with gradients (parameters need them) no fast path.
        patch.setattr(F, "multi_head_attention_forward", lambda *a, **k: multihead(*a, **{**k, "need_weights": True}))
        return log_odds(module).detach().numpy()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fused"])
def test_gradients_are_finite_differences(kind, monkeypatch):
    module = made(kind)
    found = model(module, TEXTS).attention_gradients(TEXTS)
    rng = np.random.default_rng(1)
    told = 0
    for call, slope in enumerate(found.gradients):
        largest = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        drawn = [tuple(int(rng.integers(side)) for side in slope.shape) for _ in range(4)]
        for place in [largest, *drawn]:
            high, low = (nudged(module, call, place, step, monkeypatch) for step in (1e-5, -1e-5))
            difference = (high - low) / 2e-5
            assert difference[place[0]] == pytest.approx(slope[place], rel=1e-5, abs=1e-8)
            assert np.delete(difference, place[0]) == pytest.approx(0, abs=1e-9)
            told += abs(slope[place]) > 1e-6
    assert told > len(found.gradients)


def test_gradients_are_of_the_target_class():
    wrapped = model(made("shared"), TEXTS)
    one, other = (wrapped.attention_gradients(TEXTS, np.full(len(TEXTS), target)) for target in (1, 0))
    for a, b in zip(one.gradients, other.gradients, strict=True):
        np.testing.assert_allclose(a, -b, atol=1e-12)


@EVERY
def test_frozen_parameters_have_the_same_gradients(kind):
    module = made(kind)
    expected = model(module, TEXTS).attention_gradients(TEXTS)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    found = model(module, TEXTS).attention_gradients(TEXTS)
    for a, b in zip(expected.gradients, found.gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@EVERY
def test_texts_do_not_depend_on_their_neighbours(kind):
    wrapped = model(made(kind), TEXTS)
    whole, one = wrapped.attention_gradients(TEXTS), wrapped.attention_gradients(TEXTS.take(np.array([2])))
    for a, b in zip((*whole.layers, *whole.gradients), (*one.layers, *one.gradients), strict=True):
        np.testing.assert_allclose(a[2:3], b, atol=1e-12)


# ----------------------------------------------------------------------------------------------------- habits
@EVERY
def test_the_module_is_left_as_it_was(kind):
    module = made(kind).train()
    module.head.eval()
    before = copy.deepcopy(module.state_dict())
    modes = [each.training for each in module.modules()]
    state = torch.random.get_rng_state()
    wrapped = model(module, TEXTS)
    wrapped.attentions(TEXTS)
    wrapped.attention_gradients(TEXTS)
    assert [each.training for each in module.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_hooks_go_after_an_error():
    module = made("shared")
    with pytest.raises(IndexError):
        watched(module, 2, lambda: module(torch.full((2, 3), 10**6)))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_who_offers_attention():
    assert all("attention" in model(made(kind), TEXTS).offers for kind in KINDS)
    assert not attends(seeded_mlp(3))


class ChannelAttention(nn.Module):
    """Attention by name alone."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(WORDS, 3)

    def forward(self, ids):
        x = self.table(ids).mean(1)
        return (x * torch.sigmoid(x)).sum(-1)


class Windows(nn.Module):
    """Attention within windows of two tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(WORDS, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, ids):
        x = self.table(ids)
        n, tokens, wide = x.shape
        x = x.reshape(n * tokens // 2, 2, wide)
        return self.attention(x, x, x)[0].reshape(n, -1).sum(1)


def test_what_cannot_be_read_is_refused():
    with pytest.raises(MissingOffer, match="no attention weights were seen"):
        model(ChannelAttention(), TEXTS).attentions(TEXTS)
    with pytest.raises(ModelError, match="windows"):
        model(Windows(), TEXTS).attentions(TEXTS)


def test_rows_are_counted():
    counter = Counted(model=model(made("first"), TEXTS), limit=2 * len(LINES))
    counter.attentions(TEXTS)
    counter.attention_gradients(TEXTS)
    assert counter.evaluations == 2 * len(LINES)
    with pytest.raises(BudgetSpent):
        counter.attentions(TEXTS)


# ------------------------------------------------------------------------------------------------ Hugging Face
class Head(nn.Module):
    """A model of Hugging Face whose answer is its logits, or a linear layer on its last state."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(8, 2)

    def asked(self, ids, **more):
        if self.inner.config.is_encoder_decoder:
            more["decoder_input_ids"] = torch.full_like(ids[:, :3], 3)
        return self.inner(input_ids=ids, attention_mask=(ids != 0).long(), **more)

    def forward(self, ids):
        found = self.asked(ids)
        return found.logits if "logits" in found else self.head(found.last_hidden_state[:, -1])


def hugging_face(family, implementation):
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    sizes = {
        "BertForSequenceClassification": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
        "AlbertForSequenceClassification": {
            "hidden_size": 8,
            "embedding_size": 8,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
        },
        "GPT2ForSequenceClassification": {"n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
        "BartModel": {
            "d_model": 8,
            **{f"{side}_{part}": 2 for side in ("encoder", "decoder") for part in ("layers", "attention_heads")},
            "eos_token_id": 3,
            "decoder_start_token_id": 3,
        },
        "T5Model": {"d_model": 8, "d_kv": 4, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 3},
    }[family]
    kind = getattr(transformers, family)
    config = kind.config_class(vocab_size=WORDS, pad_token_id=0, **sizes)
    config._attn_implementation = implementation
    return seeded(lambda: Head(kind(config)))


@pytest.mark.parametrize(
    ("family", "kinds"),
    [
        ("BertForSequenceClassification", ("self",) * 2),
        ("AlbertForSequenceClassification", ("self",) * 3),
        ("GPT2ForSequenceClassification", ("causal",) * 2),
        ("BartModel", ("self", "self", "causal", "cross", "causal", "cross")),
        ("T5Model", ("self", "self", "causal", "cross", "causal", "cross")),
    ],
)
def test_hugging_face(family, kinds):
    module = hugging_face(family, "eager")
    found = model(module, TEXTS).attention_gradients(TEXTS)
    assert found.kinds == kinds
    with torch.no_grad():
        theirs = module.asked(torch.as_tensor(TEXTS.ids), output_attentions=True)
    if "cross" in kinds:
        pairs = zip(theirs.decoder_attentions, theirs.cross_attentions, strict=True)
        expected = [*theirs.encoder_attentions, *(each for pair in pairs for each in pair)]
    else:
        expected = theirs.attentions
    for a, b in zip(found.layers, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-12)
    fused = model(hugging_face(family, "sdpa"), TEXTS).attention_gradients(TEXTS)
    there = np.asarray(TEXTS.ids != 0)
    for a, b in zip((*found.layers, *found.gradients), (*fused.layers, *fused.gradients), strict=True):
        asked = there if a.shape[2] == there.shape[1] else np.ones((len(TEXTS), a.shape[2]), dtype=bool)
        a, b = (each.transpose(0, 2, 1, 3)[asked] for each in (a, b))
        np.testing.assert_allclose(a, b, atol=1e-9)
