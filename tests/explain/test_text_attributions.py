"""Words of biographies against the closed form of the world's own log-odds, and attention of trained encoders."""

import math

import numpy as np
import pytest

from audit.core import DataSpec, ModelSpec, RunSpec, Spec, stream
from audit.data.worlds.base import planted
from audit.data.worlds.biographies import ID, PRONOUN
from audit.explain import additive_shapley, game, integrated_gradients, shapley, value_table
from audit.explain.attention import attention_chefer, attention_rollout
from audit.models.adapters.oracle import oracle
from audit.models.reference import trained


@pytest.fixture(scope="module")
def drawn():
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="biographies"))
    world = planted(spec.data)
    data = world.draw(8, np.random.default_rng(1))
    return data, world.oracle(), oracle(spec, data)


@pytest.fixture
def played(drawn):
    data, form, model = drawn
    here = game(model, data.inputs, data.inputs, link="logit", fill="mask")
    masks = np.full_like(data.inputs.ids, ID["[MASK]"])
    return here, form.shapley_truth(data.inputs.ids, masks)


def test_shapley_values_of_words_are_their_log_odds(played):
    here, known = played
    np.testing.assert_allclose(shapley(here, budget=1024).values, known, atol=1e-6)
    np.testing.assert_allclose(additive_shapley(here).values, known, atol=1e-6)


def test_leaving_a_word_out_takes_its_log_odds(played):
    here, known = played
    players = known.shape[1]
    coalitions = np.concatenate([np.ones((1, players), dtype=bool), ~np.eye(players, dtype=bool)])
    table = np.zeros((len(here), players + 1))
    for block, chosen, values in value_table(here, np.arange(len(here)), coalitions):
        table[np.ix_(block, chosen)] = values.mean(axis=2)
    np.testing.assert_allclose(table[:, :1] - table[:, 1:], known, atol=1e-6)


def test_integrated_gradients_on_the_embedding_of_one_dimension_are_exactly_the_log_odds(played, drawn):
    here, known = played
    found = integrated_gradients(here).values
    np.testing.assert_allclose(found, known, atol=1e-6)
    women = drawn[0].groups["sex"].values == 0
    np.testing.assert_allclose(found[women, PRONOUN], math.log(0.85 / 0.2), atol=1e-9)
    np.testing.assert_allclose(found[~women, PRONOUN], math.log(0.15 / 0.8), atol=1e-9)


def test_words_of_other_biographies_may_fill_in(drawn):
    data, form, model = drawn
    inputs, behind = data.inputs.take(np.arange(3)), data.inputs.take(np.arange(3, 8))
    found = shapley(game(model, inputs, behind, link="logit", fill="background"), budget=1024)
    np.testing.assert_allclose(found.values, form.shapley_truth(inputs.ids, behind.ids), atol=1e-6)


@pytest.mark.parametrize(
    ("family", "world"),
    [("bert", "biographies"), ("roberta", "biographies"), ("albert", "biographies"), ("bert_mlm", "occupations")],
)
def test_attention_of_every_encoder_rolls_out_to_its_words(family, world):
    spec = Spec(run=RunSpec(device="cpu"), data=DataSpec(world=world))
    data = planted(spec.data).draw(200, stream(0, "test"))
    model = trained(family, data, spec, options={"epochs": 1})
    some = data.inputs.take(np.arange(6))
    seen = model.attentions(some)
    tokens = some.ids.shape[1] + 1
    assert [layer.shape for layer in seen.layers] == [(6, 4, tokens, tokens)] * 2
    for layer in seen.layers:
        np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-5)
    here = game(model, some, some, link="logit")
    rolled = attention_rollout(here)
    # by hand: half of each layer is the token itself; the answer is read from one token, and what falls on [CLS] is left out
    both = np.linalg.multi_dot
    place = 0 if family != "bert_mlm" else model.module.place + 1
    for row in range(6):
        first, second = (0.5 * np.eye(tokens) + 0.5 * layer[row].mean(axis=0) for layer in seen.layers)
        np.testing.assert_allclose(rolled.values[row], both([second, first])[place, 1:], atol=1e-6)
    moved = attention_chefer(here).values
    assert np.isfinite(moved).all()
    assert moved.any()
