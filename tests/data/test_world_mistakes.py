"""Worlds asked for what they do not have: plain errors, and what is undefined is left out."""

import math

import numpy as np
import pytest

from audit.core import DataError, DataSpec
from audit.data.worlds.base import planted
from audit.data.worlds.credit import best_accuracy, credit
from audit.data.worlds.long_tail import long_tail
from audit.data.worlds.payments import payments
from audit.data.worlds.rules import rules

WORLDS = (credit, long_tail, payments, rules)


@pytest.mark.parametrize("make", WORLDS)
@pytest.mark.parametrize("rows", [0, -1, 1.5, "a", True, None])
def test_no_rows_cannot_be_drawn(make, rows):
    for draw in (make().draw, make().sample):
        with pytest.raises(DataError, match=r"rows: a world draws 1 or more, got"):
            draw(rows, np.random.default_rng(0))
    assert len(make().draw(1, np.random.default_rng(0))) == 1


@pytest.mark.parametrize("make", WORLDS)
@pytest.mark.parametrize("value", ["a", None, True, [1.0], math.nan, math.inf])
def test_a_knob_is_a_finite_number(make, value):
    knob = {credit: "tau", long_tail: "share", payments: "tau", rules: "p"}[make]
    with pytest.raises(DataError, match=f"data.knobs: {knob} must"):
        make(**{knob: value})
    with pytest.raises(DataError, match=f"data.knobs: {knob} must"):
        planted(DataSpec(world=make.__name__, knobs={knob: value}))


@pytest.mark.parametrize("knobs", [{"tau": 1e6}, {"tau": -1e6}, {"b": -1e6}, {"b": 1e6}, {"tau": 1e6, "race": 1.0}])
def test_a_rate_over_nobody_and_its_differences_are_left_out(knobs):
    truth = credit(**knobs).truth()
    assert all(math.isfinite(value) for value in truth.values())
    for level in ("female", "male"):
        assert (f"tpr.{level}" in truth) == (truth[f"base_rate.{level}"] > 0)
        assert (f"fpr.{level}" in truth) == (truth[f"base_rate.{level}"] < 1)
    both = "tpr.female" in truth and "tpr.male" in truth
    assert ("equal_opportunity_difference" in truth) == both
    assert "demographic_parity_difference" in truth
    if "race" in knobs:
        assert ("equal_opportunity_difference.sex.race" in truth) == both


def test_the_best_accuracy_takes_an_attribute_by_name_or_several():
    world = credit(race=1.0)
    assert best_accuracy(world, 0.1, attribute="race") == best_accuracy(world, 0.1, attribute=["race"])
    for wrong in ("rice", ["rice"], [], ""):
        with pytest.raises(DataError, match=r"attribute must be among 'sex', 'race', got"):
            best_accuracy(world, 0.1, attribute=wrong)
    with pytest.raises(DataError, match="tpr of a group is undefined"):
        best_accuracy(credit(b=-1e6), 0.1, constraint="equal_opportunity")
