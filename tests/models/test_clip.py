"""CLIP: its loss against torch and by hand, its level and prior, matching through the protocol, other data."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from little_families import CPU, little, spec_of, training_rows, unseen
from torch import nn

from audit.core import Codes, DataError, Dataset, ModelError, Origin, UsageError, stream
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.data.texts import tokenised
from audit.data.worlds.captions import CAPTIONS, VOCABULARY, captions
from audit.explain import attention_rollout, game
from audit.models.families.clip import TextTower, clip, info_nce
from audit.models.matching import sides
from audit.models.reference import read, save, trained


def pairs(n=80, channels=1, height=9, width=11, seed=0):
    """Pictures whose left or right half is bright, and a caption that says so or not."""
    rng = np.random.default_rng(seed)
    right, true = rng.integers(0, 2, n), rng.integers(0, 2, n)
    values = rng.normal(0, 0.1, (n, channels, height, width))
    values[np.arange(n), :, :, :] += np.where(right, 1.0, 0.0)[:, None, None, None]
    said = np.where(true == 1, right, 1 - right)
    texts = tokenised([("it is dark", "what a very bright one")[k] for k in said])
    return Dataset(
        inputs=Captioned(images=Images(values=values), texts=texts),
        groups={"side": Codes(values=right.astype(np.uint8), levels=("left", "right"))},
        origin=Origin(name="by hand"),
        y=true,
        classes=("apart", "together"),
    )


def test_info_nce_is_the_mean_of_both_cross_entropies():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = [
        (
            -math.log(math.exp(scores[i, i]) / scores[i].exp().sum())
            - math.log(math.exp(scores[i, i]) / scores[:, i].exp().sum())
        )
        / 2
        for i in range(5)
    ]
    np.testing.assert_allclose(info_nce(scores, torch.zeros(5)).numpy(), by_hand)


def test_the_best_critic_is_pmi():
    """Among critics of a small world the gradient of the expected loss is nought at PMI, whatever the constant."""
    joint = torch.tensor([[0.3, 0.1], [0.2, 0.4]], dtype=torch.float64)
    pmi = (joint / joint.sum(1, keepdim=True) / joint.sum(0)).log()
    generator = torch.Generator().manual_seed(0)
    cells = torch.multinomial(joint.flatten(), 150 * 256, replacement=True, generator=generator).reshape(150, 256)

    def slope(critic):
        critic = critic.clone().requires_grad_()
        total = sum(info_nce(critic[one // 2][:, one % 2], one).mean() for one in cells) / len(cells)
        return torch.autograd.grad(total, critic)[0].abs().max().item()

    assert slope(pmi + 3.0) < 0.012
    assert slope(torch.zeros_like(pmi)) > 0.05


def test_towers_against_torch():
    tower = TextTower(vocabulary=9, length=6, pad=0, size=4).eval()
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    layer.self_attn, layer.norm1, layer.norm2 = tower.attention, tower.before, tower.between
    layer.linear1, layer.linear2 = tower.wide[0], tower.wide[2]
    ids = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 3, 4]])
    x = tower.tokens(ids) + tower.places[:5]
    mask = nn.Transformer.generate_square_subsequent_mask(5).isinf()
    y = layer(x, src_mask=mask, src_key_padding_mask=ids == 0)
    expected = tower.last(tower.after(y[[0, 1], [2, 4]]))
    torch.testing.assert_close(tower(ids), expected, atol=1e-5, rtol=1e-5)


def test_a_caption_does_not_depend_on_its_padding_and_may_be_empty():
    tower = TextTower(vocabulary=9, length=6, pad=0, size=4).eval()
    short, long = torch.tensor([[3, 4]]), torch.tensor([[3, 4, 0, 0, 0]])
    torch.testing.assert_close(tower(short), tower(long), atol=1e-6, rtol=1e-5)
    assert torch.isfinite(tower(torch.zeros(1, 5, dtype=torch.long))).all()
    cut = torch.tensor([[3, 4, 5, 6, 7, 8, 3, 3]])
    torch.testing.assert_close(tower(cut), tower(cut[:, :6]))


def test_the_score_of_a_pair_is_its_match_and_the_prior():
    model, data = little("clip"), unseen("clip")
    some = data.inputs.take(np.arange(40))
    crossed = model.match(some.images, some.texts)
    assert crossed.shape == (40, 40)
    logit = np.log(model.predict(some) / (1 - model.predict(some)))
    np.testing.assert_allclose(np.diag(crossed) + float(model.module.prior), logit, atol=1e-4)
    small = replace(model, reading=replace(model.reading, batch_size=7))
    np.testing.assert_allclose(small.match(some.images, some.texts), crossed, atol=1e-5)


def test_the_level_makes_scores_like_pmi_and_the_prior_is_the_share_of_true_pairs():
    data, module = training_rows("clip"), little("clip").module
    true = data.inputs.take(np.flatnonzero(data.y == 1))
    mean = np.exp(little("clip").match(true.images, true.texts)).mean()
    assert mean == pytest.approx(1.0, abs=1e-4)
    assert float(module.prior) == pytest.approx(math.log(data.y.sum() / (data.y == 0).sum()), abs=1e-6)


def test_vectors_of_texts_have_length_one_and_unknown_words_none():
    found = little("clip").embed(["a photo of a nurse", "a photo of a violinist"])
    assert np.linalg.norm(found[0]) == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(found[1]).all()


def test_it_learns_other_pictures_and_captions_and_is_read_again(tmp_path):
    data = pairs(400)
    spec = spec_of("clip")
    model = trained("clip", data, spec, options={"epochs": 15, "batch": 64, "rate": 1e-2})
    other = pairs(200, seed=1)
    assert ((model.predict(other.inputs) > 0.5) == other.y).mean() > 0.95
    save(model, tmp_path / "clip")
    again = read(tmp_path / "clip", other, spec)
    assert (again.predict(other.inputs) == model.predict(other.inputs)).all()
    assert (
        again.match(other.inputs.images, other.inputs.texts) == model.match(other.inputs.images, other.inputs.texts)
    ).all()


@pytest.mark.parametrize(("length", "kept"), [(3, 3), (5, 5), (16, 5)])
def test_no_more_tokens_of_a_caption_are_read_than_asked_for(length, kept):
    data = pairs(60)  # captions of 5 tokens
    assert data.inputs.texts.ids.shape[1] == 5
    model = trained("clip", data, spec_of("clip"), options={"length": length, "epochs": 1})
    assert model.module.texts.places.shape[0] == length
    before, pad = model.predict(data.inputs), data.inputs.texts.pad
    full = (data.inputs.texts.ids != pad).all(axis=1)
    for place in range(5):
        ids = data.inputs.texts.ids.copy()
        ids[:, place] = ids[:, place - 1]
        after = model.predict(replace(data.inputs, texts=replace(data.inputs.texts, ids=ids)))
        assert (after[full] != before[full]).any() == (place < kept), place


def test_attention_falls_on_the_words_of_the_caption():
    model, data = little("clip"), unseen("clip")
    played = game(model, data.inputs.take(np.arange(3)), data.inputs, players="word")
    found = attention_rollout(played)
    assert found.values.shape == (3, 5)
    np.testing.assert_allclose(found.values.sum(axis=1), 1.0, atol=1e-5)
    assert "last token" in found.method


def test_without_labels_every_pair_is_true():
    data = replace(pairs(40), y=None)
    module = clip(data, epochs=0)
    assert float(module.prior) == 0.0


def test_half_precision_keeps_the_ids():
    model = little("clip").in_type("bfloat16")
    rows = unseen("clip").inputs.take(np.arange(20))
    x = model.tensor(rows)
    assert x.dtype == torch.float32
    assert (sides(x, (3, 16, 16))[1].numpy() == rows.texts.ids).all()
    assert np.abs(model.predict(rows) - little("clip").predict(rows)).max() < 0.05


def test_what_it_refuses():
    data = pairs(20)
    with pytest.raises(DataError, match="at least two rows"):
        clip(replace(data, y=np.zeros(20, dtype=np.int64)))
    with pytest.raises(DataError, match="have 3"):
        clip(replace(data, classes=("a", "b", "c")))
    with pytest.raises(DataError, match="clip reads pictures with captions"):
        clip(replace(data, inputs=data.inputs.images))
    with pytest.raises(UsageError, match="temperature: above 0"):
        clip(data, temperature=0.0)
    model = little("clip")
    with pytest.raises(ModelError, match="expected Images and Texts"):
        model.match(data.inputs.texts, data.inputs.texts)
    with pytest.raises(ModelError, match="trained with shape"):
        model.match(data.inputs.images, tokenised(CAPTIONS, VOCABULARY))


def test_a_draw_is_trained_alike_whatever_ran_before():
    data = captions().draw(200, stream(0, "clip"))
    first = clip(data, seed=1, epochs=1)
    torch.rand(3)
    second = clip(data, seed=1, epochs=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert CPU.threads == 1
