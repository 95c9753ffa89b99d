"""The Transformer: its blocks against torch's own, what it reads, and that it copies."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import Spec, UsageError, stream
from audit.data.worlds.occupations import OCCUPATION, PRONOUN, VOCABULARY, occupations
from audit.models.blocks import Block, sinusoids
from audit.models.families.transformer import transformer
from audit.models.reference import trained
from audit.models.seeds import seeded

ROWS = occupations().draw(1500, stream(0, "transformer"))
UNSEEN = occupations().draw(200, stream(1, "transformer"))


@pytest.fixture(scope="module")
def model():
    return trained("transformer", ROWS, Spec(), options={"epochs": 2, "batch": 16, "rate": 0.005})


def filled(theirs, ours, names):
    """Torch's own block with the weights of ours."""
    for name, mine in names.items():
        getattr(theirs, name).load_state_dict(mine.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("cross", [False, True])
def test_a_block_is_that_of_torch(cross):
    size = {"d_model": 12, "nhead": 3, "dim_feedforward": 20, "dropout": 0.0, "batch_first": True}
    with seeded(1):
        block = Block(width=12, heads=3, inner=20, dropout=0.0, cross=cross).eval()
        for norm in block.norms:
            nn.init.normal_(norm.weight, 1.0, 0.3)
        x, memory = torch.randn(4, 6, 12), torch.randn(4, 5, 12)
        absent = torch.rand(4, 5 if cross else 6) < 0.3
        absent[:, 0] = False
    same = {"self_attn": block.attention, "linear1": block.inner, "linear2": block.outer}
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    if cross:
        names = same | {"multihead_attn": block.cross_attention, "norm1": block.norms[0]}
        names |= {"norm2": block.norms[1], "norm3": block.norms[2]}
        theirs = filled(nn.TransformerDecoderLayer(**size), block, names)
        found = block(x, hidden=later, memory=memory, absent=absent)
        expected = theirs(x, memory, tgt_mask=later, memory_key_padding_mask=absent)
    else:
        names = same | {"norm1": block.norms[0], "norm2": block.norms[1]}
        theirs = filled(nn.TransformerEncoderLayer(**size), block, names)
        found, expected = block(x, absent=absent), theirs(x, src_key_padding_mask=absent)
        found, expected = found[~absent], expected[~absent]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_places_by_sines():
    found = sinusoids(40, 8)
    for place, pair in ((0, 0), (7, 1), (39, 3)):
        angle = place / 10000 ** (2 * pair / 8)
        assert float(found[place, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-6)
        assert float(found[place, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_it_reads_all_but_the_pronoun(model):
    ids = UNSEEN.inputs.ids.copy()
    before = model.predict(UNSEEN.inputs)
    he, she = (VOCABULARY.index(word) for word in ("he", "she"))
    ids[:, PRONOUN] = he + she - ids[:, PRONOUN]
    np.testing.assert_array_equal(model.predict(UNSEEN.inputs.with_ids(ids, UNSEEN.inputs.words)), before)
    for place in (0, OCCUPATION, 8):  # before and behind: the encoder reads the whole source
        other = ids.copy()
        other[:, place] = np.roll(ids[:, place], 1)
        assert (model.predict(UNSEEN.inputs.with_ids(other, UNSEEN.inputs.words)) != before).any(), place


def test_the_likelihood_is_the_product_of_its_steps(model):
    """Token by token, each by the source and what was written before it alone."""
    module = model.module
    ids = torch.as_tensor(UNSEEN.inputs.ids[:10])
    total = torch.zeros(10)
    with torch.no_grad():
        for place in range(ids.shape[1]):
            begun = ids.clone()
            begun[:, place:] = 5  # whatever stands there
            states = module._states(module.table(ids), ids, target=module.table(begun))
            logits = states[:, place] @ module.table.weight.T
            total += logits.log_softmax(dim=-1).gather(1, ids[:, place, None])[:, 0]
    np.testing.assert_allclose(model.log_likelihood(UNSEEN.inputs.strings()[:10]), total.numpy(), atol=1e-4)


def test_it_copies_and_its_chances_lean_the_right_way(model):
    ids = torch.as_tensor(UNSEEN.inputs.ids)
    with torch.no_grad():
        written = model.module.written(ids).numpy()
    same = np.delete(written == UNSEEN.inputs.ids, PRONOUN, axis=1)
    assert same.mean() > 0.99
    assert set(written[:, PRONOUN]) <= {VOCABULARY.index(word) for word in ("he", "she")}
    truth = 1 / (1 + np.exp(-occupations().oracle().logit(UNSEEN.inputs.ids)))
    assert np.corrcoef(model.predict(UNSEEN.inputs), truth)[0, 1] > 0.9


def test_its_attention_is_of_three_kinds(model):
    found = model.attentions(UNSEEN.inputs.take(np.arange(3)))
    assert found.kinds == ("self", "self", "causal", "cross", "causal", "cross")
    assert all(layer.shape == (3, 4, 10, 10) for layer in found.layers)
    np.testing.assert_allclose([layer.sum(axis=-1) for layer in found.layers], 1.0, atol=1e-5)


def test_places_may_be_learnt():
    fixed, learnt = (transformer(ROWS, epochs=0, positions=each) for each in ("sinusoidal", "learned"))
    more = [sum(p.numel() for p in each.parameters()) for each in (fixed, learnt)]
    assert more[1] - more[0] == 32 * 32
    with torch.no_grad():
        learnt.load_state_dict(fixed.state_dict(), strict=False)
        learnt.learned.weight.zero_()
        ids = torch.as_tensor(UNSEEN.inputs.ids[:2])
        without = learnt(ids)
        learnt.learned.weight.copy_(learnt.angles)
        torch.testing.assert_close(learnt(ids), fixed(ids))
    assert (without != fixed(ids)).any()


def test_what_is_not_allowed():
    with pytest.raises(UsageError, match="positions: one of"):
        transformer(ROWS, epochs=0, positions="none")
    with pytest.raises(UsageError, match="width: a multiple of heads = 4, got 30"):
        transformer(ROWS, epochs=0, width=30)
