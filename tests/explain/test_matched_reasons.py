"""The test at the same value: nothing in additive models, error rates, power, and the parts in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit.explain.matched_reasons import STRATA, matched_test, strata_of_values, without_line


def test_a_line_is_taken_out_in_each_stratum():
    rng = np.random.default_rng(0)
    x, strata = rng.normal(size=60), rng.integers(0, 3, 60)
    y = rng.normal(size=60)
    found = without_line(y, x, strata)
    for each in range(3):
        inside = strata == each
        line = np.polyfit(x[inside], y[inside], 1)
        np.testing.assert_allclose(found[inside], y[inside] - np.polyval(line, x[inside]), atol=1e-12)
    np.testing.assert_allclose(
        without_line(y, np.ones(60), strata), y - np.array([y[strata == s].mean() for s in strata])
    )


@given(arrays(np.float64, st.integers(1, 60), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))))
def test_strata_are_few_and_hold_like_values(data):
    strata = strata_of_values(data)
    assert len(np.unique(strata)) <= STRATA + 1
    assert len(set(strata[np.isnan(data)])) <= 1
    there = ~np.isnan(data)
    order = np.argsort(data[there], kind="stable")
    assert (np.diff(strata[there][order]) >= 0).all()
    assert not set(strata[there]) & set(strata[~there])


def test_a_model_that_adds_up_has_nothing_left_although_groups_differ():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 3)) + labels[:, None]
    found = matched_test(x * [1.0, -2.0, 0.5], x, labels)
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)
    assert np.isnan(found.p).all()


def test_other_weights_for_other_groups_are_found_in_the_feature_they_are_in():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 300)
    x = rng.normal(size=(300, 2)) + labels[:, None]
    values = np.column_stack([x[:, 0] * (1 + 0.5 * labels), x[:, 1] + 0.1 * rng.normal(size=300)])
    found = matched_test(values, x, labels)
    assert found.p_holm[0] == pytest.approx(0.002)
    assert found.p[1] > 0.05


def test_false_alarms_come_at_the_level():
    alarms = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels = (rng.random(80) < 0.25).astype(int)
        x = rng.normal(size=(80, 1)) + 0.8 * labels[:, None]
        found = matched_test(x + rng.normal(size=(80, 1)), x, labels, permutations=199, seed=seed)
        alarms.append(found.p[0] <= 0.05)
    assert 0.02 <= np.mean(alarms) <= 0.09


def test_a_feature_that_tells_the_group_cannot_be_compared():
    labels = np.array([0, 1] * 20)
    x = np.column_stack([labels, np.full(40, np.nan), np.tile([0, 0, 1, 1], 10)]).astype(float)
    found = matched_test(x + np.arange(40)[:, None], x, labels)
    assert np.isnan(found.gap[:2]).all()
    assert np.isnan(found.p[:2]).all()
    assert found.gap[2] == pytest.approx(1)
