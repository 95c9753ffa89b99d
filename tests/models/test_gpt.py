"""GPT: likelihoods against transformers' own loss, what it reads, and what it writes."""

import numpy as np
import pytest
import safetensors
import torch

from audit.core import DataError, ModelError, Spec, UsageError, stream
from audit.data.texts import Texts
from audit.data.worlds.biographies import biographies
from audit.data.worlds.occupations import DO, OCCUPATION, PRONOUN, TEMPLATE, VOCABULARY, occupations
from audit.explain import game
from audit.explain.attention import attention_raw
from audit.models.families.gpt import gpt
from audit.models.reference import save, trained

ROWS = occupations().draw(1500, stream(0, "gpt"))
UNSEEN = occupations().draw(200, stream(1, "gpt"))


@pytest.fixture(scope="module")
def model():
    return trained("gpt", ROWS, Spec(), options={"epochs": 2, "batch": 24, "width": 32, "rate": 0.01})


def test_it_reads_nothing_from_the_pronoun_on(model):
    ids = UNSEEN.inputs.ids.copy()
    before = model.predict(UNSEEN.inputs)
    rng = np.random.default_rng(0)
    ids[:, PRONOUN:] = rng.integers(3, len(VOCABULARY), ids[:, PRONOUN:].shape)
    after = model.predict(UNSEEN.inputs.with_ids(ids, UNSEEN.inputs.words))
    np.testing.assert_array_equal(after, before)
    ids[:, OCCUPATION] = rng.permuted(ids[:, OCCUPATION])
    assert (model.predict(UNSEEN.inputs.with_ids(ids, UNSEEN.inputs.words)) != before).any()


def test_likelihoods_are_those_of_transformers(model):
    """Its own loss is the mean over the tokens behind the first; ours begins behind the token that begins a text."""
    module = model.module
    ids = torch.as_tensor(UNSEEN.inputs.ids[:20])
    begun = torch.cat([torch.full((20, 1), len(VOCABULARY)), ids], dim=1)
    with torch.no_grad():
        each = [float(module.model(input_ids=row[None], labels=row[None]).loss) * ids.shape[1] for row in begun]
    found = model.log_likelihood(UNSEEN.inputs.strings()[:20])
    np.testing.assert_allclose(-found, each, rtol=1e-4)
    assert -model.log_likelihood(UNSEEN.inputs.strings()).mean() > occupations().truth()["sentence_entropy"] - 0.2
    short, long = (
        model.log_likelihood(["today the nurse said"]),
        model.log_likelihood(["today the nurse said that she"]),
    )
    assert short > long


def test_padding_changes_nothing(model):
    wide = UNSEEN.inputs.with_ids(
        np.pad(UNSEEN.inputs.ids, ((0, 0), (0, 4))), np.pad(UNSEEN.inputs.words, ((0, 0), (0, 4)), constant_values=-1)
    )
    module = model.module
    one, other = (torch.as_tensor(each.ids) for each in (UNSEEN.inputs, wide))
    with torch.no_grad():
        for answer in (module.log_likelihood, module.embed, module.forward):
            torch.testing.assert_close(answer(one), answer(other), rtol=1e-4, atol=1e-4)


def test_texts_that_it_writes(model):
    drawn = model.sample(300, seed=1)
    assert isinstance(drawn, Texts)
    np.testing.assert_array_equal(drawn.ids, model.sample(300, seed=1).ids)
    assert (drawn.ids != model.sample(300, seed=2).ids).any()
    kept = [line for line in drawn.strings() if len(line.split()) == len(TEMPLATE) and line.endswith(" .")]
    assert len(kept) > 240
    cut = [line.split() for line in kept]
    for place, token in enumerate(TEMPLATE):
        share = np.mean([words[place] == token for words in cut]) if token else 1.0
        assert share > 0.9, token
    seen = np.mean([words[PRONOUN] == "she" for words in cut])
    assert seen == pytest.approx(model.predict(UNSEEN.inputs).mean(), abs=4 * 0.5 / np.sqrt(len(cut)) + 0.03)


def test_tied_weights_are_saved_once(model, tmp_path):
    save(model, tmp_path)
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        wide = [name for name in file.keys() if len(VOCABULARY) + 1 in file.get_slice(name).get_shape()]  # noqa: SIM118
    assert len(wide) == 1


def test_its_attention_is_causal_and_its_answer_is_read_before_the_pronoun(model):
    found = model.attention_gradients(UNSEEN.inputs.take(np.arange(8)))
    assert found.kinds == ("causal", "causal")
    reads = np.flatnonzero(np.abs(found.gradients[-1]).sum(axis=(0, 1, 3)) > 0)
    assert reads.tolist() == [PRONOUN]  # counted behind the token that begins the text


def test_texts_without_one_place_are_refused():
    with pytest.raises(DataError, match="gpt"):
        gpt(biographies().draw(50, np.random.default_rng(0)), epochs=0)
    with pytest.raises(ModelError, match="foretells token 6, the texts have 5"):
        gpt(ROWS, epochs=0).forward(torch.zeros((1, DO - 1), dtype=torch.long))


def test_attention_is_read_where_the_word_is_foretold(model):
    """The rows of the last layer that matter are those of the pronoun's place, which see nothing from the pronoun on."""
    asked = game(model, UNSEEN.inputs.take(np.arange(6)))
    found = attention_raw(asked, layer=-1)
    weights = model.attentions(UNSEEN.inputs.take(np.arange(6))).layers[-1].mean(axis=1)[:, PRONOUN, 1:]
    np.testing.assert_allclose(found.values, weights, atol=1e-12)
    assert found.params["query"] == PRONOUN
    assert (found.values[:, PRONOUN:] == 0).all()
    assert f"token {PRONOUN + 1}" in found.method
    with pytest.raises(UsageError, match="query: from 0 to 10, got 40"):
        attention_raw(asked, query=40)
    with pytest.raises(UsageError, match="query: 'first', 'mean', 'last', the number of a token"):
        attention_raw(asked, query=-1)
