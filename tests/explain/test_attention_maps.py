"""The attention check: figures known in closed form, real small transformers, and what it says where it has nothing."""

import json

import numpy as np
import pytest
import torch
from little_models import Plain, context, seeded_mlp, subject, table
from little_transformers import Encoder, PlantedAttention, Shared, Translator, model, seeded, texts, trained
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr

from audit import engine, registry
from audit.core import Measure, NotApplicable, Spec, Table
from audit.explain import game
from audit.explain.attention_maps import attention, leave_one_out
from audit.models.adapters.torch import wrap

LINES = (
    "a good film with a dull end",
    "the film was good and truly fine",
    "what a bad story",
    "dull film bad end",
    "a fine story and a good film",
    "the end was bad",
    "good and fine",
    "a truly dull film was fine",
)
TEXTS = texts(LINES)
WORDS = len(TEXTS.vocabulary)
WEIGHT = {"good": 3.0, "fine": 2.0, "film": 0.25, "end": 0.5, "story": 0.125, "a": 0.3, "and": 0.2, "was": 0.4}


def planted():
    """Looks hardest at the last places, whatever stands there; the words that count are others."""
    values = torch.tensor([WEIGHT.get(word, 0.0) for word in TEXTS.vocabulary], dtype=torch.float64)
    return PlantedAttention(values, torch.linspace(0, 2, 16, dtype=torch.float64))


def closed_form():
    """Weights and effects (texts, tokens), NaN for padding."""
    there = TEXTS.ids != TEXTS.pad
    raw = np.where(there, np.exp(np.linspace(0, 2, 16)[: TEXTS.ids.shape[1]]), 0.0)
    weights = raw / raw.sum(axis=1, keepdims=True)
    values = np.array([WEIGHT.get(word, 0.0) for word in TEXTS.vocabulary])[TEXTS.ids]
    return np.where(there, weights, np.nan), np.where(there, weights * values, np.nan)


def found_by(module, inputs=TEXTS, **params):
    wrapped = model(module, inputs)
    return list(attention(subject(wrapped, inputs, y=np.arange(len(inputs)) % 2), context(), **params))


def measures(evidence, name):
    return {
        next(iter(each.where.values())): each for each in evidence if isinstance(each, Measure) and each.name == name
    }


def tables(evidence, name):
    return [each for each in evidence if isinstance(each, Table) and each.name == name]


def test_leaving_words_out_in_closed_form():
    played = game(model(planted(), TEXTS), TEXTS, link="logit")
    np.testing.assert_allclose(leave_one_out(played), closed_form()[1], atol=1e-9)


def test_agreement_with_leaving_words_out_in_closed_form():
    """Weights follow the place, effects the word as well: raw attention misleads, weights times gradients do not."""
    evidence = found_by(planted(), link="logit")
    weights, effects = closed_form()
    each = [spearmanr(w[~np.isnan(w)], e[~np.isnan(e)]).statistic for w, e in zip(weights, effects, strict=True)]
    found = measures(evidence, "occlusion_rank_correlation")
    for method in ("raw", "rollout"):
        assert found[method].value == pytest.approx(np.mean(each), abs=1e-12)
        assert found[method].n == len(LINES)
        assert found[method].interval.low < found[method].value < found[method].interval.high
    assert found["chefer"].value == pytest.approx(1, abs=1e-12)
    top = measures(evidence, "top_word_agreement")
    hits = np.nanargmax(weights, axis=1) == np.nanargmax(effects, axis=1)
    assert top["raw"].value == hits.mean()
    assert top["raw"].value < 0.5
    assert top["chefer"].value == 1


def test_it_says_where_a_map_is_no_reason():
    evidence = found_by(planted(), link="logit")
    correlation = measures(evidence, "occlusion_rank_correlation")
    for method in ("raw", "rollout", "chefer"):
        warned = ["no reason" in each.note for each in tables(evidence, f"attention_{method}")]
        assert warned == [correlation[method].interval.low <= 0] * 2
    assert not any("no reason" in each.note for each in tables(evidence, "attention_chefer"))


def test_entropies_by_scipy():
    wrapped = model(seeded(Shared, WORDS), TEXTS)
    evidence = found_by(wrapped.module)
    heads = tables(evidence, "entropy")[0]
    layers = wrapped.attentions(TEXTS).layers
    assert [(row[0], row[3]) for row in heads.rows] == [(layer, head) for layer in (1, 2, 3) for head in (1, 2)]
    counts = (TEXTS.ids != TEXTS.pad).sum(axis=1)
    for row in heads.rows:
        weights = layers[row[0] - 1][:, row[3] - 1]
        bits = [scipy_entropy(weights[text, :count, :count], base=2, axis=1) for text, count in enumerate(counts)]
        assert row[4] == pytest.approx(np.mean([each.mean() for each in bits]), abs=1e-12)
        shares = [(each / np.log2(count)).mean() for each, count in zip(bits, counts, strict=True)]
        assert row[5] == pytest.approx(np.mean(shares), abs=1e-12)
    for number, measure in measures(evidence, "attention_entropy").items():
        assert measure.value == pytest.approx(np.mean([row[4] for row in heads.rows if row[0] == int(number)]))
        assert measure.n == len(LINES)
        assert measure.interval.low <= measure.value <= measure.interval.high


def test_causal_entropy_is_a_share_of_what_can_be_seen():
    uniform = seeded(Encoder, WORDS, reads="last", causal=True)
    with torch.no_grad():
        for layer in uniform.encoder.layers:
            layer.self_attn.in_proj_weight[: 2 * 8] = 0
    for row in tables(found_by(uniform), "entropy")[0].rows:
        assert row[2] == "causal"
        assert row[5] == pytest.approx(1)
        assert row[4] < np.log2(TEXTS.ids.shape[1])


def test_the_pictures():
    evidence = found_by(seeded(Encoder, WORDS), cases=3, tokens=5)
    maps = tables(evidence, "rollout")
    assert len(maps) == 3
    for each in maps:
        assert each.view == "matrix"
        assert len(each.rows) <= 5
        assert len(set(each.columns)) == len(each.columns)
        assert "5 tokens" in each.note
    for name in ("attention_raw", "attention_rollout", "attention_chefer", "left_out"):
        assert [each.view for each in tables(evidence, name)] == ["tokens"] * 3
    whole = tables(found_by(seeded(Encoder, WORDS), tokens=99), "rollout")[0]
    assert [row[0] for row in whole.rows] == list(whole.columns[1:])
    np.testing.assert_allclose([sum(row[1:]) for row in whole.rows], 1)


def test_an_encoder_decoder_looks_from_its_own_tokens_at_the_words():
    evidence = found_by(seeded(Translator, WORDS))
    grid = tables(evidence, "rollout")[0]
    assert [row[0].strip() for row in grid.rows] == ["1", "2", "3"]
    assert grid.columns[1].endswith(LINES[0].split()[0])
    assert {row[2] for row in tables(evidence, "entropy")[0].rows} == {"self", "causal", "cross"}


def learned():
    """An encoder that has learned from random words, some of them masked, that "good" decides."""
    rng = np.random.default_rng(0)
    ids = rng.integers(2, WORDS, size=(200, TEXTS.ids.shape[1]))
    good = TEXTS.vocabulary.index("good")
    ids[:100, 0] = good
    ids[100:][ids[100:] == good] = TEXTS.mask
    ids = rng.permuted(ids, axis=1)
    lines = TEXTS.with_ids(ids, np.tile(np.arange(ids.shape[1]), (len(ids), 1)))
    return trained(seeded(Encoder, WORDS, reads="mean"), lines, (ids == good).any(axis=1), steps=100)


def test_a_trained_model_that_reads_one_word():
    """Leaving "good" out moves the answer most wherever it stands, and nothing else comes near."""
    module = learned()
    effects = leave_one_out(game(model(module, TEXTS), TEXTS, link="logit"))
    for row, line in enumerate(LINES):
        order = np.sort(np.abs(effects[row, : len(line.split())]))
        if line.split().count("good") == 1:
            assert np.nanargmax(effects[row]) == line.split().index("good")
            assert order[-1] > 3 * order[-2]
    top = measures(found_by(module, TEXTS.take(np.array([0, 1, 4, 6])), link="logit"), "top_word_agreement")
    assert top["chefer"].value == 1


def test_an_answer_that_nothing_moves_has_no_agreement():
    module = seeded(Encoder, WORDS)
    with torch.no_grad():
        module.head.weight.zero_()
    found = measures(found_by(module), "occlusion_rank_correlation")
    assert {each.value for each in found.values()} == {None}
    assert "no text" in found["raw"].note


def test_one_text_has_no_interval_and_one_word_no_rank():
    one = TEXTS.take(np.array([0]))
    found = measures(found_by(seeded(Encoder, WORDS), one), "occlusion_rank_correlation")
    assert found["raw"].n == 1
    assert found["raw"].interval is None
    word = texts(("good",))
    evidence = found_by(seeded(Encoder, len(word.vocabulary)), word)
    assert measures(evidence, "top_word_agreement")["raw"].value is None
    assert measures(evidence, "occlusion_rank_correlation")["raw"].value is None
    assert tables(evidence, "entropy")[0].rows[0][4:] == (0.0, None)


def test_what_has_no_attention_does_not_apply():
    class Attentive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.Linear(2, 1)

        def forward(self, x):
            return self.attention(x)

    rows = table(np.random.default_rng(0).normal(size=(9, 2)))
    with pytest.raises(NotApplicable, match="no attention weights were seen"):
        found_by(Attentive(), rows)
    entry = registry.entries("checks")["explain.attention"]
    assert "attention" in engine.missing_needs(entry, subject(Plain(lambda x: 1 / (1 + np.exp(-x[:, 0]))), rows))
    assert "attention" not in wrap(seeded_mlp(2), subject(None, rows).data, Spec()).offers


def test_the_same_seed_gives_the_same_and_json_holds_it():
    module = seeded(Shared, WORDS)
    one, other = (found_by(module, rows=5) for _ in range(2))
    assert one == other
    json.dumps([each.rows for each in one if isinstance(each, Table)], allow_nan=False)
