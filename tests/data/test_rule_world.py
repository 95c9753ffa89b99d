"""The rule world: its truth against draws, the planted clause, twins, and the best accuracy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audit.core import DataError, DataSpec
from audit.data.rules import Rules
from audit.data.worlds.base import planted
from audit.data.worlds.frontier import best_accuracy
from audit.data.worlds.rules import LAWFUL, LEVELS, PLANTED, chance, rules

SETTINGS = [
    ({}, 500_000),
    ({"strength": 0.4, "noise": 0.1, "p": 0.3, "proxy": 0.2}, 250_000),
    ({"strength": 0}, 300_000),
]


@pytest.mark.parametrize(("knobs", "rows"), SETTINGS)
def test_truth_agrees_with_draws(knobs, rows):
    world = rules(**knobs)
    drawn = world.sample(rows, np.random.default_rng(3))
    data, form = drawn.dataset, world.oracle()
    logit, other = form.logit(data.inputs.values), form.logit(drawn.twin.values)
    y, decided, sex = data.y == 1, logit >= 0, data.groups["sex"].values
    met = (Rules(columns=form.columns, clauses=LAWFUL).decide(data.inputs.values) == 1) & PLANTED.holds(
        data.inputs.values
    )
    found = {
        "counterfactual_flip_rate": decided != (other >= 0),
        "counterfactual_logit": np.where(sex == 0, 1, -1) * (other - logit),
    }
    for suffix, inside in {"": sex >= 0, ".female": sex == 0, ".male": sex == 1}.items():
        found |= {f"base_rate{suffix}": y[inside], f"selection_rate{suffix}": decided[inside]}
        found |= {f"accuracy{suffix}": (y == decided)[inside]}
        found |= {f"tpr{suffix}": decided[inside & y], f"fpr{suffix}": decided[inside & ~y]}
        if suffix:
            refused = met & (drawn.latent["wronged"] == 1)
            found |= {f"planted_share{suffix}": met[inside], f"refused_share{suffix}": refused[inside]}
    truth = dict(world.truth())
    gaps = {"demographic_parity": "selection_rate", "equal_opportunity": "tpr"}
    for name, rate in gaps.items():
        assert truth.pop(f"{name}_difference") == pytest.approx(truth[f"{rate}.male"] - truth[f"{rate}.female"])
    assert set(found) == set(truth)
    for name, each in found.items():
        assert abs(each.mean() - truth[name]) <= 4 * each.std() / math.sqrt(len(each)) + 1e-12, name


def test_the_planted_clause_refuses_women_only_and_can_be_switched_off():
    truth, off = rules().truth(), rules(strength=0).truth()
    women = off["selection_rate.female"] - truth["selection_rate.female"]
    assert truth["refused_share.female"] == pytest.approx(women, abs=1e-12)
    assert women == pytest.approx(off["selection_rate.female"] * stats.norm.cdf((-0.5 + 0.8) / 0.6), abs=1e-12)
    assert truth["refused_share.male"] == 0
    assert truth["selection_rate.male"] == off["selection_rate.male"]
    assert PLANTED in rules().oracle().rules.clauses
    assert PLANTED not in rules(strength=0.3).oracle().rules.clauses


def test_boxes_have_the_probability_of_scipys_normal():
    covariance = np.array([[1, -0.5], [-0.5, 1]])
    corner = lambda u, v: stats.multivariate_normal.cdf([u, v], cov=covariance, abseps=1e-12, releps=1e-12)  # noqa: E731
    box = ((0, -0.3, 1.2), (1, -1.0, 0.4), (2, 0.5, math.inf))
    flat = corner(1.2, 0.4) - corner(-0.3, 0.4) - corner(1.2, -1.0) + corner(-0.3, -1.0)
    assert chance({box: 2.0}) == pytest.approx(2 * flat * stats.norm.sf(0.5), abs=1e-9)


def test_labels_follow_the_posterior_and_twins_keep_what_sex_does_not_move():
    world = rules(strength=0.7, noise=0.05)
    drawn = world.sample(200_000, np.random.default_rng(5))
    chances = world.posterior(drawn.dataset)
    for value in np.unique(chances):
        labels = drawn.dataset.y[chances == value]
        assert abs(labels.mean() - value) <= 4 * math.sqrt(value * (1 - value) / len(labels))
    np.testing.assert_allclose(
        1 / (1 + np.exp(-world.oracle().logit(drawn.dataset.inputs.values))), chances, atol=1e-12
    )
    here, there = drawn.dataset.inputs.values, drawn.twin.values
    sign = np.where(here[:, 6] == 0, 1.0, -1.0)[:, None]
    np.testing.assert_allclose(sign * (there - here), np.tile([1, -0.5, 0.6, 1.6, 0, 0, 1], (len(here), 1)), atol=1e-12)


def test_the_best_accuracy_under_a_bounded_gap():
    # Without noise every loss is a person who is moved over: of the gap that is left, the smaller group's share.
    world = rules()
    gap = world.truth()["demographic_parity_difference"]
    for allowed in (0.0, 0.1, 0.3):
        assert best_accuracy(world, allowed) == pytest.approx(1 - (gap - allowed) / 2, abs=1e-6)
    assert best_accuracy(world, 1.0) == pytest.approx(1.0)
    assert best_accuracy(world, 0.0, constraint="equalized_odds") == pytest.approx(1.0)
    noisy = rules(noise=0.1, strength=0.3)
    assert best_accuracy(noisy, 1.0) == pytest.approx(noisy.truth()["accuracy"], abs=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0, 1), st.floats(0, 0.49), st.floats(0, 2))
def test_truth_stays_within_bounds_for_every_knob(p, strength, noise, proxy):
    world = rules(p=p, strength=strength, noise=noise, proxy=proxy)
    truth = world.truth()
    for name, value in truth.items():
        assert math.isfinite(value), name
        if "logit" not in name and "difference" not in name:
            assert -1e-12 <= value <= 1 + 1e-12, name
    for rate in ("base_rate", "selection_rate", "accuracy"):
        mixed = (1 - p) * truth[f"{rate}.female"] + p * truth[f"{rate}.male"]
        assert truth[rate] == pytest.approx(mixed)
    assert sum(each.mass.sum() for each in world.strata()) == pytest.approx(1)


def test_a_seed_gives_the_same_rows():
    first, again = (rules().draw(200, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.inputs.values, again.inputs.values)
    np.testing.assert_array_equal(first.y, again.y)
    assert first.groups["sex"].levels == LEVELS


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"strenght": 1}, "no knob 'strenght'.*did you mean 'strength'"),
        ({"strength": 1.5}, r"strength must lie in \[0, 1\], got 1.5"),
        ({"noise": 0.5}, r"noise must lie in \[0, 0.5\), got 0.5"),
        ({"p": float("nan")}, r"p must lie in \(0, 1\), got nan"),
        ({"proxy": -1}, "proxy must be 0 or more"),
    ],
)
def test_knobs_that_are_refused(knobs, message):
    with pytest.raises(DataError, match=message):
        planted(DataSpec(world="rules", knobs=knobs))
