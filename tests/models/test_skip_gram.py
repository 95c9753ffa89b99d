"""Skip-gram: what it learns against exact mutual information, and hard debiasing against its definition."""

import numpy as np
import pytest
import torch

from audit import codec
from audit.core import DataError, Spec, UsageError, stream
from audit.data.worlds.corpus import CAREER, FAMILY, FEMALE, MALE, VOCABULARY, WORDS, corpus
from audit.data.worlds.credit import credit
from audit.fairness import weat
from audit.models.families.skip_gram import skip_gram
from audit.models.reference import trained
from audit.models.vectors import hard_debiased
from audit.workflows.calibrate import wanted
from audit.workflows.zoo import Named, configuration

SETS = (CAREER, FAMILY, MALE, FEMALE)


@pytest.fixture(scope="module")
def sentences():
    return corpus().draw(6000, stream(0, "skip_gram"))


@pytest.fixture(scope="module")
def plain(sentences):
    return trained("skip_gram", sentences, Spec())


def test_products_are_the_mutual_information_of_words_that_meet(plain, sentences):
    """Where negative sampling is solved, v · c = log P(w, c) / P(w) N(c) - log k (levy2014)."""
    joint = corpus().together()
    module, first = plain.module, len(VOCABULARY) - len(WORDS)
    with torch.no_grad():
        product = (module.vectors.weight @ module.contexts.weight.T)[first:, first:].numpy()
    noise = module.noise[first:].numpy()
    there = joint > 0
    exact = np.log(np.where(there, joint, 1) / np.outer(joint.sum(axis=1), noise)) - np.log(5)
    assert np.abs(product - exact)[there].mean() < 0.15
    assert product[~there].max() < exact[there].min()


def test_the_effect_size_is_near_the_exact_one_and_follows_q(plain):
    found = weat(*(plain.embed(list(words)) for words in SETS))
    assert found.effect_size == pytest.approx(corpus().truth()["effect_size"], abs=0.15)
    against = corpus(q=0.2).draw(2000, stream(0, "skip_gram"))
    other = trained("skip_gram", against, Spec(), options={"epochs": 6})
    assert weat(*(other.embed(list(words)) for words in SETS)).effect_size < -1.5


def test_it_reads_the_words_of_gender_alone(plain, sentences):
    text = sentences.inputs.take(np.arange(1))
    ids = np.array([VOCABULARY.index(word) for word in ("she", "table", "office", "her", "river", "salary")])
    about_home = np.array([VOCABULARY.index(word) for word in ("she", "cloud", "home", "her", "stone", "wedding")])
    none = np.array([VOCABULARY.index("table")] * 6)
    both = text.with_ids(np.stack([ids, about_home, none]), np.tile(np.arange(6), (3, 1)))
    one, other, nobody = plain.predict(both)
    assert one == other
    assert one == pytest.approx(0.8, abs=0.1)
    assert nobody == 0.5
    scores, men = plain.predict(sentences.inputs), sentences.groups["gender"].values == 1
    assert scores[~men].mean() == pytest.approx(0.8, abs=0.1)
    assert scores[men].mean() == pytest.approx(0.2, abs=0.1)


def test_hard_debiasing_before_and_after(sentences, plain):
    spec = Spec()
    fair = trained("skip_gram", sentences, spec, options={"debias": "hard"})
    before, after = (weat(*(model.embed(list(words)) for words in SETS)) for model in (plain, fair))
    assert before.effect_size > 1.7
    assert before.mean_difference > 0.5
    assert abs(after.mean_difference) < 1e-6
    assert np.isnan(after.effect_size), "what rounding leaves is no association"
    assert after.p_value == after.p_two_sided == 1.0
    part = trained("skip_gram", sentences, spec, options={"debias": "hard", "pairs": [["she", "he"], ["her", "him"]]})
    some = weat(*(part.embed(list(words)) for words in SETS))
    assert 0 < abs(some.mean_difference) < before.mean_difference / 2
    assert "she/he" in fair.card.notes[-1]


def test_hard_debiased_by_its_definition():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(9, 5))
    found = hard_debiased(vectors, [(0, 1), (2, 3)], keep=[8])
    np.testing.assert_array_equal(found[8], vectors[8])
    np.testing.assert_allclose(np.linalg.norm(found[:8], axis=1), 1.0, atol=1e-12)
    unit = vectors[:8] / np.linalg.norm(vectors[:8], axis=1, keepdims=True)
    centred = np.concatenate([unit[[0, 1]] - unit[[0, 1]].mean(axis=0), unit[[2, 3]] - unit[[2, 3]].mean(axis=0)])
    values, axes = np.linalg.eigh(centred.T @ centred)  # the principal direction of the centred pairs, another way
    direction = axes[:, np.argmax(values)]
    np.testing.assert_allclose(found[4:8] @ direction, 0, atol=1e-12)
    flat = unit[4:8] - np.outer(unit[4:8] @ direction, direction)
    np.testing.assert_allclose(found[4:8], flat / np.linalg.norm(flat, axis=1, keepdims=True), atol=1e-12)
    for left, right in ((0, 1), (2, 3)):
        np.testing.assert_allclose(found[4:8] @ found[left], found[4:8] @ found[right], atol=1e-12)
        assert np.sign(found[left] @ direction) == -np.sign(found[right] @ direction) != 0
        assert np.sign(found[left] @ direction) == np.sign((unit[left] - unit[right]) @ direction)


def test_what_is_not_allowed(sentences):
    for options, kind, said in (
        ({"debias": "soft"}, UsageError, "debias: one of"),
        ({"width": 0}, UsageError, "width: a whole number"),
        ({"first": ["offices"]}, DataError, "first: the data hold"),
        ({"second": "home"}, UsageError, "second: one word or more"),
    ):
        with pytest.raises(kind, match=said):
            skip_gram(sentences, epochs=0, **options)
    with pytest.raises(DataError, match="skip_gram reads texts, the data hold tables"):
        skip_gram(credit().draw(20, np.random.default_rng(0)))
    with pytest.raises(UsageError, match="same vectors"):
        hard_debiased(np.ones((3, 2)), [(0, 1)])
    with pytest.raises(UsageError, match="none may be zero"):
        hard_debiased(np.zeros((3, 2)), [(0, 1)])


def test_its_audits_ask_about_the_words_of_its_world():
    own = {"x": list(CAREER), "y": list(FAMILY), "a": list(MALE), "b": list(FEMALE)}
    spec = codec.spec_from_toml(configuration(Named(id="skip_gram"), rows=10, seed=0))
    assert spec.checks.params["fairness.association"] == own
    compared = wanted(Spec(), "corpus", {}, "skip_gram")
    assert {name: list(words) for name, words in compared.checks.params["fairness.association"].items()} == own
    assert not wanted(Spec(), "occupations", {}, "skip_gram").checks.params
