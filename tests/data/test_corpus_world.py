"""The corpus world: its truth against draws, and the association of its words against every sentence written out."""

import itertools
import math

import numpy as np
import pytest

from audit.core import DataError
from audit.data.worlds.corpus import CAREER, FAMILY, FEMALE, LEANING, MALE, VOCABULARY, WORDS, corpus
from audit.fairness import weat

SETTINGS = [{}, {"q": 0.6, "p": 0.3, "spread": 0.7}, {"q": 0.25, "spread": 0.4}]


def written_out(q, p, spread):
    """P(two places hold two words) by enumerating all 65,536 combinations of gender, topic and six words."""
    share = {}
    for gender, topic in itertools.product(range(2), repeat=2):
        home = q if gender == 0 else 1 - q
        weight = (p if gender else 1 - p) * (home if topic else 1 - home)
        sign = 1 if gender != topic else -1  # men's career words and women's family words lean upwards
        lean = (1 + sign * spread * LEANING) / 4
        about, target, neutral = 4 * gender + np.arange(4), 8 + 4 * topic + np.arange(4), 16 + np.arange(8)
        slots = [(about, np.full(4, 0.25))] * 2 + [(target, lean)] * 2 + [(neutral, np.full(8, 0.125))] * 2
        grids = np.meshgrid(*(words for words, _ in slots), indexing="ij")
        chance = weight * np.prod(np.meshgrid(*(chances for _, chances in slots), indexing="ij"), axis=0)
        for i, j in itertools.permutations(range(6), 2):
            pairs = grids[i] * 24 + grids[j]
            share[i, j] = share.get((i, j), 0) + np.bincount(pairs.ravel(), chance.ravel(), 576).reshape(24, 24)
    return sum(share.values()) / 30


@pytest.mark.parametrize("knobs", SETTINGS)
def test_the_association_is_that_of_every_sentence_written_out(knobs):
    world = corpus(**knobs)
    joint = written_out(world.q, world.p, world.spread)
    np.testing.assert_allclose(world.together(), joint, atol=1e-12)
    alone = joint.sum(axis=0)
    pmi = np.zeros_like(joint)
    for i, j in np.argwhere(joint > np.outer(alone, alone)):
        pmi[i, j] = math.log(joint[i, j] / (alone[i] * alone[j]))
    sets = [pmi[[WORDS.index(word) for word in words]] for words in (CAREER, FAMILY, MALE, FEMALE)]
    found, truth = weat(*sets), world.truth()
    assert found.effect_size == pytest.approx(truth["effect_size"], abs=1e-6)
    assert found.mean_difference == pytest.approx(truth["mean_difference"], abs=1e-12)


def test_without_spread_the_effect_size_is_the_largest_there_is_and_its_sign_that_of_q():
    for q in (0.55, 0.8, 0.99):
        assert corpus(q=q).truth()["effect_size"] == pytest.approx(2 * math.sqrt(7 / 8), abs=1e-9)
        assert corpus(q=1 - q).truth()["effect_size"] == pytest.approx(-2 * math.sqrt(7 / 8), abs=1e-9)
    none = corpus(q=0.5).truth()
    assert "effect_size" not in none
    assert none["mean_difference"] == pytest.approx(0, abs=1e-12)
    for q in (0.51, 0.6, 0.9):
        difference = corpus(q=q).truth()["mean_difference"]
        assert 0 < difference == pytest.approx(-corpus(q=1 - q).truth()["mean_difference"], abs=1e-12)


@pytest.mark.parametrize("knobs", SETTINGS)
def test_the_rates_agree_with_draws(knobs):
    world, rows = corpus(**knobs), 60_000
    data = world.draw(rows, np.random.default_rng(1))
    logit, truth = world.oracle().logit(data.inputs.ids), world.truth()
    decided, male, y = logit >= 0, data.groups["gender"].values == 1, data.y == 1
    parts = {"": np.ones(rows, bool), ".female": ~male, ".male": male}
    seen = {}
    for suffix, inside in parts.items():
        wanted = {"base_rate": (y, inside), "selection_rate": (decided, inside), "accuracy": (decided == y, inside)}
        wanted |= {"tpr": (decided, inside & y), "fpr": (decided, inside & ~y)}
        seen |= {name + suffix: (hit[among].mean(), among.sum()) for name, (hit, among) in wanted.items()}
    for name, (value, n) in seen.items():
        error = math.sqrt(max(truth[name] * (1 - truth[name]), 1e-12) / n)
        assert abs(value - truth[name]) <= 4.5 * error, name
    change = world.oracle().logit(data.twin.ids) - logit
    np.testing.assert_allclose(change[~male], truth["counterfactual_logit"])
    chance = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(chance[male], 1 - world.q)
    np.testing.assert_allclose(chance[~male], world.q)


def test_pairs_of_places_agree_with_draws():
    world = corpus(q=0.6, p=0.3, spread=0.7)
    data = world.draw(60_000, np.random.default_rng(2))
    ids = data.inputs.ids - len(VOCABULARY) + len(WORDS)
    pairs = (ids[:, 0] * 24 + ids[:, 5]).astype(int)
    seen = np.bincount(pairs, minlength=576).reshape(24, 24) / len(ids)
    exact = world.together()
    assert (np.abs(seen - exact) <= 5 * np.sqrt(exact * (1 - exact) / len(ids)) + 1e-12).all()


def test_the_twin_is_the_sentence_in_words_of_the_other_gender():
    data = corpus().draw(300, np.random.default_rng(3))
    other = dict(zip([*FEMALE, *MALE], [*MALE, *FEMALE], strict=True))
    for line, twin in zip(data.inputs.strings(), data.twin.strings(), strict=True):
        assert [other.get(word, word) for word in line.split()] == twin.split()
        assert line != twin
        assert sum(word in other for word in line.split()) == 2


def test_the_oracle_reads_no_word_of_a_topic():
    form = corpus().oracle()
    for word in (*CAREER, *FAMILY):
        assert form.weights[VOCABULARY.index(word)] == 0.0
    assert form.weights[VOCABULARY.index("she")] == pytest.approx(math.log(4) / 2)


@pytest.mark.parametrize(
    ("knobs", "said"), [({"q": 1.0}, "q must lie in"), ({"p": 0.0}, "p must"), ({"spread": 1.0}, "spread must")]
)
def test_knobs_out_of_range(knobs, said):
    with pytest.raises(DataError, match=said):
        corpus(**knobs)
