"""The worlds of texts: their truths against draws, their oracles against Bayes by hand, twins and knobs."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audit.core import DataError, DataSpec
from audit.data.worlds import biographies as bios
from audit.data.worlds import occupations as jobs
from audit.data.worlds.base import planted
from audit.data.worlds.biographies import biographies
from audit.data.worlds.frontier import best_accuracy
from audit.data.worlds.occupations import occupations

ROWS = 200_000


def agree(values, truth):
    """Every mean of draws lies within four standard errors of the truth."""
    for name, each in values.items():
        each = np.asarray(each, dtype=np.float64)
        assert abs(each.mean() - truth[name]) <= 4 * each.std() / math.sqrt(len(each)) + 1e-12, name


def rates(y, decided, sides):
    found = {}
    for suffix, inside in sides.items():
        found |= {f"base_rate{suffix}": y[inside], f"selection_rate{suffix}": decided[inside]}
        found |= {f"accuracy{suffix}": (y == decided)[inside]}
        found |= {f"tpr{suffix}": decided[inside & y], f"fpr{suffix}": decided[inside & ~y]}
    return found


@pytest.mark.parametrize("knobs", [{}, {"pi1": 0.6, "pi0": 0.5, "rho": 0.2, "p": 0.3}])
def test_biographies_agree_with_draws(knobs):
    world = biographies(**knobs)
    drawn = world.sample(ROWS, np.random.default_rng(1))
    data, truth = drawn.dataset, dict(world.truth())
    y, sex, score = data.y == 1, data.groups["sex"].values, world.posterior(data)
    decided = score >= 0.5
    other = world.oracle().logit(drawn.twin.values)
    sides = {"": sex >= 0, ".female": sex == 0, ".male": sex == 1}
    found = rates(y, decided, sides) | {"counterfactual_flip_rate": decided != (other >= 0)}
    agree(found, truth)
    assert roc_auc_score(y, score) == pytest.approx(truth["auc"], abs=0.003)
    np.testing.assert_allclose(
        np.where(sex == 1, other - world.oracle().logit(data.inputs.values), truth["counterfactual_logit"]),
        truth["counterfactual_logit"],
    )
    gap = truth["tpr.female"] - truth["tpr.male"]
    assert truth["tpr_gap"] == -truth["equal_opportunity_difference"] == pytest.approx(gap)
    # calibrated, which an oracle with one wrong weight is not
    for low in np.linspace(0, 0.9, 10):
        inside = (score >= low) & (score < low + 0.1)
        off = (y - score)[inside]
        assert abs(off.mean()) <= 4 * off.std() / math.sqrt(inside.sum()) + 1e-12


def test_the_log_odds_of_a_biography_by_hand():
    world = biographies()
    assert world.truth()["counterfactual_logit"] == pytest.approx(3.1209, abs=1e-4)
    words = [
        "reed",
        "trained",
        "in",
        "york",
        ".",
        "she",
        "knows",
        "incisions",
        ",",
        "chess",
        ",",
        "charts",
        "and",
        "charts",
    ]
    ids = np.array([[bios.ID[word] for word in words]])
    surgeon, nurse = 0.2, 0.85
    for word in ("incisions", "charts", "charts"):
        surgeon, nurse = surgeon * bios.EVIDENCE[word][0], nurse * bios.EVIDENCE[word][1]
    assert world.oracle().logit(ids)[0] == pytest.approx(math.log(nurse / surgeon))
    masked = np.where(ids == bios.ID["she"], bios.ID["[MASK]"], ids)
    assert world.oracle().logit(masked)[0] == pytest.approx(math.log(nurse / surgeon) - math.log(0.85 / 0.2))
    for k in range(2):
        assert sum(each[k] for each in bios.EVIDENCE.values()) == pytest.approx(1)


def test_biographies_are_texts_of_one_pronoun_and_their_twins_of_the_other():
    drawn = biographies().sample(300, np.random.default_rng(2))
    here, there = drawn.dataset.inputs, drawn.twin
    assert here.ids.shape == (300, 14)
    assert len(here.vocabulary) == len(set(here.vocabulary)) == 34
    assert here.vocabulary[here.mask] == "[MASK]"
    for one, two, a in zip(here.strings(), there.strings(), drawn.latent["a"], strict=True):
        mine, other = ("he", "she") if a else ("she", "he")
        assert one.split().count(mine) == 1
        assert other not in one.split()
        assert two == one.replace(f" {mine} ", f" {other} ")
    evidence = drawn.latent["evidence"] + np.where(drawn.latent["a"] == 1, math.log(0.15 / 0.8), math.log(0.85 / 0.2))
    np.testing.assert_allclose(evidence, biographies().oracle().logit(here.values))


def test_without_a_pronoun_that_tells_there_is_no_gap_and_without_evidence_only_the_pronoun():
    truth = biographies(pi1=0.5, pi0=0.5).truth()
    assert truth["tpr_gap"] == truth["counterfactual_logit"] == 0
    hidden = biographies(rho=1.0).truth()
    assert hidden["tpr_gap"] == 1
    assert hidden["auc"] == pytest.approx(0.5 + (0.85 - 0.2) / 2)
    assert biographies(rho=0.1).truth()["tpr_gap"] < biographies(rho=0.5).truth()["tpr_gap"]
    assert best_accuracy(biographies(), 1.0) == pytest.approx(biographies().truth()["accuracy"])


@pytest.mark.parametrize("knobs", [{}, {"skew": 0.5, "shift": 0.7}])
def test_occupations_agree_with_draws(knobs):
    world = occupations(**knobs)
    drawn = world.sample(ROWS, np.random.default_rng(3))
    data, truth = drawn.dataset, dict(world.truth())
    y, held, score = data.y == 1, data.groups["stereotype"].values, world.posterior(data)
    np.testing.assert_allclose(score, drawn.latent["chance"])
    sides = {"": held >= 0, ".female": held == 0, ".male": held == 1}
    found = rates(y, score >= 0.5, sides)
    for place, name in enumerate(jobs.SHARES):
        found[f"p_she.{name}"] = y[drawn.latent["occupation"] == place]
    found["pronoun_entropy"] = -np.log(np.where(y, score, 1 - score))
    found["sentence_entropy"] = found["pronoun_entropy"] + math.log(10 * 4**4)
    other = world.oracle().logit(drawn.twin.values)
    found["counterfactual_flip_rate"] = (other >= 0) != (score >= 0.5)
    agree(found, truth)
    change = (other - world.oracle().logit(data.inputs.values))[held == 1]
    agree({"counterfactual_logit": change}, truth)
    assert roc_auc_score(y, score) == pytest.approx(truth["auc"], abs=0.004)


def test_the_pronoun_stands_at_one_known_place_and_is_not_read_by_the_oracle():
    world = occupations()
    data = world.draw(500, np.random.default_rng(4))
    ids = data.inputs.ids
    pronouns = np.isin(ids, [jobs.ID["she"], jobs.ID["he"]])
    np.testing.assert_array_equal(pronouns, np.arange(10) == jobs.PRONOUN * np.ones((500, 1)))
    np.testing.assert_array_equal(ids[:, jobs.PRONOUN] == jobs.ID["she"], data.y == 1)
    swapped = ids.copy()
    swapped[:, jobs.PRONOUN] = jobs.ID["she"]
    np.testing.assert_array_equal(world.oracle().logit(ids), world.oracle().logit(swapped))
    assert world.truth()["p_she.nurse"] == pytest.approx(0.85)
    assert occupations(skew=0.0).truth()["pronoun_entropy"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("world", "knobs", "message"),
    [
        ("biographies", {"pi1": 1.0}, r"pi1 must lie in \(0, 1\), got 1.0"),
        ("biographies", {"rho": 1.5}, r"rho must lie in \[0, 1\], got 1.5"),
        ("biographies", {"p": "a"}, "p must be a number, got 'a'"),
        ("biographies", {"roh": 0.1}, "no knob 'roh'.*did you mean 'rho'"),
        ("occupations", {"skew": -1}, "skew must be 0 or more, got -1"),
        ("occupations", {"shift": math.inf}, "shift must be a finite number, got inf"),
    ],
)
def test_knobs_of_texts_that_are_refused(world, knobs, message):
    with pytest.raises(DataError, match=message):
        planted(DataSpec(world=world, knobs=knobs))


@pytest.mark.parametrize("make", [biographies, occupations])
def test_no_texts_cannot_be_drawn(make):
    with pytest.raises(DataError, match="rows: a world draws 1 or more, got 0"):
        make().draw(0, np.random.default_rng(0))
