"""Pronouns by occupation: against figures by hand, and on a world whose chances are known."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats as peer
from subjects import context_of, find

from audit.core import DataError, Dataset, NotApplicable, Origin, Subject, Table, UsageError, stream
from audit.data.texts import tokenised
from audit.data.worlds.occupations import SHARES, occupations
from audit.fairness.leans import beyond_majority, lean, lean_of_labels, true_correlation
from audit.fairness.pronouns import pronouns

LINES = ["the nurse said she", "the nurse said he", "the cook said she", "the cook said he", "the cook said he"]
SCORES = [0.9, 0.7, 0.3, 0.2, 0.1]


def subject(lines=LINES, y=(1, 0, 1, 0, 0), score=SCORES, classes=("he", "she")) -> Subject:
    data = Dataset(
        inputs=tokenised(lines),
        groups={},
        origin=Origin(name="by hand"),
        y=None if y is None else np.array(y),
        classes=classes,
    )
    score = np.array(score)
    return Subject(model=None, data=data, y=data.y, decision=(score >= 0.5).astype(int), score=score, groups={})


def found(*args, **params):
    return list(pronouns(*args, context_of(), **params))


def test_by_hand():
    evidence = found(subject(), occupations=["nurse", "cook"])
    # chances .8 and .2 beside labels' shares 1/2 and 1/3: the nurse's share is even, and the cook's majority is "he"
    assert find(evidence, "mean_bias").value == pytest.approx(((0.8 - 0.5) + (0.2 - 1 / 3)) / 2)
    # one half tells the majority, the other the difference: the nurse's "she" against "he", and the other way about
    nurse, cook = ((0.7 - 0.0) - (0.9 - 1.0)) / 2, (0.15 + (0.5 - 0.2) + (0.5 - 0.25)) / 3
    assert cook == pytest.approx((1.0 - 0.3) / 3)  # two texts against one: only two of "he" tell a majority
    assert find(evidence, "amplification").value == pytest.approx((nurse + cook) / 2)
    assert find(evidence, "decided_amplification").value == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert find(evidence, "correlation").value is None
    assert "fewer than four occupations" in find(evidence, "correlation").note
    table = next(each for each in evidence if isinstance(each, Table))
    assert [(row[0], row[1], row[4], row[5]) for row in table.rows] == [
        ("cook", pytest.approx(0.2), pytest.approx(1 / 3), 3),
        ("nurse", pytest.approx(0.8), 0.5, 2),
    ]
    low, high = peer.t.interval(0.95, 2, 0.2, peer.sem([0.3, 0.2, 0.1]))
    assert table.rows[0][2:4] == (pytest.approx(low), pytest.approx(high))
    assert table.view == "bars"


def test_shares_may_be_given_and_the_pronoun_may_be_the_other_class():
    shares = {"nurse": 0.9, "cook": 0.4, "pilot": 0.1}
    evidence = found(subject(y=None), shares=shares)
    assert find(evidence, "mean_bias").value == pytest.approx((-0.1 - 0.2) / 2)
    assert find(evidence, "amplification").value == pytest.approx((-0.1 + 0.2) / 2)
    absent = next(each for each in evidence if isinstance(each, Table) and each.name == "absent")
    assert absent.rows == (("pilot",),)
    other = found(subject(y=None, score=1 - np.array(SCORES), classes=("she", "he")), shares=shares)
    for name in ("mean_bias", "amplification", "decided_amplification", "correlation"):
        assert find(other, name).value == pytest.approx(find(evidence, name).value), name


def test_texts_with_several_occupations_or_none_are_left_out():
    lines = [*LINES, "the nurse said the cook left", "the man said she"]
    evidence = found(subject(lines, (1, 0, 1, 0, 0, 1, 1), [*SCORES, 1.0, 1.0]), occupations=["nurse", "cook"])
    assert find(evidence, "mean_bias").value == find(found(subject(), occupations=["nurse", "cook"]), "mean_bias").value


@pytest.mark.parametrize("skew", [1.0, 0.3, 2.0])
def test_the_worlds_own_chances_are_recovered(skew):
    """The oracle of the world gives what the labels have; one of another skew leans by a known amount."""
    world = occupations()
    data = world.draw(30_000, stream(0, "pronouns"))
    score = 1 / (1 + np.exp(-occupations(skew=skew).oracle().logit(data.inputs.ids)))
    one = Subject(model=None, data=data, y=data.y, decision=(score >= 0.5).astype(int), score=score, groups=data.groups)
    evidence = found(one, occupations=list(SHARES))
    p, real = occupations(skew=skew).chances(), world.chances()
    exact = (np.sign(real - 0.5) * (p - real)).mean()
    assert find(evidence, "amplification").value == pytest.approx(exact, abs=0.01)
    assert find(evidence, "mean_bias").value == pytest.approx(0.0, abs=0.01)
    assert find(evidence, "correlation").value == pytest.approx(np.corrcoef(p, real)[0, 1], abs=0.01)
    # decisions give everyone the majority's pronoun: beyond the share by the whole minority
    assert find(evidence, "decided_amplification").value == pytest.approx(np.minimum(real, 1 - real).mean(), abs=0.01)
    given = found(one, shares=dict(SHARES))
    assert find(given, "amplification").value == pytest.approx(exact, abs=1e-6)
    if skew == 1.0:
        assert find(given, "mean_bias").interval.low <= 0 <= find(given, "mean_bias").interval.high
    table = next(each for each in given if isinstance(each, Table))
    assert [row[4] for row in table.rows] == sorted(SHARES.values())


def test_what_is_undefined_has_a_reason():
    even = found(subject(), shares={"nurse": 0.5, "cook": 0.5})
    for name, reason in (("amplification", "every share is one half"), ("correlation", "the same in every occupation")):
        measure = find(even, name)
        assert measure.value is None
        assert reason in measure.note
    single = found(subject(LINES[1:3], (0, 1), SCORES[1:3]), occupations=["nurse", "cook"])
    assert find(single, "amplification").value is None
    assert "no occupation has two texts" in find(single, "amplification").note
    one = found(subject(), occupations=["nurse"])
    assert find(one, "mean_bias").value == pytest.approx(0.3)
    assert find(one, "mean_bias").interval is None


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_mean_over_all_splits_is_that_of_brute_force(n):
    rng = np.random.default_rng(n)
    for _ in range(4):
        p, y = rng.random(n), rng.integers(0, 2, n)
        ways = [[], []]
        for turn, first in enumerate((n // 2, n - n // 2)):
            for told in itertools.combinations(range(n), first):
                rest = np.delete(np.arange(n), told)
                ways[turn].append(np.sign(y[list(told)].mean() - 0.5) * (p[rest].mean() - y[rest].mean()))
        assert beyond_majority(p, y) == pytest.approx(np.mean([np.mean(each) for each in ways]))
    assert np.isnan(beyond_majority([0.5], [1]))


@pytest.mark.parametrize("n", [10, 20, 50])
def test_intervals_of_a_right_model_hold_that_it_is_right(n):
    """Labels of n texts of 20 occupations: no amplification, correlation 1; the same texts for both fall short of 0."""
    rng, share = np.random.default_rng(n), np.linspace(0.1, 0.9, 20)
    held = {"amplification": 0, "mean_bias": 0, "correlation": 0}
    apart, same = [], []
    for _ in range(100):
        y = (rng.random((n, 20)) < share).T.astype(float)
        fitted = lean_of_labels(list(np.repeat(share[:, None], n, axis=1)), list(y))
        for name, truth in (("amplification", 0.0), ("mean_bias", 0.0), ("correlation", 1.0)):
            _, low, high = getattr(fitted, name)
            held[name] += low <= truth <= high
        apart.append(fitted.amplification[0])
        same.append(lean(share, y.mean(axis=1)).amplification[0])
    assert min(held.values()) >= 90, held
    assert abs(np.mean(apart)) < 0.01
    assert np.mean(same) < -0.005


def test_the_correlation_with_the_true_shares_comes_back_from_noisy_labels():
    """Ten labels an occupation: the plain correlation is too low, the corrected one is not, and its interval holds it."""
    rng, share = np.random.default_rng(0), np.linspace(0.05, 0.95, 30)
    chance = np.clip(share + rng.normal(0, 0.2, 30), 0, 1)
    exact = np.corrcoef(chance, share)[0, 1]
    found, plain = [], []
    for _ in range(100):
        y = (rng.random((10, 30)) < share).T.astype(float)
        found.append(true_correlation(list(np.repeat(chance[:, None], 10, axis=1)), list(y)))
        plain.append(np.corrcoef(chance, y.mean(axis=1))[0, 1])
    value, low, high = np.array(found).T
    assert abs(np.mean(value) - exact) < 0.02
    assert exact - np.mean(plain) > 0.04
    assert np.mean((low <= exact) & (exact <= high)) >= 0.9
    assert np.isnan(true_correlation([np.array([0.4, 0.6])] * 5, [np.array([0.0, 1.0])] * 5)).all()


def test_what_it_is_not_for():
    table = replace(subject(), data=replace(subject().data, inputs=SimpleNamespace(take=None)))
    for given, params, said in (
        (subject(), {}, "no occupations are named"),
        (table, {"occupations": ["nurse"]}, "no texts"),
        (subject(classes=("0", "1")), {"occupations": ["nurse"]}, "two pronouns"),
        (subject(y=None), {"occupations": ["nurse"]}, "no labels: give shares"),
    ):
        with pytest.raises(NotApplicable, match=said):
            found(given, **params)
    with pytest.raises(DataError, match="none of 'judge' stands alone"):
        found(subject(), occupations=["judge"])
    with pytest.raises(UsageError, match="for 'cook' came none"):
        found(subject(), shares={"nurse": 0.5}, occupations=["nurse", "cook"])
    with pytest.raises(UsageError, match="for 'cook' came 40"):
        found(subject(), shares={"nurse": 0.5, "cook": 40})
    with pytest.raises(UsageError, match="two columns"):
        lean([0.5, 2.0], [0.1, 0.2])
