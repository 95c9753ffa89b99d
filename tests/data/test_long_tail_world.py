"""The long-tail world: its truth against draws, twins, the tail's own rule, and the best accuracy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score

from audit.core import DataError, DataSpec
from audit.data.worlds.base import planted
from audit.data.worlds.frontier import best_accuracy
from audit.data.worlds.long_tail import LEVELS, long_tail


def auc_error(y, score):
    """Standard error of an AUC, from the two placements of every row (DeLong)."""
    ranks = stats.rankdata(score)
    positive = y == 1
    n1, n0 = positive.sum(), (~positive).sum()
    above = (ranks[positive] - stats.rankdata(score[positive])) / n0
    below = 1 - (ranks[~positive] - stats.rankdata(score[~positive])) / n1
    return math.sqrt(above.var() / n1 + below.var() / n0)


@pytest.mark.parametrize(
    ("knobs", "rows"), [({}, 600_000), ({"share": 0.4, "twist": 0.3, "omega": -2.0, "sharpness": 0.7}, 200_000)]
)
def test_truth_agrees_with_draws(knobs, rows):
    world, rng = long_tail(**knobs), np.random.default_rng(4)
    truth, parts = dict(world.truth()), {}
    for _ in range(rows // 200_000):
        drawn = world.sample(200_000, rng)
        x, tail = drawn.dataset.inputs.values, drawn.dataset.groups["tail"].values
        logit, other = world.oracle().logit(x), world.oracle().logit(drawn.twin.values)
        blind = x[:, :3] @ [2, 1.5, 1] + world.omega * x[:, 3] * x[:, 4]
        for name, column in zip(
            ("y", "tail", "logit", "other", "blind"), (drawn.dataset.y, tail, logit, other, blind), strict=True
        ):
            parts.setdefault(name, []).append(column)
    y, tail, logit, other, blind = (np.concatenate(parts[name]) for name in ("y", "tail", "logit", "other", "blind"))
    decided, y = logit >= 0, y == 1
    found = {
        "counterfactual_logit": np.where(tail == 0, 1, -1) * (other - logit),
        "counterfactual_logit_size": np.abs(other - logit),
        "counterfactual_flip_rate": decided != (other >= 0),
        "blind_accuracy.atypical": ((blind >= 0) == y)[tail == 1],
    }
    for suffix, inside in {"": tail >= 0, ".typical": tail == 0, ".atypical": tail == 1}.items():
        found |= {f"base_rate{suffix}": y[inside], f"selection_rate{suffix}": decided[inside]}
        found |= {f"accuracy{suffix}": (y == decided)[inside]}
        found |= {f"tpr{suffix}": decided[inside & y], f"fpr{suffix}": decided[inside & ~y]}
        few = np.flatnonzero(inside)[:300_000]
        auc = roc_auc_score(y[few], logit[few])
        assert abs(auc - truth.pop(f"auc{suffix}")) <= 4 * auc_error(y[few], logit[few])
    assert truth.pop("demographic_parity_difference") == 0
    gap = truth["tpr.atypical"] - truth["tpr.typical"]
    assert truth.pop("equal_opportunity_difference") == pytest.approx(gap)
    assert set(found) == set(truth)
    for name, each in found.items():
        assert abs(each.mean() - truth[name]) <= 4 * each.std() / math.sqrt(len(each)), name


def test_truth_agrees_with_a_closed_form_without_the_product():
    truth = long_tail(omega=0.0).truth()
    for level, variance in (("typical", 7.25), ("atypical", 10.25)):
        law = stats.norm(0, 3 * math.sqrt(variance))
        right = 2 * integrate.quad(lambda z, law=law: law.pdf(z) / (1 + math.exp(-z)), 0, 200, points=[5, 20])[0]
        assert truth[f"accuracy.{level}"] == pytest.approx(right, abs=1e-7)
    cosine = (4 - 1.5 * 1.5 - 2) / math.sqrt(7.25 * 10.25)
    assert truth["counterfactual_flip_rate"] == pytest.approx(math.acos(cosine) / math.pi, abs=1e-12)


def test_the_tail_follows_its_own_rule_and_a_blind_one_errs():
    truth, plain = long_tail().truth(), long_tail(twist=0.0).truth()
    assert truth["blind_accuracy.atypical"] < 0.52
    assert truth["accuracy.atypical"] > 0.94
    assert plain["blind_accuracy.atypical"] == pytest.approx(plain["accuracy.typical"], abs=1e-4)
    assert plain["counterfactual_flip_rate"] == 0
    form = long_tail().oracle()
    rows = np.zeros((2, 12))
    rows[:, 1], rows[:, 2], rows[1, 11] = 1.0, 1.0, 1.0
    np.testing.assert_allclose(form.logit(rows), [3 * 2.5, 3 * -3.5])


def test_every_twin_changes_sides_and_nothing_else():
    world = long_tail(share=0.3)
    drawn = world.sample(20_000, np.random.default_rng(6))
    here, there = drawn.dataset.inputs.values, drawn.twin.values
    tail = drawn.dataset.groups["tail"]
    assert tail.levels == LEVELS
    np.testing.assert_array_equal(here[:, :11], there[:, :11])
    np.testing.assert_array_equal(here[:, 11] > 0.5, tail.values == 1)
    np.testing.assert_array_equal(there[:, 11] > 0.5, tail.values == 0)
    change = world.oracle().logit(there) - world.oracle().logit(here)
    expected = np.where(tail.values == 0, -9.0, 9.0) * (here[:, 1] + here[:, 2])
    np.testing.assert_allclose(change, expected, atol=1e-12)
    chances = world.posterior(drawn.dataset)
    off = drawn.dataset.y - chances
    assert abs(off.mean()) <= 4 * off.std() / math.sqrt(len(off))


def test_the_best_accuracy_is_that_of_the_oracle_which_selects_both_sides_alike():
    world = long_tail()
    accuracy = world.truth()["accuracy"]
    for gap in (0.0, 0.1, 1.0):
        assert best_accuracy(world, gap) == pytest.approx(accuracy, abs=1e-5)
    assert accuracy - 0.001 < best_accuracy(world, 0.0, constraint="equalized_odds") < accuracy


@settings(max_examples=4, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0, 2), st.floats(-2, 2), st.floats(0.1, 5))
def test_truth_stays_within_bounds_for_every_knob(share, twist, omega, sharpness):
    truth = long_tail(share=share, twist=twist, omega=omega, sharpness=sharpness).truth()
    for name, value in truth.items():
        assert math.isfinite(value), name
        if "logit" not in name:
            assert -1 <= value <= 1, name
    assert 0.5 <= truth["accuracy.typical"] <= truth["auc.typical"]
    assert truth["blind_accuracy.atypical"] <= truth["accuracy.atypical"] + 1e-3
    assert truth["accuracy"] == pytest.approx(
        (1 - share) * truth["accuracy.typical"] + share * truth["accuracy.atypical"]
    )


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"twst": 1}, "no knob 'twst'.*did you mean 'twist'"),
        ({"share": 0.0}, r"share must lie in \(0, 1\), got 0.0"),
        ({"sharpness": 0.0}, "sharpness must be more than 0, got 0.0"),
        ({"omega": math.inf}, "omega must be a finite number, got inf"),
        ({"twist": -1}, "twist must be 0 or more, got -1"),
    ],
)
def test_knobs_that_are_refused(knobs, message):
    with pytest.raises(DataError, match=message):
        planted(DataSpec(world="long_tail", knobs=knobs))
